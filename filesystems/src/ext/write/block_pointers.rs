//! The block maps of ext2 and ext3 as they are changed: <https://docs.kernel.org/filesystems/ext4/ifork.html>.

use std::ops::Range;

use images::{Result, unsupported};

use super::blocks;
use super::charge::{charge, free};
use super::operation::Operation;
use super::record::Record;
use crate::ext::layout::DIRECT_BLOCKS;
use crate::ext::run::{Run, State};

/// Bytes of a pointer.
const POINTER: usize = 4;
/// The heights of the three trees behind the direct pointers.
const HEIGHTS: Range<u32> = 1..4;

/// A row of pointers to data.
struct Row {
    /// Where it lies: nowhere if it is in the inode.
    block: Option<u64>,
    /// Which of its pointers is meant.
    index: u64,
    /// How many there are from that one on.
    len: u64,
}

/// Puts a run into the map where a hole was.
pub(super) fn insert(op: &mut Operation<'_>, record: &mut Record, run: Run) -> Result<()> {
    let State::Written(first) = run.state else {
        return Err(unsupported!("a file without extents has no space that reads as zeros"));
    };
    if u32::try_from(first + run.len).is_err() {
        return Err(unsupported!("a file without extents cannot use blocks after the first 2^32"));
    }
    let mut done = 0;
    while done < run.len {
        let row = row_of(op, record, run.logical + done, first)?;
        let count = row.len.min(run.len - done);
        let pointers = first + done..first + done + count;
        match row.block {
            None => set(&mut record.raw_mut().i_block, row.index, pointers),
            Some(block) => op.change(block, |bytes| {
                set(bytes, row.index, pointers);
                Ok(())
            })?,
        }
        done += count;
    }
    Ok(())
}

/// The row with the pointer of a block of the file; the blocks of pointers on the way there are made.
fn row_of(op: &mut Operation<'_>, record: &mut Record, logical: u64, near: u64) -> Result<Row> {
    if logical < DIRECT_BLOCKS {
        return Ok(Row { block: None, index: logical, len: DIRECT_BLOCKS - logical });
    }
    let per_block = per_block(op);
    let (mut inside, mut slot, mut span) = (logical - DIRECT_BLOCKS, DIRECT_BLOCKS, per_block);
    while inside >= span {
        inside -= span;
        span *= per_block;
        slot += 1;
    }
    let mut block = get(&record.raw().i_block, slot);
    if block == 0 {
        block = new_row(op, record, near)?;
        set(&mut record.raw_mut().i_block, slot, block..block + 1);
    }
    loop {
        check(op, block)?;
        span /= per_block;
        if span == 1 {
            return Ok(Row { block: Some(block), index: inside, len: per_block - inside });
        }
        let index = inside / span;
        inside %= span;
        let below = match get(&op.block(block)?, index) {
            0 => {
                let below = new_row(op, record, near)?;
                op.change(block, |bytes| {
                    set(bytes, index, below..below + 1);
                    Ok(())
                })?;
                below
            }
            below => below,
        };
        block = below;
    }
}

/// A block of pointers to nothing.
fn new_row(op: &mut Operation<'_>, record: &mut Record, near: u64) -> Result<u64> {
    charge(op, record, 1)?;
    let block = blocks::allocate(op, near, 1)?.start;
    if u32::try_from(block).is_err() {
        return Err(unsupported!("a file without extents cannot use blocks after the first 2^32"));
    }
    op.replace(block, vec![0; op.superblock().block_size as usize])?;
    Ok(block)
}

/// Gives back what these blocks of the file have, in order, about `limit` runs of it. Gives where to go on if there may be more.
pub(super) fn clear(
    op: &mut Operation<'_>,
    record: &mut Record,
    logical: Range<u64>,
    limit: usize,
) -> Result<Option<u64>> {
    let mut clearing = Clearing { logical, left: limit.max(1), next: None };
    let mut root = record.raw().i_block;
    clearing.row(op, record, &mut root[..DIRECT_BLOCKS as usize * POINTER], 0)?;
    let (mut start, mut span) = (DIRECT_BLOCKS, per_block(op));
    for (slot, height) in (DIRECT_BLOCKS..).zip(HEIGHTS) {
        clearing.below(op, record, &mut root, (slot, height, start, span))?;
        start += span;
        span *= per_block(op);
    }
    record.raw_mut().i_block = root;
    Ok(clearing.next)
}

/// What is being given back.
struct Clearing {
    logical: Range<u64>,
    /// How many runs more.
    left: usize,
    /// Where it ended before all was done.
    next: Option<u64>,
}

impl Clearing {
    /// Clears the tree behind pointer `index` of `pointers`, of this height, which maps `span` blocks from `start` on. If nothing of
    /// it is left the pointer goes too.
    fn below(
        &mut self,
        op: &mut Operation<'_>,
        record: &mut Record,
        pointers: &mut [u8],
        (index, height, start, span): (u64, u32, u64, u64),
    ) -> Result<()> {
        let block = get(pointers, index);
        let is_outside = start >= self.logical.end || start + span <= self.logical.start;
        if block == 0 || is_outside || self.next.is_some() {
            return Ok(());
        }
        check(op, block)?;
        let before = op.block(block)?;
        let mut bytes = before.to_vec();
        if height == 1 {
            self.row(op, record, &mut bytes, start)?;
        } else {
            let span = span / per_block(op);
            for below in 0..per_block(op) {
                self.below(op, record, &mut bytes, (below, height - 1, start + below * span, span))?;
            }
        }
        if bytes.iter().all(|byte| *byte == 0) {
            blocks::free(op, block..block + 1, true)?;
            charge(op, record, -1)?;
            set_zero(pointers, index..index + 1);
        } else if bytes != before[..] {
            op.replace(block, bytes)?;
        }
        Ok(())
    }

    /// Clears pointers to data, of which the first is that of block `start` of the file.
    fn row(&mut self, op: &mut Operation<'_>, record: &mut Record, row: &mut [u8], start: u64) -> Result<()> {
        let count = (row.len() / POINTER) as u64;
        let mut index = self.logical.start.saturating_sub(start);
        let end = self.logical.end.saturating_sub(start).min(count);
        while index < end && self.next.is_none() {
            let first = get(row, index);
            if first == 0 {
                index += 1;
                continue;
            }
            if self.left == 0 {
                self.next = Some(start + index);
                return Ok(());
            }
            let len = (1..end - index).find(|at| get(row, index + at) != first + at).unwrap_or(end - index);
            free(op, record, first..first + len)?;
            set_zero(row, index..index + len);
            index += len;
            self.left -= 1;
        }
        Ok(())
    }
}

/// Pointers in a block.
fn per_block(op: &Operation<'_>) -> u64 {
    u64::from(op.superblock().block_size) / POINTER as u64
}

/// Fails with `Corrupt` if a block of pointers lies where there can be none.
fn check(op: &mut Operation<'_>, block: u64) -> Result<()> {
    let superblock = op.superblock();
    op.space()?.zones.check(superblock, &(block..block + 1), "block map")
}

fn get(pointers: &[u8], index: u64) -> u64 {
    let bytes = pointers[index as usize * POINTER..].first_chunk().expect("the index is one of the row's");
    u32::from_le_bytes(*bytes).into()
}

/// Sets pointers from `index` on to these blocks, which have 32 bits.
fn set(pointers: &mut [u8], index: u64, blocks: Range<u64>) {
    for (place, block) in pointers[index as usize * POINTER..].chunks_exact_mut(POINTER).zip(blocks) {
        place.copy_from_slice(&block.to_le_bytes()[..POINTER]);
    }
}

fn set_zero(pointers: &mut [u8], indexes: Range<u64>) {
    pointers[indexes.start as usize * POINTER..indexes.end as usize * POINTER].fill(0);
}
