//! Content that is taken away: clusters become zero, or nothing, and are given back.

use super::super::layout::*;
use super::super::mapping::Tables;
use super::Changes;
use super::entry::Entry;
use crate::Result;
use crate::block_map::{Clear, Cleared};

impl Tables {
    /// Takes the content of whole blocks away, from `offset` on; `len` bytes reach to the end of one, or of the disk.
    pub(super) fn clear_clusters(&self, changes: &mut Changes, offset: u64, len: u64, how: Clear) -> Result<Cleared> {
        let (cluster, covered) = (self.cluster_size(), 1u64 << self.l1_shift());
        // The last block of the disk may be cut.
        let end = (offset + len).next_multiple_of(1 << self.block_bits()).min(offset - offset % covered + covered);
        if self.external {
            return Ok(Cleared::Write(end - offset));
        }
        if self.entry_at(offset)?.is_none() && (how.may_keep || !how.hides) {
            return Ok(Cleared::Done(end - offset));
        }
        let mut at = offset;
        while at < end {
            let inside = at % cluster;
            let next = (at - inside + cluster).min(end);
            let old = self.entry_at(at)?.map_or_else(Entry::default, |(_, entry)| entry);
            match self.cleared(old, inside, inside + (next - at), how) {
                Some(new) if new == old => {}
                Some(new) => {
                    let (place, old) = self.own_entry_at(changes, at)?;
                    self.set_entry(place, new)?;
                    self.drop_cluster(changes, old, Some(new.host()).filter(|host| *host != 0));
                }
                None if at > offset => break,
                None => return Ok(Cleared::Write(next - at)),
            }
            at = next;
        }
        Ok(Cleared::Done(at - offset))
    }

    /// The entry without the bytes `from` to `to` of its cluster, which are whole blocks; `None` if no entry says that.
    fn cleared(&self, old: Entry, from: u64, to: u64, how: Clear) -> Option<Entry> {
        let is_whole = to - from == self.cluster_size();
        let is_nothing = !old.is_compressed() && old.host() == 0;
        if self.extended {
            return self.cleared_subclusters(old, from, to, how);
        }
        let reads_zero = old.word & L2_ZERO != 0 && !old.is_compressed();
        match () {
            () if is_nothing && (reads_zero || how.may_keep || !how.hides) => Some(old),
            // QEMU, too, gives back what a zero cluster had.
            () if is_whole && self.zero_flag => Some(Entry { word: L2_ZERO, bitmap: 0 }),
            () if is_whole && !how.hides => Some(Entry::default()),
            () if how.may_keep => Some(old),
            () => None,
        }
    }

    fn cleared_subclusters(&self, old: Entry, from: u64, to: u64, how: Clear) -> Option<Entry> {
        let bits = self.bits_of(from, to);
        if old.is_compressed() {
            return match (bits == u32::MAX, how.may_keep) {
                (true, _) => Some(Entry { word: 0, bitmap: u64::from(u32::MAX) << 32 }),
                (false, true) => Some(old),
                (false, false) => None,
            };
        }
        let (allocated, zero) = old.subclusters();
        // What reads from the parent may stay as it is.
        let cleared = match (how.may_keep, how.hides) {
            (true, _) => bits & allocated,
            (false, true) => bits,
            (false, false) => bits & allocated,
        };
        let (allocated, zero) = (allocated & !cleared, zero | cleared);
        let word = if allocated == 0 { 0 } else { old.word };
        Some(Entry { word, bitmap: u64::from(allocated) | u64::from(zero) << 32 })
    }

    /// The subclusters from byte `from` to byte `to` of a cluster.
    pub(super) fn bits_of(&self, from: u64, to: u64) -> u32 {
        let (first, count) = (from >> self.block_bits(), (to - from).div_ceil(1 << self.block_bits()));
        // At most 32 of 32.
        ((u64::MAX >> (64 - count.clamp(1, 32))) << first) as u32
    }
}
