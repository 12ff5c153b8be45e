//! The blocks that can never hold a file's content, as the kernel counts them for statfs.

use super::features::{compat, incompat};
use super::superblock::Superblock;
use super::volume::Volume;

/// The kernel keeps 2 % of the clusters, at most this many, for delayed allocation.
const MAX_RESERVED_CLUSTERS: u64 = 4096;

/// Blocks of group descriptors, bitmaps, inode tables, superblocks and the journal: the superblock's own figure where it
/// has one, else the sum over all groups. With bigalloc that sum is a little low where metadata shares clusters.
pub(super) fn blocks(volume: &Volume) -> u64 {
    let superblock = volume.superblock();
    let recorded = u64::from(superblock.raw.s_overhead_clusters.get());
    if recorded != 0 && recorded <= superblock.blocks {
        return recorded.saturating_mul(superblock.cluster_blocks.into());
    }
    let table_bytes = u64::from(superblock.inodes_per_group) * u64::from(superblock.inode_size);
    let in_every_group = table_bytes.div_ceil(volume.block_size()) + 2;
    let per_block = superblock.descs_per_block();
    let table_blocks = superblock.groups.div_ceil(per_block);
    let first_meta = if superblock.features.has_incompat(incompat::META_BG) {
        superblock.raw.s_first_meta_bg.get().min(table_blocks)
    } else {
        table_blocks
    };
    let mut sum = u64::from(superblock.first_data_block);
    for group in 0..superblock.groups {
        let backup = superblock.has_backup(group);
        sum += in_every_group + u64::from(backup);
        if group / per_block >= first_meta {
            // The first, second and last group of a meta group have its block of descriptors.
            sum += u64::from([0, 1, per_block - 1].contains(&(group % per_block)));
        } else if backup {
            sum += u64::from(first_meta);
        }
        if backup {
            sum += u64::from(superblock.raw.s_reserved_gdt_blocks.get());
        }
    }
    let journal = superblock.raw.s_journal_inum.get();
    if superblock.features.has_compat(compat::HAS_JOURNAL) && journal != 0 {
        sum += volume.inode(journal).map_or(0, |inode| inode.size / volume.block_size());
    }
    sum
}

/// Blocks that the kernel keeps back from `blocks_available` beyond those of root.
pub(super) fn reserved_blocks(superblock: &Superblock) -> u64 {
    if !superblock.features.has_incompat(incompat::EXTENTS) {
        return 0;
    }
    let cluster_blocks = u64::from(superblock.cluster_blocks);
    (superblock.blocks / cluster_blocks / 50).min(MAX_RESERVED_CLUSTERS) * cluster_blocks
}
