//! Extent trees: <https://docs.kernel.org/filesystems/ext4/ifork.html>.

use images::{Result, corrupt};
use zerocopy::FromBytes;

use super::checksum::crc32c;
use super::inode::Inode;
use super::layout::{EXTENT_INIT_MAX_LEN, EXTENT_MAGIC, EXTENT_MAX_DEPTH, Extent, ExtentHeader, ExtentIdx};
use super::run::{Run, State, Step};
use super::volume::Volume;

/// The specification's limit: block numbers in a file have 32 bits.
pub(super) const MAX_BLOCKS: u64 = 1 << 32;
/// Bytes of the header, and of an entry.
const ENTRY_SIZE: usize = 12;

/// Whether the root, in the inode, is a leaf. False also if the root is damaged.
pub(super) fn root_is_leaf(inode: &Inode) -> bool {
    ExtentHeader::ref_from_prefix(inode.i_block()).is_ok_and(|(header, _)| header.eh_depth.get() == 0)
}

/// Gives the runs of one leaf, from `from` to where the next leaf begins.
pub(super) fn step(volume: &Volume, inode: &Inode, from: u64, each: &mut dyn FnMut(Run) -> bool) -> Result<Step> {
    let mut offset = inode.i_block_offset();
    let mut depth = check_header(inode, inode.i_block(), offset, None)?;
    // Where the part of the file that the current node maps ends.
    let mut end = MAX_BLOCKS;
    let mut block;
    let mut node: &[u8] = inode.i_block();
    while depth > 0 {
        let indexes = entries::<ExtentIdx>(inode, node, offset)?;
        let next = indexes.partition_point(|index| u64::from(index.ei_block.get()) <= from);
        if let Some(index) = indexes.get(next) {
            end = end.min(index.ei_block.get().into());
        }
        let Some(index) = next.checked_sub(1).and_then(|last| indexes.get(last)) else {
            return Ok(hole(from, end, each));
        };
        let child = u64::from(index.ei_leaf_hi.get()) << 32 | u64::from(index.ei_leaf_lo.get());
        block = volume.block(child)?;
        offset = block.offset();
        node = &block;
        depth = check_header(inode, node, offset, Some(depth - 1))?;
        if volume.superblock().checksum_seed.is_some() {
            check_tail(inode, node, offset)?;
        }
    }

    let mut next = from;
    let mut last_end = 0;
    for extent in entries::<Extent>(inode, node, offset)? {
        let start = u64::from(extent.ee_block.get());
        let (len, written) = match extent.ee_len.get() {
            len if len <= EXTENT_INIT_MAX_LEN => (u64::from(len), true),
            biased => (u64::from(biased - EXTENT_INIT_MAX_LEN), false),
        };
        let physical = u64::from(extent.ee_start_hi.get()) << 32 | u64::from(extent.ee_start_lo.get());
        if len == 0 || start < last_end || start + len > MAX_BLOCKS {
            let why = format!("{len} blocks at block {start} of the file, after block {last_end}");
            return Err(corrupt!(format!("extent of inode {}", inode.number), offset, "{why}"));
        }
        if physical == 0 || physical + len > volume.superblock().blocks {
            let why = format!("{len} blocks at {physical}, but there are {}", volume.superblock().blocks);
            return Err(corrupt!(format!("extent of inode {}", inode.number), offset, "{why}"));
        }
        last_end = start + len;
        if last_end <= next {
            continue;
        }
        if start >= end {
            break;
        }
        if start > next {
            if !each(Run { logical: next, len: start - next, state: State::Hole }) {
                return Ok(Step::Stop);
            }
            next = start;
        }
        let at = physical + (next - start);
        let state = if written { State::Written(at) } else { State::Unwritten(at) };
        let run = Run { logical: next, len: last_end.min(end) - next, state };
        if !each(run) {
            return Ok(Step::Stop);
        }
        next = run.end();
    }
    Ok(if next < end { hole(next, end, each) } else { Step::On(end) })
}

fn hole(from: u64, end: u64, each: &mut dyn FnMut(Run) -> bool) -> Step {
    let goes_on = each(Run { logical: from, len: end - from, state: State::Hole });
    if goes_on { Step::On(end) } else { Step::Stop }
}

/// Checks a node's header and returns its depth; `depth` is what the parent says, `None` for the root.
pub(super) fn check_header(inode: &Inode, node: &[u8], offset: u64, depth: Option<u16>) -> Result<u16> {
    let what = || format!("extent header of inode {}", inode.number);
    let Ok((header, _)) = ExtentHeader::ref_from_prefix(node) else {
        return Err(corrupt!(what(), offset, "{} bytes, want 12", node.len()));
    };
    let (magic, have, most) = (header.eh_magic.get(), header.eh_entries.get(), header.eh_max.get());
    if magic != EXTENT_MAGIC {
        return Err(corrupt!(what(), offset, "magic {magic:#x}, want {EXTENT_MAGIC:#x}"));
    }
    let room = node.len() / ENTRY_SIZE - 1;
    if have > most || usize::from(most) > room {
        return Err(corrupt!(what(), offset, "{have} of {most} entries, with room for {room}"));
    }
    match (header.eh_depth.get(), depth) {
        (found, Some(want)) if found != want => Err(corrupt!(what(), offset, "depth {found}, want {want}")),
        (found, None) if found > EXTENT_MAX_DEPTH => {
            Err(corrupt!(what(), offset, "depth {found}, at most {EXTENT_MAX_DEPTH}"))
        }
        (found, _) if found > 0 && have == 0 => Err(corrupt!(what(), offset, "no entries at depth {found}")),
        (found, _) => Ok(found),
    }
}

/// The entries of a node whose header has been checked.
pub(super) fn entries<'a, T: FromBytes + zerocopy::Immutable + zerocopy::KnownLayout>(
    inode: &Inode,
    node: &'a [u8],
    offset: u64,
) -> Result<&'a [T]> {
    let count = ExtentHeader::ref_from_prefix(node).map_or(0, |(header, _)| header.eh_entries.get());
    match <[T]>::ref_from_prefix_with_elems(&node[ENTRY_SIZE..], count.into()) {
        Ok((entries, _)) => Ok(entries),
        Err(_) => Err(corrupt!(format!("extent header of inode {}", inode.number), offset, "{count} entries")),
    }
}

/// Verifies the checksum behind the last possible entry of a block.
pub(super) fn check_tail(inode: &Inode, node: &[u8], offset: u64) -> Result<()> {
    let most = ExtentHeader::ref_from_prefix(node).map_or(0, |(header, _)| header.eh_max.get());
    let at = ENTRY_SIZE * (usize::from(most) + 1);
    let what = || format!("extent block of inode {}", inode.number);
    let Some(want) = node.get(at..).and_then(|tail| tail.first_chunk()) else {
        return Err(corrupt!(what(), offset, "no room for a checksum"));
    };
    let (have, want) = (crc32c(inode.seed, &node[..at]), u32::from_le_bytes(*want));
    if have == want { Ok(()) } else { Err(corrupt!(what(), offset, "checksum {have:#010x}, want {want:#010x}")) }
}
