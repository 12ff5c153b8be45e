//! The block maps of ext2 and ext3: twelve direct pointers and three trees of pointer blocks.
//!
//! <https://docs.kernel.org/filesystems/ext4/ifork.html>. A zero pointer at any level is a hole.

use images::{Result, corrupt};

use super::inode::Inode;
use super::layout::{DIRECT_BLOCKS, DIRECT_POINTERS};
use super::run::{Run, State, Step};
use super::volume::Volume;
use crate::length::in_memory;

/// How many blocks a map can hold.
pub(super) fn max_blocks(block_size: u64) -> u64 {
    // 64 KiB blocks: 2^42, and no more than 2^32 can be named.
    let pointers = block_size / 4;
    (DIRECT_BLOCKS + pointers + pointers.pow(2) + pointers.pow(3)).min(1 << 32)
}

/// Gives the runs of the pointer block that maps `from`, or the hole in its place.
pub(super) fn step(volume: &Volume, inode: &Inode, from: u64, each: &mut dyn FnMut(Run) -> bool) -> Result<Step> {
    if from < DIRECT_BLOCKS {
        let direct = &inode.i_block()[..DIRECT_POINTERS * 4];
        return pointers(volume, inode, direct, inode.i_block_offset(), (0, from), each);
    }
    let per_block = volume.block_size() / 4;
    // The first block that the tree maps, how many it maps, and its height.
    let (mut start, mut span, mut height) = (DIRECT_BLOCKS, per_block, 1);
    while from - start >= span {
        start += span;
        span *= per_block;
        height += 1;
    }
    let mut pointer = word(inode.i_block(), DIRECT_POINTERS - 1 + height);
    loop {
        if pointer == 0 {
            let end = start + span;
            let hole = Run { logical: from, len: end - from, state: State::Hole };
            return Ok(if each(hole) { Step::On(end) } else { Step::Stop });
        }
        let block = volume.block(pointer.into())?;
        span /= per_block;
        if span == 1 {
            return pointers(volume, inode, &block, block.offset(), (start, from), each);
        }
        let index = (from - start) / span;
        start += index * span;
        pointer = word(&block, in_memory(index));
    }
}

/// Gives the runs of a row of pointers to data, the first of which maps block `start`, from block `from` on.
fn pointers(
    volume: &Volume,
    inode: &Inode,
    row: &[u8],
    offset: u64,
    (start, from): (u64, u64),
    each: &mut dyn FnMut(Run) -> bool,
) -> Result<Step> {
    let count = (row.len() / 4) as u64;
    let mut run: Option<(u64, u32, u64)> = None;
    for index in from - start..count {
        let pointer = word(row, in_memory(index));
        if u64::from(pointer) >= volume.superblock().blocks {
            let why = format!("block {pointer}, but there are {}", volume.superblock().blocks);
            return Err(corrupt!(format!("block map of inode {}", inode.number), offset + index * 4, "{why}"));
        }
        run = match run {
            Some((first, 0, len)) if pointer == 0 => Some((first, 0, len + 1)),
            Some((first, at, len)) if at != 0 && u64::from(at) + len == u64::from(pointer) => {
                Some((first, at, len + 1))
            }
            Some(done) => {
                if !each(data(done)) {
                    return Ok(Step::Stop);
                }
                Some((start + index, pointer, 1))
            }
            None => Some((start + index, pointer, 1)),
        };
    }
    match run {
        Some(last) if !each(data(last)) => Ok(Step::Stop),
        _ => Ok(Step::On(start + count)),
    }
}

fn data((logical, pointer, len): (u64, u32, u64)) -> Run {
    let state = if pointer == 0 { State::Hole } else { State::Written(pointer.into()) };
    Run { logical, len, state }
}

/// A little-endian pointer of a row; zero past its end.
fn word(row: &[u8], index: usize) -> u32 {
    row.get(index * 4..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}
