//! A whole tree as a value: of a model, or of a file system.

use std::collections::BTreeMap;
use std::sync::Arc;

use filesystems::{FileSystem, Kind, NodeId, Time};
use images::Result;

use super::Rules;

/// What is at one path.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: Kind,
    /// Of a file; a symbolic link's target.
    pub content: Arc<Vec<u8>>,
    /// 0 for directories, of which file systems count differently.
    pub links: u32,
    /// 0 where the rules say that they are not kept.
    pub permissions: u16,
    /// If the model knows it.
    pub modified: Option<Time>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, content, links, permissions, modified, xattrs } = self;
        let sum = content.iter().fold(7u32, |sum, byte| sum.rotate_left(5) ^ u32::from(*byte));
        write!(f, "{kind:?} of {} bytes (sum {sum:08x}), {links} links, mode {permissions:o}", content.len())?;
        write!(f, ", {modified:?}, {} xattrs", xattrs.len())
    }
}

/// Every path but the root, and what is there.
pub type Tree = BTreeMap<String, Seen>;

/// The tree of a file system. Every name that a directory lists must be found by `lookup`, as the same node.
pub fn read(fs: &dyn FileSystem, rules: &Rules) -> Result<Tree> {
    let (mut tree, mut directories) = (Tree::new(), vec![(String::new(), fs.root())]);
    while let Some((path, dir)) = directories.pop() {
        let mut names = Vec::new();
        fs.read_dir(dir, 0, &mut |entry| {
            names.push((entry.name.to_vec(), entry.node, entry.kind));
            true
        })?;
        for (name, node, kind) in names {
            let path = format!("{path}/{}", String::from_utf8_lossy(&name));
            let found = fs.lookup(dir, &name)?;
            assert_eq!(found, node, "{path}: listed as one node and found as another");
            forget(fs, found);
            let seen = see(fs, node, rules)?;
            assert!(kind.is_none_or(|kind| kind == seen.kind), "{path}: listed as {kind:?}, and is {seen:?}");
            let is_directory = seen.kind == Kind::Directory;
            assert!(tree.insert(path.clone(), seen).is_none(), "{path} is listed twice");
            if is_directory { directories.push((path, node)) } else { forget(fs, node) }
        }
        forget(fs, dir);
    }
    Ok(tree)
}

/// What a node is.
pub fn see(fs: &dyn FileSystem, node: NodeId, rules: &Rules) -> Result<Seen> {
    let stat = fs.stat(node)?;
    let content = match stat.kind {
        Kind::File => content(fs, node, stat.size)?,
        Kind::Symlink => fs.read_link(node)?,
        _ => Vec::new(),
    };
    let xattrs = if rules.xattrs { fs.xattrs(node)?.into_iter().collect() } else { BTreeMap::new() };
    Ok(Seen {
        kind: stat.kind,
        content: Arc::new(content),
        links: if stat.kind == Kind::Directory { 0 } else { stat.links },
        permissions: if rules.permissions { stat.permissions } else { 0 },
        modified: Some(stat.modified),
        xattrs,
    })
}

/// All of a file, in two pieces that do not meet at the end of a block.
fn content(fs: &dyn FileSystem, file: NodeId, size: u64) -> Result<Vec<u8>> {
    let mut content = vec![0; usize::try_from(size).expect("a file of a test")];
    let (first, second) = content.split_at_mut(size as usize / 3);
    assert_eq!(fs.read_at(file, first, 0)?, first.len());
    assert_eq!(fs.read_at(file, second, first.len() as u64)?, second.len());
    assert_eq!(fs.read_at(file, &mut [0], size)?, 0, "a read behind the end");
    Ok(content)
}

/// Gives back what `lookup` or `read_dir` gave.
pub fn forget(fs: &dyn FileSystem, node: NodeId) {
    if let Some(holds) = fs.holds() {
        holds.forget(node, 1);
    }
}

/// Fails unless both are the same, and says what is not.
pub fn assert_same(found: &Tree, wanted: &Tree, rules: &Rules, when: &str) {
    for (path, wanted) in wanted {
        let found = found.get(path).unwrap_or_else(|| panic!("{when}: {path} is missing: {wanted:?}"));
        assert_one(found, wanted, rules, &format!("{when}: {path}"));
    }
    for (path, found) in found {
        assert!(wanted.contains_key(path), "{when}: {path} is there: {found:?}");
    }
}

/// Fails unless a node is what is wanted.
pub fn assert_one(found: &Seen, wanted: &Seen, rules: &Rules, when: &str) {
    let modified = match wanted.modified {
        Some(time) => Some(rules.rounded(time)),
        None => found.modified,
    };
    assert_eq!(found, &Seen { modified, ..wanted.clone() }, "{when}");
}
