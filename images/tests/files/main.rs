//! Files of the host as images: chains that qemu-img makes, QEMU's locks, block devices, and other users' files.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod owners;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, Once};

use images::{Backing, Data, Disk, Options, open};

const MIB: u64 = 1 << 20;

/// Runs a command line that is split at spaces in the directory `dir`; returns what it printed.
fn run(dir: &Path, line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    toolbox::run(toolbox::command(words[0]).args(&words[1..]).current_dir(dir))
}

/// A directory with a raw `base.img` of 1 MiB, filled with `b`.
fn with_base() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    fs::write(path.join("base.img"), vec![b'b'; MIB as usize]).unwrap();
    (dir, path)
}

fn open_with(path: &Path, backing: Backing) -> Result<Arc<dyn Disk>, String> {
    open(path, &Options { backing, ..Options::default() }).map_err(|error| error.to_string())
}

fn assert_reads_base(disk: &dyn Disk) {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    assert!(bytes.len() as u64 == MIB && bytes.iter().all(|byte| *byte == b'b'));
}

#[test]
fn names_as_qemu_img_writes_them() {
    let (_dir, dir) = with_base();
    fs::create_dir(dir.join("below")).unwrap();
    run(&dir, "qemu-img create -q -f qcow2 -F raw -b base.img middle.qcow2");
    for name in [
        "../middle.qcow2",
        "file:../middle.qcow2",
        r#"json:{"driver":"qcow2","file":{"driver":"file","filename":"../middle.qcow2"}}"#,
        r#"json:{"driver":"qcow2","file.driver":"file","file.filename":"../middle.qcow2"}"#,
    ] {
        // -u: the name is recorded as it is given.
        run(&dir, &format!("qemu-img create -q -u -f qcow2 -F qcow2 -b {name} below/top.qcow2 1M"));
        assert_reads_base(&*open_with(&dir.join("below/top.qcow2"), Backing::Owner).unwrap());
        forget_backing_format(&dir.join("below/top.qcow2"));
        assert_reads_base(&*open_with(&dir.join("below/top.qcow2"), Backing::Owner).unwrap());
    }
    let error = open_with(&dir.join("below/top.qcow2"), Backing::None).err().unwrap();
    assert!(error.ends_with("and --backing=none allows no other file"), "{error}");
    forget_backing_format(&dir.join("middle.qcow2"));
    let error = open_with(&dir.join("below/top.qcow2"), Backing::Owner).err().unwrap();
    let shown = dir.display();
    let want = format!(
        "{shown}/below/top.qcow2: {shown}/below/../middle.qcow2: no format is recorded for its backing file \
         {shown}/below/../base.img, and none is recognised; if it is raw, record that with: qemu-img rebase -u -F raw \
         -b {shown}/below/../base.img {shown}/below/../middle.qcow2"
    );
    assert_eq!(error, want);
    run(&dir, "qemu-img rebase -u -F raw -b base.img middle.qcow2");
    open_with(&dir.join("below/top.qcow2"), Backing::Owner).unwrap();
}

/// Makes the header extension that records the backing format one that is unknown and may be ignored.
fn forget_backing_format(image: &Path) {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let mut bytes = [0; 1024];
    file.read_exact_at(&mut bytes, 0).unwrap();
    // qcow2 specification, "Header extensions": the type of this one is 0xe2792aca.
    let at = bytes.windows(4).position(|four| four == [0xe2, 0x79, 0x2a, 0xca]).unwrap();
    file.write_all_at(b"none", at as u64).unwrap();
}

#[test]
fn a_data_file_passes_the_gate_and_is_raw() {
    let (_dir, dir) = with_base();
    run(&dir, "qemu-img create -q -f qcow2 -o data_file=data.img,data_file_raw=on top.qcow2 1M");
    let content = vec![b'b'; MIB as usize];
    let file = File::options().write(true).open(dir.join("data.img")).unwrap();
    file.write_all_at(&content, 0).unwrap();
    // What a guest can write at the start of its disk must not decide how the data file is read.
    run(&dir, "qemu-img create -q -f qcow2 other.qcow2 1M");
    assert_reads_base(&*open_with(&dir.join("top.qcow2"), Backing::Owner).unwrap());
    let mut header = [0; 512];
    File::open(dir.join("other.qcow2")).unwrap().read_exact_at(&mut header, 0).unwrap();
    file.write_all_at(&header, 0).unwrap();
    let disk = open_with(&dir.join("top.qcow2"), Backing::Owner).unwrap();
    let mut bytes = [0; 512];
    disk.read_at(&mut bytes, 0).unwrap();
    assert_eq!((bytes, disk.size()), (header, MIB));
    let error = open_with(&dir.join("top.qcow2"), Backing::None).err().unwrap();
    assert!(error.ends_with("it names data.img, and --backing=none allows no other file"), "{error}");
}

/// Keeps what is logged; there is one logger in a process, so messages are found by the file that they name.
struct Log(Mutex<Vec<String>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

fn warnings_about(path: &Path) -> usize {
    let log = LOG.0.lock().unwrap();
    log.iter().filter(|line| line.contains(path.to_str().unwrap())).count()
}

/// A qemu-io process that has the image open for writing, until it is dropped.
struct QemuIo(Child);

impl QemuIo {
    fn open(image: &Path) -> Self {
        let mut child =
            toolbox::command("qemu-io").arg(image).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // It answers a command only after the image is open.
        child.stdin.as_mut().unwrap().write_all(b"length\n").unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("MiB"), "{line}");
        Self(child)
    }
}

impl Drop for QemuIo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_image_that_qemu_writes_is_read_with_one_warning() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        log::set_logger(&LOG).unwrap();
        log::set_max_level(log::LevelFilter::Warn);
    });
    let (_dir, dir) = with_base();
    run(&dir, "qemu-img create -q -f qcow2 -F raw -b base.img top.qcow2");
    let (top, base) = (dir.join("top.qcow2"), dir.join("base.img"));
    open_with(&top, Backing::Owner).unwrap();
    assert_eq!(warnings_about(&top), 0);
    let qemu = QemuIo::open(&top);
    assert_reads_base(&*open_with(&top, Backing::Owner).unwrap());
    assert_eq!((warnings_about(&top), warnings_about(&base)), (1, 0), "QEMU only reads the base");
    drop(qemu);
    open_with(&top, Backing::Owner).unwrap();
    assert_eq!(warnings_about(&top), 1);
}

/// A loop device, until it is dropped.
struct Loop(PathBuf);

impl Loop {
    fn new(dir: &Path, file: &str) -> Self {
        Self(run(dir, &format!("losetup --find --show {file}")).trim().into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run(Path::new("/"), &format!("losetup --detach {}", self.0.display()));
    }
}

/// Needs root, for a loop device.
#[test]
fn a_block_device_is_an_image() {
    let (_dir, dir) = with_base();
    run(&dir, "qemu-img convert -f raw -O qcow2 base.img copy.qcow2");
    let copy = Loop::new(&dir, "copy.qcow2");
    // A guest may have written the header: without a word of the user the device is what its bytes are.
    let told = Options { format: Some("qcow2".into()), ..Options::default() };
    assert_reads_base(&*open(&copy.0, &told).unwrap());
    let device = open_with(&copy.0, Backing::Owner).unwrap();
    let mut magic = [0; 4];
    device.read_at(&mut magic, 0).unwrap();
    assert_eq!(&magic, b"QFI\xfb");
    run(&dir, &format!("qemu-img create -q -f qcow2 -F qcow2 -b {} over.qcow2", copy.0.display()));
    assert_reads_base(&*open_with(&dir.join("over.qcow2"), Backing::Owner).unwrap());
    forget_backing_format(&dir.join("over.qcow2"));
    let error = open_with(&dir.join("over.qcow2"), Backing::Owner).err().unwrap();
    assert!(error.contains("no format is recorded for its backing file /dev/loop"), "{error}");
    let raw = Loop::new(&dir, "base.img");
    let disk = open_with(&raw.0, Backing::Owner).unwrap();
    assert_reads_base(&*disk);
    let extent = disk.extent_at(4096).unwrap();
    assert_eq!(extent.len, MIB - 4096);
    assert!(matches!(extent.data, Data::Host(_, 4096)));
    run(&dir, &format!("qemu-img create -q -f qcow2 -F raw -b {} onto.qcow2", raw.0.display()));
    assert_reads_base(&*open_with(&dir.join("onto.qcow2"), Backing::Owner).unwrap());
}
