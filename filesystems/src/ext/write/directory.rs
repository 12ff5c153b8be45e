//! The names of a directory, as they change: in blocks one after the other, in a hash tree, or in the inode.
//!
//! A record that is handed over has the map that was [put](Operation::put) last; what changes of it here is put here. Directories
//! never become shorter, as with the kernel.

use images::{Error, Result, corrupt, unsupported};

use super::directory_block::{
    DIRECTORY, append, block_of, dots, edit, fill_first, first_block, gap_in, inode, leaf, number_of, put,
};
use super::entries::{self, Area, NewEntry};
use super::operation::Operation;
use super::record::Record;
use super::{index, inline_directory, mapping};
use crate::ext::directory::Dirent;
use crate::ext::features::incompat;
use crate::ext::inode::Inode;
use crate::ext::layout::inode_flags;
use crate::ext::volume::Block;

/// A name in a directory, and where it lies.
#[derive(Clone, Copy, Debug)]
pub(in crate::ext) struct Found {
    /// The inode that it names.
    pub inode: u32,
    place: Place,
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// In this block of the disk, from this byte on.
    Block(u64, usize),
    /// In this part of an inline directory, from this byte on.
    Inline(usize, usize),
}

/// A name in a directory. Fails with `Corrupt` where it cannot be told whether it is there.
pub(in crate::ext) fn find(op: &Operation<'_>, dir: &Record, name: &[u8]) -> Result<Option<Found>> {
    let inode = inode(op, dir)?;
    if dir.has(inode_flags::INLINE_DATA) {
        let found = inline_directory::find(op, &inode, name)?;
        return Ok(found.map(|(part, position, inode)| Found { inode, place: Place::Inline(part, position) }));
    }
    if index::is_used(op, dir) {
        let mut search = index::search(op, &inode, name)?;
        loop {
            let leaf = leaf(op, &inode, &search)?;
            if let found @ Some(_) = find_in(op, &inode, &leaf, name)? {
                return Ok(found);
            }
            if !search.advance()? {
                return Ok(None);
            }
        }
    }
    let mut found = None;
    each_block(op, &inode, &mut |block| {
        found = find_in(op, &inode, block, name)?;
        Ok(found.is_none())
    })?;
    Ok(found)
}

fn find_in(op: &Operation<'_>, inode: &Inode, block: &Block, name: &[u8]) -> Result<Option<Found>> {
    let area = Area { superblock: op.superblock(), inode, offset: block.offset() };
    for entry in area.entries(&block[..area.room()]) {
        let Dirent { position, inode, name: found, .. } = entry?;
        if found == name {
            return Ok(Some(Found { inode, place: Place::Block(number_of(op, block), position) }));
        }
    }
    Ok(None)
}

/// Calls `each` with the verified blocks of a directory, until it returns false. The first error ends it.
fn each_block(op: &Operation<'_>, inode: &Inode, each: &mut dyn FnMut(&Block) -> Result<bool>) -> Result<()> {
    let known = op.volume.known(inode)?;
    let mut outcome = Ok(());
    let to_end = op.volume.each_block(inode, 0, known.end, &mut |_, block| {
        let goes_on = block.and_then(|block| each(&block));
        match goes_on {
            Ok(goes_on) => goes_on,
            Err(error) => {
                outcome = Err(error);
                false
            }
        }
    })?;
    match known.damage.get() {
        Some(error) if to_end => Err(Error::Shared(error.clone())),
        _ => outcome,
    }
}

/// Gives a name to an inode; it must not be there yet.
pub(in crate::ext) fn insert(
    op: &mut Operation<'_>,
    dir: &mut Record,
    name: &[u8],
    inode: u32,
    file_type: u8,
) -> Result<()> {
    let file_type = if op.superblock().features.has_incompat(incompat::FILETYPE) { file_type } else { 0 };
    let new = NewEntry { name, inode, file_type };
    if dir.has(inode_flags::INLINE_DATA) {
        if inline_directory::insert(op, dir, &new)? {
            return Ok(());
        }
        inline_directory::convert(op, dir)?;
    }
    if index::is_used(op, dir) { index::insert(op, dir, &new) } else { insert_linear(op, dir, &new) }
}

fn insert_linear(op: &mut Operation<'_>, dir: &mut Record, new: &NewEntry<'_>) -> Result<()> {
    if dir.has(inode_flags::INDEX) {
        let number = dir.number;
        return Err(unsupported!("directory inode {number} has a hash tree, and the file system has no dir_index"));
    }
    let inode = inode(op, dir)?;
    let mut done = None;
    each_block(op, &inode, &mut |block| {
        done = gap_in(op.superblock(), &inode, block, new)?.map(|gap| (number_of(op, block), gap));
        Ok(done.is_none())
    })?;
    if let Some((number, gap)) = done {
        return put(op, &inode, number, gap, new);
    }
    if inode.size == op.volume.block_size() && index::is_possible(op.superblock()) {
        index::create(op, dir)?;
        return index::insert(op, dir, new);
    }
    let block = block_of(op, &inode, [*new]);
    append(op, dir, block).map(|_| ())
}

/// Takes a name out of a directory.
pub(in crate::ext) fn remove(op: &mut Operation<'_>, dir: &mut Record, found: &Found) -> Result<()> {
    let inode = inode(op, dir)?;
    match found.place {
        Place::Block(number, position) => {
            edit(op, &inode, number, |area, block| entries::remove(&mut block[..area.room()], area, position))
        }
        Place::Inline(part, position) => inline_directory::remove(op, dir, part, position),
    }
}

/// Lets a name mean another inode.
pub(in crate::ext) fn replace(
    op: &mut Operation<'_>,
    dir: &mut Record,
    found: &Found,
    number: u32,
    file_type: u8,
) -> Result<()> {
    let file_type = if op.superblock().features.has_incompat(incompat::FILETYPE) { file_type } else { 0 };
    let inode = inode(op, dir)?;
    match found.place {
        Place::Block(block, position) => edit(op, &inode, block, |_, block| {
            entries::set_inode(block, position, number, file_type);
            Ok(())
        }),
        Place::Inline(part, position) => inline_directory::replace(op, dir, part, position, number, file_type),
    }
}

/// Whether a directory has no names but `.` and `..`.
pub(in crate::ext) fn is_empty(op: &Operation<'_>, dir: &Record) -> Result<bool> {
    let inode = inode(op, dir)?;
    let mut empty = true;
    op.volume.list(&inode, 0, &mut |_| {
        empty = false;
        false
    })?;
    Ok(empty)
}

/// The directory in which a directory lies, as its `..` says.
pub(in crate::ext) fn parent(op: &Operation<'_>, dir: &Record) -> Result<u32> {
    let inode = inode(op, dir)?;
    if inode.has(inode_flags::INLINE_DATA) {
        return Ok(inline_directory::parent(&inode));
    }
    let block = first_block(op, &inode)?;
    let area = Area { superblock: op.superblock(), inode: &inode, offset: block.offset() };
    match dots(&area, &block)? {
        [_, Dirent { inode, .. }] if inode != 0 => Ok(inode),
        _ => Err(corrupt!(format!("directory inode {}", dir.number), block.offset(), "`..` names no inode")),
    }
}

/// Lets `..` mean another directory.
pub(in crate::ext) fn set_parent(op: &mut Operation<'_>, dir: &mut Record, parent: u32) -> Result<()> {
    let inode = inode(op, dir)?;
    if inode.has(inode_flags::INLINE_DATA) {
        inline_directory::set_parent(dir, parent);
        return op.put(dir);
    }
    let block = first_block(op, &inode)?;
    let file_type = if op.superblock().features.has_incompat(incompat::FILETYPE) { DIRECTORY } else { 0 };
    edit(op, &inode, number_of(op, &block), |area, block| {
        let [_, Dirent { position, .. }] = dots(area, block)?;
        entries::set_inode(block, position, parent, file_type);
        Ok(())
    })
}

/// Gives a new directory, whose record has everything else, what an empty one has, and puts the record.
pub(in crate::ext) fn make(op: &mut Operation<'_>, dir: &mut Record, parent: u32) -> Result<()> {
    if inline_directory::make(op, dir, parent)? {
        return op.put(dir);
    }
    mapping::start(dir, op.superblock());
    fill_first(op, dir, parent, &[])
}
