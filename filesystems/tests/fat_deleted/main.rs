//! What is deleted from FAT volumes by mtools, found by us and by The Sleuth Kit, and hostile volumes.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod hostile;
mod other_fat;
#[path = "../random/mod.rs"]
mod random;
mod recovered;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use filesystems::{Deleted, FileSystem, Kind, NodeId, Options, Parent, State};
use images::Disk;
use images::disk::{HostFile, Memory};
use random::{Random, noise};
use sha2::{Digest, Sha256};

/// Runs a tool in UTC.
fn run(program: &str, args: &[&str]) -> String {
    toolbox::run(toolbox::command(program).args(args).env("TZ", "UTC").env("MTOOLS_SKIP_CHECK", "1"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A volume of so many KiB, formatted.
fn format(dir: &Path, kilobytes: u64, args: &[&str]) -> PathBuf {
    let path = dir.join("image");
    File::create(&path).unwrap().set_len(kilobytes << 10).unwrap();
    run("mkfs.fat", &[args, &[text(&path)]].concat());
    path
}

fn disk(path: &Path) -> Arc<dyn Disk> {
    Arc::new(HostFile::new(path, File::open(path).unwrap()).unwrap())
}

fn open(disk: Arc<dyn Disk>) -> Arc<dyn FileSystem> {
    filesystems::open(disk, &Options::default()).unwrap()
}

fn hash(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

/// Writes a file of the host that is to be copied.
fn write(root: &Path, name: &str, content: &[u8]) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// A deleted node as a test sees it.
struct Seen {
    deleted: Deleted,
    kind: Kind,
    size: u64,
    /// The content, unless a part of it is gone.
    content: Option<Vec<u8>>,
}

/// All that is deleted, by path; unnamed nodes are `#number`. Checks what is true of every deleted node.
fn deleted(fs: &dyn FileSystem) -> Vec<(String, Seen)> {
    let all = fs.forensics().unwrap().deleted().unwrap();
    let by_node: HashMap<NodeId, &Deleted> = all.iter().map(|deleted| (deleted.node, deleted)).collect();
    assert_eq!(by_node.len(), all.len(), "every node is another");
    let live = live_paths(fs);
    let path = |deleted: &Deleted| {
        let mut path = String::new();
        let (mut at, mut seen) = (deleted, BTreeSet::new());
        loop {
            assert!(seen.insert(at.node), "parents do not go round");
            let name = at.name.as_ref().map(|name| String::from_utf8(name.to_vec()).unwrap());
            let name = name.unwrap_or_else(|| format!("#{}", at.number));
            assert!(!name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..");
            path = format!("/{name}{path}");
            match at.parent {
                Parent::Live(node) => break format!("{}{path}", live[&node]),
                Parent::Unknown => break format!("?{path}"),
                Parent::Deleted(node) => at = by_node[&node],
            }
        }
    };
    let see = |deleted: &Deleted| {
        let stat = fs.stat(deleted.node).unwrap();
        let mut ranges = 0;
        for (index, lost) in deleted.lost.iter().enumerate() {
            assert!(lost.start < lost.end && lost.end <= stat.size, "{lost:?} of {}", stat.size);
            assert!(index == 0 || deleted.lost[index - 1].end < lost.start, "ascending and apart");
            ranges += lost.end - lost.start;
        }
        match deleted.state {
            State::Intact => assert!(stat.size == 0 && ranges == 0, "nothing else is proved"),
            State::Unproven => assert_eq!(ranges, 0),
            State::Partial => assert!(ranges > 0 && ranges < stat.size),
            State::Overwritten | State::MetadataOnly => assert_eq!(ranges, stat.size),
        }
        let content = if stat.kind == Kind::File { read(fs, deleted, stat.size) } else { None };
        Seen { deleted: deleted.clone(), kind: stat.kind, size: stat.size, content }
    };
    all.iter().map(|deleted| (path(deleted), see(deleted))).collect()
}

/// The content of a deleted file; `None` if some is gone. What is lost cannot be read, and what is not can.
fn read(fs: &dyn FileSystem, deleted: &Deleted, size: u64) -> Option<Vec<u8>> {
    for lost in deleted.lost.iter().take(100) {
        for offset in [lost.start, (lost.start + lost.end) / 2, lost.end - 1] {
            assert!(fs.read_at(deleted.node, &mut [0], offset).is_err(), "byte {offset} is gone");
            assert!(!fs.extent_at(deleted.node, offset).unwrap().data.reads_zero());
        }
        if lost.start > 0 {
            fs.read_at(deleted.node, &mut [0], lost.start - 1).unwrap();
        }
        if lost.end < size {
            fs.read_at(deleted.node, &mut [0], lost.end).unwrap();
        }
    }
    if !deleted.lost.is_empty() {
        return None;
    }
    let mut content = vec![0; size as usize];
    assert_eq!(fs.read_at(deleted.node, &mut content, 0).unwrap(), content.len());
    assert_eq!(fs.read_at(deleted.node, &mut [0; 8], size).unwrap(), 0);
    let mut mapped = 0;
    while mapped < size {
        mapped += fs.extent_at(deleted.node, mapped).unwrap().len;
    }
    assert_eq!(mapped, size);
    Some(content)
}

/// The paths of the live directories; at most a thousand.
fn live_paths(fs: &dyn FileSystem) -> HashMap<NodeId, String> {
    let mut paths = HashMap::from([(fs.root(), String::new())]);
    let mut waiting = vec![fs.root()];
    while let Some(dir) = waiting.pop() {
        let mut below = Vec::new();
        let _ = fs.read_dir(dir, 0, &mut |entry| {
            if entry.kind == Some(Kind::Directory) && paths.len() < 1000 {
                let path = format!("{}/{}", paths[&dir], String::from_utf8_lossy(entry.name));
                below.push((entry.node, path));
            }
            true
        });
        for (node, path) in below {
            if paths.insert(node, path).is_none() {
                waiting.push(node);
            }
        }
    }
    paths
}

/// The hashes of the files that tsk_recover gets out of an image.
fn sleuth_kit(dir: &Path, image: &Path) -> BTreeSet<[u8; 32]> {
    let target = dir.join("tsk");
    let _ = fs::remove_dir_all(&target);
    run("tsk_recover", &[text(image), text(&target)]);
    files_below(&target).values().map(|content| hash(content)).collect()
}

/// How many deleted entries The Sleuth Kit lists.
fn sleuth_kit_count(image: &Path) -> usize {
    run("fls", &["-r", "-d", text(image)]).lines().count()
}

/// The files below a directory of the host.
fn files_below(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut files, mut waiting) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                files.insert(text(path.strip_prefix(root).unwrap()).to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}
