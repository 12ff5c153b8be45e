//! Where a byte of the guest's disk lies: L1 table, L2 table, cluster, subcluster.

use std::sync::Arc;

use super::compressed::{Compressed, Descriptor};
use super::header::{Header, L1Table};
use super::layout::*;
use super::pages::Pages;
use super::write::Facts;
use crate::block_map::{self, Map, Mapping};
use crate::cache::TABLE_PAGE;
use crate::disk::Page;
use crate::{Budget, Disk, Error, Result, corrupt};

/// Consecutive bytes of the guest's disk with one mapping.
type Run = block_map::Run<Descriptor>;

/// The tables of one image, active or of a snapshot.
pub struct Tables {
    /// The image file in pages, across which no table entry lies: both levels of tables are kept here.
    pub(super) pages: Pages,
    pub(super) l1: L1Table,
    pub(super) cluster_bits: u32,
    pub(super) extended: bool,
    /// Version 2 has no zero clusters.
    pub(super) zero_flag: bool,
    pub(super) external: bool,
    compressed: Compressed,
    /// What writers need to know.
    pub(super) facts: Facts,
    pub(super) budget: Budget,
}

impl Tables {
    /// The tables in `file` that start at `l1`.
    pub fn new(file: &Arc<dyn Disk>, header: &Header, l1: L1Table, budget: &Budget) -> Self {
        // An L2 table is a cluster. Where it is small, what surrounds it is data, which would only fill the cache.
        let page_size = TABLE_PAGE.min(1 << header.cluster_bits);
        Self {
            pages: Pages::new(budget.tables(file.clone(), page_size)),
            l1,
            cluster_bits: header.cluster_bits,
            extended: header.extended_l2,
            zero_flag: header.version >= 3,
            external: header.data_file.is_some(),
            compressed: Compressed::new(file.clone(), header.compression, 1 << header.cluster_bits, budget),
            facts: Facts::of(header),
            budget: budget.clone(),
        }
    }

    pub(super) fn cluster_size(&self) -> u64 {
        1 << self.cluster_bits
    }

    pub(super) fn l2_entry_size(&self) -> u64 {
        if self.extended { 16 } else { 8 }
    }

    /// How many bits of an offset one L1 entry covers.
    pub(super) fn l1_shift(&self) -> u32 {
        2 * self.cluster_bits - if self.extended { 4 } else { 3 }
    }

    /// The run from `offset` inside the cluster that the L2 entry at byte `at` of the file describes.
    fn cluster_run(&self, entry: &[u8], at: u64, offset: u64) -> Result<Run> {
        let (word, bitmap) = entry.split_at(8);
        let word = be64(word);
        let inside = offset % self.cluster_size();
        let len = self.cluster_size() - inside;
        if word & L2_COMPRESSED != 0 {
            if self.external {
                return Err(corrupt!("L2 entry", at, "a compressed cluster, but the image has an external data file"));
            }
            return Ok(Run { len, mapping: Mapping::Packed(self.descriptor(word)) });
        }
        let host = self.host_at(word, at, offset)?;
        if self.extended {
            return self.subcluster_run(host, be64(bitmap), at, offset);
        }
        let mapping = match host {
            _ if word & L2_ZERO != 0 && self.zero_flag => Mapping::Zero,
            _ if word & L2_ZERO != 0 => {
                return Err(corrupt!("L2 entry", at, "a zero cluster, which version 2 does not have"));
            }
            Some(host) => Mapping::Data(host),
            None => Mapping::Parent,
        };
        Ok(Run { len, mapping })
    }

    /// As [`Self::cluster_run`], for the bitmap of a standard cluster that has a place at `host`, or none.
    fn subcluster_run(&self, host: Option<u64>, bitmap: u64, at: u64, offset: u64) -> Result<Run> {
        let (allocated, zero) = (bitmap as u32, (bitmap >> 32) as u32);
        if allocated & zero != 0 {
            return Err(corrupt!("L2 entry", at, "subclusters that are both allocated and zero: bitmap {bitmap:#x}"));
        }
        let shift = self.cluster_bits - SUBCLUSTERS.trailing_zeros();
        let inside = offset % self.cluster_size();
        let first = (inside >> shift) as u32;
        let count = same_bits(allocated, first).min(same_bits(zero, first));
        let end = u64::from(first + count) << shift;
        let mapping = match host {
            None if allocated != 0 => {
                return Err(corrupt!(
                    "L2 entry",
                    at,
                    "allocated subclusters of an unallocated cluster: bitmap {bitmap:#x}"
                ));
            }
            _ if zero >> first & 1 == 1 => Mapping::Zero,
            Some(host) if allocated >> first & 1 == 1 => Mapping::Data(host),
            _ => Mapping::Parent,
        };
        Ok(Run { len: end - inside, mapping })
    }

    /// The byte of the data file for `offset` by a standard cluster's entry, if the cluster has a place there. The
    /// place is checked even where zeros make it unimportant, as QEMU does.
    pub(super) fn host_at(&self, word: u64, at: u64, offset: u64) -> Result<Option<u64>> {
        let host = word & ENTRY_OFFSET;
        // Offset 0 is a place in an external data file only.
        if host == 0 && !(self.external && word & L2_COPIED != 0) {
            return Ok(None);
        }
        let inside = offset % self.cluster_size();
        if !host.is_multiple_of(self.cluster_size()) {
            return Err(corrupt!("L2 entry", at, "cluster at byte {host:#x}, want a multiple of the cluster size"));
        }
        if self.external && host != offset - inside {
            let want = offset - inside;
            return Err(corrupt!(
                "L2 entry",
                at,
                "cluster at byte {host:#x} of the external data file, want {want:#x}"
            ));
        }
        Ok(Some(host + inside))
    }

    /// The descriptor of a compressed cluster: `x = 62 - (cluster_bits - 8)` bits of offset, then the sectors.
    pub(super) fn descriptor(&self, word: u64) -> Descriptor {
        let offset_bits = 62 - (self.cluster_bits - 8);
        let offset = word & ((1 << offset_bits) - 1);
        let more_sectors = (word & (L2_COMPRESSED - 1)) >> offset_bits;
        Descriptor { offset, len: (more_sectors + 1) * COMPRESSED_SECTOR - offset % COMPRESSED_SECTOR }
    }

    /// The cached page with the entry of `len` bytes at `at`.
    pub(super) fn page_at(&self, what: &str, at: u64, len: u64) -> Result<Page> {
        match at.checked_add(len) {
            Some(end) if end <= self.pages.size() => self.pages.page_at(at),
            _ => Err(self.past_end(what, at)),
        }
    }

    /// The part of `page` from byte `at` of the file.
    pub(super) fn entries_from<'a>(&self, page: &'a [u8], at: u64) -> &'a [u8] {
        page.get((at % self.pages.page_size()) as usize..).unwrap_or_default()
    }

    pub(super) fn past_end(&self, what: &str, at: u64) -> Error {
        let size = self.pages.size();
        corrupt!(what, at, "lies past the end of the file at byte {size:#x}: truncated?")
    }
}

impl Map for Tables {
    const FORMAT: &'static str = "qcow2";
    const BLOCK: &'static str = "cluster";
    const STEPS: usize = 64;

    type Packed = Descriptor;

    /// By the entries of one page.
    fn run_at(&self, offset: u64, want: u64) -> Result<Run> {
        let covered = 1u64 << self.l1_shift();
        let l1_at = self.l1.offset + (offset >> self.l1_shift()) * 8;
        let page = self.page_at("L1 table", l1_at, 8)?;
        let mut entries = self.entries_from(&page, l1_at).chunks_exact(8).map(be64);
        let l2_offset = match entries.next() {
            Some(entry) => entry & ENTRY_OFFSET,
            None => return Err(self.past_end("L1 table", l1_at)),
        };
        // Reserved bits of both levels are ignored, as QEMU does.
        if l2_offset == 0 {
            // The L1 table ends where the disk does, so entries behind it are cut off by `want`.
            let mut len = covered - offset % covered;
            for _ in entries.take_while(|entry| entry & ENTRY_OFFSET == 0) {
                if len >= want {
                    break;
                }
                len += covered;
            }
            return Ok(Run { len: len.min(want), mapping: Mapping::Parent });
        }
        if !l2_offset.is_multiple_of(self.cluster_size()) {
            return Err(corrupt!(
                "L1 entry",
                l1_at,
                "L2 table at byte {l2_offset:#x}, want a multiple of the cluster size"
            ));
        }

        let in_table = offset % covered;
        let index = in_table >> self.cluster_bits;
        let mut at = l2_offset + index * self.l2_entry_size();
        let page = self.page_at("L2 table", at, self.l2_entry_size())?;
        let mut entries = self.entries_from(&page, at).chunks_exact(self.l2_entry_size() as usize);
        let want = want.min(covered - in_table);
        let Some(entry) = entries.next() else { return Err(self.past_end("L2 table", at)) };
        let first = self.cluster_run(entry, at, offset)?;
        Ok(first.joined(want, usize::MAX, |done| {
            // Subclusters: the next run may start inside the same cluster.
            if !(offset + done).is_multiple_of(self.cluster_size()) {
                return None;
            }
            at += self.l2_entry_size();
            self.cluster_run(entries.next()?, at, offset + done).ok()
        }))
    }

    fn unpack(&self, at: Descriptor, buf: &mut [u8], offset: u64) -> Result<()> {
        self.compressed.read_at(at, buf, offset)
    }
}

/// How many bits of `bits` from bit `first` on are equal.
pub(super) fn same_bits(bits: u32, first: u32) -> u32 {
    let rest = bits >> first;
    let same = if rest & 1 == 1 { rest.trailing_ones() } else { rest.trailing_zeros() };
    same.min(SUBCLUSTERS - first)
}

/// The first 8 bytes of an entry as a number.
pub(super) fn be64(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_be_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_subclusters_end_where_the_bits_change() {
        assert_eq!(same_bits(0, 0), 32);
        assert_eq!(same_bits(u32::MAX, 0), 32);
        assert_eq!(same_bits(u32::MAX, 31), 1);
        assert_eq!(same_bits(0, 31), 1);
        assert_eq!(same_bits(0b0111_0000, 0), 4);
        assert_eq!(same_bits(0b0111_0000, 5), 2);
        assert_eq!(same_bits(0b0111_0000, 7), 25);
    }
}
