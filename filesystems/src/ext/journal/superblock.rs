//! The journal's own superblock, checked.

use images::{Result, corrupt, unsupported};
use zerocopy::FromBytes;

use super::layout::*;
use crate::ext::checksum::crc32c;

/// The largest journal in blocks: mke2fs makes none that is larger.
const MAX_BLOCKS: u32 = 10_240_000;

/// The incompatible features that are understood here.
const KNOWN_INCOMPAT: u32 = JBD2_FEATURE_INCOMPAT_REVOKE
    | JBD2_FEATURE_INCOMPAT_64BIT
    | JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT
    | JBD2_FEATURE_INCOMPAT_CSUM_V2
    | JBD2_FEATURE_INCOMPAT_CSUM_V3
    | JBD2_FEATURE_INCOMPAT_FAST_COMMIT;

/// How the journal's blocks are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Not at all.
    None,
    /// v1: a CRC-32 of the whole transaction in its commit block.
    Transaction,
    /// v2: CRC-32C of every block, and its lower 16 bits in each tag. The seed covers the journal's UUID.
    Tag16(u32),
    /// v3: as v2 with all 32 bits in each tag.
    Tag32(u32),
}

/// What the journal's superblock says, with every block number inside the journal.
#[derive(Clone, Debug)]
pub struct Superblock {
    /// The block size in bytes; the file system's.
    pub block_size: u32,
    /// The first block of the log.
    pub first: u32,
    /// The block after the last one of the log.
    pub last: u32,
    /// The block after the fast-commit area, which begins one block after `last`; `None` without one.
    pub fast_commit_end: Option<u32>,
    /// How many blocks a fast-commit area has, if there is one.
    pub fast_commit_blocks: u32,
    /// The transaction that replay begins with.
    pub sequence: u32,
    /// The block that replay begins with; `None` if the journal is empty.
    pub start: Option<u32>,
    /// Whether block numbers have 64 bits.
    pub wide: bool,
    /// Whether a commit block may be on the disk before the rest of its transaction.
    pub async_commit: bool,
    /// How blocks are checked.
    pub checksum: Checksum,
}

impl Superblock {
    /// Reads block 0 of the journal, which lies at byte `at` of the disk, in a file system with blocks of `block_size`
    /// bytes and a journal of `length` blocks. `block` holds at least 1024 bytes.
    pub fn parse(block: &[u8], at: u64, block_size: u32, length: u32) -> Result<Self> {
        const WHAT: &str = "journal superblock";
        let Ok((raw, _)) = JournalSuperblock::ref_from_prefix(block) else {
            return Err(corrupt!(WHAT, at, "{} bytes, want 1024", block.len()));
        };
        let header = &raw.s_header;
        if header.h_magic.get() != JBD2_MAGIC_NUMBER {
            return Err(corrupt!(WHAT, at, "magic {:#x}, want {JBD2_MAGIC_NUMBER:#x}", header.h_magic));
        }
        // A version 1 superblock ends before the feature fields.
        let (compat, incompat) = match header.h_blocktype.get() {
            JBD2_SUPERBLOCK_V1 => (0, 0),
            JBD2_SUPERBLOCK_V2 => (raw.s_feature_compat.get(), raw.s_feature_incompat.get()),
            other => return Err(corrupt!(WHAT, at, "block type {other}, want 3 or 4")),
        };
        let unknown = incompat & !KNOWN_INCOMPAT;
        if unknown != 0 {
            return Err(unsupported!("the journal uses the unknown incompatible feature {unknown:#x}"));
        }
        let checksum = Self::checksum(raw, at, compat, incompat)?;
        if raw.s_blocksize.get() != block_size {
            return Err(corrupt!(WHAT, at, "blocks of {} bytes, want {block_size}", raw.s_blocksize));
        }
        let end = raw.s_maxlen.get();
        if end > MAX_BLOCKS {
            return Err(corrupt!(WHAT, at, "{end} blocks, a journal has at most {MAX_BLOCKS}"));
        }
        if end > length {
            return Err(corrupt!(WHAT, at, "{end} blocks, but the journal has {length}"));
        }
        let blocks = match raw.s_num_fc_blks.get() {
            0 => JBD2_DEFAULT_FAST_COMMIT_BLOCKS,
            blocks => blocks,
        };
        let (last, fast_commit_end) = if incompat & JBD2_FEATURE_INCOMPAT_FAST_COMMIT == 0 {
            (end, None)
        } else {
            match end.checked_sub(blocks) {
                Some(last) if last >= JBD2_MIN_JOURNAL_BLOCKS => (last, Some(end)),
                _ => return Err(corrupt!(WHAT, at, "{blocks} fast-commit blocks leave no log in {end} blocks")),
            }
        };
        let (first, start) = (raw.s_first.get(), raw.s_start.get());
        if first == 0 || first >= last {
            return Err(corrupt!(WHAT, at, "the log begins at block {first} and ends at {last}"));
        }
        if start != 0 && !(first..last).contains(&start) {
            return Err(corrupt!(WHAT, at, "replay begins at block {start}, outside of {first}..{last}"));
        }
        Ok(Self {
            block_size,
            first,
            last,
            fast_commit_end,
            fast_commit_blocks: blocks,
            sequence: raw.s_sequence.get(),
            start: (start != 0).then_some(start),
            wide: incompat & JBD2_FEATURE_INCOMPAT_64BIT != 0,
            async_commit: incompat & JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT != 0,
            checksum,
        })
    }

    /// Sets the fast-commit area apart in an empty journal. The kernel takes the feature from the journal when it empties
    /// it, and gives it back with the next mount, if the file system has it.
    pub fn set_fast_commits_apart(&mut self) {
        let last = self.last.checked_sub(self.fast_commit_blocks).filter(|last| *last >= JBD2_MIN_JOURNAL_BLOCKS);
        if let (None, None, Some(last)) = (self.start, self.fast_commit_end, last.filter(|last| *last > self.first)) {
            (self.fast_commit_end, self.last) = (Some(self.last), last);
        }
    }

    /// The kind of checksum; the superblock's own is verified where it has one.
    fn checksum(raw: &JournalSuperblock, at: u64, compat: u32, incompat: u32) -> Result<Checksum> {
        const WHAT: &str = "journal superblock";
        let kinds = (
            compat & JBD2_FEATURE_COMPAT_CHECKSUM != 0,
            incompat & JBD2_FEATURE_INCOMPAT_CSUM_V2 != 0,
            incompat & JBD2_FEATURE_INCOMPAT_CSUM_V3 != 0,
        );
        let seed = crc32c(!0, &raw.s_uuid);
        let checksum = match kinds {
            (false, false, false) => return Ok(Checksum::None),
            (true, false, false) => return Ok(Checksum::Transaction),
            (false, true, false) => Checksum::Tag16(seed),
            (false, false, true) => Checksum::Tag32(seed),
            _ => return Err(corrupt!(WHAT, at, "more than one of checksums v1, v2 and v3")),
        };
        if raw.s_checksum_type != JBD2_CRC32C_CHKSUM {
            return Err(unsupported!("the journal uses the unknown checksum type {}", raw.s_checksum_type));
        }
        let mut copy = *raw;
        copy.s_checksum.set(0);
        let (found, want) = (raw.s_checksum.get(), crc32c(!0, zerocopy::IntoBytes::as_bytes(&copy)));
        if found != want {
            return Err(corrupt!(WHAT, at, "checksum {found:#x}, want {want:#x}"));
        }
        Ok(checksum)
    }

    /// The seed of CRC-32C under checksum v2 and v3.
    pub fn seed(&self) -> Option<u32> {
        match self.checksum {
            Checksum::Tag16(seed) | Checksum::Tag32(seed) => Some(seed),
            Checksum::None | Checksum::Transaction => None,
        }
    }

    /// The length of the log's ring in blocks.
    pub fn ring(&self) -> u32 {
        self.last - self.first
    }

    /// The block of the log that follows `block` by `count`, where the log wraps.
    pub fn after(&self, block: u32, count: u32) -> u32 {
        let from_first = u64::from(block.saturating_sub(self.first)) + u64::from(count);
        self.first + u32::try_from(from_first % u64::from(self.ring())).expect("less than the ring, which is a u32")
    }
}
