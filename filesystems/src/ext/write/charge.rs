//! What a file takes of the disk: counted in its inode, and given back in whole clusters.

use std::ops::Range;

use images::{Error, Result};

use super::blocks;
use super::operation::Operation;
use super::record::Record;
use crate::ext::features::ro_compat;
use crate::ext::layout::{inode_flags, mode};

/// Counts clusters that the file got or, if negative, lost.
pub(super) fn charge(op: &Operation<'_>, record: &mut Record, clusters: i64) -> Result<()> {
    let superblock = op.superblock();
    let sectors = u64::from(superblock.cluster_blocks) * u64::from(superblock.block_size / 512);
    let change = clusters.unsigned_abs().saturating_mul(sectors);
    let before = record.blocks(superblock);
    let now = if clusters < 0 { before.saturating_sub(change) } else { before.saturating_add(change) };
    if now > u32::MAX.into() && !superblock.features.has_ro_compat(ro_compat::HUGE_FILE) {
        return Err(Error::TooLarge);
    }
    record.set_blocks(superblock, now);
    Ok(())
}

/// Gives back whole clusters of a file's content.
pub(super) fn free(op: &mut Operation<'_>, record: &mut Record, blocks: Range<u64>) -> Result<()> {
    // What is written by way of the journal.
    let is_metadata = record.mode() & mode::TYPE != mode::FILE || record.has(inode_flags::EA_INODE);
    let count = (blocks.end - blocks.start).div_ceil(op.superblock().cluster_blocks.into());
    blocks::free(op, blocks, is_metadata)?;
    charge(op, record, -count.cast_signed())
}
