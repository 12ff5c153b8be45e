//! The journal of ext3 and ext4 (jbd2): replayed into memory, and written.
//!
//! [`replay`] gives a disk that reads as after a replay by the kernel. [`Log`] is the journal by itself: any of its
//! blocks as a [record](log::Record), for whoever looks for older versions of blocks.
//!
//! Orphans are left as they are: the kernel frees inodes without a name and finishes interrupted truncations when it
//! mounts for writing. The former are in no directory; a file of the latter has its new size already.

mod crc32;
pub mod external;
pub mod fast_commit;
pub mod layout;
pub mod log;
pub mod recovery;
pub mod superblock;
#[cfg(test)]
mod tests;
pub(super) mod transaction;

use std::collections::BTreeSet;
use std::sync::Arc;

use images::disk::Overlay;
use images::{Budget, Disk, Error, Reservation, Result, corrupt, unsupported};

pub use log::{Log, Run};

use super::inode::Inode;
use super::layout::mode;
use super::run::State;
use super::superblock::{Superblock, uuid};
use super::volume::Volume;
use crate::stored::Stored;

/// What a user can do whose journal cannot be replayed.
const ADVICE: &str = "--no-replay shows the disk as it is";

/// A disk whose journal was replayed.
pub struct Replayed {
    /// The disk as it reads after the replay. Its superblock may differ from the one before.
    pub disk: Arc<dyn Disk>,
    /// The blocks that read differently, by number.
    pub blocks: BTreeSet<u64>,
    /// A number that none of its transactions has, nor what is left of an incomplete one.
    pub next: u32,
    /// What the user should know, one line each.
    pub notes: Vec<String>,
    /// The memory that the disk takes for the copies in the journal.
    pub held: Reservation,
}

/// Replays the journal of a file system that needs recovery.
///
/// The disk that is returned reads the copies in the journal in place; the memory for it is bounded by the journal's
/// length, see [`recovery`] and [`fast_commit`]. Fails with `Corrupt` where the kernel refuses to replay, with
/// `Unsupported` if the journal is on another device or uses an unknown feature, and with `Memory` if the budget does
/// not hold the list of its copies.
pub fn replay(disk: Arc<dyn Disk>, superblock: &Superblock, budget: &Budget) -> Result<Replayed> {
    replay_unadvised(disk, superblock, budget).map_err(|error| match error {
        Error::Corrupt { what, offset, why } => corrupt!(what, offset, "{why}; {ADVICE}"),
        Error::Unsupported(why) => unsupported!("{why}; {ADVICE}"),
        other => other,
    })
}

fn replay_unadvised(disk: Arc<dyn Disk>, superblock: &Superblock, budget: &Budget) -> Result<Replayed> {
    let volume = Volume::new(disk.clone(), superblock.clone());
    let log = open(&volume)?;
    let blocks = disk.size() / u64::from(superblock.block_size);
    let recovered = recovery::recover(&log, blocks, budget)?;
    let commits = match log.superblock.start {
        Some(_) => fast_commit::read(&log, recovered.next)?,
        None => fast_commit::Commits::default(),
    };
    let notes = vec![match (recovered.transactions, commits.count) {
        (0, 0) => "the journal is marked as not replayed, but holds no complete transaction".to_owned(),
        (count, 0) => format!("journal replayed in memory: {}", counted(count, "transaction")),
        (count, fast) => {
            let (count, fast) = (counted(count, "transaction"), counted(fast, "fast commit"));
            format!("journal replayed in memory: {count} and {fast}")
        }
    }];
    let mut blocks: BTreeSet<u64> = recovered.blocks.keys().copied().collect();
    let next = recovered.next.wrapping_add(1);
    let replayed: Arc<dyn Disk> = if recovered.blocks.is_empty() {
        disk
    } else {
        Arc::new(Overlay::new(disk, superblock.block_size, recovered.blocks))
    };
    if commits.operations.is_empty() {
        return Ok(Replayed { disk: replayed, blocks, next, notes, held: recovered.held });
    }
    // The transactions may have changed the superblock.
    let superblock = Superblock::read(&*replayed)?;
    let changed = fast_commit::replay(Volume::new(replayed.clone(), superblock.clone()), &log, commits.operations)?;
    blocks.extend(changed.keys());
    let disk = Arc::new(Overlay::new(replayed, superblock.block_size, changed));
    Ok(Replayed { disk, blocks, next, notes, held: recovered.held })
}

/// `1 transaction`, `2 transactions`.
fn counted(count: u32, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Opens the journal of a file system, wherever it is in its life: to be replayed or not.
///
/// Fails with `Unsupported` if the journal is on another device.
pub fn open(volume: &Volume) -> Result<Log> {
    open_by(volume, volume)
}

/// The same: the journal's inode is read through one volume, and its map through another on the same disk.
pub(super) fn open_by(inodes: &Volume, volume: &Volume) -> Result<Log> {
    let superblock = volume.superblock();
    let (number, device) = (superblock.raw.s_journal_inum.get(), superblock.raw.s_journal_dev.get());
    if number == 0 {
        if let Some((runs, superblock_at)) = external::runs(volume)? {
            return Log::open_at(volume.disk().clone(), superblock.block_size, runs, superblock_at);
        }
        let uuid = uuid(&superblock.raw.s_journal_uuid).unwrap_or_default();
        return Err(match device {
            0 => corrupt!("superblock", 1024u64, "a journal, but neither its inode nor its device"),
            _ => unsupported!("the journal is on another device ({device:#x}, UUID {uuid}); give it with --journal"),
        });
    }
    open_inode(volume, &*inodes.inode(number)?)
}

/// The same of the journal that is this file.
pub(super) fn open_inode(volume: &Volume, inode: &Inode) -> Result<Log> {
    let superblock = volume.superblock();
    if inode.mode & mode::TYPE != mode::FILE || inode.links == 0 {
        let (mode, links) = (inode.mode, inode.links);
        return Err(corrupt!("journal inode", inode.offset, "mode {mode:#o} and {links} links, want a file"));
    }
    let length = inode.size / u64::from(superblock.block_size);
    let (mut runs, mut hole) = (Vec::new(), None);
    let mut stored = Stored::new(&**volume.disk());
    volume.map(inode, 0, &mut |run| {
        if run.logical >= length {
            return false;
        }
        // Block numbers in the journal have 32 bits: what lies beyond is of no use.
        let len = u32::try_from(run.len.min(length - run.logical));
        match (run.state, u32::try_from(run.logical), len) {
            (State::Written(physical), Ok(logical), Ok(len)) => {
                let bytes = u64::from(len) * volume.block_size();
                let new = stored.count(physical * volume.block_size(), bytes) / volume.block_size();
                if new == u64::from(len) {
                    runs.push(Run { logical, physical, len })
                } else {
                    hole = Some((run.logical + new, "lies where another of its blocks does"))
                }
            }
            _ => hole = Some((run.logical, "is not allocated")),
        }
        hole.is_none()
    })?;
    match hole {
        Some((block, why)) => Err(corrupt!("journal inode", inode.offset, "its block {block} {why}")),
        None => Log::open(volume.disk().clone(), superblock.block_size, runs),
    }
}
