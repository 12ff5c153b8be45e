//! The tables that say where the chunks lie: found when the image is opened, read and checked when they are needed.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use adler2::Adler32;

use super::layout::*;
use crate::disk::Cached;
use crate::length::at_most;
use crate::{Disk, Error, Result, corrupt};

/// How much of a table is read at a time while its checksum is computed, in bytes.
const PIECE: usize = 64 << 10;

/// A run of chunks in one segment. Offsets are in bytes from the start of all segments put together.
pub struct Table {
    /// The number of the segment, from 1.
    segment: u32,
    /// Where the segment starts.
    start: u64,
    /// The number of its first chunk in the disk.
    first: u64,
    count: u32,
    /// Where the entries lie.
    entries: u64,
    /// Where their copy lies.
    copy: Option<u64>,
    /// What the entries count from.
    base: u64,
    /// Where the chunks lie.
    data: Range<u64>,
    /// Whether the section has room for a checksum of the entries.
    has_checksum: bool,
    /// Or what is wrong: a damaged table is not read again for each of its chunks.
    checked: OnceLock<std::result::Result<Checked, Arc<Error>>>,
}

/// Entries that are as their writer left them.
#[derive(Clone, Copy)]
struct Checked {
    entries: u64,
    /// The first entry that is an offset of 32 bits, without the bit that says compressed.
    wide: u32,
}

/// Where a chunk lies.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The first byte.
    pub at: u64,
    /// How many bytes there are for it; at least 1. It may end before.
    pub room: u64,
    pub compressed: bool,
}

impl Table {
    /// A table in segment number `segment`, which starts at `start`. `entries` and `base` count from there.
    pub fn new(segment: u32, start: u64, first: u64, count: u32, entries: u64, base: u64, data: Range<u64>) -> Self {
        let (entries, base) = (start + entries, start + base);
        let checked = OnceLock::new();
        Self { segment, start, first, count, entries, copy: None, base, data, has_checksum: true, checked }
    }

    pub fn with_checksum(self, has_checksum: bool) -> Self {
        Self { has_checksum, ..self }
    }

    /// Notes where its copy lies. One that is of another shape is no copy.
    pub fn set_copy(&mut self, copy: &Self) {
        if (copy.count, copy.base, copy.has_checksum) == (self.count, self.base, self.has_checksum) {
            self.copy = Some(copy.entries);
        }
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn segment(&self) -> u32 {
        self.segment
    }

    pub fn start(&self) -> u64 {
        self.start
    }

    pub fn first(&self) -> u64 {
        self.first
    }

    /// The place of chunk `index` of this table, which is less than its count.
    ///
    /// `file` is all segments put together, and `tables` keeps what is read of their tables; `most` is the most bytes that
    /// a chunk takes when it is stored.
    pub fn place(&self, file: &dyn Disk, tables: &Cached, index: u32, most: u64) -> Result<Place> {
        let checked = self.checked(file, most)?;
        let mut pair = [0; 2 * size_of::<u32>()];
        let is_last = index + 1 == self.count;
        let len = if is_last { pair.len() / 2 } else { pair.len() };
        let at = checked.entries + u64::from(index) * ENTRY_SIZE;
        tables.read_at(&mut pair[..len], at)?;
        let [low, high] = [0, 4].map(|at| u32::from_le_bytes([pair[at], pair[at + 1], pair[at + 2], pair[at + 3]]));
        let (offset, compressed) = split(low, index >= checked.wide);
        let chunk = self.base + u64::from(offset);
        if !self.data.contains(&chunk) {
            let (start, end) = (self.data.start - self.start, self.data.end - self.start);
            let chunk = chunk - self.start;
            return Err(corrupt!(
                "EWF table entry",
                at - self.start,
                "a chunk at {chunk:#x}, but the chunks lie from {start:#x} to {end:#x}"
            ));
        }
        // Chunks lie in their order; should one not, it ends by itself or at the size of a chunk.
        let next = self.base + u64::from(split(high, index + 1 >= checked.wide).0);
        let end = if is_last || next <= chunk { self.data.end } else { next.min(self.data.end) };
        Ok(Place { at: chunk, room: end - chunk, compressed })
    }

    /// The entries that are right, or the error of the table, if those of its copy are wrong too.
    fn checked(&self, file: &dyn Disk, most: u64) -> Result<Checked> {
        if let Some(checked) = self.checked.get() {
            return checked.clone().map_err(Error::Shared);
        }
        let checked = match (self.check(file, self.entries, most), self.copy) {
            (Err(first @ Error::Corrupt { .. }), Some(copy)) => match self.check(file, copy, most) {
                Ok(checked) => {
                    log::warn!("segment {}: {first}; the copy of the table is used", self.segment);
                    Ok(checked)
                }
                Err(Error::Corrupt { .. }) => Err(first),
                Err(error) => return Err(error),
            },
            // What the host cannot read now, it may read later.
            (Err(error), _) if !matches!(error, Error::Corrupt { .. }) => return Err(error),
            (checked, _) => checked,
        };
        self.checked.get_or_init(|| checked.map_err(Arc::new)).clone().map_err(Error::Shared)
    }

    /// Reads the entries at `entries` once, compares their checksum, and finds out where they become wide.
    fn check(&self, file: &dyn Disk, entries: u64, most: u64) -> Result<Checked> {
        let end = entries + u64::from(self.count) * ENTRY_SIZE;
        let (mut sum, mut wide, mut before) = (Adler32::new(), u32::MAX, 0);
        let mut buf = vec![0; at_most(end - entries, PIECE)];
        let (mut at, mut index) = (entries, 0u32);
        let mut first = None;
        while at < end {
            let piece = at_most(end - at, buf.len());
            let piece = &mut buf[..piece];
            file.read_at(piece, at)?;
            sum.write_slice(piece);
            for entry in piece.as_chunks().0 {
                let raw = u32::from_le_bytes(*entry);
                let offset = split(raw, index >= wide).0;
                // EnCase 6.7 let the offset run into the topmost bit where the chunks of a table passed 2 GiB.
                if offset < before && raw >= before && u64::from(raw - before) <= most {
                    wide = index;
                }
                before = split(raw, index >= wide).0;
                first = first.or(Some(before));
                index += 1;
            }
            at += piece.len() as u64;
        }
        // Where the chunks follow the entries, the first of them may stand where the checksum would.
        let in_place = first.is_some_and(|first| self.base + u64::from(first) == end);
        if self.has_checksum && !in_place {
            let mut stored = [0; size_of::<u32>()];
            file.read_at(&mut stored, end)?;
            let (stored, computed) = (u32::from_le_bytes(stored), sum.checksum());
            if stored != computed {
                return Err(corrupt!(
                    "EWF table",
                    entries - self.start,
                    "checksum of its entries {stored:#010x}, computed is {computed:#010x}"
                ));
            }
        }
        Ok(Checked { entries, wide })
    }
}

/// An entry as offset, and whether the chunk is compressed.
fn split(entry: u32, wide: bool) -> (u32, bool) {
    if wide { (entry, false) } else { (entry & !COMPRESSED, entry & COMPRESSED != 0) }
}
