//! How often each cluster of the file is used: a table of blocks of counts.

use std::collections::BTreeSet;
use std::ops::Range;

use super::super::layout::*;
use super::super::pages::{Kind, Pages};
use super::place::Place;
use crate::{Disk, Result, corrupt, structure};

/// The counts of an image that is written.
pub struct Refcounts {
    /// The width of a count in bits: 1 to 64, a power of two.
    bits: u32,
    cluster_bits: u32,
    /// Where the table lies, in bytes.
    pub(super) table_at: u64,
    /// Where the block of each run of clusters lies, in bytes; 0 where there is none, and all counts are 0.
    pub(super) table: Vec<u64>,
    /// Which entries of the table are not in the file.
    pub(super) unwritten: BTreeSet<usize>,
    /// No cluster before this one is free.
    pub(super) hint: u64,
}

impl Refcounts {
    /// Reads the table that a header names. Fails unless each block lies inside the file, at a place of its own.
    pub fn read(file: &dyn Disk, place: Place) -> Result<Self> {
        const WHAT: &str = "refcount table";
        let Place { table: (table_at, clusters), bits, cluster_bits } = place;
        let (cluster, len) = (1u64 << cluster_bits, u64::from(clusters) << cluster_bits);
        if len > MAX_REFCOUNT_TABLE || len == 0 || table_at == 0 || !table_at.is_multiple_of(cluster) {
            let why = format!("{len} bytes at byte {table_at:#x}");
            return Err(corrupt!("qcow2 header", 48u64, "a refcount table of {why}, want whole clusters"));
        }
        let mut bytes = vec![0; len as usize];
        structure::fill(file, WHAT, &mut bytes, table_at)?;
        let entries = bytes.as_chunks::<8>().0.iter().map(|entry| u64::from_be_bytes(*entry) & REFCOUNT_BLOCK_OFFSET);
        let table: Vec<u64> = entries.collect();
        let mut blocks: Vec<u64> = table.iter().copied().filter(|block| *block != 0).collect();
        blocks.sort_unstable();
        for block in &blocks {
            if !block.is_multiple_of(cluster) || block.checked_add(cluster).is_none_or(|end| end > file.size()) {
                return Err(corrupt!(WHAT, table_at, "a block at byte {block:#x}, want a whole cluster of the file"));
            }
        }
        if let Some(twice) = blocks.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(corrupt!(WHAT, table_at, "the block at byte {:#x} is there twice", twice[0]));
        }
        Ok(Self { bits, cluster_bits, table_at, table, unwritten: BTreeSet::new(), hint: 0 })
    }

    /// The size of a cluster in bytes.
    pub fn cluster(&self) -> u64 {
        1 << self.cluster_bits
    }

    /// How many counts a block has.
    pub fn per_block(&self) -> u64 {
        (8 << self.cluster_bits) / u64::from(self.bits)
    }

    /// Where the table lies, in bytes.
    pub fn table_bytes(&self) -> Range<u64> {
        self.table_at..self.table_at + self.table.len() as u64 * 8
    }

    /// The block that has the count of `cluster`, if there is one.
    fn block_of(&self, cluster: u64) -> Option<u64> {
        let index = usize::try_from(cluster / self.per_block()).ok()?;
        self.table.get(index).copied().filter(|block| *block != 0)
    }

    /// Where in the file the count of `cluster` lies: the byte, and the first bit in it where it is less than one.
    fn place_of(&self, cluster: u64) -> Option<(u64, u32)> {
        let bit = cluster % self.per_block() * u64::from(self.bits);
        // Less than 8.
        Some((self.block_of(cluster)? + bit / 8, (bit % 8) as u32))
    }

    /// The largest count.
    fn most(&self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// The count at the start of `bytes`, from this bit on.
    fn count_in(&self, bytes: &[u8], bit: u32) -> u64 {
        match self.bits {
            0..8 => bytes.first().map_or(0, |byte| u64::from(*byte) >> bit & self.most()),
            bits => bytes.iter().take(bits as usize / 8).fold(0, |count, byte| count << 8 | u64::from(*byte)),
        }
    }

    /// How often `cluster` is used.
    pub fn get(&self, pages: &Pages, cluster: u64) -> Result<u64> {
        let Some((at, bit)) = self.place_of(cluster) else { return Ok(0) };
        let page = pages.page_at(at)?;
        Ok(self.count_in(page.get((at % pages.page_size()) as usize..).unwrap_or_default(), bit))
    }

    /// Says that `cluster` is used so often. It must have a block.
    pub fn set(&self, pages: &Pages, cluster: u64, count: u64) -> Result<()> {
        let Some((at, bit)) = self.place_of(cluster) else {
            return Err(corrupt!(
                "refcount table",
                self.table_at,
                "no block for cluster {cluster:#x}, which is in use"
            ));
        };
        pages.change(Kind::Refcounts, at, |bytes| self.put_count(bytes, bit, count))
    }

    /// Puts a count at the start of `bytes`, from this bit on.
    fn put_count(&self, bytes: &mut [u8], bit: u32, count: u64) {
        if self.bits < 8 {
            // Both fit into a byte.
            bytes[0] = bytes[0] & !((self.most() << bit) as u8) | (count << bit) as u8;
        } else {
            let len = self.bits as usize / 8;
            bytes[..len].copy_from_slice(&count.to_be_bytes()[8 - len..]);
        }
    }

    /// The bytes of a block of which the first `used` clusters are in use once.
    pub fn block_of_ones(&self, used: u64) -> Vec<u8> {
        let mut block = vec![0; 1 << self.cluster_bits];
        for cluster in 0..used.min(self.per_block()) {
            let bit = cluster * u64::from(self.bits);
            self.put_count(&mut block[(bit / 8) as usize..], (bit % 8) as u32, 1);
        }
        block
    }

    /// The first cluster from `from` on that is not used. Clusters without a block are not.
    pub fn next_free(&self, pages: &Pages, mut from: u64) -> Result<u64> {
        while let Some((at, mut bit)) = self.place_of(from) {
            let page = pages.page_at(at)?;
            let mut bytes = page.get((at % pages.page_size()) as usize..).unwrap_or_default();
            let left = self.per_block() - from % self.per_block();
            let in_page = (bytes.len() as u64 * 8 - u64::from(bit)) / u64::from(self.bits);
            if in_page == 0 {
                return Err(corrupt!("refcount block", at, "lies past the end of the file: truncated?"));
            }
            for _ in 0..left.min(in_page) {
                if self.count_in(bytes, bit) == 0 {
                    return Ok(from);
                }
                from += 1;
                bit += self.bits;
                bytes = &bytes[bit as usize / 8..];
                bit %= 8;
            }
        }
        Ok(from)
    }

    /// One use less of `cluster`; says whether none is left.
    pub fn drop_use(&mut self, pages: &Pages, cluster: u64) -> Result<bool> {
        let count = self.get(pages, cluster)?;
        let Some(less) = count.checked_sub(1) else {
            return Err(corrupt!(
                "refcount table",
                self.table_at,
                "cluster {cluster:#x} is in use, but its count is 0"
            ));
        };
        self.set(pages, cluster, less)?;
        if less == 0 {
            self.hint = self.hint.min(cluster);
        }
        Ok(less == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::{Cached, Memory};

    /// A table in the second cluster of 512 bytes, which has one block, in the third.
    fn file() -> Vec<u8> {
        let mut file = vec![0; 4 * 512];
        file[512..520].copy_from_slice(&1024u64.to_be_bytes());
        file
    }

    fn read(file: Vec<u8>, bits: u32) -> Result<(Refcounts, Pages)> {
        let disk: Arc<dyn Disk> = Arc::new(Memory::new("m", file));
        let refcounts = Refcounts::read(&*disk, Place { table: (512, 1), bits, cluster_bits: 9 })?;
        Ok((refcounts, Pages::new(Cached::new(disk, 512, 4096))))
    }

    #[test]
    fn counts_of_every_width_are_apart() {
        for bits in [1, 2, 4, 8, 16, 32, 64] {
            let (mut refcounts, pages) = read(file(), bits).unwrap();
            assert_eq!(refcounts.per_block(), 4096 / u64::from(bits));
            let most = refcounts.most();
            for cluster in 0..refcounts.per_block() {
                assert_eq!(refcounts.next_free(&pages, 0).unwrap(), cluster);
                refcounts.set(&pages, cluster, most).unwrap();
            }
            assert_eq!(refcounts.next_free(&pages, 0).unwrap(), refcounts.per_block(), "without a block");
            assert_eq!(refcounts.get(&pages, refcounts.per_block()).unwrap(), 0);
            refcounts.set(&pages, 5, 1).unwrap();
            refcounts.hint = 9;
            assert!(refcounts.drop_use(&pages, 5).unwrap() && refcounts.hint == 5);
            assert_eq!([4, 5, 6].map(|at| refcounts.get(&pages, at).unwrap()), [most, 0, most]);
            assert!(refcounts.drop_use(&pages, 5).is_err() && refcounts.set(&pages, 1 << 40, 1).is_err());
            assert_eq!(refcounts.next_free(&pages, 1).unwrap(), 5);
        }
    }

    #[test]
    fn blocks_are_whole_clusters_each_once() {
        for (entry, want) in [(2048u64, "whole cluster"), (1024, "twice")] {
            let mut file = file();
            file[520..528].copy_from_slice(&entry.to_be_bytes());
            let error = read(file, 16).err().unwrap().to_string();
            assert!(error.contains(want), "{error}");
        }
        let place = Place { table: (512, 0), bits: 16, cluster_bits: 9 };
        assert!(Refcounts::read(&Memory::new("m", file()), place).is_err());
        assert!(Refcounts::read(&Memory::new("m", file()), Place { table: (1024, 3), ..place }).is_err());
    }
}
