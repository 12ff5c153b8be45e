//! The descriptor of a block group as it is changed: its counts, its flags and its checksums.

use std::mem::offset_of;

use images::Result;

use super::operation::Operation;
use crate::ext::group;
use crate::ext::layout::{GROUP_DESC_SIZE, GroupDesc, GroupDescHigh};

/// A number in two halves of 16 bits: where the lower one lies in each descriptor, and the upper one in long ones.
#[derive(Clone, Copy)]
pub(super) struct Field(usize, usize);

macro_rules! field {
    ($low:ident, $high:ident) => {
        Field(offset_of!(GroupDesc, $low), GROUP_DESC_SIZE as usize + offset_of!(GroupDescHigh, $high))
    };
}

/// Free clusters.
pub(super) const FREE_CLUSTERS: Field = field!(bg_free_blocks_count_lo, bg_free_blocks_count_hi);
/// Free inodes.
pub(super) const FREE_INODES: Field = field!(bg_free_inodes_count_lo, bg_free_inodes_count_hi);
/// Directories.
pub(super) const USED_DIRECTORIES: Field = field!(bg_used_dirs_count_lo, bg_used_dirs_count_hi);
/// How many inodes at the end of the table were never used.
pub(super) const UNUSED_INODES: Field = field!(bg_itable_unused_lo, bg_itable_unused_hi);
/// The checksum of the block bitmap, of which short descriptors hold the lower half.
pub(super) const BLOCK_BITMAP_CHECKSUM: Field = field!(bg_block_bitmap_csum_lo, bg_block_bitmap_csum_hi);
/// The same of the inode bitmap.
pub(super) const INODE_BITMAP_CHECKSUM: Field = field!(bg_inode_bitmap_csum_lo, bg_inode_bitmap_csum_hi);

/// The bytes of a descriptor.
pub(super) struct Descriptor<'a>(&'a mut [u8]);

impl Descriptor<'_> {
    /// Sets a number; a short descriptor keeps the lower half.
    pub fn set(&mut self, Field(low, high): Field, value: u32) {
        let bytes = value.to_le_bytes();
        self.0[low..][..2].copy_from_slice(&bytes[..2]);
        if let Some(place) = self.0.get_mut(high..high + 2) {
            place.copy_from_slice(&bytes[2..]);
        }
    }

    /// Clears flags of `bg_flags`.
    pub fn clear_flags(&mut self, flags: u16) {
        let at = offset_of!(GroupDesc, bg_flags);
        let now = u16::from_le_bytes([self.0[at], self.0[at + 1]]) & !flags;
        self.0[at..][..2].copy_from_slice(&now.to_le_bytes());
    }
}

impl Operation<'_> {
    /// Changes the descriptor of a group, and its checksum where it has one. Copies in other groups stay as they are. If `edit`
    /// fails nothing is changed.
    pub(super) fn change_group<T>(
        &mut self,
        number: u32,
        edit: impl FnOnce(&mut Descriptor<'_>) -> Result<T>,
    ) -> Result<T> {
        self.volume.group(number)?;
        let superblock = self.superblock();
        let offset = superblock.desc_offset(number)?;
        let inside = (offset % self.volume.block_size()) as usize;
        self.change(offset / self.volume.block_size(), |block| {
            let bytes = &mut block[inside..][..superblock.desc_size.into()];
            let answer = edit(&mut Descriptor(bytes))?;
            group::seal(superblock, number, bytes);
            Ok(answer)
        })
    }
}
