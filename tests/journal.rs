//! A file system whose journal is on a device of its own: mounted, searched for deleted files, and refused without it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use program::{Point, fails_with, works};
use sha2::{Digest, Sha256};

fn golden(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal").join(name).display().to_string()
}

/// What a list of `sha256sum` says: names and hashes.
fn listed(name: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(golden(name)).unwrap();
    text.lines().map(|line| line.split_once("  ").unwrap()).map(|(hash, name)| (name.into(), hash.into())).collect()
}

fn hash(path: &Path) -> String {
    Sha256::digest(fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The two ways to give the journal: by its option, or as one of the disks.
const WAYS: [&str; 2] = ["--journal", "-a"];

#[test]
fn it_is_replayed_from_its_own_image() {
    let (volume, journal) = (golden("fs.qcow2"), golden("journal.qcow2"));
    for way in WAYS {
        let point = Point::mount(&["-a", &volume, way, &journal, "-m", "/dev/sda"]);
        for (name, wanted) in listed("tree.txt") {
            assert_eq!(hash(&point.join(&name)), wanted, "{way}: {name}");
        }
        assert!(!point.join("gone.txt").exists(), "{way}: the delete is in the journal");
    }
}

#[test]
fn it_is_searched_for_deleted_files() {
    let (volume, journal) = (golden("fs.qcow2"), golden("journal.qcow2"));
    let hashes = || [&volume, &journal].map(|image| hash(Path::new(image)));
    let before = hashes();
    for way in WAYS {
        let to = tempfile::tempdir().unwrap();
        let out = to.path().join("out");
        works(&["recover", "-a", &volume, way, &journal, "--to", out.to_str().unwrap()]);
        for (name, wanted) in listed("deleted.txt") {
            let found = walk(&out).into_iter().find(|path| path.ends_with(&name));
            assert_eq!(hash(&found.unwrap_or_else(|| panic!("{way}: {name} did not come back"))), wanted, "{way}");
        }
    }
    assert_eq!(hashes(), before, "an image is never written");
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(walk(&entry.path())),
            false => all.push(entry.path()),
        }
    }
    all
}

#[test]
fn without_it_the_error_says_how_to_give_it() {
    let (volume, point) = (golden("fs.qcow2"), Point::new());
    let uuid = "6a6f7572-6e61-4c00-8000-000000000001";
    fails_with(&["-a", &volume, "-m", "/dev/sda", point.text()], &[uuid, "--journal", "--no-replay"]);
    fails_with(&["deleted", "-a", &volume], &[uuid, "--journal"]);
    fails_with(&["deleted", "-a", &volume, "--journal", &volume], &["it holds ext4, not the journal"]);
    fails_with(&["deleted", "-a", &volume, "--journal", "/none"], &["/none"]);
    let point = Point::mount(&["-a", &volume, "--no-replay", "-m", "/dev/sda"]);
    assert!(!point.join("last.txt").exists(), "only the journal knows it");
}
