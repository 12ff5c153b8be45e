//! The write half of FAT: changes are made in memory, and written together, in an order that survives a cut of the power.

mod commit;
mod content;
mod names;
mod short_name;
mod slots;
mod space;
mod table;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::{PoisonError, RwLockWriteGuard};
use std::time::SystemTime;

use images::{Budget, Disk, Error, Reservation, Result, Writer, read_only, unsupported};

use self::slots::Room;
use self::space::Space;
use super::file_system::Fat;
use super::geometry::Geometry;
use crate::{Allocation, Changes, FileSystemMut, Holds, Interned, New, NodeId, Rename, SetXattr, Time};

/// How many entries of the FAT and how many sectors change before they are written, ours.
const CHANGES_MAX: usize = 1 << 16;
const SECTORS_MAX: usize = 1 << 13;
/// What both take in memory, with the trees that they are in, in bytes.
const CHANGES_SIZE: u64 = 12 << 20;

/// The bit of a key that is no place in a directory: the node has no name any more.
pub(super) const ORPHAN: u64 = 1 << 62;

/// What is being written.
pub(super) struct Writing {
    /// None once it was closed.
    writer: Option<Writer>,
    /// Why nothing can be written any more.
    ended: Option<String>,
    /// Whether the disk said that it was clean before the first change.
    was_clean: Option<bool>,
    /// Whether it says that it is being written.
    is_marked: bool,
    /// Whether anything was written since the last flush.
    is_unflushed: bool,
    /// Whether more than times of nodes has changed and is not written.
    is_essential: bool,
    /// Whether the last commit was not done to its end.
    is_repeated: bool,
    /// Clusters whose entries in the FAT have changed.
    touched: BTreeSet<u32>,
    /// Clusters that are free as soon as what was changed is on the disk, as runs.
    freed: Vec<(u32, u32)>,
    space: Option<Space>,
    /// By the key of a directory: where it has room.
    rooms: HashMap<u64, Room>,
    /// Where the old entry of a name lies that has moved to another sector, in bytes: this sector goes first.
    moved: Option<u64>,
    /// Files that may have clusters behind their end.
    preallocated: HashSet<NodeId>,
    /// How many nodes have lost their last name.
    orphans: u64,
    _held: Reservation,
}

impl Writing {
    /// Takes the writer of a disk. Fails with `ReadOnly` if there is none, or if the volume cannot be written.
    pub(super) fn new(disk: &dyn Disk, geometry: &Geometry, budget: &Budget) -> Result<Self> {
        if geometry.end > disk.size() {
            return Err(read_only!("{disk} ends before the file system on it does"));
        }
        Ok(Self {
            writer: Some(disk.writer(0..disk.size())?),
            ended: None,
            was_clean: None,
            is_marked: false,
            is_unflushed: false,
            is_essential: false,
            is_repeated: false,
            touched: BTreeSet::new(),
            freed: Vec::new(),
            space: None,
            rooms: HashMap::new(),
            moved: None,
            preallocated: HashSet::new(),
            orphans: 0,
            _held: budget.take(CHANGES_SIZE, "what is to be written to a FAT file system")?,
        })
    }
}

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

/// The nodes that are held, by where their entries lie.
pub(super) type Nodes = Interned<u64>;
