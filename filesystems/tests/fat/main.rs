//! The FAT driver against mkfs.fat, mtools, blkid and the fatfs crate, and against hostile volumes.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod fragmented;
mod hostile;
#[path = "../random/mod.rs"]
mod random;
mod tools;

use std::collections::BTreeMap;
use std::sync::Arc;

use filesystems::{FileSystem, Kind, NodeId, Options, Stat, read_file};
use images::{Disk, Result};
use random::{Random, noise};

/// A node as a test sees it.
#[derive(Debug)]
struct Seen {
    node: NodeId,
    stat: Stat,
    content: Result<Vec<u8>>,
}

fn open(disk: Arc<dyn Disk>) -> Result<Arc<dyn FileSystem>> {
    filesystems::open(disk, &Options::default())
}

/// Every path of a tree but the root, and what is there. Fails where a directory cannot be read; at most `limit` nodes.
fn walk(fs: &dyn FileSystem, limit: usize) -> (BTreeMap<String, Seen>, Vec<images::Error>) {
    let (mut seen, mut errors) = (BTreeMap::new(), Vec::new());
    let mut directories = vec![(String::new(), fs.root())];
    while let Some((path, dir)) = directories.pop() {
        let mut names = Vec::new();
        let listed = fs.read_dir(dir, 0, &mut |entry| {
            names.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.node, entry.kind));
            names.len() + seen.len() < limit
        });
        errors.extend(listed.err());
        for (name, node, kind) in names {
            assert!(!name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..", "{name:?}");
            let path = format!("{path}/{name}");
            let stat = match fs.stat(node) {
                Ok(stat) => stat,
                Err(error) => {
                    errors.push(error);
                    continue;
                }
            };
            assert_eq!(kind, Some(stat.kind));
            if stat.kind == Kind::Directory && seen.len() < limit {
                directories.push((path.clone(), node));
            }
            let content = read_file(fs, node, 64 << 20);
            seen.insert(path, Seen { node, stat, content });
        }
    }
    (seen, errors)
}

/// The walk of a sound tree.
fn walk_all(fs: &dyn FileSystem) -> BTreeMap<String, Seen> {
    let (seen, errors) = walk(fs, usize::MAX);
    assert!(errors.is_empty(), "{errors:?}");
    seen
}
