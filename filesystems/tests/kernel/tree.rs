//! Two trees, ours and the kernel's, as maps from path to all that is known of the node.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use filesystems::{FileSystem, Kind, NodeId};
use sha2::{Digest, Sha256};

/// Attributes, content and extended attributes of every path, as text.
pub type Tree = BTreeMap<Vec<u8>, String>;

/// The tree as our driver reads it.
pub fn ours(fs: &dyn FileSystem) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![(Vec::new(), fs.root())];
    while let Some((path, node)) = todo.pop() {
        if fs.stat(node).unwrap().kind == Kind::Directory {
            let mut names = Vec::new();
            fs.read_dir(node, 0, &mut |entry| {
                names.push((entry.name.to_vec(), entry.node));
                true
            })
            .unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(&path)));
            for (name, child) in names {
                let found = fs.lookup(node, &name).unwrap_or_else(|error| {
                    panic!("{}/{}: {error}", String::from_utf8_lossy(&path), String::from_utf8_lossy(&name))
                });
                assert_eq!(found, child);
                todo.push(([&path[..], b"/", &name].concat(), child));
            }
        }
        let text = describe(fs, node);
        tree.insert(path, text);
    }
    tree
}

/// Looks at everything that a damaged file system has, whatever comes back.
pub fn walk_damaged(fs: &dyn FileSystem) {
    let mut todo = vec![fs.root()];
    let mut buf = vec![0; 10_000];
    for _ in 0..500 {
        let Some(node) = todo.pop() else { break };
        let _ = fs.read_dir(node, 0, &mut |entry| {
            todo.push(entry.node);
            true
        });
        let _ = fs.lookup(node, b"no such name");
        let _ = fs.stat(node);
        let _ = fs.read_at(node, &mut buf, 0);
        let _ = fs.read_link(node);
        let _ = fs.xattrs(node);
    }
}

fn describe(fs: &dyn FileSystem, node: NodeId) -> String {
    let stat = fs.stat(node).unwrap();
    let content = match stat.kind {
        Kind::File => {
            let mut data = vec![0; stat.size as usize];
            let len = fs.read_at(node, &mut data, 0).unwrap_or_else(|error| panic!("{node:?}: {error}"));
            assert_eq!(len, data.len());
            hash(&data)
        }
        Kind::Symlink => String::from_utf8_lossy(&fs.read_link(node).unwrap()).into_owned(),
        _ => String::new(),
    };
    let mut xattrs: Vec<String> = fs
        .xattrs(node)
        .unwrap_or_else(|error| panic!("{node:?}: {error}"))
        .iter()
        .map(|(name, value)| xattr(&String::from_utf8_lossy(name), value))
        .collect();
    xattrs.sort();
    let (size, mtime) = (if stat.kind == Kind::Directory { 0 } else { stat.size }, stat.modified);
    let time = format!("{}.{:09}", mtime.seconds, mtime.nanoseconds);
    let kind = stat.kind;
    let (mode, links, blocks) = (stat.permissions, stat.links, stat.blocks);
    let (owner, group, device) = (stat.owner, stat.group, stat.device);
    format!(
        "{kind:?} {mode:o} links {links} {owner}:{group} size {size} blocks {blocks} mtime {time} {device:?} {content} {xattrs:?}"
    )
}

fn hash(data: &[u8]) -> String {
    Sha256::digest(data)[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn xattr(name: &str, value: &[u8]) -> String {
    let value: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name}={value}")
}

/// The tree below a directory, as the kernel reads it.
pub fn theirs(root: &Path) -> Tree {
    let xattrs = kernel_xattrs(root);
    let mut tree = Tree::new();
    let mut todo = vec![(Vec::new(), root.to_owned())];
    while let Some((path, host)) = todo.pop() {
        let stat = fs::symlink_metadata(&host).unwrap();
        let kind = stat.file_type();
        let (kind, content) = if kind.is_dir() {
            for entry in fs::read_dir(&host).unwrap() {
                let entry = entry.unwrap();
                todo.push(([&path[..], b"/", entry.file_name().as_bytes()].concat(), entry.path()));
            }
            (Kind::Directory, String::new())
        } else if kind.is_file() {
            let data = fs::read(&host).unwrap_or_else(|error| panic!("{}: {error}", host.display()));
            (Kind::File, hash(&data))
        } else if kind.is_symlink() {
            (Kind::Symlink, fs::read_link(&host).unwrap().to_string_lossy().into_owned())
        } else if kind.is_fifo() {
            (Kind::Fifo, String::new())
        } else if kind.is_char_device() {
            (Kind::CharDevice, String::new())
        } else if kind.is_block_device() {
            (Kind::BlockDevice, String::new())
        } else {
            (Kind::Socket, String::new())
        };
        let device = ((stat.rdev() >> 8) as u32 & 0xfff, stat.rdev() as u32 & 0xff);
        let size = if kind == Kind::Directory { 0 } else { stat.size() };
        let (mode, links, blocks) = (stat.mode() & 0o7777, stat.nlink(), stat.blocks());
        let (owner, group) = (stat.uid(), stat.gid());
        let time = format!("{}.{:09}", stat.mtime(), stat.mtime_nsec());
        let xattrs = xattrs.get(&path).cloned().unwrap_or_default();
        tree.insert(
            path,
            format!("{kind:?} {mode:o} links {links} {owner}:{group} size {size} blocks {blocks} mtime {time} {device:?} {content} {xattrs:?}"),
        );
    }
    tree
}

/// All extended attributes below a directory, by path, as getfattr prints them.
fn kernel_xattrs(root: &Path) -> BTreeMap<Vec<u8>, Vec<String>> {
    let mut command = Command::new("getfattr");
    command.args(["-R", "-P", "-h", "-d", "-m", "-", "-e", "hex", "--absolute-names"]).arg(root);
    let output = command.output().expect("getfattr (apt-get install attr)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut found = BTreeMap::new();
    let mut path = Vec::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let Some(name) = line.strip_prefix("# file: ") {
            path = unescape(name)[root.as_os_str().len()..].to_vec();
        } else if !line.is_empty() {
            let line = line.strip_suffix("=\"\"").map_or(line.to_owned(), |name| format!("{name}="));
            let line = if line.contains('=') { line } else { format!("{line}=") };
            found.entry(path.clone()).or_insert_with(Vec::new).push(line.replacen("=0x", "=", 1));
        }
    }
    for list in found.values_mut() {
        list.sort();
    }
    found
}

/// getfattr writes some bytes of a path as a backslash and three octal digits.
fn unescape(name: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), name.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'\\', [a @ b'0'..=b'7', b @ b'0'..=b'7', c @ b'0'..=b'7', more @ ..]) => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = more;
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

/// Fails with the first paths that differ.
pub fn assert_equal(name: &str, ours: &Tree, theirs: &Tree) {
    let mut differences = Vec::new();
    for path in ours.keys().chain(theirs.keys()) {
        if ours.get(path) != theirs.get(path) {
            let path_text = String::from_utf8_lossy(path);
            differences.push(format!("{path_text}\n   ours {:?}\n theirs {:?}", ours.get(path), theirs.get(path)));
        }
    }
    differences.dedup();
    let count = differences.len();
    differences.truncate(20);
    assert!(count == 0, "{name}: {count} of {} paths differ\n{}", theirs.len(), differences.join("\n"));
    assert!(!ours.is_empty());
}
