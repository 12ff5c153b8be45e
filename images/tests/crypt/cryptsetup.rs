//! LUKS2, encrypted by cryptsetup's own offline reencryption.

use std::fs;
use std::path::{Path, PathBuf};

use super::{SECRET, assert_holds, file, memory, pattern, run, unlock};

/// Formatting that costs no time; the derivations themselves are what they are in earnest.
const CHEAP: &[&str] = &["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];

/// What goes into each volume, in bytes.
const CONTENT: usize = 600 << 10;

fn cryptsetup(arguments: &[&str]) -> String {
    run("cryptsetup", arguments)
}

struct Made {
    folder: tempfile::TempDir,
    content: Vec<u8>,
}

impl Made {
    fn path(&self) -> PathBuf {
        self.folder.path().join("volume")
    }

    fn key_file(&self) -> String {
        text(&self.folder.path().join("key"))
    }

    fn with_key(&self, arguments: &[&str]) -> String {
        let (path, key) = (text(&self.path()), self.key_file());
        let (verb, rest) = arguments.split_first().unwrap();
        cryptsetup(&[&[*verb, "--batch-mode", "--disable-locks", "--key-file", &key, &path], rest].concat())
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A volume with a pattern in it.
fn made(options: &[&str]) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let content = pattern(CONTENT);
    let made = Made { folder, content };
    let mut bytes = made.content.clone();
    bytes.resize(CONTENT + (2000 << 10), 0);
    fs::write(made.path(), bytes).unwrap();
    fs::write(made.key_file(), SECRET).unwrap();
    let (path, key) = (text(&made.path()), made.key_file());
    let fixed = ["reencrypt", "--encrypt", "--type", "luks2", "--batch-mode", "--disable-locks", "--key-file", &key];
    let small = ["--reduce-device-size", "2000K", "--luks2-metadata-size", "16k", "--luks2-keyslots-size", "512k"];
    cryptsetup(&[&fixed[..], &small, &["--force-offline-reencrypt", &path][..], options].concat());
    made
}

#[test]
fn ciphers_sectors_and_derivations() {
    let cases: &[(&str, &[&str])] = &[
        ("the default cipher", CHEAP),
        ("4096-byte sectors", &["--sector-size", "4096"]),
        ("2048-byte sectors and CBC", &["--sector-size", "2048", "--cipher", "aes-cbc-plain64", "--key-size", "256"]),
        ("XTS with 128 bits", &["--cipher", "aes-xts-plain", "--key-size", "256"]),
        ("ESSIV", &["--cipher", "aes-cbc-essiv:sha256", "--key-size", "256"]),
        ("CBC with 128 bits", &["--cipher", "aes-cbc-plain", "--key-size", "128"]),
        ("CBC with 192 bits", &["--cipher", "aes-cbc-plain64be", "--key-size", "192"]),
        ("sha1", &["--hash", "sha1"]),
        ("sha512", &["--hash", "sha512"]),
        ("ripemd160", &["--hash", "ripemd160"]),
        ("whirlpool", &["--hash", "whirlpool"]),
    ];
    for (what, options) in cases {
        let made = made(&[*options, CHEAP].concat());
        assert_holds(&made.path(), &made.content, what);
    }
    for kind in ["argon2i", "argon2id"] {
        for lanes in ["1", "2", "4"] {
            let costs = ["--pbkdf-force-iterations", "4", "--pbkdf-memory", "1024", "--pbkdf-parallel", lanes];
            let made = made(&[&["--pbkdf", kind][..], &costs].concat());
            assert_holds(&made.path(), &made.content, kind);
        }
    }
}

#[test]
fn a_wrong_secret_opens_nothing_and_any_slot_opens() {
    let made = made(CHEAP);
    for wrong in [&b"wrong"[..], b"", b"pass\n", b"pas"] {
        assert!(unlock(file(&made.path()), None, wrong).unwrap().is_none(), "{wrong:?}");
    }
    let second = made.folder.path().join("second");
    // A key file of any bytes.
    let binary: Vec<u8> = (0..=255).collect();
    fs::write(&second, &binary).unwrap();
    made.with_key(&[&["luksAddKey"], CHEAP, &[text(&second).as_str()]].concat());
    assert!(unlock(file(&made.path()), None, &binary).unwrap().is_some(), "the second slot");
    assert_holds(&made.path(), &made.content, "the first slot");
    cryptsetup(&["luksKillSlot", "--disable-locks", "--key-file", &text(&second), &text(&made.path()), "0"]);
    assert!(unlock(file(&made.path()), None, SECRET).unwrap().is_none(), "the first slot is gone");
    assert!(unlock(file(&made.path()), None, &binary).unwrap().is_some());
}

#[test]
fn a_slot_that_is_to_be_left_alone() {
    let made = made(CHEAP);
    cryptsetup(&["config", "--disable-locks", "--key-slot", "0", "--priority", "ignore", &text(&made.path())]);
    assert!(unlock(file(&made.path()), None, SECRET).unwrap().is_none());
    cryptsetup(&["config", "--disable-locks", "--key-slot", "0", "--priority", "prefer", &text(&made.path())]);
    assert_holds(&made.path(), &made.content, "preferred");
}

#[test]
fn the_second_header_stands_in_for_a_damaged_first() {
    let made = made(CHEAP);
    let whole = fs::read(made.path()).unwrap();
    for at in [100, 450, 5000] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let disk = unlock(memory(bytes.clone()), None, SECRET).unwrap().unwrap();
        let mut got = vec![0; CONTENT];
        disk.read_at(&mut got, 0).unwrap();
        assert!(got == made.content);
        bytes[0x4000 + at] ^= 1;
        let error = unlock(memory(bytes), None, SECRET).err().unwrap().to_string();
        assert!(error.contains("LUKS2 header"), "{error}");
    }
}

#[test]
fn the_header_may_lie_elsewhere() {
    let made = made(CHEAP);
    let whole = fs::read(made.path()).unwrap();
    let header = made.folder.path().join("header");
    made.with_key(&["luksHeaderBackup", "--header-backup-file", &text(&header)]);
    let mut wiped = whole;
    wiped[..64 << 10].fill(0);
    let disk = unlock(memory(wiped), Some(file(&header)), SECRET).unwrap().unwrap();
    let mut got = vec![0; CONTENT];
    disk.read_at(&mut got, 0).unwrap();
    assert!(got == made.content);
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (path, key) = (folder.path().join("volume"), folder.path().join("key"));
    fs::write(&key, SECRET).unwrap();
    let format = |options: &[&str]| {
        fs::File::create(&path).unwrap().set_len(20 << 20).unwrap();
        let fixed = ["luksFormat", "--batch-mode", "--disable-locks", "--type", "luks2", "--key-file"];
        cryptsetup(&[&fixed, &[text(&key).as_str(), text(&path).as_str()][..], CHEAP, options].concat());
    };
    let refused = || unlock(file(&path), None, SECRET).err().expect("it is refused").to_string();
    format(&[]);
    cryptsetup(&["token", "add", "--disable-locks", "--key-description", "x", &text(&path)]);
    assert!(unlock(file(&path), None, SECRET).unwrap().is_some(), "tokens are passed over");
    // Started and not finished: reencryption in progress.
    let started = ["reencrypt", "--init-only", "--batch-mode", "--disable-locks", "--key-file"];
    cryptsetup(&[&started, &[text(&key).as_str(), text(&path).as_str()][..], CHEAP].concat());
    assert!(refused().contains("reencryption"), "{}", refused());
}
