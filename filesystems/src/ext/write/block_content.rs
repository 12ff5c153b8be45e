//! The content of files that lies in blocks: written where it belongs, and cut off.

use std::ops::Range;

use images::{DiskMut, Result};

use super::mapping::{self, Content, Filled};
use super::operation::Operation;
use super::record::Record;
use crate::ext::features::ro_compat;
use crate::ext::run::{Run, State};
use crate::ext::volume::Volume;

/// How many runs of blocks are given back in one operation, about (ours): what that changes fits into one transaction.
pub(super) const CUT_AT_ONCE: usize = 512;
/// The first size that not every reader of ext2 can tell: `large_file` says that there is such a file.
const LARGE: u64 = 1 << 31;
/// Zeros for what is left of a block.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes to a file whose content lies in blocks, with what it needs of new ones. The record is not written.
pub(super) fn write(op: &mut Operation<'_>, record: &mut Record, data: &[u8], offset: u64) -> Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    let (block_size, end) = (op.volume.block_size(), offset + data.len() as u64);
    if offset > record.size() {
        zero_end(op, record, record.size(), offset)?;
    }
    let blocks = offset / block_size..end.div_ceil(block_size);
    fill_with_zeros_around(op, record, blocks, offset..end)?;
    let writer = op.writer;
    let volume = op.volume;
    for run in runs(op, record, offset / block_size..end.div_ceil(block_size))? {
        write_run(writer, volume, &run, data, offset)?;
    }
    set_size_to(op, record, record.size().max(end))
}

/// Gives all of `blocks` a place. What had none, or was never written, reads as zeros outside of `bytes` afterwards.
fn fill_with_zeros_around(
    op: &mut Operation<'_>,
    record: &mut Record,
    blocks: Range<u64>,
    bytes: Range<u64>,
) -> Result<()> {
    let block_size = op.volume.block_size();
    let mut unwritten = false;
    for Filled { run, is_new } in mapping::fill(op, record, blocks.clone(), Content::Written)? {
        let (physical, is_unwritten) = match run.state {
            State::Written(physical) => (physical, false),
            State::Unwritten(physical) => (physical, true),
            State::Hole => continue,
        };
        unwritten |= is_unwritten;
        if !is_new && !is_unwritten {
            continue;
        }
        let (start, end) = (run.logical * block_size, run.end() * block_size);
        let at = op.superblock().block_offset(physical)?;
        zero(op, at, bytes.start.clamp(start, end) - start)?;
        let after = bytes.end.clamp(start, end) - start;
        zero(op, at + after, end - start - after)?;
    }
    if unwritten { mapping::convert(op, record, blocks) } else { Ok(()) }
}

/// Writes the part of `data`, which is the content from `offset` on, that lies in a run.
pub(super) fn write_run(writer: &dyn DiskMut, volume: &Volume, run: &Run, data: &[u8], offset: u64) -> Result<()> {
    let block_size = volume.block_size();
    let State::Written(physical) = run.state else { return Ok(()) };
    let start = (run.logical * block_size).max(offset);
    let end = run.end().saturating_mul(block_size).min(offset + data.len() as u64);
    if start >= end {
        return Ok(());
    }
    let at = volume.superblock().block_offset(physical)? + (start - run.logical * block_size);
    let within = |at: u64| usize::try_from(at - offset).unwrap_or(usize::MAX);
    writer.write_at(&data[within(start)..within(end)], at)
}

/// Writes zeros.
fn zero(op: &Operation<'_>, mut at: u64, mut len: u64) -> Result<()> {
    while len > 0 {
        let part = usize::try_from(len).unwrap_or(usize::MAX).min(ZEROS.len());
        op.writer.write_at(&ZEROS[..part], at)?;
        (at, len) = (at + part as u64, len - part as u64);
    }
    Ok(())
}

/// The runs of some blocks of a file, as its record has them now.
pub(super) fn runs(op: &Operation<'_>, record: &Record, blocks: Range<u64>) -> Result<Vec<Run>> {
    let (inode, mut runs) = (record.inode(op.superblock())?, Vec::new());
    if blocks.is_empty() {
        return Ok(runs);
    }
    op.volume.map(&inode, blocks.start, &mut |run| {
        let run = run.cut(run.logical, blocks.end);
        runs.push(run);
        run.end() < blocks.end
    })?;
    Ok(runs)
}

/// Makes the bytes from `from` to `to`, or to the end of their block, zero, if they have a place.
pub(super) fn zero_end(op: &Operation<'_>, record: &Record, from: u64, to: u64) -> Result<()> {
    let block_size = op.volume.block_size();
    let (block, inside) = (from / block_size, from % block_size);
    if inside == 0 {
        return Ok(());
    }
    for run in runs(op, record, block..block + 1)? {
        if let State::Written(physical) = run.state {
            let end = to.min((block + 1) * block_size) - block * block_size;
            zero(op, op.superblock().block_offset(physical)? + inside, end - inside)?;
        }
    }
    Ok(())
}

/// Makes the bytes of the block of `to` that lie before it zero, if they have a place.
pub(super) fn zero_start(op: &Operation<'_>, record: &Record, to: u64) -> Result<()> {
    let block_size = op.volume.block_size();
    let (block, inside) = (to / block_size, to % block_size);
    if inside == 0 {
        return Ok(());
    }
    for run in runs(op, record, block..block + 1)? {
        if let State::Written(physical) = run.state {
            zero(op, op.superblock().block_offset(physical)?, inside)?;
        }
    }
    Ok(())
}

/// Sets the size; the first large file marks the file system.
pub(super) fn set_size_to(op: &mut Operation<'_>, record: &mut Record, size: u64) -> Result<()> {
    record.set_size(size);
    if size >= LARGE { mark_large_files(op) } else { Ok(()) }
}

/// Marks a file system that has a file of 2 GiB or more; one of revision 0 has no marks.
fn mark_large_files(op: &mut Operation<'_>) -> Result<()> {
    let raw = op.volume.superblock_now()?;
    if raw.s_feature_ro_compat.get() & ro_compat::LARGE_FILE != 0 || raw.s_rev_level.get() == 0 {
        return Ok(());
    }
    op.change_superblock(|raw| {
        raw.s_feature_ro_compat = (raw.s_feature_ro_compat.get() | ro_compat::LARGE_FILE).into();
        Ok(())
    })
}

/// Cuts a file whose content lies in blocks off after `size` bytes, or a part of what is to be cut off, so that one transaction holds it. Returns whether it
/// is done. The record is not written.
pub(super) fn cut(op: &mut Operation<'_>, record: &mut Record, size: u64) -> Result<bool> {
    if size < record.size() {
        zero_end(op, record, size, u64::MAX)?;
    }
    record.set_size(size);
    Ok(mapping::clear(op, record, size.div_ceil(op.volume.block_size())..u64::MAX, CUT_AT_ONCE)?.is_none())
}

/// The same of all of a small file.
pub(super) fn cut_all(op: &mut Operation<'_>, record: &mut Record) -> Result<()> {
    while !cut(op, record, 0)? {}
    Ok(())
}
