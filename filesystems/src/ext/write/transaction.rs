//! A transaction: what many operations changed, and what becomes durable together.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use images::Result;

use super::space::Space;
use crate::ext::volume::Volume;

/// What the running transaction has beside its blocks, which are in [`Changed`](crate::ext::changed::Changed).
#[derive(Default)]
pub(in crate::ext) struct Transaction {
    /// Counts the commits.
    pub number: u64,
    /// Inodes of which more than times changed.
    inodes: HashSet<u32>,
    /// Blocks that were freed, by their start: where they end.
    freed: BTreeMap<u64, u64>,
    /// The same of the transaction that is being committed.
    freeing: BTreeMap<u64, u64>,
    /// Blocks whose copies in the journal are not to be replayed.
    revoked: BTreeSet<u64>,
    /// Whether anything changed.
    changed: bool,
    /// What is known of the volume's space, once it was asked for.
    space: Option<Box<Space>>,
}

/// What a commit takes of a transaction.
pub(in crate::ext) struct Committing {
    /// Blocks whose copies in the journal, of this transaction's or older, are not to be replayed.
    pub revoked: BTreeSet<u64>,
}

impl Transaction {
    /// Takes in what an operation did; `blocks` are those that it wrote.
    pub fn add(
        &mut self,
        inodes: &[u32],
        freed: &[Range<u64>],
        revoked: &[Range<u64>],
        blocks: impl Iterator<Item = u64>,
    ) {
        self.changed = true;
        self.inodes.extend(inodes);
        for range in freed.iter().filter(|range| !range.is_empty()) {
            self.freed.insert(range.start, range.end);
        }
        // A block that is metadata again is replayed.
        let revoked: BTreeSet<u64> = revoked.iter().cloned().flatten().collect();
        for block in blocks.filter(|block| !revoked.contains(block)) {
            self.revoked.remove(&block);
        }
        self.revoked.extend(revoked);
    }

    /// Whether there is anything to be committed.
    pub fn is_empty(&self) -> bool {
        !self.changed
    }

    /// What is known of the volume's space.
    pub fn space(&mut self, volume: &Volume) -> Result<&mut Space> {
        if self.space.is_none() {
            self.space = Some(Box::new(Space::read(volume)?));
        }
        let space = self.space.as_mut().expect("it is there");
        space.begin(self.number, volume.superblock().clusters_per_group());
        Ok(space)
    }

    /// Whether an inode waits for a commit with more than its times.
    pub fn has(&self, inode: u32) -> bool {
        self.inodes.contains(&inode)
    }

    /// How many blocks the next commit revokes at most if `more` are added.
    pub fn revoked_with(&self, more: &[Range<u64>]) -> usize {
        let more = more.iter().map(|range| range.end.saturating_sub(range.start)).fold(0, u64::saturating_add);
        self.revoked.len().saturating_add(usize::try_from(more).unwrap_or(usize::MAX))
    }

    /// Whether blocks that were freed may be used again after a commit.
    pub fn has_released(&self) -> bool {
        !self.freed.is_empty() || !self.freeing.is_empty()
    }

    /// The first blocks of `blocks` that were freed and may not be used yet.
    pub fn first_released(&self, blocks: Range<u64>) -> Option<Range<u64>> {
        let first = |freed: &BTreeMap<u64, u64>| {
            let before = freed.range(..blocks.start).next_back().filter(|(_, end)| **end > blocks.start);
            before.or_else(|| freed.range(blocks.clone()).next()).map(|(start, end)| *start..*end)
        };
        first(&self.freed).into_iter().chain(first(&self.freeing)).min_by_key(|range| range.start)
    }

    /// Begins a commit, and the next transaction.
    pub fn commit(&mut self) -> Committing {
        self.number += 1;
        self.changed = false;
        self.inodes.clear();
        self.freeing = std::mem::take(&mut self.freed);
        Committing { revoked: std::mem::take(&mut self.revoked) }
    }

    /// The commit is durable: what it freed may be used.
    pub fn settle(&mut self) {
        self.freeing.clear();
    }
}
