//! Which blocks are in use: they are taken and given back, in whole clusters.

use std::ops::{Deref, Range};

use images::{Error, Result, corrupt};

use super::bitmap;
use super::descriptor::{BLOCK_BITMAP_CHECKSUM, FREE_CLUSTERS};
use super::operation::Operation;
use super::record::halves;
use crate::ext::checksum::crc32c;
use crate::ext::features::incompat;
use crate::ext::group::{self, BLOCK_UNINIT, Group};
use crate::ext::layout::SuperBlock;
use crate::ext::superblock::Superblock;
use crate::ext::volume::Block;

/// From how many clusters on a run at the goal is good enough, if there are less than wanted (ours).
const ENOUGH_AT_GOAL: u32 = 16;
/// How many bitmaps are searched in vain before a shorter run will do (ours).
const MOST_SEARCHED: usize = 32;

/// Takes free blocks that lie together: at least one and at most `len`, as many as there are in a good place near `goal`, a
/// block. With bigalloc they begin with a cluster, and the rest of their last cluster is taken too. Fails with `NoSpace`.
pub(in crate::ext) fn allocate(op: &mut Operation<'_>, goal: u64, len: u64) -> Result<Range<u64>> {
    let superblock = op.superblock();
    let cluster = u64::from(superblock.cluster_blocks);
    let want = len.max(1).div_ceil(cluster).min(superblock.clusters_per_group().into());
    let want = u32::try_from(want).expect("not more than a group has");
    let is_inside = (u64::from(superblock.first_data_block)..superblock.blocks).contains(&goal);
    let goal = superblock.place(if is_inside { goal } else { superblock.first_data_block.into() });
    let found = match find(op, goal, want)? {
        None => {
            let volume = op.volume;
            op.space()?.refresh(volume)?;
            find(op, goal, want)?
        }
        found => found,
    };
    let (group, clusters) = found.ok_or(Error::NoSpace)?;
    let blocks = superblock.cluster_range(group, &clusters);
    op.space()?.zones.check(superblock, &blocks, "block bitmap")?;
    mark(op, group, &clusters, true)?;
    Ok(blocks.start..blocks.end.min(blocks.start + len.max(1)))
}

/// Gives back all clusters of `blocks`. They are not used again before this is committed. `metadata` are those that may lie in the
/// journal. Fails with `Corrupt` if one of them is free already, or can never belong to a file.
pub(in crate::ext) fn free(op: &mut Operation<'_>, blocks: Range<u64>, metadata: bool) -> Result<()> {
    let superblock = op.superblock();
    op.space()?.zones.check(superblock, &blocks, "blocks to be freed")?;
    let mut at = blocks.start;
    while at < blocks.end {
        let (group, first) = superblock.place(at);
        let end = blocks.end.min(superblock.group_start(group) + u64::from(superblock.blocks_per_group));
        let (_, last) = superblock.place(end - 1);
        let clusters = first..last + 1;
        mark(op, group, &clusters, false)?;
        op.space()?.freed(group);
        let whole = superblock.cluster_range(group, &clusters);
        op.release(whole.start..whole.end.min(superblock.blocks), metadata)?;
        at = end;
    }
    Ok(())
}

/// A group, and at most `want` clusters that are free and lie together there: at the goal (a group and a cluster of it), else
/// in the first group after it that has as many, else where there are less. `None` if the hints know of no free cluster.
fn find(op: &mut Operation<'_>, goal: (u32, u32), want: u32) -> Result<Option<(u32, Range<u32>)>> {
    if want > ENOUGH_AT_GOAL
        && let Some(run) = at_goal(op, goal, want)?
    {
        return Ok(Some((goal.0, run)));
    }
    let mut enough = want;
    loop {
        match find_enough(op, goal, enough, want)? {
            None if enough > 1 => enough = (enough / 4).max(1),
            found => return Ok(found),
        }
    }
}

/// The free clusters at the goal itself, if they are many.
fn at_goal(op: &mut Operation<'_>, (group, cluster): (u32, u32), want: u32) -> Result<Option<Range<u32>>> {
    if op.space()?.longest[group as usize] == 0 {
        return Ok(None);
    }
    let bits = read(op, group)?;
    let run = next_usable(op, group, &bits, cluster..cluster + 1, want, &mut false);
    Ok(run.filter(|run| run.len() >= ENOUGH_AT_GOAL as usize))
}

/// At most `want` free clusters in the first group that has `enough`, from that of the goal on.
fn find_enough(
    op: &mut Operation<'_>,
    (group, cluster): (u32, u32),
    enough: u32,
    want: u32,
) -> Result<Option<(u32, Range<u32>)>> {
    let mut searched = 0;
    for (mut from, end) in [(group, op.superblock().groups), (0, group)] {
        while let Some(number) = op.space()?.group_with(from..end, enough) {
            let run = search(op, number, if number == group { cluster } else { 0 }, want)?;
            if run.len() >= enough as usize {
                return Ok(Some((number, run)));
            }
            searched += 1;
            if searched == MOST_SEARCHED && enough > 1 {
                return Ok(None);
            }
            from = number + 1;
        }
    }
    Ok(None)
}

/// The first run of `want` free clusters in a group, from cluster `from` on and then before it, or else the longest.
fn search(op: &mut Operation<'_>, number: u32, from: u32, want: u32) -> Result<Range<u32>> {
    let bits = read(op, number)?;
    let (mut best, mut is_waiting) = (0..0, false);
    for mut starts in [from..u32::MAX, 0..from] {
        while let Some(run) = next_usable(op, number, &bits, starts.clone(), want, &mut is_waiting) {
            starts.start = run.end;
            if run.len() > best.len() {
                best = run;
            }
            if best.len() == want as usize {
                return Ok(best);
            }
        }
    }
    op.space()?.lower(number, best.end - best.start, is_waiting);
    Ok(best)
}

/// The first run of clusters that begins in `starts` and may be used, cut off after `most`. Sets `is_waiting` if there are free ones
/// that may not be used before a commit.
fn next_usable(
    op: &Operation<'_>,
    group: u32,
    bits: &[u8],
    mut starts: Range<u32>,
    most: u32,
    is_waiting: &mut bool,
) -> Option<Range<u32>> {
    let superblock = op.superblock();
    let clusters = superblock.whole_clusters(group);
    loop {
        let first = bitmap::first(bits, as_bits(&(starts.start..starts.end.min(clusters))), false)?;
        let run = bitmap::first_free(bits, first..clusters as usize, most as usize)?;
        let run = u32::try_from(run.start).ok()?..u32::try_from(run.end).ok()?;
        let blocks = superblock.cluster_range(group, &run);
        let Some(released) = op.first_released(blocks.clone()) else { return Some(run) };
        *is_waiting = true;
        let (_, end) = superblock.place(released.start.max(blocks.start));
        if end > run.start {
            return Some(run.start..end);
        }
        let (_, last) = superblock.place(released.end.min(blocks.end) - 1);
        starts.start = last + 1;
    }
}

/// Sets or clears the bits of clusters, and all that counts them. Fails with `Corrupt` if one to be freed is free.
fn mark(op: &mut Operation<'_>, number: u32, clusters: &Range<u32>, used: bool) -> Result<()> {
    let superblock = op.superblock();
    let group = op.volume.group(number)?;
    let mut bits = read(op, number)?.to_vec();
    let what = || format!("block bitmap of group {number}");
    if !used && bitmap::count_free(&bits, as_bits(clusters)) > 0 {
        let offset = superblock.block_offset(group.block_bitmap)?;
        return Err(corrupt!(what(), offset, "clusters {clusters:?} are in use and not marked so"));
    }
    let is_new = is_uninitialised(superblock, &group);
    let free_before = if is_new {
        bitmap::count_free(&bits, 0..superblock.whole_clusters(number) as usize) as u32
    } else {
        group.free_clusters
    };
    bitmap::fill(&mut bits, as_bits(clusters), used);
    let count = clusters.end - clusters.start;
    let free = if used { free_before.checked_sub(count) } else { free_before.checked_add(count) };
    let Some(free) = free.filter(|free| *free <= superblock.clusters_per_group()) else {
        let offset = superblock.desc_offset(number)?;
        return Err(corrupt!(what(), offset, "{free_before} clusters are free by its descriptor, less by its bits"));
    };
    let checksum = checksum(superblock, &bits);
    op.space()?.set_clusters(number, free);
    op.replace(group.block_bitmap, bits)?;
    op.change_group(number, |descriptor| {
        if is_new {
            descriptor.clear_flags(BLOCK_UNINIT);
        }
        if let Some(checksum) = checksum {
            descriptor.set(BLOCK_BITMAP_CHECKSUM, checksum);
        }
        descriptor.set(FREE_CLUSTERS, free);
        Ok(())
    })?;
    let blocks = u64::from(count) * u64::from(superblock.cluster_blocks);
    op.change_superblock(|raw| {
        let free = free_blocks(superblock, raw);
        set_free_blocks(raw, if used { free.saturating_sub(blocks) } else { free.saturating_add(blocks) });
        Ok(())
    })
}

/// Writes the block bitmap of a group that was never written, if it is one.
pub(super) fn initialise(op: &mut Operation<'_>, number: u32) -> Result<()> {
    let is_new = is_uninitialised(op.superblock(), &op.volume.group(number)?);
    if is_new { mark(op, number, &(0..0), true) } else { Ok(()) }
}

/// The bits of a group's clusters.
enum Bits {
    Read(Block),
    /// Nothing but the file system's own tables is in use.
    Initial(Vec<u8>),
}

impl Deref for Bits {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(block) => block,
            Self::Initial(bits) => bits,
        }
    }
}

fn read(op: &mut Operation<'_>, number: u32) -> Result<Bits> {
    let superblock = op.superblock();
    let group = op.volume.group(number)?;
    if is_uninitialised(superblock, &group) {
        return initial(op, number).map(Bits::Initial);
    }
    let block = op.block(group.block_bitmap)?;
    if let Some(have) = checksum(superblock, &block) {
        let mask = if superblock.has_long_descriptors() { u32::MAX } else { 0xffff };
        if (have ^ group.block_bitmap_csum) & mask != 0 {
            let (have, want) = (have & mask, group.block_bitmap_csum);
            let what = format!("block bitmap of group {number}");
            return Err(corrupt!(what, block.offset(), "checksum {have:#010x}, want {want:#010x}"));
        }
    }
    Ok(Bits::Read(block))
}

/// What a bitmap says that nobody wrote.
fn initial(op: &mut Operation<'_>, number: u32) -> Result<Vec<u8>> {
    let superblock = op.superblock();
    let mut bits = vec![0; superblock.block_size as usize];
    let clusters = superblock.cluster_range(number, &(0..superblock.clusters_per_group()));
    let end = superblock.whole_clusters(number) as usize;
    let padding = end..bits.len() * 8;
    bitmap::fill(&mut bits, padding, true);
    for zone in op.space()?.zones.among(clusters.start..clusters.end.min(superblock.blocks)) {
        let (_, first) = superblock.place(zone.start);
        let (_, last) = superblock.place(zone.end - 1);
        bitmap::fill(&mut bits, as_bits(&(first..last + 1)), true);
    }
    Ok(bits)
}

fn is_uninitialised(superblock: &Superblock, group: &Group) -> bool {
    group::has_checksum(superblock) && group.flags & BLOCK_UNINIT != 0
}

/// The checksum of a block bitmap, where it has one.
fn checksum(superblock: &Superblock, bits: &[u8]) -> Option<u32> {
    let len = superblock.clusters_per_group() as usize / 8;
    superblock.checksum_seed.map(|seed| crc32c(seed, &bits[..len]))
}

fn as_bits(clusters: &Range<u32>) -> Range<usize> {
    clusters.start as usize..clusters.end as usize
}

fn free_blocks(superblock: &Superblock, raw: &SuperBlock) -> u64 {
    let is_wide = superblock.features.has_incompat(incompat::SIXTY_FOUR_BIT);
    let high = if is_wide { raw.s_free_blocks_count_hi.get() } else { 0 };
    u64::from(high) << 32 | u64::from(raw.s_free_blocks_count_lo.get())
}

fn set_free_blocks(raw: &mut SuperBlock, blocks: u64) {
    [raw.s_free_blocks_count_lo, raw.s_free_blocks_count_hi] = halves(blocks);
}

/// Sets the superblock's counts to what the groups have, if they differ: the kernel brings them up to date at unmount only.
/// Gives whether they did.
pub(in crate::ext) fn correct_counts(op: &mut Operation<'_>) -> Result<bool> {
    let superblock = op.superblock();
    let (inodes, clusters, _) = op.space()?.totals;
    let blocks = clusters.saturating_mul(superblock.cluster_blocks.into());
    let now = op.volume.superblock_now()?;
    if free_blocks(superblock, &now) == blocks && u64::from(now.s_free_inodes_count.get()) == inodes {
        return Ok(false);
    }
    op.change_superblock(|raw| {
        set_free_blocks(raw, blocks);
        raw.s_free_inodes_count = u32::try_from(inodes).unwrap_or(u32::MAX).into();
        Ok(true)
    })
}

#[cfg(test)]
mod tests;
