//! The blocks of the log: what each one is, wherever it lies and whatever transaction it belongs to.
//!
//! Nothing here decides what is valid for replay; a search for older versions of blocks reads the same records.

use std::sync::Arc;

use images::{Disk, Result, corrupt};
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use super::layout::*;
use super::superblock::{Checksum, Superblock};
use crate::ext::checksum::crc32c;

/// A run of the journal's blocks that lie one behind the other on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first block, counted from the start of the journal.
    pub logical: u32,
    /// Where it lies, in blocks of the file system.
    pub physical: u64,
    /// The length in blocks.
    pub len: u32,
}

/// A journal: its superblock, and where its blocks lie.
pub struct Log {
    /// The disk that holds the journal, as it is.
    pub disk: Arc<dyn Disk>,
    /// The journal's superblock.
    pub superblock: Superblock,
    /// Where that lies on the disk, in bytes.
    pub superblock_at: u64,
    runs: Vec<Run>,
}

/// A block of the log that is not a copy of another block.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The transaction that it belongs to.
    pub sequence: u32,
    /// What it says.
    pub content: Content<'a>,
    /// Whether its CRC-32C is right; true under the checksums that have none in this block.
    pub sound: bool,
}

/// What a block of the log says.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// Copies follow in the next blocks of the log, one for each tag.
    Descriptor(Tags<'a>),
    /// Older copies of these blocks must not be replayed.
    Revoke(Revokes<'a>),
    /// The transaction is complete.
    Commit(&'a CommitHeader),
}

/// One copy, as its descriptor block announces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The block that it is a copy of.
    pub block: u64,
    /// Whether its first four bytes were the magic number, and are zeros in the log.
    pub escaped: bool,
    /// The checksum, 16 or 32 bits of it, or nothing, as the journal's superblock says.
    pub checksum: u32,
}

/// The tags of a descriptor block, in the order of the copies.
#[derive(Clone, Copy, Debug)]
pub struct Tags<'a> {
    bytes: &'a [u8],
    wide: bool,
    checksum: Checksum,
}

/// The block numbers of a revoke block.
#[derive(Clone, Copy, Debug)]
pub struct Revokes<'a> {
    bytes: &'a [u8],
    wide: bool,
}

impl Log {
    /// The journal whose blocks lie at `runs` (ordered, without gaps, and inside the disk) in a file system with blocks
    /// of `block_size` bytes.
    pub fn open(disk: Arc<dyn Disk>, block_size: u32, runs: Vec<Run>) -> Result<Self> {
        let Some(at) = runs.first().and_then(|run| run.physical.checked_mul(block_size.into())) else {
            return Err(corrupt!("journal", 0u64, "it has no blocks"));
        };
        Self::open_at(disk, block_size, runs, at)
    }

    /// The same for a journal whose superblock is not its first block, but lies at byte `at`: that of a journal device.
    pub fn open_at(disk: Arc<dyn Disk>, block_size: u32, runs: Vec<Run>, at: u64) -> Result<Self> {
        let length = runs.last().map_or(0, |run| run.logical.saturating_add(run.len));
        let mut block = [0; size_of::<JournalSuperblock>()];
        disk.read_at(&mut block, at)?;
        let superblock = Superblock::parse(&block, at, block_size, length)?;
        Ok(Self { disk, superblock, superblock_at: at, runs })
    }

    /// Where the journal's blocks lie.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Where a block of the journal lies, in bytes.
    pub fn offset(&self, block: u32) -> Result<u64> {
        let after = self.runs.partition_point(|run| run.logical <= block);
        let run = after.checked_sub(1).and_then(|i| self.runs.get(i));
        run.filter(|run| block - run.logical < run.len)
            .and_then(|run| run.physical.checked_add((block - run.logical).into()))
            .and_then(|physical| physical.checked_mul(self.superblock.block_size.into()))
            .ok_or_else(|| corrupt!("journal", 0u64, "block {block} is not allocated"))
    }

    /// Reads a block of the journal into `buffer`, which becomes as long as a block.
    pub fn read(&self, block: u32, buffer: &mut Vec<u8>) -> Result<()> {
        buffer.resize(self.superblock.block_size as usize, 0);
        self.disk.read_at(buffer, self.offset(block)?)
    }

    /// What a block of the log says; `None` if it is a copy, a superblock or nothing that is known.
    pub fn record<'a>(&self, block: &'a [u8]) -> Option<Record<'a>> {
        let (header, rest) = JournalHeader::ref_from_prefix(block).ok()?;
        if header.h_magic.get() != JBD2_MAGIC_NUMBER {
            return None;
        }
        let (wide, checksum) = (self.superblock.wide, self.superblock.checksum);
        let tail = if self.superblock.seed().is_some() { size_of::<JournalBlockTail>() } else { 0 };
        let (content, sound) = match header.h_blocktype.get() {
            JBD2_DESCRIPTOR_BLOCK => {
                let bytes = rest.get(..rest.len().checked_sub(tail)?)?;
                (Content::Descriptor(Tags { bytes, wide, checksum }), self.tail_is_sound(block))
            }
            JBD2_REVOKE_BLOCK => {
                let (revoke, _) = JournalRevokeHeader::ref_from_prefix(block).ok()?;
                // A count that is too large for the block is cut to it: the checksum or the commit decides.
                let end = usize::try_from(revoke.r_count.get()).ok()?.min(block.len().checked_sub(tail)?);
                let bytes = block.get(size_of::<JournalRevokeHeader>()..end).unwrap_or_default();
                (Content::Revoke(Revokes { bytes, wide }), self.tail_is_sound(block))
            }
            JBD2_COMMIT_BLOCK => {
                let (commit, _) = CommitHeader::ref_from_prefix(block).ok()?;
                (Content::Commit(commit), self.commit_is_sound(block, commit))
            }
            _ => return None,
        };
        Some(Record { sequence: header.h_sequence.get(), content, sound })
    }

    /// Whether a copy in the log has the checksum that its tag announces.
    pub fn copy_is_sound(&self, checksum: u32, sequence: u32, copy: &[u8]) -> bool {
        let crc = |seed| crc32c(crc32c(seed, &sequence.to_be_bytes()), copy);
        match self.superblock.checksum {
            Checksum::None | Checksum::Transaction => true,
            Checksum::Tag16(seed) => checksum == crc(seed) & 0xffff,
            Checksum::Tag32(seed) => checksum == crc(seed),
        }
    }

    /// The checksum at the end of a descriptor or revoke block covers the block with zeros in its place.
    fn tail_is_sound(&self, block: &[u8]) -> bool {
        let Some(seed) = self.superblock.seed() else { return true };
        let Some((body, tail)) = block.split_last_chunk::<4>() else { return false };
        crc32c(crc32c(seed, body), &[0; 4]) == u32::from_be_bytes(*tail)
    }

    /// The checksum of a commit block covers the block with zeros in its place. The kernel also takes one that covers
    /// the header and zeros, of a block whose remainder was not overwritten.
    fn commit_is_sound(&self, block: &[u8], commit: &CommitHeader) -> bool {
        /// The header with the padding that it has in memory.
        const HEADER: usize = size_of::<CommitHeader>().next_multiple_of(8);
        let Some(seed) = self.superblock.seed() else { return true };
        let [found, ..] = commit.h_chksum;
        let mut zeroed = *commit;
        zeroed.h_chksum[0].set(0);
        let seed = crc32c(seed, zeroed.as_bytes());
        let rest = block.get(size_of::<CommitHeader>()..).unwrap_or_default();
        let padding = block.get(size_of::<CommitHeader>()..HEADER).unwrap_or_default();
        found.get() == crc32c(seed, rest) || {
            let zeros = vec![0; block.len().saturating_sub(HEADER)];
            found.get() == crc32c(crc32c(seed, padding), &zeros)
        }
    }
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        let high = |bytes: &[u8]| U32::read_from_prefix(bytes).map_or(0, |(high, _)| u64::from(high.get()) << 32);
        let (tag, flags, mut rest) = match self.checksum {
            Checksum::Tag32(_) => {
                let (raw, rest) = JournalBlockTag3::ref_from_prefix(self.bytes).ok()?;
                // The upper half of the flags is unused.
                let flags = raw.t_flags.get() as u16;
                let upper = if self.wide { high(raw.t_blocknr_high.as_bytes()) } else { 0 };
                let block = upper | u64::from(raw.t_blocknr.get());
                (Tag { block, escaped: false, checksum: raw.t_checksum.get() }, flags, rest)
            }
            checksum => {
                let (raw, rest) = JournalBlockTag::ref_from_prefix(self.bytes).ok()?;
                let unused = if matches!(checksum, Checksum::Tag16(_)) { 2 } else { 0 };
                let more = if self.wide { 4 } else { 0 };
                let (after, rest) = rest.split_at_checked(more + unused)?;
                let block = after.get(..more).map_or(0, high) | u64::from(raw.t_blocknr.get());
                (Tag { block, escaped: false, checksum: raw.t_checksum.get().into() }, raw.t_flags.get(), rest)
            }
        };
        if flags & JBD2_FLAG_SAME_UUID == 0 {
            rest = rest.get(TAG_UUID_SIZE..).unwrap_or_default();
        }
        self.bytes = if flags & JBD2_FLAG_LAST_TAG == 0 { rest } else { &[] };
        Some(Tag { escaped: flags & JBD2_FLAG_ESCAPE != 0, ..tag })
    }
}

impl Iterator for Revokes<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let (number, rest) = self.bytes.split_at_checked(if self.wide { 8 } else { 4 })?;
        self.bytes = rest;
        Some(number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}
