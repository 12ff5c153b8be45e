//! The map of a file as it is changed: blocks are taken for holes, become written, and are given back.
//!
//! All of it changes a [`Record`] that the caller [puts](Operation::put) when it is done with it.

use std::collections::BTreeMap;
use std::ops::Range;

use images::{Error, Result, corrupt, unsupported};

use super::charge::{charge, free};
use super::operation::Operation;
use super::record::Record;
use super::{block_pointers, blocks, extent_tree};
use crate::ext::block_map;
use crate::ext::features::incompat;
use crate::ext::layout::inode_flags;
use crate::ext::run::{Run, State};
use crate::ext::superblock::Superblock;

/// What blocks are that a file gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ext) enum Content {
    /// The caller writes all of them before the transaction is committed.
    Written,
    /// They read as zeros. Only files with extents have such.
    Unwritten,
}

/// A part of a range that was filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ext) struct Filled {
    /// Where it lies: never a hole.
    pub run: Run,
    /// Whether it was a hole before: what is there may be anything.
    pub is_new: bool,
}

/// Gives a new inode an empty map: an extent tree where the file system has them.
pub(in crate::ext) fn start(record: &mut Record, superblock: &Superblock) {
    let has_extents = superblock.features.has_incompat(incompat::EXTENTS);
    record.set_flag(inode_flags::EXTENTS, has_extents);
    if has_extents {
        extent_tree::start(record);
    } else {
        record.raw_mut().i_block.fill(0);
    }
}

/// How many blocks a file can have; none of them has this number.
pub(in crate::ext) fn most_blocks(superblock: &Superblock, record: &Record) -> u64 {
    if record.has(inode_flags::EXTENTS) {
        extent_tree::MOST_BLOCKS
    } else {
        block_map::max_blocks(superblock.block_size.into()).min(extent_tree::MOST_BLOCKS)
    }
}

/// Takes blocks for all holes in these blocks of the file, and gives where all of them lie now, in order. What is no hole stays as
/// it is. Fails with `TooLarge`, `NoSpace`, and with `Unsupported` if files with this map have no unwritten blocks.
pub(in crate::ext) fn fill(
    op: &mut Operation<'_>,
    record: &mut Record,
    logical: Range<u64>,
    content: Content,
) -> Result<Vec<Filled>> {
    let superblock = op.superblock();
    if logical.end > most_blocks(superblock, record) {
        return Err(Error::TooLarge);
    }
    if content == Content::Unwritten && !record.has(inode_flags::EXTENTS) {
        return Err(unsupported!("a file without extents has no space that reads as zeros"));
    }
    let mut filled: Vec<Filled> = Vec::new();
    for run in runs(op, record, &logical)? {
        match run.state {
            State::Hole => fill_hole(op, record, run.logical..run.end(), content, &mut filled)?,
            State::Written(block) | State::Unwritten(block) => {
                op.space()?.zones.check(superblock, &(block..block + run.len), "map of a file")?;
                push(&mut filled, Filled { run, is_new: false });
            }
        }
    }
    Ok(filled)
}

/// Makes what is unwritten in these blocks of the file written.
pub(in crate::ext) fn convert(op: &mut Operation<'_>, record: &mut Record, logical: Range<u64>) -> Result<()> {
    let mut at = logical.start;
    while record.has(inode_flags::EXTENTS) && at < logical.end.min(extent_tree::MOST_BLOCKS) {
        let ((), end) = extent_tree::edit(op, record, at, |runs, _| {
            *runs = runs.iter().flat_map(|run| parts(run, &logical)).collect();
            for run in runs.iter_mut().filter(|run| logical.contains(&run.logical)) {
                if let State::Unwritten(block) = run.state {
                    run.state = State::Written(block);
                }
            }
            Ok(())
        })?;
        at = end;
    }
    Ok(())
}

/// Gives back what these blocks of the file have, in order, about `limit` runs of it. Gives the block at which to go on if
/// there may be more.
pub(in crate::ext) fn clear(
    op: &mut Operation<'_>,
    record: &mut Record,
    logical: Range<u64>,
    limit: usize,
) -> Result<Option<u64>> {
    let logical = logical.start..logical.end.min(most_blocks(op.superblock(), record));
    if !record.has(inode_flags::EXTENTS) {
        return block_pointers::clear(op, record, logical, limit);
    }
    let (mut at, mut left) = (logical.start, limit.max(1));
    while at < logical.end {
        if left == 0 {
            return Ok(Some(at));
        }
        let (removed, end) = extent_tree::edit(op, record, at, |runs, _| {
            let (mut kept, mut removed) = (Vec::with_capacity(runs.len() + 1), Vec::new());
            for part in runs.iter().flat_map(|run| parts(run, &logical)) {
                let goes = logical.contains(&part.logical) && removed.len() < left;
                if goes { removed.push(part) } else { kept.push(part) }
            }
            *runs = kept;
            Ok(removed)
        })?;
        give_back(op, record, &removed)?;
        at = match removed.last() {
            Some(last) if removed.len() == left => last.end(),
            _ => end,
        };
        left -= removed.len();
    }
    Ok(None)
}

/// Moves what the file has from block `from` on by so many blocks: forward into a hole that was [cleared](clear) before `from`, or
/// back, so that a hole comes to lie at `from`. Fails with `Invalid` if the file has something in the way or clusters would be cut, with
/// `TooLarge`, and with `Unsupported` if the file has no extents.
pub(in crate::ext) fn shift(op: &mut Operation<'_>, record: &mut Record, from: u64, by: i64) -> Result<()> {
    if !record.has(inode_flags::EXTENTS) {
        return Err(unsupported!("blocks of a file without extents are not moved"));
    }
    let cluster = u64::from(op.superblock().cluster_blocks);
    let to = from
        .checked_add_signed(by)
        .filter(|_| from.is_multiple_of(cluster) && by.unsigned_abs().is_multiple_of(cluster));
    let to = to.ok_or(Error::Invalid)?;
    if runs(op, record, &(to..from))?.iter().any(|run| run.state != State::Hole) {
        return Err(Error::Invalid);
    }
    // Where leaves begin: those that others move towards are moved first.
    let (mut leaves, mut at, mut last) = (Vec::new(), from, 0);
    while at < extent_tree::MOST_BLOCKS {
        leaves.push(at);
        let (last_end, end) = extent_tree::edit(op, record, at, |runs, _| Ok(runs.last().map_or(0, Run::end)))?;
        last = last_end.max(last);
        at = end;
    }
    if last > from && last.saturating_add_signed(by) > extent_tree::MOST_BLOCKS {
        return Err(Error::TooLarge);
    }
    if by > 0 {
        leaves.reverse();
    }
    for leaf in leaves {
        extent_tree::edit(op, record, leaf, |runs, _| {
            *runs = runs.iter().flat_map(|run| parts(run, &(from..u64::MAX))).collect();
            for run in runs.iter_mut().filter(|run| run.logical >= from) {
                run.logical = run.logical.saturating_add_signed(by);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A run in parts: what is before a range, in it and after it.
fn parts(run: &Run, range: &Range<u64>) -> impl Iterator<Item = Run> + use<> {
    let (start, end) = (range.start.clamp(run.logical, run.end()), range.end.clamp(run.logical, run.end()));
    let run = *run;
    let bounds = [run.logical..start, start..end.max(start), end.max(start)..run.end()];
    bounds.into_iter().filter(|part| !part.is_empty()).map(move |part| run.cut(part.start, part.end))
}

/// The runs of these blocks of the file.
fn runs(op: &Operation<'_>, record: &Record, logical: &Range<u64>) -> Result<Vec<Run>> {
    let inode = record.inode(op.superblock())?;
    let mut runs: Vec<Run> = Vec::new();
    if logical.is_empty() {
        return Ok(runs);
    }
    op.volume.map(&inode, logical.start, &mut |run| {
        let run = run.cut(run.logical, logical.end);
        match runs.last_mut() {
            Some(last) if last.continues_with(&run) => last.len += run.len,
            _ => runs.push(run),
        }
        run.end() < logical.end
    })?;
    Ok(runs)
}

/// Where a block of the file lies.
fn place(op: &Operation<'_>, record: &Record, logical: u64) -> Result<Option<u64>> {
    Ok(match runs(op, record, &(logical..logical + 1))?.first().map(|run| run.state) {
        Some(State::Written(block) | State::Unwritten(block)) => Some(block),
        _ => None,
    })
}

/// The first block of an inode's group: where its content begins if nothing else is near.
pub(super) fn home(superblock: &Superblock, number: u32) -> u64 {
    superblock.group_start(number.saturating_sub(1) / superblock.inodes_per_group)
}

/// Takes blocks for a hole and puts them into the map. Clusters that the file has already are used first.
fn fill_hole(
    op: &mut Operation<'_>,
    record: &mut Record,
    hole: Range<u64>,
    content: Content,
    filled: &mut Vec<Filled>,
) -> Result<()> {
    let superblock = op.superblock();
    let cluster = u64::from(superblock.cluster_blocks);
    let mut goal = match hole.start.checked_sub(1).map(|before| place(op, record, before)).transpose()?.flatten() {
        Some(block) => block + 1,
        None => home(superblock, record.number),
    };
    let mut at = hole.start;
    while at < hole.end {
        let inside = at % cluster;
        let is_part = inside > 0 || hole.end - at < cluster;
        let end = if is_part { hole.end.min(at - inside + cluster) } else { hole.end / cluster * cluster };
        let shared = if is_part { cluster_at(op, record, at - inside)? } else { None };
        let blocks = match shared {
            Some(start) => {
                let blocks = start + inside..start + inside + (end - at);
                op.space()?.zones.check(superblock, &blocks, "cluster of a file")?;
                blocks
            }
            None => {
                let taken = blocks::allocate(op, goal, inside + (end - at))?;
                charge(op, record, (taken.end - taken.start).div_ceil(cluster).cast_signed())?;
                taken.start + inside..taken.end
            }
        };
        let state = match content {
            Content::Written => State::Written(blocks.start),
            Content::Unwritten => State::Unwritten(blocks.start),
        };
        let run = Run { logical: at, len: blocks.end - blocks.start, state };
        insert(op, record, run)?;
        push(filled, Filled { run, is_new: true });
        at = run.end();
        goal = blocks.end;
    }
    Ok(())
}

fn push(filled: &mut Vec<Filled>, next: Filled) {
    match filled.last_mut() {
        Some(last) if last.is_new == next.is_new && last.run.continues_with(&next.run) => last.run.len += next.run.len,
        _ => filled.push(next),
    }
}

/// Puts a run into the map where a hole was.
fn insert(op: &mut Operation<'_>, record: &mut Record, run: Run) -> Result<()> {
    if !record.has(inode_flags::EXTENTS) {
        return block_pointers::insert(op, record, run);
    }
    let mut left = Some(run);
    while let Some(run) = left {
        let (end, _) = extent_tree::edit(op, record, run.logical, |runs, leaf_end| {
            let part = run.cut(run.logical, leaf_end.min(run.logical + extent_tree::longest(run.state)));
            let at = runs.partition_point(|before| before.logical < part.logical);
            runs.insert(at, part);
            Ok(part.end())
        })?;
        left = (end < run.end()).then(|| run.cut(end, run.end()));
    }
    Ok(())
}

/// Gives back runs that were taken out of the extent tree: of clusters those of which the file has nothing more.
fn give_back(op: &mut Operation<'_>, record: &mut Record, removed: &[Run]) -> Result<()> {
    let superblock = op.superblock();
    let cluster = u64::from(superblock.cluster_blocks);
    // Clusters that the file may have other blocks of: by their first block in the file, where they lie.
    let mut parts = BTreeMap::new();
    for run in removed {
        let (State::Written(block) | State::Unwritten(block)) = run.state else { continue };
        let Some(start) = cluster_start(superblock, run.logical, block) else {
            return Err(misplaced(superblock, record, run.logical, block));
        };
        let inside = run.logical % cluster;
        let whole = run.logical.next_multiple_of(cluster)..run.end() / cluster * cluster;
        if inside > 0 || whole.is_empty() {
            parts.insert(run.logical - inside, start);
        }
        if run.end() % cluster > 0 {
            parts.insert(run.end() / cluster * cluster, start + run.end() / cluster * cluster - (run.logical - inside));
        }
        if !whole.is_empty() {
            let first = start + (whole.start - (run.logical - inside));
            free(op, record, first..first + (whole.end - whole.start))?;
        }
    }
    for (logical, block) in parts {
        if cluster_at(op, record, logical)?.is_none() {
            free(op, record, block..superblock.blocks.min(block + cluster))?;
        }
    }
    Ok(())
}

/// Where the cluster lies that the file has at this block, the first of a cluster, if it has one.
fn cluster_at(op: &Operation<'_>, record: &Record, logical: u64) -> Result<Option<u64>> {
    let superblock = op.superblock();
    for run in runs(op, record, &(logical..logical + u64::from(superblock.cluster_blocks)))? {
        if let State::Written(block) | State::Unwritten(block) = run.state {
            let start = cluster_start(superblock, run.logical, block);
            return start.map(Some).ok_or_else(|| misplaced(superblock, record, run.logical, block));
        }
    }
    Ok(None)
}

/// Where the cluster begins that has this block of the file; `None` if the block is in the wrong place of it.
fn cluster_start(superblock: &Superblock, logical: u64, block: u64) -> Option<u64> {
    let cluster = u64::from(superblock.cluster_blocks);
    let inside = block.checked_sub(superblock.first_data_block.into())? % cluster;
    (inside == logical % cluster).then(|| block - inside)
}

fn misplaced(superblock: &Superblock, record: &Record, logical: u64, block: u64) -> Error {
    let cluster = superblock.cluster_blocks;
    let why =
        format!("block {logical} of the file at {block}, which is another place of a cluster of {cluster} blocks");
    corrupt!(format!("extent of inode {}", record.number), record.offset, "{why}")
}

#[cfg(test)]
mod tests;
