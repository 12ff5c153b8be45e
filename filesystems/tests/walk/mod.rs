//! Compares two trees, path for path: the kernel's mount of a file system and ours.
//!
//! A tree becomes a map from path to [`Record`]; two maps are the same tree if all records are equal.

#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // Every test binary that has this module uses a part of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use filesystems::{FileSystem, Kind, NodeId, Time};
use rustix::fs::{AtFlags, CWD, SeekFrom, StatxFlags, lgetxattr, llistxattr, seek, statx};
use sha2::{Digest, Sha256};

/// Everything that is compared of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: Kind,
    pub permissions: u16,
    pub owner: (u32, u32),
    /// Not compared for directories of other file systems than the one under test.
    pub size: u64,
    pub blocks: u64,
    pub links: u32,
    pub device: (u32, u32),
    pub modified: Time,
    pub accessed: Time,
    pub changed: Time,
    pub created: Option<Time>,
    /// A symbolic link's target.
    pub target: Option<Vec<u8>>,
    /// A file's sha256, in hexadecimal.
    pub content: Option<String>,
    /// Where a file has data: start and end in bytes.
    pub data: Vec<(u64, u64)>,
    pub xattrs: Xattrs,
}

/// Extended attributes, by name.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Paths, without a leading slash, and what is there. The root is the empty path.
pub type Tree = BTreeMap<Vec<u8>, Record>;

fn hexadecimal(hash: impl AsRef<[u8]>) -> String {
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The tree below a directory of the host.
pub fn of_host(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let file_type = meta.file_type();
        let kind = match file_type {
            _ if file_type.is_dir() => Kind::Directory,
            _ if file_type.is_symlink() => Kind::Symlink,
            _ if file_type.is_char_device() => Kind::CharDevice,
            _ if file_type.is_block_device() => Kind::BlockDevice,
            _ if file_type.is_fifo() => Kind::Fifo,
            _ if file_type.is_socket() => Kind::Socket,
            _ => Kind::File,
        };
        let extended =
            statx(CWD, &path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BTIME | StatxFlags::BASIC_STATS).unwrap();
        let created = (extended.stx_mask & StatxFlags::BTIME.bits() != 0)
            .then_some(Time { seconds: extended.stx_btime.tv_sec, nanoseconds: extended.stx_btime.tv_nsec });
        let device = match kind {
            Kind::CharDevice | Kind::BlockDevice => (extended.stx_rdev_major, extended.stx_rdev_minor),
            _ => (0, 0),
        };
        let mut record = Record {
            kind,
            permissions: (meta.mode() & 0o7777) as u16,
            owner: (meta.uid(), meta.gid()),
            size: meta.size(),
            blocks: meta.blocks(),
            links: meta.nlink() as u32,
            device,
            modified: Time { seconds: meta.mtime(), nanoseconds: meta.mtime_nsec() as u32 },
            accessed: Time { seconds: meta.atime(), nanoseconds: meta.atime_nsec() as u32 },
            changed: Time { seconds: meta.ctime(), nanoseconds: meta.ctime_nsec() as u32 },
            created,
            target: None,
            content: None,
            data: Vec::new(),
            xattrs: host_xattrs(&path),
        };
        match kind {
            Kind::Symlink => record.target = Some(fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec()),
            Kind::File => {
                let mut file = File::open(&path).unwrap();
                record.data = host_data(&file, meta.size());
                seek(&file, SeekFrom::Start(0)).unwrap();
                record.content = Some(host_hash(&mut file));
            }
            Kind::Directory => paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path())),
            _ => {}
        }
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        tree.insert(name, record);
    }
    tree
}

fn host_xattrs(path: &Path) -> Xattrs {
    let mut buf = vec![0; 1 << 16];
    let len = llistxattr(path, &mut buf[..]).unwrap();
    let names: Vec<Vec<u8>> = buf[..len].split(|byte| *byte == 0).map(Vec::from).collect();
    let names = names.into_iter().filter(|name| !name.is_empty());
    let value = |name: Vec<u8>| {
        let len = lgetxattr(path, &name[..], &mut buf[..]).unwrap();
        (name, buf[..len].to_vec())
    };
    names.map(value).collect()
}

fn host_hash(file: &mut File) -> String {
    let mut hash = Sha256::new();
    let mut buf = vec![0; 1 << 20];
    loop {
        match file.read(&mut buf).unwrap() {
            0 => return hexadecimal(hash.finalize()),
            len => hash.update(&buf[..len]),
        }
    }
}

fn host_data(file: &File, size: u64) -> Vec<(u64, u64)> {
    let (mut ranges, mut at) = (Vec::new(), 0);
    while at < size {
        let Ok(start) = seek(file, SeekFrom::Data(at)) else { break };
        let end = seek(file, SeekFrom::Hole(start)).unwrap().min(size);
        ranges.push((start, end));
        at = end;
    }
    ranges
}

/// The tree of a file system. Every name is listed, looked up and found to be the same node; files are read in pieces of
/// odd sizes.
pub fn of_file_system(fs: &dyn FileSystem) -> Tree {
    let mut tree = Tree::new();
    let mut nodes = vec![(Vec::new(), fs.root())];
    while let Some((path, node)) = nodes.pop() {
        let stat = fs.stat(node).unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(&path)));
        let mut record = Record {
            kind: stat.kind,
            permissions: stat.permissions,
            owner: (stat.owner, stat.group),
            size: stat.size,
            blocks: stat.blocks,
            links: stat.links,
            device: stat.device,
            modified: stat.modified,
            accessed: stat.accessed,
            changed: stat.changed,
            created: stat.created,
            target: None,
            content: None,
            data: Vec::new(),
            xattrs: fs.xattrs(node).unwrap().into_iter().collect(),
        };
        match stat.kind {
            Kind::Symlink => record.target = Some(fs.read_link(node).unwrap()),
            Kind::File => {
                record.content = Some(hash(fs, node));
                record.data = data(fs, node, stat.size);
            }
            Kind::Directory => {
                for (name, child, kind) in entries(fs, node) {
                    let found = fs.lookup(node, &name);
                    let text = String::from_utf8_lossy(&name).into_owned();
                    assert_eq!(found.unwrap_or_else(|error| panic!("{text}: {error}")), child, "{text}");
                    if let Some(kind) = kind {
                        assert_eq!(fs.stat(child).unwrap().kind, kind, "{text}");
                    }
                    let mut below = path.clone();
                    if !below.is_empty() {
                        below.push(b'/');
                    }
                    below.extend_from_slice(&name);
                    nodes.push((below, child));
                }
            }
            _ => {}
        }
        tree.insert(path, record);
    }
    tree
}

/// The entries of a directory, read a few at a time, so that every listing is resumed.
pub fn entries(fs: &dyn FileSystem, node: NodeId) -> Vec<(Vec<u8>, NodeId, Option<Kind>)> {
    let (mut all, mut from) = (Vec::new(), 0);
    loop {
        let before = all.len();
        let mut left = 7;
        fs.read_dir(node, from, &mut |entry| {
            assert!(entry.next > from && entry.next < 1 << 63, "cookies ascend");
            all.push((entry.name.to_vec(), entry.node, entry.kind));
            from = entry.next;
            left -= 1;
            left > 0
        })
        .unwrap();
        if all.len() == before {
            return all;
        }
    }
}

fn hash(fs: &dyn FileSystem, node: NodeId) -> String {
    let mut hash = Sha256::new();
    let mut buf = vec![0xaa; 1_000_003];
    let mut at = 0;
    loop {
        match fs.read_at(node, &mut buf, at).unwrap() {
            0 => return hexadecimal(hash.finalize()),
            len => hash.update(&buf[..len]),
        }
        at += buf.len() as u64;
    }
}

fn data(fs: &dyn FileSystem, node: NodeId, size: u64) -> Vec<(u64, u64)> {
    let (mut ranges, mut at): (Vec<(u64, u64)>, u64) = (Vec::new(), 0);
    while at < size {
        let extent = fs.extent_at(node, at).unwrap();
        assert!(extent.len > 0 && extent.len <= size - at, "{extent:?} at {at} of {size}");
        if !extent.data.reads_zero() {
            match ranges.last_mut() {
                Some(last) if last.1 == at => last.1 += extent.len,
                _ => ranges.push((at, at + extent.len)),
            }
        }
        at += extent.len;
    }
    ranges
}

/// Fails with every path that differs, and how.
pub fn assert_same(case: &str, want: &Tree, have: &Tree) {
    let mut differences = Vec::new();
    for path in want.keys().chain(have.keys()).collect::<std::collections::BTreeSet<_>>() {
        let text = String::from_utf8_lossy(path);
        match (want.get(path), have.get(path)) {
            (Some(want), Some(have)) if want == have => {}
            (Some(want), Some(have)) => differences.push(format!("/{text}:\n  want {want:?}\n  have {have:?}")),
            (Some(_), None) => differences.push(format!("/{text}: missing")),
            (None, _) => differences.push(format!("/{text}: not in the other tree")),
        }
    }
    let shown = differences.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{case}: {} of {} paths differ:\n{shown}", differences.len(), want.len());
}
