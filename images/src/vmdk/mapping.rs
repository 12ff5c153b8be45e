//! Where a byte of a sparse extent lies: grain directory, grain table, grain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::compressed::Compressed;
use super::header::{Entries, Header};
use super::layout::*;
use crate::block_map::{self, Map, Mapping};
use crate::cache::TABLE_PAGE;
use crate::disk::{Cached, Page};
use crate::length::{in_memory, remainder};
use crate::{Budget, Disk, Error, Result, corrupt};

/// Consecutive bytes of the extent with one mapping; a compressed grain is found by its first byte in the file.
type Run = block_map::Run<u64>;

/// What an entry of the grain directory says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    Unallocated,
    Zero,
    /// The grain table at this offset of the file.
    At(u64),
}

/// The tables of one sparse extent.
pub struct Tables {
    /// The file in pages of [`TABLE_PAGE`], across which no table entry lies: both levels of tables are kept here.
    file: Cached,
    header: Header,
    /// The grains, if they are compressed.
    compressed: Option<Compressed>,
    /// Whether it was said that the redundant grain directory is needed.
    warned: AtomicBool,
}

impl Tables {
    /// The tables in `file` that `header` describes.
    pub fn new(file: &Arc<dyn Disk>, header: Header, budget: &Budget) -> Self {
        let compressed = header.packing.map(|packing| Compressed::new(file.clone(), packing, &header, budget));
        Self { file: budget.tables(file.clone(), TABLE_PAGE), header, compressed, warned: AtomicBool::new(false) }
    }

    /// The run from `offset` by the entries of the grain table at byte `table`, as far as they are in one page.
    fn table_run(&self, table_at: u64, offset: u64, want: u64) -> Result<Run> {
        let Header { grain, entries, .. } = self.header;
        let first = offset % self.header.table_covers() / grain;
        // No overflow: the table was found to lie inside the file.
        let mut at = table_at + first * entries.size();
        let page = self.page_at("grain table", at, entries.size())?;
        let mut table = entries_from(&page, at).chunks_exact(in_memory(entries.size()));
        let Some(entry) = table.next() else { return Err(self.past_end("grain table", at)) };
        let first = self.grain_run(entry, at, offset)?;
        Ok(first.joined(want, usize::MAX, |done| {
            at += entries.size();
            self.grain_run(table.next()?, at, offset + done).ok()
        }))
    }

    /// The run from `offset` inside the grain that the entry at byte `at` of the file describes.
    fn grain_run(&self, entry: &[u8], at: u64, offset: u64) -> Result<Run> {
        let inside = offset % self.header.grain;
        let len = self.header.grain - inside;
        let place = match self.header.entries {
            Entries::Sectors { zeroed } => match u64::from(le32(entry)) {
                0 => return Ok(Run { len, mapping: Mapping::Parent }),
                GTE_ZEROED if zeroed => return Ok(Run { len, mapping: Mapping::Zero }),
                sector => sector * SECTOR,
            },
            Entries::Indexes { grains, .. } => {
                let entry = le64(entry);
                match entry >> SE_GTE_KIND_SHIFT {
                    SE_GTE_UNALLOCATED if entry == 0 => return Ok(Run { len, mapping: Mapping::Parent }),
                    SE_GTE_UNMAPPED | SE_GTE_ZERO => return Ok(Run { len, mapping: Mapping::Zero }),
                    SE_GTE_ALLOCATED => {
                        // The upper 12 of the 60 bits are the lowest of the index.
                        let index = (entry >> 48 & 0xfff) | (entry & 0xffff_ffff_ffff) << 12;
                        match index.checked_mul(self.header.grain).and_then(|place| place.checked_add(grains)) {
                            Some(place) => place,
                            None => return Err(corrupt!("grain table entry", at, "{entry:#x}: grain {index:#x}")),
                        }
                    }
                    _ => return Err(corrupt!("grain table entry", at, "{entry:#x}, which has no meaning")),
                }
            }
        };
        let mapping = match self.compressed {
            Some(_) => Mapping::Packed(place),
            None => match place.checked_add(inside) {
                Some(place) => Mapping::Data(place),
                None => return Err(self.past_end("grain", place)),
            },
        };
        Ok(Run { len, mapping })
    }

    /// What entry `index` of the grain directory says, and for how many entries from there on, at least 1, if it is
    /// no table. Falls back to the redundant directory where the entry is damaged.
    fn table_at(&self, index: u64) -> Result<(Table, u64)> {
        let error = match self.table_in(self.header.directory, index) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let Some(redundant) = self.header.redundant else { return Err(error) };
        match self.table_in(redundant, index) {
            // A directory without the table is no second opinion on where it is.
            Ok((table @ Table::At(_), same)) => {
                if !self.warned.swap(true, Ordering::Relaxed) {
                    log::warn!("{}: {error}; the redundant grain directory is used", self.file);
                }
                Ok((table, same))
            }
            _ => Err(error),
        }
    }

    fn table_in(&self, directory: u64, index: u64) -> Result<(Table, u64)> {
        let size = self.header.entries.size();
        // No overflow: the directory lies inside the file.
        let at = directory + index * size;
        let page = self.page_at("grain directory", at, size)?;
        let mut entries = entries_from(&page, at).chunks_exact(in_memory(size));
        let Some(entry) = entries.next() else { return Err(self.past_end("grain directory", at)) };
        let table = self.table(entry, at)?;
        let same = match table {
            Table::At(place) => {
                let end = self.header.table_entries.checked_mul(size).and_then(|len| place.checked_add(len));
                if end.is_none_or(|end| end > self.file.size()) {
                    return Err(self.past_end("grain table", place));
                }
                1
            }
            // Entries past the end of the directory do no harm: the extent ends before what they would cover.
            _ => 1 + entries.take_while(|next| next == &entry).count() as u64,
        };
        Ok((table, same))
    }

    fn table(&self, entry: &[u8], at: u64) -> Result<Table> {
        Ok(match self.header.entries {
            Entries::Sectors { zeroed } => match u64::from(le32(entry)) {
                0 => Table::Unallocated,
                GTE_ZEROED if zeroed => Table::Zero,
                sector => Table::At(sector * SECTOR),
            },
            Entries::Indexes { tables, .. } => match le64(entry) {
                0 => Table::Unallocated,
                entry if entry >> 32 == SE_GDE_ALLOCATED => {
                    let len = SE_GRAIN_TABLE_SIZE * SECTOR;
                    // No overflow: both are below 2^63.
                    Table::At(tables + (entry & u64::from(u32::MAX)) * len)
                }
                entry => return Err(corrupt!("grain directory entry", at, "{entry:#x}, which has no meaning")),
            },
        })
    }

    /// The cached page with the entry of `len` bytes at `at`.
    fn page_at(&self, what: &str, at: u64, len: u64) -> Result<Page> {
        match at.checked_add(len) {
            Some(end) if end <= self.file.size() => self.file.page_at(at),
            _ => Err(self.past_end(what, at)),
        }
    }

    fn past_end(&self, what: &str, at: u64) -> Error {
        corrupt!(what, at, "past the end of the file at byte {:#x}: truncated?", self.file.size())
    }
}

impl Map for Tables {
    const FORMAT: &'static str = "VMDK";
    const BLOCK: &'static str = "grain";
    const STEPS: usize = 64;

    type Packed = u64;

    /// By the entries of one page.
    fn run_at(&self, offset: u64, want: u64) -> Result<Run> {
        let covered = self.header.table_covers();
        let in_table = offset % covered;
        let (table, same) = self.table_at(offset / covered)?;
        let mapping = match table {
            Table::At(table) => return self.table_run(table, offset, want.min(covered - in_table)),
            Table::Unallocated => Mapping::Parent,
            Table::Zero => Mapping::Zero,
        };
        // No overflow: a page has at most 1024 entries, and a table covers at most 2^42 bytes.
        Ok(Run { len: (covered - in_table + (same - 1) * covered).min(want), mapping })
    }

    fn unpack(&self, place: u64, buf: &mut [u8], offset: u64) -> Result<()> {
        match &self.compressed {
            Some(compressed) => compressed.read_at(place, buf, offset),
            None => Err(corrupt!("grain", place, "compressed, but the extent is not")),
        }
    }
}

/// The part of `page` from byte `at` of the file.
fn entries_from(page: &[u8], at: u64) -> &[u8] {
    page.get(remainder(at, TABLE_PAGE)..).unwrap_or_default()
}

fn le32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn le64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}
