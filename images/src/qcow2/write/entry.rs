//! Entries of the L2 tables, and the tables of the image's own that can be changed.

use super::super::layout::*;
use super::super::mapping::{Tables, be64};
use super::super::pages::Kind;
use super::Changes;
use crate::{Result, corrupt};

/// How much of an L2 table is copied at once, in bytes.
const COPY: u64 = 64 << 10;

/// An L2 entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The offset and the flags.
    pub word: u64,
    /// Which subclusters are allocated (low half) and zero (high half); 0 where there are none.
    pub bitmap: u64,
}

impl Entry {
    /// Whether the cluster is compressed.
    pub fn is_compressed(self) -> bool {
        self.word & L2_COMPRESSED != 0
    }

    /// The cluster's place in the file, in bytes; 0 is none, or the first of an external data file.
    pub fn host(self) -> u64 {
        self.word & ENTRY_OFFSET
    }

    /// Whether nobody else has the cluster.
    pub fn is_own(self) -> bool {
        self.word & L2_COPIED != 0 && !self.is_compressed()
    }

    /// Which subclusters are allocated, and which are zero.
    pub fn subclusters(self) -> (u32, u32) {
        (self.bitmap as u32, (self.bitmap >> 32) as u32)
    }
}

impl Tables {
    /// Where the L1 entry for `offset` lies, and the entry.
    fn l1_entry(&self, offset: u64) -> Result<(u64, u64)> {
        let at = self.l1.offset + (offset >> self.l1_shift()) * 8;
        let page = self.page_at("L1 table", at, 8)?;
        let entry = self.entries_from(&page, at);
        if entry.len() < 8 {
            return Err(self.past_end("L1 table", at));
        }
        let l2 = be64(entry) & ENTRY_OFFSET;
        if !l2.is_multiple_of(self.cluster_size()) {
            return Err(corrupt!("L1 entry", at, "L2 table at byte {l2:#x}, want a multiple of the cluster size"));
        }
        Ok((at, be64(entry)))
    }

    /// Where the L2 entry for `offset` lies in the table at `table`.
    fn l2_at(&self, table: u64, offset: u64) -> u64 {
        let covered = 1u64 << self.l1_shift();
        table + ((offset % covered) >> self.cluster_bits) * self.l2_entry_size()
    }

    /// The L2 entry for `offset`, and where it lies; `None` if there is no table.
    pub(super) fn entry_at(&self, offset: u64) -> Result<Option<(u64, Entry)>> {
        let table = self.l1_entry(offset)?.1 & ENTRY_OFFSET;
        if table == 0 {
            return Ok(None);
        }
        let (at, len) = (self.l2_at(table, offset), self.l2_entry_size());
        let page = self.page_at("L2 table", at, len)?;
        let bytes = self.entries_from(&page, at);
        if (bytes.len() as u64) < len {
            return Err(self.past_end("L2 table", at));
        }
        let bitmap = if self.extended { be64(&bytes[8..]) } else { 0 };
        let entry = Entry { word: be64(bytes), bitmap };
        if !self.zero_flag && !entry.is_compressed() && entry.word & L2_ZERO != 0 {
            return Err(corrupt!("L2 entry", at, "a zero cluster, which version 2 does not have"));
        }
        Ok(Some((at, entry)))
    }

    /// Changes the L2 entry at `at`, which lies in a table of the image's own.
    pub(super) fn set_entry(&self, at: u64, entry: Entry) -> Result<()> {
        self.pages.change(Kind::Mapping, at, |bytes| {
            bytes[..8].copy_from_slice(&entry.word.to_be_bytes());
            if self.extended {
                bytes[8..16].copy_from_slice(&entry.bitmap.to_be_bytes());
            }
        })
    }

    /// The L2 entry for `offset` in a table that only this image has: the table is made, or copied from a snapshot's.
    pub(super) fn own_entry_at(&self, changes: &mut Changes, offset: u64) -> Result<(u64, Entry)> {
        let (l1_at, l1) = self.l1_entry(offset)?;
        let table = l1 & ENTRY_OFFSET;
        if table == 0 || l1 & L2_COPIED == 0 {
            let new = changes.take_zeros(&self.pages, &self.facts)?;
            let taken = new >> self.cluster_bits..(new >> self.cluster_bits) + 1;
            let linked = self.copy_table(changes, table, new).and_then(|()| {
                let entry = new | L2_COPIED;
                self.pages.change(Kind::Mapping, l1_at, |bytes| bytes[..8].copy_from_slice(&entry.to_be_bytes()))
            });
            linked.inspect_err(|_| changes.give_back(&self.pages, &taken))?;
            if table != 0 {
                changes.drop_later(table >> self.cluster_bits..(table >> self.cluster_bits) + 1);
            }
        }
        self.entry_at(offset)?.ok_or_else(|| self.past_end("L2 table", l1_at))
    }

    /// Copies the L2 table at `from`, if there is one, to `to`. It is in the file before anything leads there.
    fn copy_table(&self, changes: &Changes, from: u64, to: u64) -> Result<()> {
        if from == 0 {
            return Ok(());
        }
        let mut done = 0;
        while done < self.cluster_size() {
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < COPY.min(self.cluster_size() - done) {
                let at = from + done + bytes.len() as u64;
                let page = self.page_at("L2 table", at, self.pages.page_size())?;
                bytes.extend_from_slice(&page);
            }
            changes.file.write_at(&bytes, to + done)?;
            done += bytes.len() as u64;
        }
        Ok(())
    }

    /// Notes that what `entry` leads to has one use less; where it led to `kept`, it still does.
    pub(super) fn drop_cluster(&self, changes: &mut Changes, entry: Entry, kept: Option<u64>) {
        let bits = self.cluster_bits;
        if entry.is_compressed() {
            let packed = self.descriptor(entry.word);
            // Lengths are below 2 MiB times two, and offsets below 2^62.
            changes.drop_later(packed.offset >> bits..((packed.offset + packed.len - 1) >> bits) + 1);
        } else if !self.external && entry.host() != 0 && kept != Some(entry.host()) {
            changes.drop_later(entry.host() >> bits..(entry.host() >> bits) + 1);
        }
    }
}
