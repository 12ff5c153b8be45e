//! Everything that a reader may do with a disk or a tree, a bounded number of times; errors are answers, too.

use std::collections::HashSet;
use std::sync::Arc;

use filesystems::{FileSystem, Kind, NodeId};
use images::Disk;

/// Nodes that are looked at, and entries of one directory: a damaged tree may be endless.
const MOST_NODES: usize = 150;
/// Extents that are asked for, of one disk or file.
const MOST_EXTENTS: usize = 50;
/// Bytes of one read.
const READ: usize = 20_000;

/// Reads the start, the middle and the end of a disk, and asks what lies where.
pub fn disk(disk: &dyn Disk) {
    let mut buf = vec![0; READ];
    for start in [0, disk.size() / 2, disk.size().saturating_sub(4 * READ as u64)] {
        for at in (start..disk.size()).step_by(READ).take(10) {
            let len = (disk.size() - at).min(READ as u64) as usize;
            let _ = disk.read_at(&mut buf[..len], at);
        }
    }
    let past = disk.read_at(&mut buf[..1], disk.size());
    assert!(past.is_err(), "a read past the end of the disk");
    let mut at = 0;
    for _ in 0..MOST_EXTENTS {
        if at >= disk.size() {
            break;
        }
        at += match disk.extent_at(at) {
            Ok(extent) => {
                assert!(extent.len > 0 && extent.len <= disk.size() - at, "an extent of {} bytes", extent.len);
                extent.len
            }
            Err(error) => {
                one_line(&error);
                512
            }
        };
    }
}

/// Walks a tree.
pub fn tree(fs: &dyn FileSystem) {
    let (mut nodes, mut seen) = (vec![fs.root()], HashSet::new());
    while let Some(id) = nodes.pop() {
        if seen.insert(id) {
            node(fs, id, &mut nodes);
        }
        if seen.len() > MOST_NODES {
            break;
        }
    }
    good(fs.space(fs.root()));
    let properties = fs.properties(fs.root());
    let why = fs.writer(fs.root()).err().map(|error| error.to_string());
    let mut texts = properties.notes.iter().chain(&why);
    assert!(texts.all(|text| !text.contains(char::is_control)), "{properties:?}");
    let Some(forensics) = good(fs.forensics()) else { return };
    for found in good(forensics.deleted()).iter().flat_map(|list| list.iter()).take(MOST_NODES) {
        node(fs, found.node, &mut Vec::new());
    }
    if let Some(unallocated) = good(forensics.unallocated()) {
        disk(&*unallocated);
    }
}

fn node(fs: &dyn FileSystem, node: NodeId, more: &mut Vec<NodeId>) {
    let Some(stat) = good(fs.stat(node)) else { return };
    assert!(stat.permissions < 0o10000 && stat.modified.nanoseconds < 1_000_000_000);
    if let Ok(forensics) = fs.forensics() {
        good(forensics.versions(node, &mut |_| true));
    }
    if let Some(xattrs) = good(fs.xattrs(node)) {
        assert!(xattrs.iter().all(|(name, _)| !name.is_empty() && !name.contains(&0)), "{xattrs:?}");
    }
    match stat.kind {
        Kind::Directory => directory(fs, node, more),
        Kind::Symlink => drop(good(fs.read_link(node))),
        Kind::File => file(fs, node, stat.size),
        _ => {}
    }
}

fn directory(fs: &dyn FileSystem, dir: NodeId, more: &mut Vec<NodeId>) {
    let mut names = Vec::new();
    let read = fs.read_dir(dir, 0, &mut |entry| {
        let name = entry.name;
        assert!(!name.is_empty() && name.len() <= 1024 && !name.contains(&0) && !name.contains(&b'/'), "{name:?}");
        assert!(entry.next != 0 && entry.next < 1 << 63, "cookie {:#x}", entry.next);
        names.push((name.to_vec(), entry.next));
        more.push(entry.node);
        names.len() < MOST_NODES
    });
    good(read);
    for (name, next) in names.iter().step_by(7) {
        good(fs.lookup(dir, name));
        let _ = fs.read_dir(dir, *next, &mut |_| false);
    }
    let _ = fs.lookup(dir, b"not there");
    let _ = fs.lookup(dir, &[b'n'; 255]);
    let _ = fs.lookup(dir, &[0xff; 300]);
    for from in [1, 24, 1 << 33, (1 << 63) - 1, u64::MAX] {
        let _ = fs.read_dir(dir, from, &mut |_| false);
    }
}

fn file(fs: &dyn FileSystem, file: NodeId, size: u64) {
    let mut buf = vec![0; READ];
    for at in [0, 1, 12 << 10, 300_000, 5 << 20, size / 2, size.saturating_sub(1), size, u64::MAX] {
        if let Some(len) = good(fs.read_at(file, &mut buf, at)) {
            assert_eq!(len as u64, size.saturating_sub(at).min(READ as u64), "a short read at {at} of {size}");
        }
    }
    let mut at = 0;
    for _ in 0..MOST_EXTENTS {
        if at >= size {
            break;
        }
        match good(fs.extent_at(file, at)) {
            Some(extent) => {
                assert!(extent.len > 0 && extent.len <= size - at, "an extent of {} at {at} of {size}", extent.len);
                at += extent.len;
            }
            None => at = at.saturating_add(1 << 12),
        }
    }
}

/// Opens what the disk holds by way of the table of drivers, and walks it.
pub fn contents(disk: Arc<dyn Disk>) {
    match filesystems::identify(&disk) {
        Ok(Some((_, identity))) => assert!(!identity.kind.is_empty()),
        Ok(None) => {}
        Err(error) => one_line(&error),
    }
    match filesystems::open(disk, &filesystems::Options::default()) {
        Ok(fs) => tree(&*fs),
        Err(error) => one_line(&error),
    }
}

/// The value; an error must be as all errors are.
fn good<T>(result: images::Result<T>) -> Option<T> {
    result.inspect_err(one_line).ok()
}

/// What every error must be: one line that does not talk to the terminal.
pub fn one_line(error: &images::Error) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
}
