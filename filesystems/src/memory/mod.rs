//! A file system in memory: what the others are compared with, and what the FUSE front is tested on.
//!
//! It is written to be obviously right, not fast: one lock, and the rules of rename(2), unlink(2) and their like in the
//! plainest form.

mod change;
mod node;
mod pages;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use images::{Data, Error, Extent, Result, unsupported};

use self::node::{Content, Node};
use crate::{Entry, FileSystem, FileSystemMut, Forensics, Holds, Identity, Kind, NodeId, Properties, Space, Stat};

/// The unit of space, in bytes.
const BLOCK: u64 = pages::PAGE as u64;

/// The longest name and the largest file, in bytes: those of ext4 with blocks of 4 KiB.
const NAME_MAX: usize = 255;
const SIZE_MAX: u64 = (1 << 44) - BLOCK;

const ROOT: NodeId = NodeId(2);

/// An empty tree that can be written.
pub struct Memory {
    properties: Properties,
    /// How many blocks of [`BLOCK`] bytes files can take.
    blocks: u64,
    tree: Mutex<Tree>,
}

/// The nodes, the next number, and whether it was closed.
struct Tree {
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// Blocks that files take.
    used: u64,
    closed: bool,
}

impl Memory {
    /// A tree with room for so many bytes in its files. The root belongs to root, and everybody may look into it.
    pub fn new(bytes: u64) -> Self {
        let properties = Properties {
            identity: Identity { kind: "memory".into(), ..Identity::default() },
            name_max: NAME_MAX as u32,
            ..Properties::default()
        };
        let mut root = Node::new(Content::directory(), 0o755, (0, 0));
        root.stat.links = 2;
        let nodes = BTreeMap::from([(ROOT.0, root)]);
        let tree = Tree { nodes, next: ROOT.0 + 1, used: 0, closed: false };
        Self { properties, blocks: bytes / BLOCK, tree: Mutex::new(tree) }
    }

    /// How many nodes there are, also those that have no name any more and are held.
    pub fn count(&self) -> usize {
        self.tree().nodes.len()
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.tree().closed
    }

    fn tree(&self) -> MutexGuard<'_, Tree> {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tree {
    fn node(&self, id: NodeId) -> Result<&Node> {
        self.nodes.get(&id.0).ok_or(Error::NotFound)
    }

    fn node_mut(&mut self, id: NodeId) -> Result<&mut Node> {
        self.nodes.get_mut(&id.0).ok_or(Error::NotFound)
    }

    /// What a name in a directory means.
    fn named(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let names = self.node(dir)?.names()?;
        if name.len() > NAME_MAX {
            return Err(Error::NameTooLong);
        }
        names.get(name).ok_or(Error::NotFound)
    }

    /// Ends a node that has no name and that nobody holds.
    fn end(&mut self, id: NodeId) {
        if self.nodes.get(&id.0).is_some_and(|node| node.stat.links == 0 && node.held == 0)
            && let Some(node) = self.nodes.remove(&id.0)
        {
            self.used -= node.pages();
        }
    }
}

impl FileSystem for Memory {
    fn properties(&self, _: NodeId) -> &Properties {
        &self.properties
    }

    fn space(&self, _: NodeId) -> Result<Space> {
        let tree = self.tree();
        let free = self.blocks - tree.used;
        Ok(Space {
            block_size: BLOCK as u32,
            blocks: self.blocks,
            blocks_free: free,
            blocks_available: free,
            files: u64::from(u32::MAX),
            files_free: u64::from(u32::MAX) - tree.nodes.len() as u64,
        })
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        let tree = self.tree();
        let node = tree.node(node)?;
        Ok(Stat { blocks: node.pages() * (BLOCK / 512), ..node.stat })
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let mut tree = self.tree();
        let found = tree.named(dir, name)?;
        tree.node_mut(found)?.held += 1;
        Ok(found)
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        let mut at = from;
        loop {
            let (name, node, kind) = {
                let mut tree = self.tree();
                let Some((next, name, node)) = tree.node(dir)?.names()?.after(at) else { return Ok(()) };
                let found = tree.node_mut(node)?;
                found.held += 1;
                at = next;
                (name, node, found.stat.kind)
            };
            if !each(Entry { name: &name, node, kind: Some(kind), next: at }) {
                return Ok(());
            }
        }
    }

    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        let tree = self.tree();
        let node = tree.node(file)?;
        let left = node.stat.size.saturating_sub(offset);
        let len = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        node.file()?.read(&mut buf[..len], offset);
        Ok(len)
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        match &self.tree().node(link)?.content {
            Content::Symlink(target) => Ok(target.clone()),
            _ => Err(Error::Invalid),
        }
    }

    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        let tree = self.tree();
        let is_there = tree.node(file)?.file()?.is_there(offset);
        Ok(Extent { len: BLOCK - offset % BLOCK, data: if is_there { Data::Opaque } else { Data::Hole } })
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let tree = self.tree();
        let xattrs = &tree.node(node)?.xattrs;
        Ok(xattrs.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    fn may_have_xattr(&self, name: &[u8]) -> bool {
        self.tree().nodes.values().any(|node| node.xattrs.contains_key(name))
    }

    fn holds(&self) -> Option<&dyn Holds> {
        Some(self)
    }

    fn forensics(&self) -> Result<&dyn Forensics> {
        Err(unsupported!("what was deleted from memory is gone"))
    }

    fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
        Ok(self)
    }
}

impl Holds for Memory {
    fn hold(&self, node: NodeId) -> Result<()> {
        self.tree().node_mut(node)?.held += 1;
        Ok(())
    }

    fn forget(&self, node: NodeId, times: u64) {
        let mut tree = self.tree();
        if let Ok(found) = tree.node_mut(node) {
            found.held = found.held.saturating_sub(times);
            tree.end(node);
        }
    }
}

/// Whether a kind is a directory.
fn is_directory(stat: &Stat) -> bool {
    stat.kind == Kind::Directory
}
