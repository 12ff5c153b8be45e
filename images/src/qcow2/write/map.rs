//! The tables give clusters a place: the answers that the engine asks for.

use std::sync::Arc;

use super::super::layout::*;
use super::super::mapping::{Tables, same_bits};
use super::entry::Entry;
use super::{Changes, misplaced};
use crate::block_map::{Allocation, Begun, Clear, Cleared, MapMut};
use crate::{Disk, Result, corrupt};

impl Tables {
    /// How many bits of an offset a subcluster has, or a cluster where there are none.
    pub(super) fn block_bits(&self) -> u32 {
        if self.extended { self.cluster_bits - SUBCLUSTERS.trailing_zeros() } else { self.cluster_bits }
    }

    /// How many bytes from `offset` on have a place of their own by this entry, and where.
    fn own_place(&self, at: u64, entry: Entry, offset: u64) -> Result<Option<(u64, u64)>> {
        if !entry.is_own() {
            return Ok(None);
        }
        let Some(host) = self.host_at(entry.word, at, offset)? else { return Ok(None) };
        let inside = offset % self.cluster_size();
        let mut len = self.cluster_size() - inside;
        if self.extended {
            let (allocated, zero) = entry.subclusters();
            if allocated & zero != 0 {
                return Err(corrupt!("L2 entry", at, "subclusters that are both allocated and zero"));
            }
            // Less than 32.
            let first = (inside >> self.block_bits()) as u32;
            if allocated >> first & 1 == 0 {
                return Ok(None);
            }
            len = (u64::from(first + same_bits(allocated, first)) << self.block_bits()) - inside;
        } else if entry.word & L2_ZERO != 0 {
            return Ok(None);
        }
        if !self.external && self.facts.is_fixed(&(host - inside..host - inside + self.cluster_size())) {
            return Err(misplaced(at, host - inside));
        }
        Ok(Some((host, len)))
    }

    /// One cluster with subclusters: in its own place, or in a new one.
    fn allocate_subclusters(&self, changes: &mut Changes, offset: u64, len: u64) -> Result<Allocation> {
        let (at, entry) = self.own_entry_at(changes, offset)?;
        let (cluster, block) = (self.cluster_size(), 1u64 << self.block_bits());
        let start = offset - offset % cluster;
        let written = offset - offset % block..(offset + len).next_multiple_of(block).min(start + cluster);
        if entry.is_own() && self.host_at(entry.word, at, start)?.is_some() {
            let host = entry.host() + (written.start - start);
            return Ok(Allocation { at: host, blocks: written, is_fresh: false, taken: 0..0 });
        }
        // What others have too, or what is compressed, is copied as a whole.
        let has_data = entry.is_compressed() || entry.subclusters().0 != 0;
        let blocks = if has_data { start..start + cluster } else { written };
        if self.external {
            return Ok(Allocation { at: blocks.start, blocks, is_fresh: false, taken: 0..0 });
        }
        let taken = changes.take(&self.pages, &self.facts, 1)?;
        let host = taken.clusters.start * cluster + (blocks.start - start);
        Ok(Allocation { at: host, blocks, is_fresh: taken.is_fresh, taken: taken.clusters })
    }
}

impl MapMut for Tables {
    type Changes = Changes;

    fn begin(&self, data: &Arc<dyn Disk>) -> Result<Begun<Changes>> {
        self.begin_changes(data)
    }

    fn start(&self, changes: &mut Changes) -> Result<()> {
        self.start_changes(changes)
    }

    fn block_size(&self) -> u64 {
        1 << self.block_bits()
    }

    fn in_place(&self, offset: u64, want: u64) -> Result<Option<(u64, u64)>> {
        let mut found: Option<(u64, u64)> = None;
        let mut done = 0;
        while done < want {
            let Some((at, entry)) = self.entry_at(offset + done)? else { break };
            let Some((host, len)) = self.own_place(at, entry, offset + done)? else { break };
            match &mut found {
                Some((first, so_far)) if *first + *so_far == host => *so_far += len,
                Some(_) => break,
                None => found = Some((host, len)),
            }
            done += len;
        }
        Ok(found.map(|(host, len)| (host, len.min(want))))
    }

    fn allocate(&self, changes: &mut Changes, offset: u64, len: u64) -> Result<Allocation> {
        if self.extended {
            return self.allocate_subclusters(changes, offset, len);
        }
        let (cluster, covered) = (self.cluster_size(), 1u64 << self.l1_shift());
        let start = offset - offset % cluster;
        self.own_entry_at(changes, offset)?;
        // As long as they have no place of their own, in this table.
        let most = (offset + len).min(start - start % covered + covered);
        let mut end = start + cluster;
        while end < most {
            // A damaged entry is an error of the bytes behind it.
            let Ok(Some((at, entry))) = self.entry_at(end) else { break };
            match self.own_place(at, entry, end) {
                Ok(None) => end += cluster,
                Ok(Some(_)) | Err(_) => break,
            }
        }
        if self.external {
            return Ok(Allocation { at: start, blocks: start..end, is_fresh: false, taken: 0..0 });
        }
        let taken = changes.take(&self.pages, &self.facts, (end - start) / cluster)?;
        let clusters = taken.clusters;
        let blocks = start..start + (clusters.end - clusters.start) * cluster;
        Ok(Allocation { at: clusters.start * cluster, blocks, is_fresh: taken.is_fresh, taken: clusters })
    }

    fn link(&self, changes: &mut Changes, new: &Allocation) -> Result<()> {
        let cluster = self.cluster_size();
        let first = new.blocks.start - new.blocks.start % cluster;
        // Where the first cluster begins: the blocks may be a part of it.
        let host = new.at - (new.blocks.start - first);
        for start in (first..new.blocks.end).step_by(cluster as usize) {
            let (at, old) = self.own_entry_at(changes, start)?;
            let word = (host + (start - first)) | L2_COPIED;
            let mut entry = Entry { word, bitmap: 0 };
            if self.extended {
                let blocks = new.blocks.start.max(start) - start..new.blocks.end.min(start + cluster) - start;
                let bits = self.bits_of(blocks.start, blocks.end);
                // What a compressed cluster has in the place of the bitmap has no meaning.
                let (allocated, zero) = if old.is_compressed() { (0, 0) } else { old.subclusters() };
                entry.bitmap = u64::from(allocated | bits) | u64::from(zero & !bits) << 32;
            }
            self.set_entry(at, entry)?;
            self.drop_cluster(changes, old, Some(entry.host()));
        }
        Ok(())
    }

    fn release(&self, changes: &mut Changes, new: &Allocation) {
        changes.give_back(&self.pages, &new.taken);
    }

    fn clear(&self, changes: &mut Changes, offset: u64, len: u64, how: Clear) -> Result<Cleared> {
        self.clear_clusters(changes, offset, len, how)
    }

    fn is_full(&self, changes: &Changes) -> bool {
        self.is_full_of(changes)
    }

    fn flush(&self, changes: &mut Changes, settle: &dyn Fn()) -> Result<()> {
        self.flush_changes(changes, settle)
    }
}
