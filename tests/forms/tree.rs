//! All that a mounted tree says of itself, path by path.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// What is said of one path.
#[derive(Debug, PartialEq)]
pub struct Node {
    kind_and_mode: u32,
    owner: (u32, u32),
    inode: u64,
    links: u64,
    device: u64,
    size: u64,
    modified: (i64, i64),
    /// The hash of a file's bytes, or of a link's target.
    content: Option<[u8; 32]>,
}

/// A tree by its paths.
pub struct Tree(pub BTreeMap<OsString, Node>);

impl Tree {
    /// The tree at `root`, read whole.
    pub fn of(root: &Path) -> Self {
        let (mut nodes, mut waiting) = (BTreeMap::new(), vec![PathBuf::new()]);
        while let Some(path) = waiting.pop() {
            let full = root.join(&path);
            let metadata = fs::symlink_metadata(&full).unwrap();
            if metadata.is_dir() {
                waiting.extend(fs::read_dir(&full).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
            }
            nodes.insert(path.into_os_string(), Node::of(&full, &metadata));
        }
        Self(nodes)
    }

    /// Fails and names the first differences.
    #[track_caller]
    pub fn assert_equals(&self, wanted: &Self, form: &str) {
        let names = wanted.0.keys().chain(self.0.keys().filter(|name| !wanted.0.contains_key(*name)));
        let different: Vec<_> = names
            .filter(|name| wanted.0.get(*name) != self.0.get(*name))
            .map(|name| format!("{name:?}: {:?}, want {:?}", self.0.get(name), wanted.0.get(name)))
            .collect();
        assert!(different.is_empty(), "{form}: {} differ:\n{}", different.len(), different[..1].join("\n"));
    }
}

impl Node {
    fn of(path: &Path, metadata: &Metadata) -> Self {
        let content = match metadata.file_type() {
            kind if kind.is_file() => {
                Some(fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
            }
            kind if kind.is_symlink() => Some(fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec()),
            _ => None,
        };
        Self {
            kind_and_mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            inode: metadata.ino(),
            links: metadata.nlink(),
            device: metadata.rdev(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            content: content.map(|content| Sha256::digest(content).into()),
        }
    }
}
