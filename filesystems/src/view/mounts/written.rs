//! The write half of several file systems in one tree: each is written by its own, and no name moves from one to another.

use std::ops::Range;

use images::{Error, Result};

use super::{Mounts, outer};
use crate::{Allocation, Changes, FileSystemMut, New, NodeId, Rename, SetXattr};

impl Mounts {
    /// The write half of the file system that holds a node, its index, and its own number for the node.
    fn written(&self, node: NodeId) -> Result<(&dyn FileSystemMut, usize, NodeId)> {
        let (fs, index, node) = self.inner(node)?;
        Ok((fs.writer(node)?, index, node))
    }

    /// The same of two nodes, which must lie in one.
    fn both(&self, one: NodeId, other: NodeId) -> Result<(&dyn FileSystemMut, NodeId, NodeId)> {
        let (writer, index, one) = self.written(one)?;
        let (_, other_index, other) = self.inner(other)?;
        if index == other_index { Ok((writer, one, other)) } else { Err(Error::CrossDevice) }
    }

    /// Fails if something is mounted on what a name means.
    fn is_free(&self, dir: NodeId, name: &[u8]) -> Result<()> {
        if self.covered.is_empty() {
            return Ok(());
        }
        let (fs, index, dir) = self.inner(dir)?;
        let found = match fs.lookup(dir, name) {
            Err(error) if matches!(error.root(), Error::NotFound) => return Ok(()),
            found => found?,
        };
        if let Some(holds) = fs.holds() {
            holds.forget(found, 1);
        }
        if self.covered.contains_key(&outer(index, found)) { Err(Error::Busy) } else { Ok(()) }
    }

    /// Does something with every file system that is written. The first error counts, and keeps none from it.
    fn each(&self, mut act: impl FnMut(&dyn FileSystemMut) -> Result<()>) -> Result<()> {
        let mut result = Ok(());
        for writer in self.mounted.iter().filter_map(|fs| fs.writer(fs.root()).ok()) {
            result = result.and(act(writer));
        }
        result
    }
}

impl FileSystemMut for Mounts {
    fn create(&self, dir: NodeId, name: &[u8], new: &New<'_>) -> Result<NodeId> {
        let (writer, index, dir) = self.written(dir)?;
        Ok(outer(index, writer.create(dir, name, new)?))
    }

    fn link(&self, node: NodeId, dir: NodeId, name: &[u8]) -> Result<()> {
        let (writer, dir, node) = self.both(dir, node)?;
        writer.link(node, dir, name)
    }

    fn remove(&self, dir: NodeId, name: &[u8]) -> Result<()> {
        let (writer, _, dir) = self.written(dir)?;
        writer.remove(dir, name)
    }

    fn remove_dir(&self, dir: NodeId, name: &[u8]) -> Result<()> {
        let (writer, _, inner) = self.written(dir)?;
        self.is_free(dir, name)?;
        writer.remove_dir(inner, name)
    }

    fn rename(&self, from: (NodeId, &[u8]), to: (NodeId, &[u8]), how: Rename) -> Result<()> {
        let (writer, dir, to_dir) = self.both(from.0, to.0)?;
        self.is_free(from.0, from.1)?;
        self.is_free(to.0, to.1)?;
        writer.rename((dir, from.1), (to_dir, to.1), how)
    }

    fn write_at(&self, file: NodeId, data: &[u8], offset: u64) -> Result<()> {
        let (writer, _, file) = self.written(file)?;
        writer.write_at(file, data, offset)
    }

    fn allocate(&self, file: NodeId, bytes: Range<u64>, how: Allocation) -> Result<()> {
        let (writer, _, file) = self.written(file)?;
        writer.allocate(file, bytes, how)
    }

    fn set_stat(&self, node: NodeId, changes: &Changes) -> Result<()> {
        let (writer, _, node) = self.written(node)?;
        writer.set_stat(node, changes)
    }

    fn set_xattr(&self, node: NodeId, name: &[u8], value: Option<&[u8]>, how: SetXattr) -> Result<()> {
        let (writer, _, node) = self.written(node)?;
        writer.set_xattr(node, name, value, how)
    }

    fn sync(&self, node: Option<NodeId>, data_only: bool) -> Result<()> {
        let Some(node) = node else { return self.each(|writer| writer.sync(None, data_only)) };
        let (writer, _, node) = self.written(node)?;
        writer.sync(Some(node), data_only)
    }

    fn close(&self) -> Result<()> {
        self.each(|writer| writer.close())
    }
}
