//! The blocks of a directory, as they change: what hash trees and linear directories have in common.

use std::sync::Arc;

use images::{Error, Result, corrupt, unsupported};

use super::entries::{self, Area, Gap, NewEntry};
use super::mapping::{self, Content};
use super::operation::Operation;
use super::record::Record;
use crate::ext::directory::{Dirent, SMALLEST, len_of};
use crate::ext::features::incompat;
use crate::ext::htree::Search;
use crate::ext::inode::Inode;
use crate::ext::layout::inode_flags;
use crate::ext::run::State;
use crate::ext::superblock::Superblock;
use crate::ext::volume::Block;
use crate::node::Kind;

/// The longest directory without large_dir: `i_size_high` is not its size's (the specification).
const MAX_SIZE: u64 = 1 << 31;
/// The same with large_dir: block numbers in a directory have 32 bits.
const MAX_BLOCKS: u64 = u32::MAX as u64;

/// The file type of directories in an entry.
pub(super) const DIRECTORY: u8 = 2;

/// The inode of a directory whose names can be changed.
pub(super) fn inode(op: &Operation<'_>, dir: &Record) -> Result<Arc<Inode>> {
    let inode = op.volume.inode(dir.number)?;
    if inode.kind()? != Kind::Directory {
        return Err(Error::NotDirectory);
    }
    for (flag, what) in [(inode_flags::ENCRYPT, "encrypted"), (inode_flags::CASEFOLD, "without regard to case")] {
        if inode.has(flag) {
            return Err(unsupported!("directory inode {} is {what}: its names are not changed", dir.number));
        }
    }
    Ok(inode)
}

/// The number of a block on the disk.
pub(super) fn number_of(op: &Operation<'_>, block: &Block) -> u64 {
    block.offset() / op.volume.block_size()
}

/// The leaf at which a search stands, verified.
pub(super) fn leaf(op: &Operation<'_>, inode: &Inode, search: &Search<'_>) -> Result<Block> {
    let block = op.volume.directory_block(inode, search.leaf())?;
    op.volume.check_leaf(inode, &block)?;
    Ok(block)
}

/// Where a block has room for an entry.
pub(super) fn gap_in(superblock: &Superblock, inode: &Inode, block: &Block, new: &NewEntry<'_>) -> Result<Option<Gap>> {
    let area = Area { superblock, inode, offset: block.offset() };
    entries::gap(area.entries(&block[..area.room()]), len_of(new.name))
}

/// Puts an entry into a gap of a block.
pub(super) fn put(op: &mut Operation<'_>, inode: &Inode, number: u64, gap: Gap, new: &NewEntry<'_>) -> Result<()> {
    edit(op, inode, number, |area, block| {
        entries::put(block, gap, area.superblock.block_size, new);
        Ok(())
    })
}

/// Changes a block of a directory.
pub(super) fn edit(
    op: &mut Operation<'_>,
    inode: &Inode,
    number: u64,
    change: impl FnOnce(&Area<'_>, &mut [u8]) -> Result<()>,
) -> Result<()> {
    let superblock = op.superblock();
    let area = Area { superblock, inode, offset: superblock.block_offset(number)? };
    op.change(number, |block| {
        change(&area, block)?;
        area.seal(block);
        Ok(())
    })
}

/// A block with these entries, which fit in it.
pub(super) fn block_of<'a>(
    op: &Operation<'_>,
    inode: &Inode,
    entries: impl IntoIterator<Item = NewEntry<'a>>,
) -> Vec<u8> {
    let area = Area { superblock: op.superblock(), inode, offset: 0 };
    let mut block = vec![0; area.superblock.block_size as usize];
    entries::fill(&mut block[..area.room()], area.superblock.block_size, entries);
    area.seal_leaf(&mut block);
    block
}

/// Adds a block at the end of a directory and puts its record. Gives the block's number in the directory.
pub(super) fn append(op: &mut Operation<'_>, dir: &mut Record, content: Vec<u8>) -> Result<u32> {
    let superblock = op.superblock();
    let block_size = op.volume.block_size();
    let logical = dir.inode(superblock)?.size / block_size;
    let most = if superblock.features.has_incompat(incompat::LARGEDIR) { MAX_BLOCKS } else { MAX_SIZE / block_size };
    let Some(number) = u32::try_from(logical).ok().filter(|_| logical < most) else { return Err(Error::NoSpace) };
    let filled = mapping::fill(op, dir, logical..logical + 1, Content::Written)?;
    let Some(State::Written(block)) = filled.first().map(|filled| filled.run.state) else {
        return Err(corrupt!(
            format!("directory inode {}", dir.number),
            dir.offset,
            "its block {logical} has no place"
        ));
    };
    op.replace(block, content)?;
    dir.set_size((logical + 1) * block_size);
    op.put(dir)?;
    Ok(number)
}

/// The first block, verified.
pub(super) fn first_block(op: &Operation<'_>, inode: &Inode) -> Result<Block> {
    let block = op.volume.directory_block(inode, 0)?;
    op.volume.check_leaf(inode, &block)?;
    Ok(block)
}

/// `.` and `..`, with which the first block begins.
pub(super) fn dots<'a>(area: &Area<'a>, block: &'a [u8]) -> Result<[Dirent<'a>; 2]> {
    let mut entries = area.entries(block);
    match (entries.next_place().transpose()?, entries.next_place().transpose()?) {
        (Some(dot), Some(dots)) if dot.name == b"." && dots.name == b".." && dots.position == SMALLEST => {
            Ok([dot, dots])
        }
        _ => {
            let what = format!("directory inode {}", area.inode.number);
            Err(corrupt!(what, area.offset, "it does not begin with `.` and `..`"))
        }
    }
}

/// Gives a directory without blocks its first one, with `.`, `..` and these entries.
pub(super) fn fill_first(
    op: &mut Operation<'_>,
    dir: &mut Record,
    parent: u32,
    entries: &[NewEntry<'_>],
) -> Result<()> {
    let file_type = if op.superblock().features.has_incompat(incompat::FILETYPE) { DIRECTORY } else { 0 };
    let dots = [(b".".as_slice(), dir.number), (b"..", parent)];
    let dots = dots.map(|(name, inode)| NewEntry { name, inode, file_type });
    dir.set_size(0);
    let inode = dir.inode(op.superblock())?;
    let block = block_of(op, &inode, dots.into_iter().chain(entries.iter().copied()));
    append(op, dir, block).map(|_| ())
}
