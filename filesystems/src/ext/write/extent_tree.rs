//! Extent trees as they are changed: <https://docs.kernel.org/filesystems/ext4/ifork.html>.
//!
//! All changes are edits of one leaf: its extents as runs, which an edit makes others. A leaf that becomes too full is split, one
//! that becomes empty goes, and the nodes above follow; the root is in the inode and grows into blocks.

use images::{Error, Result, corrupt};
use zerocopy::{FromBytes, IntoBytes};

use super::blocks;
use super::charge::charge;
use super::operation::Operation;
use super::record::{Record, halves, quarters};
use crate::ext::checksum::crc32c;
use crate::ext::extents::{self, MAX_BLOCKS};
use crate::ext::inode::Inode;
use crate::ext::layout::{EXTENT_INIT_MAX_LEN, EXTENT_MAGIC, EXTENT_MAX_DEPTH, Extent, ExtentHeader, ExtentIdx};
use crate::ext::run::{Run, State};

/// The last block that a file can have, and one more: the specification's limit, less one as the kernel has it.
pub(super) const MOST_BLOCKS: u64 = MAX_BLOCKS - 1;
/// Bytes of a header and of an entry.
const ENTRY_SIZE: usize = size_of::<Extent>();
/// Entries of the root.
const ROOT_ENTRIES: usize = 4;

/// An entry of a node as it lies on the disk: an extent in a leaf, above the leaves a child.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry([u8; ENTRY_SIZE]);

impl Entry {
    fn of_run(run: &Run) -> Self {
        let len = u16::try_from(run.len).expect("cut to what an extent holds");
        let (len, block) = match run.state {
            State::Unwritten(block) => (len + EXTENT_INIT_MAX_LEN, block),
            State::Written(block) => (len, block),
            State::Hole => (0, 0),
        };
        let [low, high] = halves(block);
        let [key, _] = halves(run.logical);
        Self(zerocopy::transmute!(Extent {
            ee_block: key,
            ee_len: len.into(),
            ee_start_hi: quarters(high.get())[0],
            ee_start_lo: low,
        }))
    }

    fn of_child(key: u32, block: u64) -> Self {
        let [low, high] = halves(block);
        Self(zerocopy::transmute!(ExtentIdx {
            ei_block: key.into(),
            ei_leaf_lo: low,
            ei_leaf_hi: quarters(high.get())[0],
            ei_unused: 0.into(),
        }))
    }

    /// The first block of the file that it maps.
    fn key(&self) -> u32 {
        let extent: Extent = zerocopy::transmute!(self.0);
        extent.ee_block.get()
    }

    fn set_key(&mut self, key: u32) {
        self.0[..4].copy_from_slice(&key.to_le_bytes());
    }

    /// The block of the node below.
    fn child(&self) -> u64 {
        let index: ExtentIdx = zerocopy::transmute!(self.0);
        u64::from(index.ei_leaf_hi.get()) << 32 | u64::from(index.ei_leaf_lo.get())
    }

    fn run(&self) -> Run {
        let extent: Extent = zerocopy::transmute!(self.0);
        let block = u64::from(extent.ee_start_hi.get()) << 32 | u64::from(extent.ee_start_lo.get());
        let (len, state) = match extent.ee_len.get() {
            len if len <= EXTENT_INIT_MAX_LEN => (len, State::Written(block)),
            biased => (biased - EXTENT_INIT_MAX_LEN, State::Unwritten(block)),
        };
        Run { logical: extent.ee_block.get().into(), len: len.into(), state }
    }
}

/// A node on the way to a leaf.
struct Node {
    /// Where it lies; nowhere if it is the root.
    block: Option<u64>,
    depth: u16,
    entries: Vec<Entry>,
    /// Which entry leads on.
    at: usize,
}

/// Makes the runs of the leaf that maps block `at` of the file what `edit` makes of them. They are ascending and apart; `edit` gets where the
/// leaf ends, too, and adds two at most. Gives its answer, and where the leaf ends.
pub(super) fn edit<T>(
    op: &mut Operation<'_>,
    record: &mut Record,
    at: u64,
    edit: impl FnOnce(&mut Vec<Run>, u64) -> Result<T>,
) -> Result<(T, u64)> {
    let inode = record.inode(op.superblock())?;
    let (path, end) = descend(op, &inode, at)?;
    let leaf = path.last().expect("the root is there");
    let mut runs: Vec<Run> = leaf.entries.iter().map(Entry::run).collect();
    check_runs(op, &inode, &runs, end)?;
    let is_last = runs.last().is_none_or(|last| last.logical <= at);
    let answer = edit(&mut runs, end)?;
    join(&mut runs);
    let entries: Vec<Entry> = runs.iter().map(Entry::of_run).collect();
    if entries != leaf.entries {
        store(op, record, path, entries, is_last)?;
        shrink(op, record)?;
    }
    Ok((answer, end))
}

/// The longest extent of this state.
pub(super) fn longest(state: State) -> u64 {
    u64::from(EXTENT_INIT_MAX_LEN) - u64::from(matches!(state, State::Unwritten(_)))
}

/// Joins neighbours that are one, where one extent holds both.
fn join(runs: &mut Vec<Run>) {
    runs.dedup_by(|next, last| {
        let joins =
            last.end() == next.logical && last.continues_with(next) && last.len + next.len <= longest(last.state);
        if joins {
            last.len += next.len;
        }
        joins
    });
}

/// The nodes from the root to the leaf that maps block `at`, and where the leaf ends.
fn descend(op: &mut Operation<'_>, inode: &Inode, at: u64) -> Result<(Vec<Node>, u64)> {
    let mut path = vec![root(inode)?];
    let mut end = MAX_BLOCKS;
    loop {
        let node = path.last_mut().expect("the root is there");
        if node.depth == 0 {
            return Ok((path, end));
        }
        if !node.entries.is_sorted_by(|entry, next| entry.key() < next.key()) {
            let what = format!("extent tree of inode {}", inode.number);
            return Err(corrupt!(what, inode.i_block_offset(), "indexes out of order"));
        }
        node.at = node.entries.partition_point(|entry| u64::from(entry.key()) <= at).saturating_sub(1);
        if let Some(next) = node.entries.get(node.at + 1) {
            end = end.min(next.key().into());
        }
        let (child, depth) = (node.entries[node.at].child(), node.depth - 1);
        path.push(child_node(op, inode, child, depth)?);
    }
}

fn root(inode: &Inode) -> Result<Node> {
    let offset = inode.i_block_offset();
    let depth = extents::check_header(inode, inode.i_block(), offset, None)?;
    Ok(Node { block: None, depth, entries: entries(inode, inode.i_block(), offset)?, at: 0 })
}

/// The node in a block, of the depth that its parent says.
fn child_node(op: &mut Operation<'_>, inode: &Inode, number: u64, depth: u16) -> Result<Node> {
    let superblock = op.superblock();
    op.space()?.zones.check(superblock, &(number..number.saturating_add(1)), "extent tree")?;
    let block = op.block(number)?;
    extents::check_header(inode, &block, block.offset(), Some(depth))?;
    if superblock.checksum_seed.is_some() {
        extents::check_tail(inode, &block, block.offset())?;
    }
    Ok(Node { block: Some(number), depth, entries: entries(inode, &block, block.offset())?, at: 0 })
}

/// The entries of a node whose header was checked.
fn entries(inode: &Inode, node: &[u8], offset: u64) -> Result<Vec<Entry>> {
    let extents = extents::entries::<Extent>(inode, node, offset)?;
    Ok(extents.as_bytes().as_chunks().0.iter().map(|entry| Entry(*entry)).collect())
}

/// Fails with `Corrupt` unless the runs of a leaf are ascending and apart, and lie in the file system.
fn check_runs(op: &Operation<'_>, inode: &Inode, runs: &[Run], end: u64) -> Result<()> {
    let mut before = 0;
    for run in runs {
        let is_sound = match run.state {
            State::Written(block) | State::Unwritten(block) => {
                block != 0 && run.len != 0 && block + run.len <= op.superblock().blocks
            }
            State::Hole => false,
        };
        if !is_sound || run.logical < before || run.end() > end {
            let what = format!("extent of inode {}", inode.number);
            return Err(corrupt!(what, inode.i_block_offset(), "{run:?} after block {before}, before block {end}"));
        }
        before = run.end();
    }
    Ok(())
}

/// Writes new entries of the last node of a path, and what follows from them above. `is_last` is whether what is new is at the
/// end: then a node that is too full keeps all that it holds, because more will follow.
fn store(
    op: &mut Operation<'_>,
    record: &mut Record,
    mut path: Vec<Node>,
    mut entries: Vec<Entry>,
    mut is_last: bool,
) -> Result<()> {
    let most = most_entries(op);
    while let Some(Node { block, depth, .. }) = path.pop() {
        let Some(block) = block else { return store_root(op, record, depth, &entries) };
        let parent = path.last().expect("only the root has no parent");
        let mut above = parent.entries.clone();
        if entries.is_empty() {
            above.remove(parent.at);
            blocks::free(op, block..block + 1, true)?;
            charge(op, record, -1)?;
        } else {
            let rest = match entries.len() {
                len if len <= most => Vec::new(),
                _ if is_last => entries.split_off(most),
                len => entries.split_off(len / 2),
            };
            above[parent.at].set_key(entries[0].key());
            write(op, record, block, depth, &entries)?;
            if let Some(first) = rest.first() {
                let new = allocate(op, record, block)?;
                write(op, record, new, depth, &rest)?;
                is_last = parent.at + 1 == above.len();
                above.insert(parent.at + 1, Entry::of_child(first.key(), new));
            }
        }
        if above == parent.entries {
            return Ok(());
        }
        entries = above;
    }
    Ok(())
}

/// Writes the entries of the root, which go into a block of their own if they are too many.
fn store_root(op: &mut Operation<'_>, record: &mut Record, depth: u16, entries: &[Entry]) -> Result<()> {
    if entries.len() <= ROOT_ENTRIES {
        let depth = if entries.is_empty() { 0 } else { depth };
        write_node(&mut record.raw_mut().i_block, depth, entries);
        return Ok(());
    }
    if depth >= EXTENT_MAX_DEPTH {
        return Err(Error::TooLarge);
    }
    let near = match entries[0].run().state {
        State::Written(block) | State::Unwritten(block) if depth == 0 => block,
        _ => entries[0].child(),
    };
    let block = allocate(op, record, near)?;
    write(op, record, block, depth, entries)?;
    write_node(&mut record.raw_mut().i_block, depth + 1, &[Entry::of_child(entries[0].key(), block)]);
    Ok(())
}

/// Takes the entries of the only child into the root, if they fit there.
fn shrink(op: &mut Operation<'_>, record: &mut Record) -> Result<()> {
    while !is_leaf(record) {
        let inode = record.inode(op.superblock())?;
        let root = root(&inode)?;
        let [only] = &root.entries[..] else { return Ok(()) };
        let child = child_node(op, &inode, only.child(), root.depth - 1)?;
        if child.entries.len() > ROOT_ENTRIES {
            return Ok(());
        }
        blocks::free(op, only.child()..only.child() + 1, true)?;
        charge(op, record, -1)?;
        write_node(&mut record.raw_mut().i_block, child.depth, &child.entries);
    }
    Ok(())
}

/// Whether the root has the extents itself.
fn is_leaf(record: &Record) -> bool {
    ExtentHeader::ref_from_prefix(&record.raw().i_block).is_ok_and(|(header, _)| header.eh_depth.get() == 0)
}

/// A block for a node.
fn allocate(op: &mut Operation<'_>, record: &mut Record, near: u64) -> Result<u64> {
    charge(op, record, 1)?;
    Ok(blocks::allocate(op, near, 1)?.start)
}

/// Entries of a node in a block; a checksum follows them.
fn most_entries(op: &Operation<'_>) -> usize {
    op.superblock().block_size as usize / ENTRY_SIZE - 1
}

/// Writes a node to its block.
fn write(op: &mut Operation<'_>, record: &Record, block: u64, depth: u16, entries: &[Entry]) -> Result<()> {
    let mut bytes = vec![0; op.superblock().block_size as usize];
    let end = (most_entries(op) + 1) * ENTRY_SIZE;
    write_node(&mut bytes[..end], depth, entries);
    if op.superblock().checksum_seed.is_some() {
        let checksum = crc32c(record.seed(op.superblock()), &bytes[..end]);
        bytes[end..][..4].copy_from_slice(&checksum.to_le_bytes());
    }
    op.replace(block, bytes)
}

/// Writes a header and entries to where both fit.
fn write_node(bytes: &mut [u8], depth: u16, entries: &[Entry]) {
    let most = bytes.len() / ENTRY_SIZE - 1;
    let header = ExtentHeader {
        eh_magic: EXTENT_MAGIC.into(),
        // A block has 5460 at most.
        eh_entries: (entries.len() as u16).into(),
        eh_max: (most as u16).into(),
        eh_depth: depth.into(),
        eh_generation: 0.into(),
    };
    bytes.fill(0);
    bytes[..ENTRY_SIZE].copy_from_slice(header.as_bytes());
    for (place, entry) in bytes[ENTRY_SIZE..].chunks_exact_mut(ENTRY_SIZE).zip(entries) {
        place.copy_from_slice(&entry.0);
    }
}

/// Makes a root without extents.
pub(super) fn start(record: &mut Record) {
    write_node(&mut record.raw_mut().i_block, 0, &[]);
}
