//! Images that are encrypted as such: qcow2 with LUKS or AES, and qcow, against what QEMU's tools write and read.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use images::crypt::{Attempt, EncryptedImage, ImageKey, Secrets};
use images::{Data, Disk, Error, Options, Result};

use super::{pattern, run};

/// Gives the same secrets to every image, and notes which ask.
#[derive(Debug)]
pub struct Given {
    secrets: Vec<Vec<u8>>,
    pub asked: Mutex<Vec<(PathBuf, &'static str, bool)>>,
}

impl Given {
    pub fn new(secrets: &[&str]) -> Arc<Self> {
        let secrets = secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect();
        Arc::new(Self { secrets, asked: Mutex::default() })
    }
}

impl Secrets for Given {
    fn unlock(&self, image: &EncryptedImage<'_>, attempt: &mut Attempt<'_>) -> Result<ImageKey> {
        let asked = (image.location.path().unwrap().to_path_buf(), image.lock.method, image.lock.uuid.is_some());
        self.asked.lock().unwrap().push(asked);
        for secret in &self.secrets {
            if let Some(key) = attempt(secret)? {
                return Ok(key);
            }
        }
        Err(Error::Denied("no secret opens it".to_owned()))
    }
}

/// A folder, and QEMU's tools in it with the secrets `one` and `two`.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs qemu-img; words that begin with `@` are files of the folder.
    pub fn qemu_img(&self, words: &str) -> String {
        let words: Vec<String> =
            words.split_whitespace().map(|word| word.replace('@', &format!("{}/", self.0.path().display()))).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let secrets = ["--object", "secret,id=one,data=pass", "--object", "secret,id=two,data=another passphrase"];
        run("qemu-img", &[&words[..1], &secrets, &words[1..]].concat())
    }

    /// Runs commands of qemu-io on the image that these options describe.
    fn qemu_io(&self, image: &str, commands: &[&str]) {
        let image = image.replace('@', &format!("{}/", self.0.path().display()));
        let mut words =
            vec!["--object", "secret,id=one,data=pass", "--object", "secret,id=two,data=another passphrase"];
        words.extend(commands.iter().flat_map(|command| ["-c", command]));
        words.extend(["--image-opts", &image]);
        run("qemu-io", &words);
    }

    /// What QEMU reads.
    pub fn reference(&self, image: &str) -> Vec<u8> {
        let image = image.replace('@', &format!("{}/", self.0.path().display()));
        self.qemu_img(&format!("convert -O raw --image-opts {image} @reference"));
        fs::read(self.path("reference")).unwrap()
    }

    pub fn open(&self, name: &str, secrets: &Arc<Given>) -> Result<Arc<dyn Disk>> {
        open(&self.path(name), secrets, None)
    }
}

fn open(path: &Path, secrets: &Arc<Given>, snapshot: Option<&str>) -> Result<Arc<dyn Disk>> {
    let (secrets, snapshot) = (Some(secrets.clone() as Arc<dyn Secrets>), snapshot.map(str::to_owned));
    images::open(path, &Options { secrets, snapshot, ..Options::default() })
}

/// The disk reads as `want`, whole and in pieces of odd sizes.
#[track_caller]
fn assert_reads(disk: &dyn Disk, want: &[u8], what: &str) {
    assert_eq!(disk.size(), want.len() as u64, "{what}");
    let mut got = vec![1; want.len()];
    disk.read_at(&mut got, 0).unwrap();
    assert!(got == want, "{what}: whole");
    for (at, len) in (0..want.len()).step_by(70_001).zip([1, 511, 512, 513, 4096, 65_537].into_iter().cycle()) {
        let len = len.min(want.len() - at);
        disk.read_at(&mut got[..len], at as u64).unwrap();
        assert!(got[..len] == want[at..][..len], "{what}: {len} bytes at {at}");
    }
}

/// A pattern with a hole in it.
fn content(folder: &Folder) -> Vec<u8> {
    let mut content = pattern(900 << 10);
    content[200 << 10..500 << 10].fill(0);
    fs::write(folder.path("raw"), &content).unwrap();
    content
}

#[test]
fn what_qemu_img_encrypts() {
    let folder = Folder::new();
    let content = content(&folder);
    let secrets = Given::new(&["wrong", "pass"]);
    let luks = "encrypt.format=luks,encrypt.key-secret=one,encrypt.iter-time=1";
    let serpent = "encrypt.cipher-alg=serpent-256,encrypt.hash-alg=sha512";
    let essiv =
        "encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256";
    let twofish = "encrypt.cipher-alg=twofish-256,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=plain";
    let cases = [
        format!("{luks},compat=0.10,{serpent}"),
        format!("{luks},cluster_size=512,{essiv}"),
        format!("{luks},cluster_size=2M,lazy_refcounts=on,{twofish}"),
        format!("{luks},extended_l2=on,cluster_size=16k"),
    ];
    for options in cases {
        folder.qemu_img(&format!("convert -f raw -O qcow2 -o {options} @raw @image"));
        assert_reads(&*folder.open("image", &secrets).unwrap(), &content, &options);
    }
    let last = secrets.asked.lock().unwrap().pop().unwrap();
    assert_eq!(last, (folder.path("image"), "LUKS", true));
    let error = folder.open("image", &Given::new(&["wrong", ""])).err().unwrap();
    assert!(error.to_string().contains("no secret opens it"), "{error}");
    let error = images::open(&folder.path("image"), &Options::default()).err().unwrap();
    assert!(error.to_string().ends_with("the image is encrypted (LUKS), and no key was given"), "{error}");
    let [layer] = &images::info(&folder.path("image"), &Options::default()).unwrap()[..] else { panic!() };
    assert_eq!(layer.description.encryption.as_deref(), Some("luks"));
}

#[test]
fn the_legacy_encryption_of_both_formats() {
    let folder = Folder::new();
    let content = content(&folder);
    for (format, secret, right) in [("qcow2", "one", "pass"), ("qcow", "two", "another passphrase")] {
        let options = format!("encrypt.format=aes,encrypt.key-secret={secret}");
        folder.qemu_img(&format!("convert -f raw -O {format} -o {options} @raw @image"));
        let secrets = Given::new(&[right]);
        let disk = folder.open("image", &secrets).unwrap();
        assert_reads(&*disk, &content, format);
        assert_eq!(secrets.asked.lock().unwrap()[0].1, "AES");
        let extent = disk.extent_at(0).unwrap();
        assert!(matches!(extent.data, Data::Opaque), "a hole in the file would be noise");
        assert!(matches!(disk.extent_at(300 << 10).unwrap().data, Data::Hole | Data::Zero));
        // Nothing tells a wrong key from the right one.
        let mut start = vec![0; 4096];
        folder.open("image", &Given::new(&["wrong"])).unwrap().read_at(&mut start, 0).unwrap();
        assert!(start != content[..4096]);
        let layers = images::info(&folder.path("image"), &Options::default()).unwrap();
        let said = &layers[0].description;
        assert_eq!((said.encryption.as_deref(), said.virtual_size), (Some("aes"), Some(900 << 10)), "{format}");
        assert!(layers[0].problem.is_none());
    }
}

#[test]
fn every_image_of_a_chain_has_its_own_key() {
    let folder = Folder::new();
    let content = content(&folder);
    let (one, two) = ("encrypt.key-secret=one,encrypt.iter-time=1", "encrypt.key-secret=two,encrypt.iter-time=1");
    folder.qemu_img(&format!("convert -f raw -O qcow2 -o encrypt.format=luks,{one} @raw @base"));
    folder.qemu_img(&format!("create -q -f qcow2 -u -b base -F qcow2 -o encrypt.format=luks,{two} @top 2M"));
    let opts = "driver=qcow2,file.filename=@top,encrypt.format=luks,encrypt.key-secret=two,backing.encrypt.format=luks,backing.encrypt.key-secret=one";
    folder.qemu_io(opts, &["write -P 0x5a 300k 77k", "write -z 600k 128k", "write -P 7 1M 3k"]);
    let want = folder.reference(opts);
    assert!(want[..900 << 10] != content && want[..4096] == content[..4096]);
    let secrets = Given::new(&["pass", "another passphrase"]);
    assert_reads(&*folder.open("top", &secrets).unwrap(), &want, "both encrypted");
    let asked: Vec<_> = secrets.asked.lock().unwrap().iter().map(|asked| asked.0.clone()).collect();
    assert_eq!(asked, [folder.path("top"), folder.path("base")]);
    for only in ["pass", "another passphrase"] {
        assert!(folder.open("top", &Given::new(&[only])).is_err(), "one key is not enough");
    }
    // One that is not encrypted on one that is, and the other way round.
    folder.qemu_img("create -q -f qcow2 -u -b base -F qcow2 @plain 2M");
    let opts = "driver=qcow2,file.filename=@plain,backing.encrypt.format=luks,backing.encrypt.key-secret=one";
    folder.qemu_io(opts, &["write -P 0x33 0 10k"]);
    let want = folder.reference(opts);
    assert_reads(&*folder.open("plain", &secrets).unwrap(), &want, "the base is encrypted");
    let opts = "driver=qcow2,file.filename=@top,encrypt.format=luks,encrypt.key-secret=two";
    folder.qemu_img("rebase --image-opts driver=qcow2,file.filename=@top,encrypt.format=luks,encrypt.key-secret=two -u -b raw -F raw");
    folder.qemu_io(opts, &["write -P 0x44 100k 10k"]);
    let want = folder.reference(opts);
    assert_reads(&*folder.open("top", &secrets).unwrap(), &want, "the top is encrypted");
}

#[test]
fn internal_snapshots_and_data_files() {
    let folder = Folder::new();
    let content = content(&folder);
    let secrets = Given::new(&["pass"]);
    let create = "encrypt.key-secret=one,encrypt.iter-time=1";
    for format in ["luks", "aes"] {
        let create = if format == "luks" { create } else { "encrypt.key-secret=one" };
        folder.qemu_img(&format!("convert -f raw -O qcow2 -o encrypt.format={format},{create} @raw @image"));
        let opts = format!("driver=qcow2,file.filename=@image,encrypt.format={format},encrypt.key-secret=one");
        let image = opts.replace('@', &format!("{}/", folder.0.path().display()));
        folder.qemu_img(&format!("snapshot --image-opts -c before {image}"));
        folder.qemu_io(&opts, &["write -P 0x11 0 300k", "write -z 700k 64k"]);
        let want = folder.reference(&opts);
        assert!(want != content);
        assert_reads(&*folder.open("image", &secrets).unwrap(), &want, format);
        let before = open(&folder.path("image"), &secrets, Some("before")).unwrap();
        assert_reads(&*before, &content, "the snapshot");
    }
    let options = format!("encrypt.format=luks,{create},data_file={}", folder.path("data").display());
    folder.qemu_img(&format!("convert -f raw -O qcow2 -o {options} @raw @image"));
    assert_reads(&*folder.open("image", &secrets).unwrap(), &content, "an external data file");
}
