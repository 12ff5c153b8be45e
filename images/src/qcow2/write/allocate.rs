//! Clusters of the file: taking free ones, and the refcount blocks and tables that this needs.

use std::ops::Range;

use super::super::layout::*;
use super::super::pages::{Kind, Pages};
use super::Changes;
use super::place::Facts;
use crate::{Result, corrupt, unsupported};

/// Where the header has the offset of the refcount table, and after it the number of its clusters.
const TABLE_FIELDS: u64 = 48;

/// Clusters that were taken.
pub struct Taken {
    /// By their numbers.
    pub clusters: Range<u64>,
    /// Whether they read as zeros, because the file did not reach so far.
    pub is_fresh: bool,
}

impl Changes {
    /// Takes free clusters that follow each other: at least one, at most `most`. The file is as long as they need.
    pub fn take(&mut self, pages: &Pages, facts: &Facts, most: u64) -> Result<Taken> {
        let first = loop {
            let first = self.refcounts.next_free(pages, self.refcounts.hint)?;
            self.refcounts.hint = first;
            if self.has_block(first) {
                break first;
            }
            self.add_block(pages, facts, first)?;
        };
        // As far as the block goes: the next one may not be there.
        let (mut end, per_block) = (first + 1, self.refcounts.per_block());
        let last = (first + most.max(1)).min((first / per_block + 1) * per_block);
        while end < last && self.refcounts.get(pages, end)? == 0 {
            end += 1;
        }
        let is_fresh = self.make_room(facts, first..end)?;
        for cluster in first..end {
            self.refcounts.set(pages, cluster, 1).inspect_err(|_| self.give_back(pages, &(first..cluster)))?;
        }
        self.refcounts.hint = end;
        Ok(Taken { clusters: first..end, is_fresh })
    }

    /// One cluster, which reads as zeros.
    pub fn take_zeros(&mut self, pages: &Pages, facts: &Facts) -> Result<u64> {
        let taken = self.take(pages, facts, 1)?;
        let at = taken.clusters.start * self.refcounts.cluster();
        if !taken.is_fresh {
            self.file.zero_at(at, self.refcounts.cluster()).inspect_err(|_| self.give_back(pages, &taken.clusters))?;
        }
        Ok(at)
    }

    /// Gives clusters back that nothing in the file leads to, nor did.
    pub fn give_back(&mut self, pages: &Pages, clusters: &Range<u64>) {
        for cluster in clusters.clone() {
            // Their counts were just changed, so that they are in memory.
            let _ = self.refcounts.set(pages, cluster, 0);
        }
        self.refcounts.hint = self.refcounts.hint.min(clusters.start);
    }

    fn has_block(&self, cluster: u64) -> bool {
        let index = cluster / self.refcounts.per_block();
        usize::try_from(index).is_ok_and(|index| self.refcounts.table.get(index).is_some_and(|block| *block != 0))
    }

    /// Makes the file reach to the end of these clusters, which are free; says whether it did not reach to their start.
    fn make_room(&mut self, facts: &Facts, clusters: Range<u64>) -> Result<bool> {
        let cluster = self.refcounts.cluster();
        let end = clusters.end.checked_mul(cluster).filter(|end| *end <= ENTRY_OFFSET);
        let Some(end) = end else { return Err(unsupported!("the image file would be larger than 2^56 bytes")) };
        let bytes = clusters.start * cluster..end;
        let table = self.refcounts.table_bytes();
        if facts.is_fixed(&bytes) || (table.start < bytes.end && bytes.start < table.end) {
            return Err(corrupt!(
                "refcount table",
                self.refcounts.table_at,
                "the cluster at byte {:#x} counts as free and is a table: qemu-img check -r all mends it",
                bytes.start
            ));
        }
        let is_fresh = bytes.start >= self.end;
        if end > self.end {
            self.file.grow(end)?;
            self.end = end;
        }
        Ok(is_fresh)
    }

    /// Makes a block for the counts around `cluster`, which is free: it lies there, and counts itself.
    fn add_block(&mut self, pages: &Pages, facts: &Facts, cluster: u64) -> Result<()> {
        let index = cluster / self.refcounts.per_block();
        let Some(index) = usize::try_from(index).ok().filter(|index| *index < self.refcounts.table.len()) else {
            return self.grow_table(pages, facts);
        };
        let (size, at) = (self.refcounts.cluster(), cluster * self.refcounts.cluster());
        if !self.make_room(facts, cluster..cluster + 1)? {
            self.file.zero_at(at, size)?;
        }
        self.refcounts.table[index] = at;
        if let Err(error) = self.refcounts.set(pages, cluster, 1) {
            self.refcounts.table[index] = 0;
            return Err(error);
        }
        self.refcounts.unwritten.insert(index);
        self.refcounts.hint = cluster + 1;
        Ok(())
    }

    /// Moves the table to a larger one, behind all that it counts, with the blocks that count it.
    ///
    /// The new blocks and the new table are durable before the header leads to them.
    fn grow_table(&mut self, pages: &Pages, facts: &Facts) -> Result<()> {
        let (cluster, per_block) = (self.refcounts.cluster(), self.refcounts.per_block());
        let old = self.refcounts.table_bytes();
        let first = self.refcounts.table.len() as u64 * per_block;
        let (mut blocks, mut clusters) = (1, 1);
        loop {
            let entries = (self.refcounts.table.len() as u64 * 2).max(self.refcounts.table.len() as u64 + blocks);
            let more = ((entries * 8).div_ceil(cluster), (blocks + clusters).div_ceil(per_block));
            if more == (clusters, blocks) {
                break;
            }
            (clusters, blocks) = (clusters.max(more.0), blocks.max(more.1));
        }
        if clusters * cluster > MAX_REFCOUNT_TABLE {
            return Err(unsupported!("the refcount table would be larger than {MAX_REFCOUNT_TABLE} bytes"));
        }
        let used = first..first + blocks + clusters;
        if !self.make_room(facts, used.clone())? {
            self.file.zero_at(first * cluster, (used.end - first) * cluster)?;
        }
        // What the table leads to is there before the header leads to the table.
        pages.write_out(Kind::Refcounts, &*self.file)?;
        let mut table = self.refcounts.table.clone();
        for block in 0..blocks {
            let counted = (used.end - first).saturating_sub(block * per_block).min(per_block);
            self.file.write_at(&self.refcounts.block_of_ones(counted), (first + block) * cluster)?;
            table.push((first + block) * cluster);
        }
        // Bounded above.
        table.resize((clusters * cluster / 8) as usize, 0);
        let table_at = (first + blocks) * cluster;
        self.file.write_at(&table.iter().flat_map(|block| block.to_be_bytes()).collect::<Vec<_>>(), table_at)?;
        self.file.flush()?;
        let clusters = u32::try_from(clusters).expect("it is bounded");
        self.file.write_at(&[&table_at.to_be_bytes()[..], &clusters.to_be_bytes()].concat(), TABLE_FIELDS)?;
        self.file.flush()?;
        (self.refcounts.table_at, self.refcounts.table) = (table_at, table);
        self.refcounts.unwritten.clear();
        self.refcounts.hint = used.end;
        for cluster in old.start / cluster..old.end.div_ceil(cluster) {
            self.refcounts.drop_use(pages, cluster)?;
        }
        Ok(())
    }

    /// Writes the entries of the refcount table that are not in the file.
    pub fn write_table(&mut self) -> Result<()> {
        for index in &self.refcounts.unwritten {
            let at = self.refcounts.table_at + *index as u64 * 8;
            self.file.write_at(&self.refcounts.table[*index].to_be_bytes(), at)?;
        }
        self.refcounts.unwritten.clear();
        Ok(())
    }
}
