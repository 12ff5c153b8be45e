//! The golden arrays, unpacked once.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, LazyLock};

use images::disk::HostFile;
use images::{Budget, Disk};
use partition::{Name, Volume};

/// A folder an array, and in it a file a member.
static UNPACKED: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/raid/arrays.tar.zst");
    let archive = zstd::decode_all(fs::File::open(archive).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut tar = toolbox::command("tar")
        .args(["--extract", "--directory"])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .expect("tar can be started");
    tar.stdin.take().unwrap().write_all(&archive).unwrap();
    assert!(tar.wait().unwrap().success());
    folder
});

/// Where the files of this array are.
pub fn folder(name: &str) -> PathBuf {
    UNPACKED.path().join(name)
}

/// The names of all arrays that begin so.
pub fn names(start: &str) -> Vec<String> {
    let entries = fs::read_dir(UNPACKED.path()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(start)).collect();
    names.sort();
    assert!(!names.is_empty(), "no golden array begins with {start}");
    names
}

/// The members of this array.
pub fn members(name: &str) -> Vec<Arc<dyn Disk>> {
    let file = |nth: usize| folder(name).join(nth.to_string());
    let there = (0..).map(file).take_while(|path| path.exists());
    there.map(|path| Arc::new(HostFile::open(&path).unwrap()) as Arc<dyn Disk>).collect()
}

/// What every array holds: sector N is the line N, 64 times.
static CONTENT: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..8192).flat_map(|sector| format!("{sector:07}\n").repeat(64).into_bytes()).collect());

/// The size of this array as the driver said it, in bytes.
pub fn size(name: &str) -> usize {
    fs::read_to_string(folder(name).join("size")).unwrap().trim().parse().unwrap()
}

/// The one array of these disks.
#[track_caller]
pub fn array(disks: &[Arc<dyn Disk>]) -> Volume {
    let mut discovery = partition::discover(disks, true, &Budget::default());
    assert_eq!(discovery.found.len(), 1, "one scheme");
    let found = discovery.found.remove(0);
    assert_eq!(found.scheme.name, "md");
    let mut volumes = found.volumes.unwrap();
    assert_eq!(volumes.len(), 1, "one array");
    let volume = volumes.remove(0);
    assert!(matches!(volume.name, Name::Array { .. }));
    volume
}

/// Why it cannot be read.
#[track_caller]
pub fn refusal(disks: &[Arc<dyn Disk>]) -> String {
    array(disks).disk.err().expect("an array that cannot be read").to_string()
}

/// Asserts that the array holds what all hold, and is as large as the driver said.
#[track_caller]
pub fn assert_content(volume: &Volume, size: usize, what: &str) {
    let disk = volume.disk.as_ref().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(disk.size(), size as u64, "{what}");
    assert_eq!(volume.size, size as u64, "{what}");
    let mut read = vec![0; size];
    disk.read_at(&mut read, 0).unwrap_or_else(|error| panic!("{what}: {error}"));
    let want = &CONTENT[..size];
    if read != want {
        let wrong = read.chunks(512).zip(want.chunks(512)).position(|(read, want)| read != want);
        panic!("{what}: the first wrong sector is {wrong:?}");
    }
}
