//! Deleted files of the demo guest: listed, recovered, mounted; and what is refused.

#![allow(clippy::unwrap_used)]

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use program::{Point, fails_with, guest, run, works};
use sha2::{Digest, Sha256};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/demo").join(name)
}

fn hash(path: &Path) -> String {
    digest(&fs::read(path).unwrap())
}

/// The files that were deleted, by path, with their hashes.
fn truth() -> BTreeMap<String, String> {
    let text = fs::read_to_string(golden("deleted.txt")).unwrap();
    text.lines().map(|line| line.split_once("  ").unwrap()).map(|(hash, path)| (path.into(), hash.into())).collect()
}

/// Of this file two blocks were used again after the delete: by etc/debian_version and root/new.txt.
const PARTIAL: &str = "var/log/old.log";
const LOST: u64 = 8192;

/// Its content before the delete, and what is left of it.
fn partial() -> (Vec<u8>, Vec<u8>) {
    let whole: String = (1..=6000).map(|n| format!("Oct  1 00:00:00 demo-guest daemon: message {n}\n")).collect();
    let mut left = whole.clone().into_bytes();
    left[..LOST as usize].fill(0);
    (whole.into_bytes(), left)
}

fn digest(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn images() -> [String; 2] {
    ["guest.qcow2", "base.qcow2"].map(|name| hash(&golden(name)))
}

fn json(arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&works(arguments)).unwrap()
}

#[test]
fn every_deleted_file_is_listed_with_what_is_left() {
    let before = images();
    let list = json(&["deleted", "-a", &guest(), "--json"]);
    let list = list.as_array().unwrap();
    for path in truth().keys() {
        let path = format!("/{path}");
        let one = list.iter().find(|one| one["path"] == path.as_str()).unwrap_or_else(|| panic!("{path} is missing"));
        let (state, lost) = match path.ends_with(PARTIAL) {
            true => ("partial", serde_json::json!([{"offset": 0, "length": LOST}])),
            false => ("intact", serde_json::json!([])),
        };
        assert_eq!((&one["state"], &one["device"]), (&state.into(), &"/dev/demo/root".into()), "{path}");
        assert!(!one["evidence"].as_array().unwrap().is_empty(), "{path}");
        assert_eq!(one["lost"], lost, "{path}");
    }
    let table = works(&["deleted", "-a", &guest(), "-m", "sda1"]);
    assert_eq!(table.lines().count(), 1, "nothing was deleted from the EFI partition: {table}");
    assert_eq!(images(), before);
}

#[test]
fn every_deleted_file_comes_back() {
    let before = images();
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("out");
    let output = run(&["recover", "-a", &guest(), "--partial", "--to", to.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "one is not whole: {output:?}");
    assert!(output.stderr.is_empty(), "no bar, as nobody looks: {output:?}");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(to.join("report.json")).unwrap()).unwrap();
    let (whole, left) = partial();
    for (path, truth) in truth() {
        let (want, outcome) = match path == PARTIAL {
            true => (digest(&left), "partial"),
            false => (truth.clone(), "recovered"),
        };
        assert!(path != PARTIAL || truth == digest(&whole));
        assert_eq!(hash(&to.join("demo/root").join(&path)), want, "{path}");
        let files = report["files"].as_array().unwrap();
        let one = files.iter().find(|one| one["output"] == format!("demo/root/{path}")).unwrap();
        assert_eq!((&one["sha256"], &one["outcome"]), (&want.into(), &outcome.into()), "{path}");
    }
    // Without --partial, what is not whole is listed and not written.
    let output = run(&["recover", "-a", &guest(), "--to", place.path().join("b").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("old.log: 8 KiB of 280 KiB are gone"), "{output:?}");
    assert!(!place.path().join("b/demo/root").join(PARTIAL).exists());
    // All that is asked for.
    let output = run(&["recover", "-a", &guest(), "/root", "--to", place.path().join("c").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(images(), before);
}

#[test]
fn they_are_in_the_mounted_tree() {
    let before = images();
    let point = Point::mount(&["-a", &guest(), "-i", "--deleted", "--unallocated"]);
    let at = |path: &str| point.join(path);
    assert_eq!(fs::read(at("guest/etc/hostname")).unwrap(), b"demo-guest\n");
    assert_eq!(fs::read(at("guest/home/anna/.profile")).unwrap(), b"export EDITOR=ed\n");
    for (path, want) in truth() {
        let file = at("deleted/demo/root").join(&path);
        let mut state = [0; 16];
        let len = rustix::fs::getxattr(&file, "user.imgmount.state", &mut state[..]).unwrap();
        if path == PARTIAL {
            assert_eq!(&state[..len], b"partial");
            let file = fs::File::open(&file).unwrap();
            let mut page = [0; 4096];
            assert_eq!(file.read_at(&mut page, 0).unwrap_err().raw_os_error(), Some(5), "no zeros");
            assert_eq!(file.read_at(&mut page, LOST).unwrap(), 4096);
            assert_eq!(page, partial().0[LOST as usize..][..4096]);
            continue;
        }
        assert_eq!(hash(&file), want, "{path}");
        assert_eq!(&state[..len], b"intact");
        let error = fs::write(&file, "x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    }
    // The bytes of a deleted file are in the free space, at their own place.
    let free = fs::read(at("unallocated/demo/root")).unwrap();
    assert_eq!(free.len(), 40 << 20);
    let content = fs::read(at("deleted/demo/root/root/draft.txt")).unwrap();
    assert!(free.chunks(4096).any(|block| block.starts_with(&content)), "a file of one block");
    let live = fs::read(at("guest/var/lib/dpkg/status")).unwrap();
    assert!(!free.chunks(4096).any(|block| block == &live[..4096]), "what is used is a hole");
    drop(point);
    assert_eq!(images(), before);
}

#[test]
fn a_mount_needs_no_guest_for_it() {
    let point = Point::mount(&["-a", &guest(), "--deleted"]);
    let names = |path: &str| {
        let entries = fs::read_dir(point.path().join(path)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(""), ["deleted"]);
    assert_eq!(names("deleted"), ["demo", "sda1"]);
    assert_eq!(names("deleted/demo"), ["home", "root"]);
}

#[test]
fn timelines_have_live_and_deleted_files() {
    let before = images();
    let body = run(&["timeline", "-a", &guest(), "-i"]);
    assert!(body.status.success());
    let body = String::from_utf8_lossy(&body.stdout);
    for name in ["|/etc/hostname|", "|/home/anna/book.txt|", "|/boot/efi/EFI|", "|/root/draft.txt (deleted)|"] {
        assert_eq!(body.matches(name).count(), 1, "{name}");
    }
    let history = json(&["history", "-a", &guest(), "-i", "/root/draft.txt", "--json"]);
    assert!(history["current"].is_null() && history["versions"][0]["state"] == "intact", "{history:#}");
    let history = json(&["history", "-a", &guest(), "-i", "/var/log/syslog", "--json"]);
    let size = |version: &serde_json::Value| version["size"].as_u64().unwrap();
    let earlier = history["versions"].as_array().unwrap();
    assert!(earlier.iter().any(|version| size(version) < size(&history["current"])), "it grew: {history:#}");
    assert_eq!(images(), before);
}

#[test]
fn wrong_requests_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().to_str().unwrap();
    let guest = guest();
    fails_with(&["deleted", "-a", &guest, "-m", "/dev/sdz"], &["/dev/sdz", "/dev/demo/root"]);
    fails_with(&["recover", "-a", &guest, "-m", "/dev/demo/swap", "--to", to], &["swap"]);
    fails_with(&["history", "-a", &guest, "/etc/hostname"], &["several", "/dev/demo/root"]);
    fails_with(&["history", "-a", &guest, "-i", "/no/such"], &["/no/such"]);
    fails_with(&["-a", &guest, "--deleted", "--rw", to], &["--rw"]);
    for arguments in [&["--deleted-after", "soon"][..], &["--min-size", "big"], &["--state", "fine"]] {
        let output = run(&[&["deleted", "-a", &guest], arguments].concat());
        assert!(!output.status.success(), "{arguments:?}");
    }
    let output = run(&["recover", "-a", &guest, "--to", to, "no such file"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(fs::read_dir(to).unwrap().count(), 0);
}

/// Needs root, which the test of CI is: others cannot mount an image for writing.
#[test]
fn nothing_is_written_into_the_image_that_is_read() {
    if !toolbox::is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let image = place.path().join("disk.img");
    let point = place.path().join("mnt");
    fs::create_dir(&point).unwrap();
    fs::File::create(&image).unwrap().set_len(8 << 20).unwrap();
    let tool = |program: &str, arguments: &[&str]| toolbox::run(toolbox::command(program).args(arguments));
    let (image, point) = (image.to_str().unwrap(), point.to_str().unwrap());
    tool("mke2fs", &["-q", "-t", "ext2", image]);
    tool("mount", &["-o", "loop", image, point]);
    let inside = format!("{point}/a/b");
    let outcome = std::panic::catch_unwind(|| {
        fails_with(&["recover", "-a", image, "--to", &inside], &["lies in an image"]);
        fails_with(&["recover", "-a", image, "--to", point], &["lies in an image"]);
    });
    let made = Path::new(&inside).exists();
    tool("umount", &[point]);
    outcome.unwrap();
    assert!(!made, "a directory was made in it");
    // The same place, when the image is not mounted there.
    assert_eq!(run(&["recover", "-a", image, "--to", &inside]).status.code(), Some(2));
}

/// The file was written piece by piece, and each piece brought to the disk: what it was before is the start of what it is.
#[test]
fn earlier_versions_of_a_file_that_still_exists_come_back() {
    let (before, place) = (images(), tempfile::tempdir().unwrap());
    let to = place.path().join("out");
    let output = run(&["recover", "-a", &guest(), "--living", "--to", to.to_str().unwrap(), "between.dat"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let point = Point::mount(&["-a", &guest(), "-i"]);
    let now = fs::read(point.join("srv/between.dat")).unwrap();
    let history = json(&["history", "-a", &guest(), "-i", "/srv/between.dat", "--json"]);
    let history = history["versions"].as_array().unwrap();
    assert!(history.len() > 30, "{} versions", history.len());
    let report: serde_json::Value = serde_json::from_slice(&fs::read(to.join("report.json")).unwrap()).unwrap();
    let files = report["files"].as_array().unwrap();
    assert_eq!(files.len(), history.len(), "nothing that was deleted has this name");
    for version in history {
        let path = format!("demo/root/srv/between.dat#{}@{}", version["inode"], version["version"]);
        let content = fs::read(to.join(&path)).unwrap();
        assert_eq!(content.len() as u64, version["size"].as_u64().unwrap(), "{path}");
        assert!(now.starts_with(&content), "{path}");
        let one = files.iter().find(|one| one["output"] == path.as_str()).unwrap();
        assert_eq!((&one["found"]["state"], &one["sha256"]), (&version["state"], &digest(&content).into()), "{path}");
        assert_eq!(one["found"]["path"], path.replace("demo/root", ""), "{path}");
    }
    // Its directory is there as it is in the guest, though nothing was deleted from it but other files.
    let modified = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(modified(&to.join("demo/root/srv")), modified(&point.join("srv")));
    fails_with(&["recover", "-a", &guest(), "--living", "--to", to.to_str().unwrap()], &["PATTERN"]);
    assert_eq!(images(), before);
}
