//! The content of files: written where it belongs, at once, and cut off.

use std::ops::Range;

use images::{Error, Result, unsupported};

use super::block_content::{CUT_AT_ONCE, runs, set_size_to, write_run, zero_end, zero_start};
use super::mapping::{self, Content};
use super::operation::Operation;
use super::record::Record;
use super::{Writing, block_content, inline_content, orphans};
use crate::Allocation;
use crate::ext::layout::{inode_flags, mode};
use crate::ext::map::Cursor;
use crate::ext::run::State;
use crate::ext::volume::Volume;

/// How much is written in one operation, in bytes (ours): what it allocates fits into one transaction.
const PIECE: usize = 4 << 20;

/// Writes to a file. What has its place already is overwritten there beside other operations.
pub(in crate::ext) fn write_at(
    writing: &Writing,
    volume: &Volume,
    number: u32,
    data: &[u8],
    offset: u64,
) -> Result<()> {
    offset.checked_add(data.len() as u64).filter(|end| i64::try_from(*end).is_ok()).ok_or(Error::TooLarge)?;
    let mut at = offset;
    for piece in data.chunks(PIECE) {
        let in_place = overwrite(writing, volume, number, piece, at)?;
        writing.operate(volume, |op| {
            let mut record = file(op, number)?;
            if !in_place {
                write(op, &mut record, piece, at)?;
            }
            let now = op.now();
            record.set_modified(now);
            record.set_changed(now);
            if in_place { op.put_times(&mut record) } else { op.put(&mut record) }
        })?;
        at += piece.len() as u64;
    }
    Ok(())
}

/// Writes what has its place already, and nothing if some of it has none. Returns whether it did.
fn overwrite(writing: &Writing, volume: &Volume, number: u32, data: &[u8], offset: u64) -> Result<bool> {
    let _reading = writing.reading();
    writing.check()?;
    let inode = volume.inode(number)?;
    let end = offset + data.len() as u64;
    if inode.mode & mode::TYPE != mode::FILE || end > inode.size || inode.has(inode_flags::INLINE_DATA) {
        return Ok(false);
    }
    let (mut cursor, mut runs) = (Cursor::new(volume, &inode), Vec::new());
    let mut block = offset / volume.block_size();
    while block * volume.block_size() < end {
        let run = cursor.run_at(block)?;
        if !matches!(run.state, State::Written(_)) {
            return Ok(false);
        }
        block = run.end();
        runs.push(run);
    }
    for run in runs {
        write_run(&*writing.writer, volume, &run, data, offset)?;
    }
    Ok(true)
}

/// The record of a file whose content may be changed.
pub(super) fn file(op: &Operation<'_>, number: u32) -> Result<Record> {
    let record = op.record(number)?;
    match record.mode() & mode::TYPE {
        mode::FILE => {}
        mode::DIRECTORY => return Err(Error::IsDirectory),
        _ => return Err(Error::Invalid),
    }
    record.check_changeable()?;
    for (flag, what) in [
        (inode_flags::ENCRYPT, "encrypted by fscrypt"),
        (inode_flags::VERITY, "sealed by fs-verity"),
        (inode_flags::COMPR, "compressed by e2compr"),
    ] {
        if record.has(flag) {
            return Err(unsupported!("inode {number} is {what}: its content is not written"));
        }
    }
    Ok(record)
}

/// Writes to a file, with what it needs of new blocks. The record is not written.
fn write(op: &mut Operation<'_>, record: &mut Record, data: &[u8], offset: u64) -> Result<()> {
    if !data.is_empty() {
        inline_content::move_out(op, record)?;
    }
    block_content::write(op, record, data, offset)
}

/// Cuts a file off after `size` bytes, or a part of what is to be cut off, so that one transaction holds it. Returns whether it
/// is done. The record is not written.
fn cut(op: &mut Operation<'_>, record: &mut Record, size: u64) -> Result<bool> {
    if !record.has(inode_flags::INLINE_DATA) {
        return block_content::cut(op, record, size);
    }
    inline_content::cut(op, record, size)?;
    Ok(true)
}

/// Sets the size of a file.
pub(in crate::ext) fn set_size(writing: &Writing, volume: &Volume, number: u32, size: u64) -> Result<()> {
    i64::try_from(size).map_err(|_| Error::TooLarge)?;
    let mut first = true;
    loop {
        let done = writing.operate(volume, |op| {
            let mut record = file(op, number)?;
            let now = op.now();
            record.set_modified(now);
            record.set_changed(now);
            if size >= record.size() && first {
                grow(op, &mut record, size)?;
                op.put(&mut record)?;
                return Ok(true);
            }
            let done = cut(op, &mut record, size)?;
            match (first, done) {
                (true, false) => orphans::add(op, &mut record)?,
                (false, true) => orphans::remove(op, &mut record)?,
                _ => {}
            }
            op.put(&mut record)?;
            Ok(done)
        })?;
        if done {
            return Ok(());
        }
        first = false;
    }
}

/// Makes a file longer, with a hole. The record is not written.
fn grow(op: &mut Operation<'_>, record: &mut Record, size: u64) -> Result<()> {
    if size > mapping::most_blocks(op.superblock(), record).saturating_mul(op.volume.block_size()) {
        return Err(Error::TooLarge);
    }
    if size > record.size() {
        inline_content::move_out(op, record)?;
        zero_end(op, record, record.size(), size)?;
    }
    set_size_to(op, record, size)
}

/// Changes the space that a file takes.
pub(in crate::ext) fn allocate(
    writing: &Writing,
    volume: &Volume,
    number: u32,
    bytes: Range<u64>,
    how: Allocation,
) -> Result<()> {
    if bytes.is_empty() {
        return Err(Error::Invalid);
    }
    i64::try_from(bytes.end).map_err(|_| Error::TooLarge)?;
    match how {
        Allocation::Collapse => return collapse(writing, volume, number, bytes),
        Allocation::Insert => return insert(writing, volume, number, &bytes),
        _ => {}
    }
    let piece = PIECE as u64;
    let mut at = bytes.start;
    while at < bytes.end {
        // In pieces that begin and end where whole blocks of all sizes do.
        let end = bytes.end.min((at / piece + 1) * piece);
        at = writing.operate(volume, |op| {
            let mut record = file(op, number)?;
            inline_content::move_out(op, &mut record)?;
            let now = op.now();
            record.set_modified(now);
            record.set_changed(now);
            let next = allocate_piece(op, &mut record, at..end, how)?;
            op.put(&mut record)?;
            Ok(next)
        })?;
    }
    Ok(())
}

/// The blocks of a range that is cut out or put in: whole ones, and whole clusters.
fn whole_blocks(volume: &Volume, bytes: &Range<u64>) -> Result<Range<u64>> {
    let unit = volume.block_size() * u64::from(volume.superblock().cluster_blocks);
    let is_whole = bytes.start.is_multiple_of(unit) && bytes.end.is_multiple_of(unit);
    let blocks = bytes.start / volume.block_size()..bytes.end / volume.block_size();
    if is_whole { Ok(blocks) } else { Err(Error::Invalid) }
}

/// Cuts bytes out of a file: first they become a hole, then what is behind it moves there.
fn collapse(writing: &Writing, volume: &Volume, number: u32, bytes: Range<u64>) -> Result<()> {
    let blocks = whole_blocks(volume, &bytes)?;
    let check = |record: &Record| if bytes.end < record.size() { Ok(()) } else { Err(Error::Invalid) };
    writing.operate(volume, |op| {
        let mut record = file(op, number)?;
        check(&record)?;
        inline_content::move_out(op, &mut record)?;
        // Before anything is cut out.
        if !record.has(inode_flags::EXTENTS) {
            return Err(unsupported!("blocks of a file without extents are not moved"));
        }
        op.put(&mut record)
    })?;
    allocate(writing, volume, number, bytes.clone(), Allocation::PunchHole)?;
    writing.operate(volume, |op| {
        let mut record = file(op, number)?;
        check(&record)?;
        mapping::shift(op, &mut record, blocks.end, -(blocks.end - blocks.start).cast_signed())?;
        record.set_size(record.size() - (bytes.end - bytes.start));
        op.put(&mut record)
    })
}

/// Puts a hole into a file.
fn insert(writing: &Writing, volume: &Volume, number: u32, bytes: &Range<u64>) -> Result<()> {
    let blocks = whole_blocks(volume, bytes)?;
    writing.operate(volume, |op| {
        let mut record = file(op, number)?;
        let size = record.size().checked_add(bytes.end - bytes.start).filter(|size| i64::try_from(*size).is_ok());
        let size = size.ok_or(Error::TooLarge)?;
        if bytes.start >= record.size() {
            return Err(Error::Invalid);
        }
        inline_content::move_out(op, &mut record)?;
        mapping::shift(op, &mut record, blocks.start, (blocks.end - blocks.start).cast_signed())?;
        set_size_to(op, &mut record, size)?;
        let now = op.now();
        record.set_modified(now);
        record.set_changed(now);
        op.put(&mut record)
    })
}

/// Does it for some bytes; returns where to go on.
fn allocate_piece(op: &mut Operation<'_>, record: &mut Record, bytes: Range<u64>, how: Allocation) -> Result<u64> {
    let block_size = op.volume.block_size();
    let whole = bytes.start.div_ceil(block_size)..bytes.end / block_size;
    let size = record.size();
    let keep_size = matches!(how, Allocation::KeepSize | Allocation::PunchHole | Allocation::Zero { keep_size: true });
    if how != Allocation::PunchHole && !record.has(inode_flags::EXTENTS) {
        return Err(unsupported!("space is given before it is written only in files with extents"));
    }
    if matches!(how, Allocation::PunchHole | Allocation::Zero { .. }) {
        // The parts of blocks at either end, or of one block.
        let first_end = bytes.end.min(bytes.start.next_multiple_of(block_size));
        zero_end(op, record, bytes.start, first_end)?;
        if bytes.end / block_size >= bytes.start.div_ceil(block_size) {
            zero_start(op, record, bytes.end)?;
        }
    }
    match how {
        Allocation::PunchHole if !whole.is_empty() => {
            if let Some(next) = mapping::clear(op, record, whole, CUT_AT_ONCE)? {
                return Ok(next * block_size);
            }
        }
        Allocation::PunchHole => {}
        Allocation::Zero { .. } => {
            for run in runs(op, record, whole)? {
                if let State::Written(physical) = run.state {
                    op.writer.zero_at(op.superblock().block_offset(physical)?, run.len * block_size)?;
                }
            }
            mapping::fill(op, record, bytes.start / block_size..bytes.end.div_ceil(block_size), Content::Unwritten)?;
        }
        _ => {
            mapping::fill(op, record, bytes.start / block_size..bytes.end.div_ceil(block_size), Content::Unwritten)?;
        }
    }
    if !keep_size && bytes.end > size {
        zero_end(op, record, size, bytes.end)?;
        set_size_to(op, record, bytes.end)?;
    }
    Ok(bytes.end)
}

#[cfg(test)]
mod tests;
