//! Deleted inodes: found in inode tables, in all of the journal, and in extent blocks that survive in free space.
//!
//! A current kernel empties an inode when it deletes it; what the inode was is in older copies of its block in the
//! journal. Each step has a file: [`scan`] walks the whole log, [`inodes`] the inode tables, [`search`] takes what
//! they find, [`transactions`] says what the log has forgotten, [`candidates`] keeps the versions, [`maps`] and [`mapping`]
//! put their maps together from surviving blocks, [`names`] collects names, [`naming`] says whose they are, [`claims`] who
//! else had which blocks, [`verdict`] judges, [`listing`] makes the list.
//!
//! *Who a copy belongs to.* The tags of a descriptor block say it. Where that block is overwritten, the inode's checksum
//! does: it covers the file system's UUID, the inode's number, its generation and its body. A CRC's register can be run
//! backwards, so the number is computed from the checksum and the body ([`rewind`]), and must fit the place in the block.
//! Without checksums the generations tell whose a copy most likely is ([`unplaced`]).
//! In the same way an extent or directory block gives the register that its inode's number and generation lead to, and
//! one look into a table finds the inode.
//!
//! *Intact* is a promise. It is given if the blocks are free, nobody is known to have had them after the version, every
//! transaction since is whole in the log and the log was emptied at the end so that a later owner would be known, the
//! content had left the kernel's cache before the delete, nothing looks discarded ([`discarded`]), and the map accounts
//! for all space that the inode had.

#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

mod blocks;
mod candidates;
mod claims;
mod contents;
mod directories;
mod discarded;
mod found;
mod free_space;
mod geometry;
mod inodes;
mod listing;
mod mapping;
mod maps;
mod names;
mod naming;
mod orphans;
mod reserved;
mod rewind;
mod scan;
mod search;
mod transactions;
mod unplaced;
mod verdict;
mod version;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use images::{Budget, Disk, Error, Reservation, Result};

use super::inode::Inode;
use super::run::State;
use super::volume::Volume;
use crate::forensics::{Deleted, Parent};
use crate::node::{Entry, NodeId};
use crate::room::Room;

use found::Found;
use geometry::Geometry;
use search::Search;
pub(super) use version::Version;

/// Deleted nodes have this bit, and below it their index.
pub(super) const DELETED: u64 = 1 << 40;
/// How many living inodes' versions are kept (ours).
const MAX_LIVING: usize = 1000;

/// The deleted nodes of a file system, looked for when they are first asked for.
pub(super) struct DeletedNodes {
    budget: Budget,
    /// The memory that is taken by what was found.
    held: Mutex<Vec<Reservation>>,
    all: OnceLock<std::result::Result<Arc<[Deleted]>, Arc<Error>>>,
    of_living: Mutex<HashMap<u32, Arc<[Deleted]>>>,
    /// By index, the versions; ids stay valid.
    nodes: RwLock<Vec<Arc<Version>>>,
    /// What was in deleted directories.
    children: OnceLock<HashMap<NodeId, Vec<usize>>>,
}

impl DeletedNodes {
    /// Nothing is searched yet; what is found is held within `budget`.
    pub(super) fn new(budget: Budget) -> Self {
        Self {
            budget,
            held: Mutex::default(),
            all: OnceLock::new(),
            of_living: Mutex::default(),
            nodes: RwLock::default(),
            children: OnceLock::new(),
        }
    }

    /// All deleted nodes.
    pub(super) fn all(&self, volume: &Volume) -> Result<Arc<[Deleted]>> {
        let found = self.all.get_or_init(|| self.search(volume, None).map_err(Arc::new));
        found.clone().map_err(Error::Shared)
    }

    /// The earlier versions of an inode that lives.
    pub(super) fn of_living(&self, volume: &Volume, number: u32) -> Result<Arc<[Deleted]>> {
        let known = || self.of_living.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = known().get(&number) {
            return Ok(list.clone());
        }
        // All ids of the deleted nodes come first, so that they are the same in every run.
        self.all(volume)?;
        let list = self.search(volume, Some(number))?;
        let mut known = known();
        if known.len() < MAX_LIVING {
            // Who searched for the same at the same time was first.
            return Ok(known.entry(number).or_insert(list).clone());
        }
        Ok(list)
    }

    fn search(&self, volume: &Volume, only: Option<u32>) -> Result<Arc<[Deleted]>> {
        let (found, held) = self.find(volume, only)?;
        // Ids are given when the search is over: who reads what was found before does not wait for it.
        let mut nodes = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        let first = nodes.len() as u64;
        let mut list = Vec::with_capacity(found.len());
        for found in found {
            let (version, entries) = found.into_entries(first);
            nodes.push(Arc::new(version));
            list.extend(entries);
        }
        drop(nodes);
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(held);
        Ok(list.into())
    }

    /// Searches the volume, and says what memory is taken by what is found.
    fn find(&self, volume: &Volume, only: Option<u32>) -> Result<(Vec<Found>, Reservation)> {
        let exact = volume.of_blocks();
        let (found, room, results) = {
            let log = Search::log(volume, &exact);
            // Half for the search, and of the rest two thirds for what it finds: others need some, too.
            let room = Room::of(&self.budget, 6);
            let geometry = Geometry::new(&exact, room.clone());
            let mut search = Search::new(&geometry, log.as_ref(), only)?;
            let mut own = Vec::new();
            if let Some(number) = only {
                let inode = volume.inode(number)?;
                let _ = volume.map(&inode, 0, &mut |run| {
                    if let State::Written(at) = run.state {
                        own.push((at, at + run.len));
                    }
                    own.len() < 1 << 20
                });
                own.sort_unstable();
                search.candidates.drop_current(&inode);
            }
            let results = Room::of(&self.budget, 8);
            (listing::list(&mut search, &own, &results), room, results)
        };
        if room.is_full() || results.is_full() {
            let disk = volume.disk();
            log::warn!("{disk}: memory holds not all that is left of deleted files; --memory gives the program more");
        }
        drop(room);
        // The inodes outlive the search, which had counted them.
        let mut held = results.into_held();
        let inodes = found.iter().map(|found| size_of::<Inode>() + found.version.inode().tail.len()).sum::<usize>();
        held.try_grow(inodes as u64);
        Ok((found, held))
    }

    /// The version that a node is; `None` if it is not a deleted node at all.
    pub(super) fn version(&self, volume: &Volume, node: NodeId) -> Result<Option<Arc<Version>>> {
        if node.0 & DELETED == 0 {
            return Ok(None);
        }
        self.all(volume)?;
        let index = usize::try_from(node.0 ^ DELETED).map_err(|_| Error::NotFound)?;
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(index).cloned().map(Some).ok_or(Error::NotFound)
    }

    /// The space that no file uses.
    pub(super) fn unallocated(&self, volume: &Volume) -> Result<Arc<dyn Disk>> {
        let room = Room::of(&self.budget, 6);
        let disk = free_space::disk(volume, &room)?;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(room.into_held());
        Ok(disk)
    }

    /// Calls `each` for what was in a deleted directory, newest versions only, from entry `from` on until it returns
    /// false.
    pub(super) fn entries(
        &self,
        volume: &Volume,
        directory: NodeId,
        from: u64,
        each: &mut dyn FnMut(Entry<'_>) -> bool,
    ) -> Result<()> {
        let all = self.all(volume)?;
        let children = self.children.get_or_init(|| {
            let mut children: HashMap<NodeId, Vec<usize>> = HashMap::new();
            for (index, deleted) in all.iter().enumerate().filter(|(_, deleted)| deleted.version == 0) {
                if let (Parent::Deleted(parent), Some(_)) = (deleted.parent, &deleted.name) {
                    children.entry(parent).or_default().push(index);
                }
            }
            children
        });
        let children = children.get(&directory).into_iter().flatten();
        for (next, index) in (1..).zip(children).skip(usize::try_from(from).unwrap_or(usize::MAX)) {
            let Some(child) = all.get(*index) else { continue };
            let Some(name) = child.name.as_deref() else { continue };
            if !each(Entry { name, node: child.node, kind: None, next }) {
                break;
            }
        }
        Ok(())
    }
}
