//! The write half of the tree of an ext file system: each change is one operation.

use std::ops::Range;

use images::{Error, Result, read_only};

use super::file_system::Ext;
use super::write::operation::Operation;
use super::write::{Writing, content, create, link, removal, rename, stat, xattrs};
use crate::node::NodeId;
use crate::tree::Holds;
use crate::{Allocation, Changes, FileSystemMut, New, Rename, SetXattr};

impl Ext {
    fn writing(&self) -> Result<&Writing> {
        self.writing.as_ref().map_err(|why| read_only!("{why}"))
    }

    fn operate<T>(&self, operation: impl FnMut(&mut Operation<'_>) -> Result<T>) -> Result<T> {
        self.writing()?.operate(self.volume(), operation)
    }

    /// The inode of a node that has a name, or is held.
    fn living(&self, node: NodeId) -> Result<u32> {
        let reading = self.writing()?.reading();
        let inode = self.node(node)?.inode().number;
        let lives = self.volume().inode(inode)?.links > 0 || self.held.contains(inode);
        drop(reading);
        if lives { Ok(inode) } else { Err(Error::NotFound) }
    }

    /// Frees a node that has ended. Its name is gone already: if this fails, it stays among the orphans, for e2fsck to free.
    fn free(&self, ended: Option<u32>) {
        let Some(number) = ended else { return };
        let freed = self.writing().and_then(|writing| removal::free(writing, self.volume(), number));
        if let Err(error) = freed {
            log::warn!("{}: inode {number} was removed, and is not freed: {error}", self.volume().disk());
        }
    }
}

impl FileSystemMut for Ext {
    fn create(&self, dir: NodeId, name: &[u8], new: &New<'_>) -> Result<NodeId> {
        // An operation may be done twice, or be taken back after it was done.
        let mut made = None;
        let created = self.operate(|op| {
            if let Some(taken_back) = made.take() {
                self.held.forget(taken_back, 1);
            }
            let number = create::create(op, dir, name, new)?;
            self.held.add(number)?;
            made = Some(number);
            Ok(NodeId(number.into()))
        });
        if let (Err(_), Some(taken_back)) = (&created, made) {
            self.held.forget(taken_back, 1);
        }
        created
    }

    fn link(&self, node: NodeId, dir: NodeId, name: &[u8]) -> Result<()> {
        self.operate(|op| link::link(op, &self.held, node, dir, name))
    }

    fn remove(&self, dir: NodeId, name: &[u8]) -> Result<()> {
        self.operate(|op| removal::remove(op, &self.held, dir, name)).map(|ended| self.free(ended))
    }

    fn remove_dir(&self, dir: NodeId, name: &[u8]) -> Result<()> {
        self.operate(|op| removal::remove_dir(op, &self.held, dir, name)).map(|ended| self.free(ended))
    }

    fn rename(&self, from: (NodeId, &[u8]), to: (NodeId, &[u8]), how: Rename) -> Result<()> {
        self.operate(|op| rename::rename(op, &self.held, from, to, how)).map(|ended| self.free(ended))
    }

    fn write_at(&self, file: NodeId, data: &[u8], offset: u64) -> Result<()> {
        content::write_at(self.writing()?, self.volume(), self.living(file)?, data, offset)
    }

    fn allocate(&self, file: NodeId, bytes: Range<u64>, how: Allocation) -> Result<()> {
        content::allocate(self.writing()?, self.volume(), self.living(file)?, bytes, how)
    }

    fn set_stat(&self, node: NodeId, changes: &Changes) -> Result<()> {
        if let Some(size) = changes.size {
            content::set_size(self.writing()?, self.volume(), self.living(node)?, size)?;
        }
        // Cutting a file off has set its times already.
        if *changes == (Changes { size: changes.size, ..Changes::default() }) && changes.size.is_some() {
            return Ok(());
        }
        self.operate(|op| stat::set(op, &self.held, node, changes))
    }

    fn set_xattr(&self, node: NodeId, name: &[u8], value: Option<&[u8]>, how: SetXattr) -> Result<()> {
        let number = self.living(node)?;
        self.operate(|op| xattrs::set(op, number, name, value, how))
    }

    fn sync(&self, node: Option<NodeId>, data_only: bool) -> Result<()> {
        match node {
            Some(node) if data_only => {
                let number = u32::try_from(node.0).map_err(|_| Error::NotFound)?;
                self.writing()?.sync_data(self.volume(), number)
            }
            _ => self.writing()?.commit(self.volume()),
        }
    }

    fn close(&self) -> Result<()> {
        self.held.take_ended().into_iter().for_each(|number| self.free(Some(number)));
        self.writing()?.close(self.volume())
    }
}

impl Holds for Ext {
    fn hold(&self, node: NodeId) -> Result<()> {
        self.held.again(u32::try_from(node.0).map_err(|_| Error::NotFound)?)
    }

    fn forget(&self, node: NodeId, times: u64) {
        let Ok(number) = u32::try_from(node.0) else { return };
        if self.held.forget(number, times) {
            self.free(Some(number));
        }
    }
}
