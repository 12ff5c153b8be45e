//! The journal of a file system that is written: transactions go into its log, and leave it when all lies where it belongs.
//!
//! A transaction counts from the moment on at which its commit block is on the disk, which is written when everything before is:
//! two flushes. What was written home before the first of them is durable after it. So the log's tail, which the journal's
//! superblock has, moves along with a commit block and costs no flush of its own.

use std::ops::Range;
use std::time::{Duration, SystemTime};

use images::disk::Page;
use images::{DiskMut, Result, unsupported};
use zerocopy::{FromBytes, IntoBytes};

use super::lent_journal;
use super::transaction::Committing;
use crate::ext::checksum::crc32c;
use crate::ext::features::{compat, incompat, ro_compat};
use crate::ext::gathered::Gathered;
use crate::ext::journal::layout::*;
use crate::ext::journal::log::Log;
use crate::ext::journal::superblock::Superblock;
use crate::ext::journal::transaction::Transaction;
use crate::ext::journal::{self, recovery};
use crate::ext::volume::Volume;

/// A place in the log, and the transaction that begins there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    block: u32,
    sequence: u32,
}

/// A journal that is written.
pub(super) struct Journal {
    log: Log,
    raw: Box<JournalSuperblock>,
    /// Where the next transaction goes.
    head: Place,
    /// Where a replay begins, as the journal's superblock on the disk has it; `None` while that says that it is empty.
    tail: Option<Place>,
    /// All before it was written where it belongs, but is not flushed.
    home: Place,
    /// The time of the last commit.
    time: Duration,
}

impl Journal {
    /// The journal of a volume that needs no recovery. Nothing is written yet. Fails with `Unsupported` where it is one
    /// that is only read.
    pub fn open(volume: &Volume) -> Result<Self> {
        Self::of(volume, journal::open(volume)?)
    }

    /// The same of a file that became the journal after the volume was opened.
    pub fn open_inode(volume: &Volume, number: u32) -> Result<Self> {
        Self::of(volume, journal::open_inode(volume, &*volume.inode(number)?)?)
    }

    fn of(volume: &Volume, log: Log) -> Result<Self> {
        // What lies in a journal that needs no recovery counts for nothing, whatever it says, but must not be taken for what
        // is written now.
        let sequence = next_sequence(&log)?;
        Self::after(volume, log, sequence)
    }

    /// A journal of which nothing is needed any more; the next transaction has this number.
    fn after(volume: &Volume, mut log: Log, sequence: u32) -> Result<Self> {
        let mut bytes = [0; size_of::<JournalSuperblock>()];
        log.disk.read_at(&mut bytes, log.superblock_at)?;
        let mut raw = JournalSuperblock::read_from_bytes(&bytes).expect("as many bytes as it has");
        if raw.s_header.h_blocktype.get() != JBD2_SUPERBLOCK_V2 {
            return Err(unsupported!("its journal has the format of 1998"));
        }
        if raw.s_feature_ro_compat.get() != 0 {
            return Err(unsupported!("its journal has the unknown features {:#x}", raw.s_feature_ro_compat));
        }
        raw.s_start = 0.into();
        set_features(&mut raw, &volume.superblock().features, log.superblock.fast_commit_blocks);
        seal(&mut raw);
        let length = log.runs().last().map_or(0, |run| run.logical.saturating_add(run.len));
        log.superblock = Superblock::parse(raw.as_bytes(), log.superblock_at, log.superblock.block_size, length)?;
        let ring = log.superblock.first..log.superblock.last;
        let block = Some(raw.s_head.get()).filter(|head| ring.contains(head)).unwrap_or(ring.start);
        let head = Place { block, sequence };
        Ok(Self { log, raw: Box::new(raw), head, tail: None, home: head, time: Duration::ZERO })
    }

    /// Whether the file system has it only while it is written.
    pub fn is_lent(&self) -> bool {
        lent_journal::is_lent(&self.raw)
    }

    /// Where its blocks lie.
    pub fn blocks(&self) -> Vec<Range<u64>> {
        self.log.runs().iter().map(|run| run.physical..run.physical + u64::from(run.len)).collect()
    }

    /// How many blocks its log has.
    pub fn ring(&self) -> u32 {
        self.log.superblock.ring()
    }

    /// How blocks are counted in it.
    pub fn superblock(&self) -> &Superblock {
        &self.log.superblock
    }

    /// Makes a transaction durable, and all that was written before. If there is no room for it, everything must have been
    /// written home.
    pub fn commit(&mut self, writer: &dyn DiskMut, blocks: &[(u64, Page)], committing: &Committing) -> Result<()> {
        if !self.has_room(blocks.len(), committing.revoked.len()) {
            self.make_room(writer)?;
        }
        if !self.has_room(blocks.len(), committing.revoked.len()) {
            let (count, ring) = (blocks.len(), self.ring());
            return Err(unsupported!("not written: {count} changed blocks at once, and a journal of {ring}"));
        }
        if self.tail.is_none() {
            self.set_tail(writer, Some(self.head))?;
        }
        let place = self.head;
        let mut transaction =
            Transaction::new(&self.log, self.raw.s_uuid, place.sequence, place.block, Gathered::new(writer));
        transaction.revoke(&committing.revoked.iter().copied().collect::<Vec<_>>())?;
        transaction.copy(blocks)?;
        self.time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().max(self.time);
        let (commit, at, next) = transaction.finish(self.time)?;
        writer.flush()?;
        if self.used() > self.ring() / 4 && self.tail != Some(self.home) {
            self.set_tail(writer, Some(self.home))?;
        }
        writer.write_at(&commit, at)?;
        writer.flush()?;
        self.head = Place { block: next, sequence: place.sequence.wrapping_add(1) };
        Ok(())
    }

    /// All transactions were written where they belong; the next flush makes that durable.
    pub fn went_home(&mut self) {
        self.home = self.head;
    }

    /// Whether it is time to write home what was committed.
    pub fn is_filling(&self) -> bool {
        self.used() > self.ring() / 2
    }

    /// Gives free what lies before the place up to which all was written home.
    fn make_room(&mut self, writer: &dyn DiskMut) -> Result<()> {
        if self.tail.is_none_or(|tail| tail == self.home) {
            return Ok(());
        }
        writer.flush()?;
        self.set_tail(writer, Some(self.home))?;
        writer.flush()
    }

    /// Says that it is empty. Everything must have been written home, and flushed.
    pub fn empty(&mut self, writer: &dyn DiskMut) -> Result<()> {
        // As the kernel does: it is for the next who mounts it to say whether there are any.
        let features = self.raw.s_feature_incompat.get() & !JBD2_FEATURE_INCOMPAT_FAST_COMMIT;
        self.raw.s_feature_incompat = features.into();
        self.raw.s_head = self.head.block.into();
        self.set_tail(writer, None)?;
        writer.flush()
    }

    /// Blocks of the log that a replay needs.
    fn used(&self) -> u32 {
        let Some(tail) = self.tail else { return 0 };
        let ring = self.ring();
        (self.head.block + ring - tail.block) % ring
    }

    /// Whether a transaction of so many blocks fits into what the log has free, which is never used up.
    pub fn has_room(&self, blocks: usize, revoked: usize) -> bool {
        self.log.superblock.blocks_for(blocks, revoked) < (self.ring() - self.used()) as usize
    }

    fn set_tail(&mut self, writer: &dyn DiskMut, tail: Option<Place>) -> Result<()> {
        let Place { sequence, .. } = tail.unwrap_or(self.head);
        self.raw.s_sequence = sequence.into();
        self.raw.s_start = tail.map_or(0, |tail| tail.block).into();
        seal(&mut self.raw);
        writer.write_at(self.raw.as_bytes(), self.log.superblock_at)?;
        self.tail = tail;
        Ok(())
    }
}

/// Says that a journal is empty after all of it was replayed and is durable. `next` is the number of the next transaction.
pub(super) fn empty_after_replay(volume: &Volume, writer: &dyn DiskMut, next: u32) -> Result<()> {
    Journal::after(volume, journal::open(volume)?, next)?.empty(writer)
}

/// A number that no transaction has that lies in the log from its start on.
fn next_sequence(log: &Log) -> Result<u32> {
    let sequence = log.superblock.sequence;
    Ok(match (log.superblock.start, recovery::transactions(log)) {
        (None, _) => sequence,
        (_, Ok(count)) => sequence.wrapping_add(count).wrapping_add(1),
        // It is damaged somewhere in between.
        (_, Err(_)) => sequence.wrapping_add(log.superblock.ring()),
    })
}

/// Sets the features that the kernel sets when it mounts a file system: what its log can hold.
fn set_features(raw: &mut JournalSuperblock, features: &crate::ext::features::Features, fast_commit_blocks: u32) {
    let mut wanted = raw.s_feature_incompat.get() | JBD2_FEATURE_INCOMPAT_REVOKE;
    if features.has_incompat(incompat::SIXTY_FOUR_BIT) {
        wanted |= JBD2_FEATURE_INCOMPAT_64BIT;
    }
    let checksums = JBD2_FEATURE_INCOMPAT_CSUM_V2 | JBD2_FEATURE_INCOMPAT_CSUM_V3;
    if features.has_ro_compat(ro_compat::METADATA_CSUM) && wanted & checksums == 0 {
        wanted |= JBD2_FEATURE_INCOMPAT_CSUM_V3;
        raw.s_checksum_type = JBD2_CRC32C_CHKSUM;
        raw.s_feature_compat = (raw.s_feature_compat.get() & !JBD2_FEATURE_COMPAT_CHECKSUM).into();
    }
    // A journal that is too short for an area has none.
    let is_long_enough = raw.s_maxlen.get().saturating_sub(fast_commit_blocks) >= JBD2_MIN_JOURNAL_BLOCKS;
    if features.has_compat(compat::FAST_COMMIT) && is_long_enough {
        wanted |= JBD2_FEATURE_INCOMPAT_FAST_COMMIT;
        raw.s_num_fc_blks = fast_commit_blocks.into();
    }
    raw.s_feature_incompat = wanted.into();
}

/// Writes the checksum of the journal's superblock, where it has one.
fn seal(raw: &mut JournalSuperblock) {
    let checksums = JBD2_FEATURE_INCOMPAT_CSUM_V2 | JBD2_FEATURE_INCOMPAT_CSUM_V3;
    raw.s_checksum = 0.into();
    if raw.s_feature_incompat.get() & checksums != 0 {
        raw.s_checksum = crc32c(!0, raw.as_bytes()).into();
    }
}
