//! What is kept in memory of the space of a file system that is written.
//!
//! The zones never change. All else are hints, by which a search begins in the right group: an operation that is taken back
//! leaves them wrong, and so [`NoSpace`](images::Error::NoSpace) is said only after [`Space::refresh`].

use std::collections::BTreeSet;
use std::ops::Range;

use images::{Result, corrupt, unsupported};

use super::zones::Zones;
use crate::ext::features::incompat;
use crate::ext::layout::{GROUP_DESC_SIZE, GroupDescHigh};
use crate::ext::superblock::Superblock;
use crate::ext::volume::Volume;

/// The most block groups of a file system that is written (ours): 256 TiB with blocks of 4 KiB. 16 bytes are kept of each.
const MOST_GROUPS: u32 = 1 << 21;

/// What is known of the space.
#[derive(Default)]
pub(in crate::ext) struct Space {
    pub(super) zones: Zones,
    /// By group: no run of free clusters is longer.
    pub(super) longest: Vec<u32>,
    /// By group: how many clusters are free.
    pub(super) free_clusters: Vec<u32>,
    /// By group: how many inodes are free.
    pub(super) free_inodes: Vec<u32>,
    /// By group: how many inodes are directories.
    pub(super) directories: Vec<u32>,
    /// Free inodes, free clusters and directories of all groups.
    pub(super) totals: (u64, u64, u64),
    /// Groups with blocks that can be used once what freed them is committed.
    waiting: BTreeSet<u32>,
    /// The transaction of which that is said.
    transaction: u64,
}

impl Space {
    /// That of a volume. Fails with `Corrupt` if its groups contradict each other.
    pub fn read(volume: &Volume) -> Result<Self> {
        let superblock = volume.superblock();
        if superblock.groups > MOST_GROUPS {
            return Err(unsupported!("not written: {} block groups, at most {MOST_GROUPS}", superblock.groups));
        }
        if !superblock.blocks_per_group.is_multiple_of(superblock.cluster_blocks) {
            return Err(corrupt!("superblock", 1024u64, "groups that are no whole number of clusters"));
        }
        let mut space = Self::default();
        for number in 0..superblock.groups {
            space.zones.add(superblock, number, &volume.group(number)?)?;
        }
        space.zones.add_journal(volume)?;
        space.zones.complete()?;
        space.refresh(volume)?;
        Ok(space)
    }

    /// Reads the hints from the descriptors.
    pub fn refresh(&mut self, volume: &Volume) -> Result<()> {
        let count = volume.superblock().groups as usize;
        for hints in [&mut self.longest, &mut self.free_clusters, &mut self.free_inodes, &mut self.directories] {
            hints.resize(count, 0);
        }
        for number in 0..volume.superblock().groups {
            let group = volume.group(number)?;
            self.longest[number as usize] = group.free_clusters.min(volume.superblock().clusters_per_group());
            self.set_clusters(number, group.free_clusters);
            self.set_inodes(number, group.free_inodes, group.used_directories);
        }
        Ok(())
    }

    /// How many clusters of a group are free.
    pub fn set_clusters(&mut self, group: u32, free: u32) {
        let before = std::mem::replace(&mut self.free_clusters[group as usize], free);
        self.totals.1 = self.totals.1 - u64::from(before) + u64::from(free);
    }

    /// How many inodes of a group are free, and how many are directories.
    pub fn set_inodes(&mut self, group: u32, free: u32, directories: u32) {
        let before = std::mem::replace(&mut self.free_inodes[group as usize], free);
        self.totals.0 = self.totals.0 - u64::from(before) + u64::from(free);
        let before = std::mem::replace(&mut self.directories[group as usize], directories);
        self.totals.2 = self.totals.2 - u64::from(before) + u64::from(directories);
    }

    /// No free run of a group is longer, but those that wait for a commit.
    pub fn lower(&mut self, group: u32, longest: u32, is_waiting: bool) {
        self.longest[group as usize] = longest;
        if is_waiting {
            self.waiting.insert(group);
        }
    }

    /// The first of `groups` that may have a run of this length.
    pub fn group_with(&self, groups: Range<u32>, longest: u32) -> Option<u32> {
        let hints = &self.longest[groups.start as usize..groups.end as usize];
        // There are not more groups than numbers for them.
        hints.iter().position(|hint| *hint >= longest).map(|at| groups.start + at as u32)
    }

    /// Blocks of a group were freed.
    pub fn freed(&mut self, group: u32) {
        self.waiting.insert(group);
    }

    /// In another transaction blocks that were freed before it can be used.
    pub fn begin(&mut self, transaction: u64, clusters_per_group: u32) {
        if self.transaction != transaction {
            self.transaction = transaction;
            for group in std::mem::take(&mut self.waiting) {
                self.longest[group as usize] = clusters_per_group;
            }
        }
    }
}

impl Superblock {
    /// The first block of a group.
    pub(super) fn group_start(&self, group: u32) -> u64 {
        u64::from(self.first_data_block) + u64::from(group) * u64::from(self.blocks_per_group)
    }

    /// Clusters in every group but the last.
    pub(super) fn clusters_per_group(&self) -> u32 {
        self.blocks_per_group / self.cluster_blocks
    }

    /// The group of a block that exists, and its cluster there.
    pub(super) fn place(&self, block: u64) -> (u32, u32) {
        let inside = block - u64::from(self.first_data_block);
        let group = inside / u64::from(self.blocks_per_group);
        let cluster = inside % u64::from(self.blocks_per_group) / u64::from(self.cluster_blocks);
        (u32::try_from(group).expect("as many as groups"), u32::try_from(cluster).expect("below the group's blocks"))
    }

    /// The blocks of clusters of a group.
    pub(super) fn cluster_range(&self, group: u32, clusters: &Range<u32>) -> Range<u64> {
        let at = |cluster: u32| self.group_start(group) + u64::from(cluster) * u64::from(self.cluster_blocks);
        at(clusters.start)..at(clusters.end)
    }

    /// How many clusters of a group exist as a whole: the last group may be shorter.
    pub(super) fn whole_clusters(&self, group: u32) -> u32 {
        let left = (self.blocks - self.group_start(group)) / u64::from(self.cluster_blocks);
        u32::try_from(left).unwrap_or(u32::MAX).min(self.clusters_per_group())
    }

    /// Whether descriptors hold the upper halves of numbers.
    pub(super) fn has_long_descriptors(&self) -> bool {
        usize::from(self.desc_size) >= usize::from(GROUP_DESC_SIZE) + size_of::<GroupDescHigh>()
    }

    /// Blocks of each group's inode table.
    pub(super) fn table_blocks(&self) -> u64 {
        let bytes = u64::from(self.inodes_per_group) * u64::from(self.inode_size);
        bytes.div_ceil(self.block_size.into())
    }

    /// How many groups have their bitmaps and inode tables together.
    pub(super) fn groups_per_flex(&self) -> u32 {
        let log = u32::from(self.raw.s_log_groups_per_flex);
        if self.features.has_incompat(incompat::FLEX_BG) { 1u32.checked_shl(log).unwrap_or(1) } else { 1 }
    }
}
