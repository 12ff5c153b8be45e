//! Group descriptors: where a block group keeps its inode table and bitmaps.

use images::{Result, corrupt};
use zerocopy::FromBytes;

use super::checksum::{crc16, crc32c};
use super::features::ro_compat;
use super::layout::{GroupDesc, GroupDescHigh, checksum_halves};
use super::superblock::Superblock;

/// `bg_flags`: no inode of the group was ever used.
pub(super) const INODE_UNINIT: u16 = 1;
/// `bg_flags`: the block bitmap is not initialised.
pub(super) const BLOCK_UNINIT: u16 = 2;
/// `bg_flags`: the inode table was zeroed when it was made, or since.
pub(super) const INODE_ZEROED: u16 = 4;

/// Where `bg_checksum` lies in a descriptor.
const CHECKSUM_AT: usize = 30;

/// A block group's descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The block bitmap's block.
    pub block_bitmap: u64,
    /// The inode bitmap's block.
    pub inode_bitmap: u64,
    /// The inode table's first block.
    pub inode_table: u64,
    /// `bg_flags`.
    pub flags: u16,
    /// How many inodes at the end of the table were never used.
    pub itable_unused: u32,
    /// The block bitmap's checksum; the lower 16 bits in short descriptors.
    pub block_bitmap_csum: u32,
    /// The inode bitmap's checksum; the lower 16 bits in short descriptors.
    pub inode_bitmap_csum: u32,
    /// How many clusters are free.
    pub free_clusters: u32,
    /// How many inodes are free.
    pub free_inodes: u32,
    /// How many of the inodes are directories.
    pub used_directories: u32,
}

impl Group {
    /// Parses the descriptor of group `number` and verifies its checksum, if it has one. `bytes` are the `desc_size`
    /// bytes at `offset` of the disk.
    pub fn parse(superblock: &Superblock, number: u32, offset: u64, bytes: &[u8]) -> Result<Self> {
        let what = || format!("descriptor of group {number}");
        let Ok((low, rest)) = GroupDesc::ref_from_prefix(bytes) else {
            return Err(corrupt!(what(), offset, "{} bytes, want at least 32", bytes.len()));
        };
        if let Some(have) = checksum(superblock, number, bytes) {
            let want = low.bg_checksum.get();
            if have != want {
                return Err(corrupt!(what(), offset, "checksum {have:#06x}, want {want:#06x}"));
            }
        }
        let high = GroupDescHigh::ref_from_prefix(rest).ok().map(|(high, _)| high);
        let join = |low: u32, high: Option<u32>| u64::from(high.unwrap_or(0)) << 32 | u64::from(low);
        let half = |low: u16, high: Option<u16>| u32::from(high.unwrap_or(0)) << 16 | u32::from(low);
        Ok(Self {
            block_bitmap: join(low.bg_block_bitmap_lo.get(), high.map(|high| high.bg_block_bitmap_hi.get())),
            inode_bitmap: join(low.bg_inode_bitmap_lo.get(), high.map(|high| high.bg_inode_bitmap_hi.get())),
            inode_table: join(low.bg_inode_table_lo.get(), high.map(|high| high.bg_inode_table_hi.get())),
            flags: low.bg_flags.get(),
            itable_unused: half(low.bg_itable_unused_lo.get(), high.map(|high| high.bg_itable_unused_hi.get())),
            block_bitmap_csum: half(
                low.bg_block_bitmap_csum_lo.get(),
                high.map(|high| high.bg_block_bitmap_csum_hi.get()),
            ),
            inode_bitmap_csum: half(
                low.bg_inode_bitmap_csum_lo.get(),
                high.map(|high| high.bg_inode_bitmap_csum_hi.get()),
            ),
            free_clusters: half(low.bg_free_blocks_count_lo.get(), high.map(|high| high.bg_free_blocks_count_hi.get())),
            free_inodes: half(low.bg_free_inodes_count_lo.get(), high.map(|high| high.bg_free_inodes_count_hi.get())),
            used_directories: half(low.bg_used_dirs_count_lo.get(), high.map(|high| high.bg_used_dirs_count_hi.get())),
        })
    }

    /// How many inodes at the start of the group's table were ever used; all of them where the descriptor cannot say.
    pub fn used_inodes(&self, superblock: &Superblock) -> u32 {
        if !has_checksum(superblock) {
            superblock.inodes_per_group
        } else if self.flags & INODE_UNINIT != 0 {
            0
        } else {
            superblock.inodes_per_group.saturating_sub(self.itable_unused)
        }
    }
}

/// Whether descriptors have a checksum; without one their flags say nothing.
pub(super) fn has_checksum(superblock: &Superblock) -> bool {
    superblock.features.has_ro_compat(ro_compat::GDT_CSUM | ro_compat::METADATA_CSUM)
}

/// Writes the checksum of a descriptor, of `desc_size` bytes, where it has one.
pub(super) fn seal(superblock: &Superblock, number: u32, bytes: &mut [u8]) {
    if let Some(checksum) = checksum(superblock, number, bytes) {
        bytes[CHECKSUM_AT..][..2].copy_from_slice(&checksum.to_le_bytes());
    }
}

/// What `bg_checksum` must be; `None` if descriptors have no checksum.
fn checksum(superblock: &Superblock, number: u32, bytes: &[u8]) -> Option<u16> {
    let (before, after) = (&bytes[..CHECKSUM_AT], &bytes[CHECKSUM_AT + 2..]);
    if let Some(seed) = superblock.checksum_seed {
        let crc = crc32c(crc32c(seed, &number.to_le_bytes()), before);
        Some(checksum_halves(crc32c(crc32c(crc, &[0, 0]), after)).0)
    } else if superblock.features.has_ro_compat(ro_compat::GDT_CSUM) {
        let crc = crc16(crc16(!0, &superblock.raw.s_uuid), &number.to_le_bytes());
        Some(crc16(crc16(crc, before), after))
    } else {
        None
    }
}
