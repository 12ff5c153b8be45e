//! Directories whose names lie in their inodes. They grow no further than what is there; then they get a block.
//!
//! The parent's number comes first, then entries up to the end of `i_block`; more of them may follow in the attribute
//! `system.data`.

use images::{Error, Result};

use super::attributes::{self, Attribute};
use super::directory_block::{fill_first, inode};
use super::entries::{self, Area, NewEntry};
use super::mapping;
use super::operation::Operation;
use super::record::Record;
use crate::ext::directory::len_of;
use crate::ext::features::incompat;
use crate::ext::inline;
use crate::ext::inode::Inode;
use crate::ext::layout::inode_flags;
use crate::ext::listing::INLINE_PARENT;
use crate::ext::xattr::INDEX_SYSTEM;

/// The parts of a directory that hold entries, and where they lie.
fn parts<'a>(op: &Operation<'a>, inode: &'a Inode) -> Result<[(Area<'a>, &'a [u8]); 2]> {
    let superblock = op.superblock();
    let [(first, first_at), (second, second_at)] = inline::parts(inode)?;
    let area = |offset| Area { superblock, inode, offset };
    Ok([(area(first_at + INLINE_PARENT as u64), &first[INLINE_PARENT..]), (area(second_at), second)])
}

/// The part, the position in it and the inode of a name.
pub(super) fn find(op: &Operation<'_>, inode: &Inode, name: &[u8]) -> Result<Option<(usize, usize, u32)>> {
    for (part, (area, bytes)) in parts(op, inode)?.into_iter().enumerate() {
        for entry in area.entries(bytes) {
            let entry = entry?;
            if entry.name == name {
                return Ok(Some((part, entry.position, entry.inode)));
            }
        }
    }
    Ok(None)
}

/// Changes a part, and puts the record.
fn edit(
    op: &mut Operation<'_>,
    dir: &mut Record,
    part: usize,
    change: impl FnOnce(&Area<'_>, &mut [u8]) -> Result<()>,
) -> Result<()> {
    let inode = inode(op, dir)?;
    let parts = parts(op, &inode)?;
    let (area, bytes) = &parts[part];
    if part == 0 {
        change(area, &mut dir.raw_mut().i_block[INLINE_PARENT..])?;
    } else {
        let start = usize::try_from(area.offset - inode.tail_offset).expect("it lies in the record");
        change(area, &mut dir.tail_mut()[start..][..bytes.len()])?;
    }
    op.put(dir)
}

/// Adds an entry, if there is room.
pub(super) fn insert(op: &mut Operation<'_>, dir: &mut Record, new: &NewEntry<'_>) -> Result<bool> {
    let inode = inode(op, dir)?;
    for (part, (area, bytes)) in parts(op, &inode)?.into_iter().enumerate() {
        if let Some(gap) = entries::gap(area.entries(bytes), len_of(new.name))? {
            edit(op, dir, part, |area, bytes| {
                entries::put(bytes, gap, area.superblock.block_size, new);
                Ok(())
            })?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Takes out the entry at this position.
pub(super) fn remove(op: &mut Operation<'_>, dir: &mut Record, part: usize, position: usize) -> Result<()> {
    edit(op, dir, part, |area, bytes| entries::remove(bytes, area, position))
}

/// Lets the entry at this position mean another inode.
pub(super) fn replace(
    op: &mut Operation<'_>,
    dir: &mut Record,
    part: usize,
    position: usize,
    number: u32,
    file_type: u8,
) -> Result<()> {
    edit(op, dir, part, |_, bytes| {
        entries::set_inode(bytes, position, number, file_type);
        Ok(())
    })
}

/// The directory that `..` means.
pub(super) fn parent(inode: &Inode) -> u32 {
    let [a, b, c, d, ..] = *inode.i_block();
    u32::from_le_bytes([a, b, c, d])
}

/// Lets `..` mean another directory. The record is not put.
pub(super) fn set_parent(dir: &mut Record, parent: u32) {
    dir.raw_mut().i_block[..INLINE_PARENT].copy_from_slice(&parent.to_le_bytes());
}

/// Makes a new directory an inline one, where the file system has them. The record is not put.
pub(super) fn make(op: &mut Operation<'_>, dir: &mut Record, parent: u32) -> Result<bool> {
    if !op.superblock().features.has_incompat(incompat::INLINE_DATA) {
        return Ok(false);
    }
    // Also without bytes it must be there, for the kernel and e2fsck find inline content by it.
    let mut all = attributes::read(op, dir)?;
    all.push(Attribute::new(INDEX_SYSTEM, b"data", Vec::new()));
    match attributes::write(op, dir, all) {
        Ok(()) => {}
        Err(Error::NoSpace) => return Ok(false),
        Err(error) => return Err(error),
    }
    let i_block = &mut dir.raw_mut().i_block;
    i_block.fill(0);
    let len = i_block.len() - INLINE_PARENT;
    entries::set_len(&mut i_block[INLINE_PARENT..], 0, len, op.superblock().block_size);
    set_parent(dir, parent);
    dir.set_flag(inode_flags::INLINE_DATA, true);
    dir.set_flag(inode_flags::EXTENTS, false);
    dir.set_size(dir.raw().i_block.len() as u64);
    Ok(true)
}

/// Moves the names of an inline directory to a block, in which there is always room for them.
pub(super) fn convert(op: &mut Operation<'_>, dir: &mut Record) -> Result<()> {
    let inode = inode(op, dir)?;
    let mut names = Vec::new();
    for (area, bytes) in parts(op, &inode)? {
        for entry in area.entries(bytes) {
            names.push(entries::as_new(bytes, &entry?));
        }
    }
    let mut attributes = attributes::read(op, dir)?;
    attributes.retain(|attribute| !(attribute.index == INDEX_SYSTEM && attribute.name == b"data"));
    attributes::write(op, dir, attributes)?;
    dir.set_flag(inode_flags::INLINE_DATA, false);
    mapping::start(dir, op.superblock());
    fill_first(op, dir, parent(&inode), &names)
}
