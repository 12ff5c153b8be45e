//! Which inodes are in use: they are taken and given back.

use images::{Error, Result, corrupt};

use super::bitmap;
use super::blocks;
use super::descriptor::{FREE_INODES, INODE_BITMAP_CHECKSUM, UNUSED_INODES, USED_DIRECTORIES};
use super::operation::Operation;
use super::spread;
use crate::ext::checksum::crc32c;
use crate::ext::group::{self, Group, INODE_UNINIT, INODE_ZEROED};
use crate::ext::superblock::Superblock;

/// Takes a free inode, of a group that suits a node in the directory `parent`. Its record is the caller's to write, all of it: what
/// is there may be anything. Fails with `NoSpace`.
pub(in crate::ext) fn allocate(op: &mut Operation<'_>, parent: u32, is_directory: bool) -> Result<u32> {
    for _ in 0..2 {
        while let Some(number) = spread::group_for(op, parent, is_directory)? {
            let group = op.volume.group(number)?;
            let bits = read(op.superblock(), op, number, &group)?;
            let first = first_usable(op.superblock(), number);
            let end = op.superblock().inodes_per_group as usize;
            if let Some(index) = bitmap::first(&bits, first..end, false) {
                let index = u32::try_from(index).expect("below the inodes of a group");
                take(op, number, &group, bits, index, is_directory)?;
                return Ok(number * op.superblock().inodes_per_group + index + 1);
            }
            // The hint was wrong.
            op.space()?.set_inodes(number, 0, group.used_directories);
        }
        let volume = op.volume;
        op.space()?.refresh(volume)?;
    }
    Err(Error::NoSpace)
}

/// Gives an inode back. Fails with `Corrupt` if it is free already, or one of the file system's own.
pub(in crate::ext) fn free(op: &mut Operation<'_>, inode: u32, is_directory: bool) -> Result<()> {
    let superblock = op.superblock();
    let index = inode.checked_sub(1).filter(|index| *index < superblock.inodes && inode >= superblock.first_inode);
    let Some(index) = index else { return Err(corrupt!(format!("inode {inode}"), 0u64, "it is never free")) };
    let (number, index) = (index / superblock.inodes_per_group, index % superblock.inodes_per_group);
    let group = op.volume.group(number)?;
    let mut bits = read(superblock, op, number, &group)?;
    let bit = index as usize..index as usize + 1;
    if bitmap::count_free(&bits, bit.clone()) > 0 {
        let offset = superblock.block_offset(group.inode_bitmap)?;
        return Err(corrupt!(format!("inode bitmap of group {number}"), offset, "inode {inode} is in use and free"));
    }
    bitmap::fill(&mut bits, bit, false);
    let checksum = checksum(superblock, &bits);
    op.replace(group.inode_bitmap, bits)?;
    let free_inodes = group.free_inodes.saturating_add(1).min(superblock.inodes_per_group);
    let directories = group.used_directories.saturating_sub(is_directory.into());
    op.change_group(number, |descriptor| {
        descriptor.set(FREE_INODES, free_inodes);
        descriptor.set(USED_DIRECTORIES, directories);
        if let Some(checksum) = checksum {
            descriptor.set(INODE_BITMAP_CHECKSUM, checksum);
        }
        Ok(())
    })?;
    op.space()?.set_inodes(number, free_inodes, directories);
    op.change_superblock(|raw| {
        raw.s_free_inodes_count = raw.s_free_inodes_count.get().saturating_add(1).min(superblock.inodes).into();
        Ok(())
    })
}

/// Marks the inode with this index in its group as used; `bits` are the group's bitmap.
fn take(
    op: &mut Operation<'_>,
    number: u32,
    group: &Group,
    mut bits: Vec<u8>,
    index: u32,
    is_directory: bool,
) -> Result<()> {
    let superblock = op.superblock();
    let Some(free_inodes) = group.free_inodes.checked_sub(1) else {
        let offset = superblock.desc_offset(number)?;
        return Err(corrupt!(format!("descriptor of group {number}"), offset, "it has no free inode, its bitmap has"));
    };
    if group::has_checksum(superblock) {
        // A group with inodes has a block bitmap too.
        blocks::initialise(op, number)?;
        zero_records(op, group, index)?;
    }
    bitmap::fill(&mut bits, index as usize..index as usize + 1, true);
    let checksum = checksum(superblock, &bits);
    op.replace(group.inode_bitmap, bits)?;
    let directories = group.used_directories.saturating_add(is_directory.into());
    let used = group.used_inodes(superblock).max(index + 1);
    op.change_group(number, |descriptor| {
        descriptor.set(FREE_INODES, free_inodes);
        descriptor.set(USED_DIRECTORIES, directories);
        if group::has_checksum(superblock) {
            descriptor.clear_flags(INODE_UNINIT);
            descriptor.set(UNUSED_INODES, superblock.inodes_per_group - used);
        }
        if let Some(checksum) = checksum {
            descriptor.set(INODE_BITMAP_CHECKSUM, checksum);
        }
        Ok(())
    })?;
    op.space()?.set_inodes(number, free_inodes, directories);
    op.change_superblock(|raw| {
        raw.s_free_inodes_count = raw.s_free_inodes_count.get().saturating_sub(1).into();
        Ok(())
    })
}

/// Zeroes the blocks of the table that come into use with the inode of this index and were never zeroed.
fn zero_records(op: &mut Operation<'_>, group: &Group, index: u32) -> Result<()> {
    let superblock = op.superblock();
    if group.flags & INODE_ZEROED != 0 {
        return Ok(());
    }
    let per_block = superblock.block_size / u32::from(superblock.inode_size);
    let used_blocks = group.used_inodes(superblock).div_ceil(per_block);
    for block in used_blocks..=index / per_block {
        op.replace(group.inode_table + u64::from(block), vec![0; superblock.block_size as usize])?;
    }
    Ok(())
}

/// The bits of a group's inodes.
fn read(superblock: &Superblock, op: &Operation<'_>, number: u32, group: &Group) -> Result<Vec<u8>> {
    if group::has_checksum(superblock) && group.flags & INODE_UNINIT != 0 {
        let mut bits = vec![0; superblock.block_size as usize];
        let padding = superblock.inodes_per_group as usize..bits.len() * 8;
        bitmap::fill(&mut bits, padding, true);
        return Ok(bits);
    }
    let block = op.block(group.inode_bitmap)?;
    if let Some(have) = checksum(superblock, &block) {
        let mask = if superblock.has_long_descriptors() { u32::MAX } else { 0xffff };
        if (have ^ group.inode_bitmap_csum) & mask != 0 {
            let (have, want) = (have & mask, group.inode_bitmap_csum);
            let what = format!("inode bitmap of group {number}");
            return Err(corrupt!(what, block.offset(), "checksum {have:#010x}, want {want:#010x}"));
        }
    }
    Ok(block.to_vec())
}

/// The checksum of an inode bitmap, where it has one.
fn checksum(superblock: &Superblock, bits: &[u8]) -> Option<u32> {
    let len = superblock.inodes_per_group as usize / 8;
    superblock.checksum_seed.map(|seed| crc32c(seed, &bits[..len]))
}

/// The index in a group of the first inode that is not the file system's own.
fn first_usable(superblock: &Superblock, number: u32) -> usize {
    let start = u64::from(number) * u64::from(superblock.inodes_per_group);
    usize::try_from(u64::from(superblock.first_inode - 1).saturating_sub(start)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
