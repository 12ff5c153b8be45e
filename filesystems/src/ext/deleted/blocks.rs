//! Copies of single blocks: those in the journal by block and by owner, and extent blocks that survive in free space.

use std::collections::HashMap;

use super::contents::Contents;
use super::rewind::{Rewind, Start};
use crate::ext::checksum::crc32c;
use crate::ext::layout::{EXTENT_MAGIC, ExtentHeader};
use crate::room::Room;
use zerocopy::FromBytes;

/// How many extent blocks whose place is not known are kept track of (ours): 32 bytes each.
const MAX_LOOSE: usize = 1 << 20;

/// What a copy takes, about: a list of its own, in which there is room for four.
const COPY: usize = 4 * size_of::<BlockCopy>() + 80;

/// A copy of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockCopy {
    /// Where it lies, in bytes.
    pub(super) at: u64,
    pub(super) order: Option<i64>,
    pub(super) sequence: Option<u32>,
    /// It began with the journal's magic number.
    pub(super) in_journal: bool,
}

/// An extent block with the seed that its checksum proves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loose {
    pub(super) copy: BlockCopy,
    pub(super) depth: u16,
    /// The first block of the file that it maps.
    pub(super) first: u32,
}

/// All copies that may belong to a deleted file.
pub(super) struct Blocks {
    /// Copies in the journal by block number, in the order of the scan.
    pub(super) by_block: HashMap<u64, Vec<BlockCopy>>,
    /// Extent blocks by the inode seed that they verify for.
    pub(super) by_seed: HashMap<u32, Vec<Loose>>,
    /// The content of blocks that map others. Of copies in the journal the first bytes may be escaped: maps never are.
    pub(super) contents: Contents,
    loose: usize,
    room: Room,
    pub(super) overflow: bool,
    rewind: Rewind,
    starts: HashMap<usize, Start>,
}

impl Blocks {
    /// None yet. Those that the room does not hold are passed over.
    pub(super) fn new(room: Room) -> Self {
        Self {
            by_block: HashMap::new(),
            by_seed: HashMap::new(),
            contents: Contents::default(),
            loose: 0,
            room,
            overflow: false,
            rewind: Rewind::new(),
            starts: HashMap::new(),
        }
    }

    /// Takes a copy of a block from the journal.
    pub(super) fn add_copy(&mut self, block: u64, copy: BlockCopy) {
        if !self.room.take(COPY) {
            self.overflow = true;
            return;
        }
        self.by_block.entry(block).or_default().push(copy);
    }

    /// The register that `body` started from, if it ended in `checksum`.
    pub(super) fn start(&mut self, body: &[u8], checksum: u32) -> u32 {
        let rewind = &self.rewind;
        let start = self.starts.entry(body.len()).or_insert_with(|| rewind.by(body.len()));
        start.of(checksum, crc32c(0, body))
    }

    /// The register before these bytes went in.
    pub(super) fn before(&self, register: u32, bytes: &[u8]) -> u32 {
        self.rewind.bytes(register, bytes)
    }

    /// Takes an extent block wherever it lies; returns the seed that it verifies for. Any block verifies for some
    /// seed: it proves something only where an inode has that seed.
    pub(super) fn extent_seed(&mut self, block: &[u8]) -> Option<(u32, u16, u32)> {
        let (header, rest) = ExtentHeader::ref_from_prefix(block).ok()?;
        let (entries, most) = (header.eh_entries.get(), header.eh_max.get());
        if header.eh_magic.get() != EXTENT_MAGIC || entries == 0 || entries > most || header.eh_depth.get() > 4 {
            return None;
        }
        let end = size_of::<ExtentHeader>() * (usize::from(most) + 1);
        let checksum = u32::from_le_bytes(*block.get(end..)?.first_chunk()?);
        let first = u32::from_le_bytes(*rest.first_chunk()?);
        Some((self.start(&block[..end], checksum), header.eh_depth.get(), first))
    }

    pub(super) fn add_loose(&mut self, seed: u32, loose: Loose) {
        if self.loose >= MAX_LOOSE || !self.room.take(2 * size_of::<Loose>() + 64) {
            self.overflow = true;
            return;
        }
        self.loose += 1;
        self.by_seed.entry(seed).or_default().push(loose);
    }
}
