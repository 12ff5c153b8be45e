//! The write half of FAT: changes are made in memory, and written together, in an order that survives a cut of the power.

mod commit;
mod content;
mod names;
mod short_name;
mod slots;
pub(super) mod space;
mod table;

use std::ops::Range;
use std::sync::{PoisonError, RwLockWriteGuard};
use std::time::SystemTime;

use images::{Error, Result, read_only, unsupported};

use super::file_system::Fat;
use super::writing::{ORPHAN, Writing};
use crate::{Allocation, Changes, FileSystemMut, Holds, New, NodeId, Rename, SetXattr, Time};

/// How many entries of the FAT and how many sectors change before they are written, ours.
const CHANGES_MAX: usize = 1 << 16;
const SECTORS_MAX: usize = 1 << 13;

/// The present.
fn now() -> Time {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanoseconds: since.subsec_nanos() }
}

impl Fat {
    /// Whoever has this is alone: nobody reads meanwhile.
    fn alone(&self) -> Result<RwLockWriteGuard<'_, Writing>> {
        let writing = self.writing.as_ref().map_err(|why| read_only!("{why}"))?;
        Ok(writing.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes something. Before the first change the disk says that it is being written.
    fn write<T>(&self, change: impl FnOnce(&mut Writing) -> Result<T>) -> Result<T> {
        let writing = &mut *self.alone()?;
        writing.writer()?;
        if !writing.is_marked {
            if writing.was_clean.is_none() {
                writing.was_clean = Some(self.is_clean()?);
            }
            self.mark(writing, false)?;
            writing.is_marked = true;
        }
        if writing.touched.len() > CHANGES_MAX || self.metadata.count() > SECTORS_MAX {
            self.commit(writing)?;
        }
        change(writing)
    }

    /// Frees what was held for a node that nobody holds any more.
    fn end(&self, writing: &mut Writing, key: u64) -> Result<()> {
        let entry = self.orphans().remove(&key);
        match entry {
            Some(entry) => self.cut(writing, self.first_cluster(&entry), 0),
            None => Ok(()),
        }
    }
}

impl FileSystemMut for Fat {
    fn create(&self, dir: NodeId, name: &[u8], new: &New<'_>) -> Result<NodeId> {
        self.write(|writing| self.make(writing, dir, name, new))
    }

    fn link(&self, _: NodeId, _: NodeId, _: &[u8]) -> Result<()> {
        Err(Error::NotPermitted)
    }

    fn remove(&self, dir: NodeId, name: &[u8]) -> Result<()> {
        self.write(|writing| self.unlink(writing, dir, name, false))
    }

    fn remove_dir(&self, dir: NodeId, name: &[u8]) -> Result<()> {
        self.write(|writing| self.unlink(writing, dir, name, true))
    }

    fn rename(&self, from: (NodeId, &[u8]), to: (NodeId, &[u8]), how: Rename) -> Result<()> {
        self.write(|writing| self.move_name(writing, from, to, how))
    }

    fn write_at(&self, file: NodeId, data: &[u8], offset: u64) -> Result<()> {
        self.write(|writing| self.write_file(writing, file, data, offset))
    }

    fn allocate(&self, file: NodeId, bytes: Range<u64>, how: Allocation) -> Result<()> {
        self.write(|writing| self.reserve_bytes(writing, file, bytes, how))
    }

    fn set_stat(&self, node: NodeId, changes: &Changes) -> Result<()> {
        self.write(|writing| self.change(writing, node, changes))
    }

    fn set_xattr(&self, _: NodeId, _: &[u8], _: Option<&[u8]>, _: SetXattr) -> Result<()> {
        Err(unsupported!("FAT has no extended attributes"))
    }

    /// All nodes at once: their entries lie in the same sectors.
    fn sync(&self, _: Option<NodeId>, data_only: bool) -> Result<()> {
        let writing = &mut *self.alone()?;
        writing.writer()?;
        if data_only && !writing.is_essential && writing.touched.is_empty() {
            return self.flush(writing);
        }
        self.commit(writing)
    }

    fn close(&self) -> Result<()> {
        let writing = &mut *self.alone()?;
        if writing.writer.is_none() {
            return Ok(());
        }
        writing.writer()?;
        for node in std::mem::take(&mut writing.preallocated) {
            match self.trim(writing, node) {
                Ok(()) | Err(Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        let orphans: Vec<u64> = self.orphans().keys().copied().collect();
        for key in orphans {
            self.end(writing, key)?;
        }
        self.commit(writing)?;
        self.flush(writing)?;
        if writing.is_marked && writing.was_clean == Some(true) {
            self.mark(writing, true)?;
        }
        writing.writer = None;
        Ok(())
    }
}

impl Holds for Fat {
    fn hold(&self, node: NodeId) -> Result<()> {
        self.nodes.as_ref().map_or(Ok(()), |nodes| nodes.hold(node))
    }

    fn forget(&self, node: NodeId, times: u64) {
        let (Some(nodes), Ok(writing)) = (&self.nodes, &self.writing) else { return };
        // What has no name any more got its key from somebody who was alone.
        let shared = writing.read().unwrap_or_else(PoisonError::into_inner);
        let is_preallocated = shared.preallocated.contains(&node);
        let key = nodes.key(node).ok().filter(|key| *key & ORPHAN != 0);
        if key.is_none() && !is_preallocated {
            return nodes.forget(node, times);
        }
        drop(shared);
        let Ok(mut writing) = self.alone() else { return };
        let writing = &mut *writing;
        let Ok(key) = nodes.key(node) else { return };
        nodes.forget(node, times);
        if nodes.is_held(&key) || writing.writer().is_err() {
            return;
        }
        let done = match writing.preallocated.remove(&node) && key & ORPHAN == 0 {
            true => nodes.id(&key).and_then(|again| {
                let done = self.trim(writing, again);
                nodes.forget(again, 1);
                done
            }),
            false => self.end(writing, key),
        };
        if let Err(error) = done {
            log::warn!("{}: the space of a file was not given back: {error}", self.disk);
        }
    }
}
