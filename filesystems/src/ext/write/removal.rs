//! The end of names, and of nodes that have none any more.

use images::{Error, Result};

use super::held::Held;
use super::names::{self, changed, check_movable, check_name};
use super::operation::Operation;
use super::record::Record;
use super::{Writing, attributes, directory, inodes, mapping, orphans};
use crate::ext::layout::{inode_flags, mode};
use crate::ext::node::Node;
use crate::ext::volume::Volume;
use crate::node::{Kind, NodeId};

/// How many runs of a node's blocks one operation frees (ours): what it changes of their bitmaps fits in a transaction.
const FREED_AT_ONCE: usize = 256;

/// Takes the name of a node that is no directory. Gives its inode if that ends now, and is to be [freed](free).
pub(in crate::ext) fn remove(op: &mut Operation<'_>, held: &Held, dir: NodeId, name: &[u8]) -> Result<Option<u32>> {
    check_name(name)?;
    let mut dir = names::directory_to_take_from(op, dir)?;
    let (found, mut record) = names::find(op, &dir, name)?.ok_or(Error::NotFound)?;
    if record.mode() & mode::TYPE == mode::DIRECTORY {
        return Err(Error::IsDirectory);
    }
    check_movable(&record)?;
    directory::remove(op, &mut dir, &found)?;
    changed(op, &mut dir, 0)?;
    lose_name(op, held, &mut record)
}

/// The same for an empty directory.
pub(in crate::ext) fn remove_dir(op: &mut Operation<'_>, held: &Held, dir: NodeId, name: &[u8]) -> Result<Option<u32>> {
    check_name(name)?;
    let mut dir = names::directory_to_take_from(op, dir)?;
    let (found, mut record) = names::find(op, &dir, name)?.ok_or(Error::NotFound)?;
    check_replaceable(op, &record, true)?;
    directory::remove(op, &mut dir, &found)?;
    changed(op, &mut dir, -1)?;
    lose_name(op, held, &mut record)
}

/// Fails unless a name can be taken from a node, or its place by one that is a directory or not.
pub(super) fn check_replaceable(op: &Operation<'_>, record: &Record, by_directory: bool) -> Result<()> {
    check_movable(record)?;
    let is_directory = record.mode() & mode::TYPE == mode::DIRECTORY;
    match (is_directory, by_directory) {
        (false, true) => Err(Error::NotDirectory),
        (true, false) => Err(Error::IsDirectory),
        (true, true) if !directory::is_empty(op, record)? => Err(Error::NotEmpty),
        _ => Ok(()),
    }
}

/// A node has a name less, a directory none. Gives its inode if nothing keeps it, and it is to be freed.
pub(super) fn lose_name(op: &mut Operation<'_>, held: &Held, record: &mut Record) -> Result<Option<u32>> {
    let is_directory = record.mode() & mode::TYPE == mode::DIRECTORY;
    let left = if is_directory { 0 } else { record.links() - 1 };
    record.set_links(left);
    record.set_changed(op.now());
    if left > 0 {
        op.put(record)?;
        return Ok(None);
    }
    if !held.contains(record.number) && take_blocks(op, record)? {
        return finish(op, record).map(|()| None);
    }
    orphans::add(op, record)?;
    op.put(record)?;
    Ok((!held.end(record.number)).then_some(record.number))
}

/// Frees a node that has no name and that nobody holds, piece by piece: it is among the orphans as long as that takes. One that
/// has a name stays.
pub(in crate::ext) fn free(writing: &Writing, volume: &Volume, number: u32) -> Result<()> {
    let free_some = |op: &mut Operation<'_>| {
        let mut record = op.record(number)?;
        if record.links() != 0 || record.mode() == 0 {
            return Ok(true);
        }
        let done = take_blocks(op, &mut record)?;
        if done {
            orphans::remove(op, &mut record)?;
            finish(op, &mut record)?;
        } else {
            op.put(&mut record)?;
        }
        Ok(done)
    };
    while !writing.operate(volume, free_some)? {}
    Ok(())
}

/// Finishes what a crash has interrupted: an orphan without a name is freed, and one with a name is cut off at its size.
pub(in crate::ext) fn recover(writing: &Writing, volume: &Volume, number: u32) -> Result<()> {
    let cut_some = |op: &mut Operation<'_>| {
        let mut record = op.record(number)?;
        if record.links() == 0 {
            return Ok(true);
        }
        let end = record.inode(op.superblock())?.size.div_ceil(op.volume.block_size());
        let done = record.has(inode_flags::INLINE_DATA)
            || mapping::clear(op, &mut record, end..u64::MAX, FREED_AT_ONCE)?.is_none();
        if done {
            orphans::remove(op, &mut record)?;
        }
        op.put(&mut record)?;
        Ok(done)
    };
    while !writing.operate(volume, cut_some)? {}
    free(writing, volume, number)
}

/// Takes blocks from a node, as many as one operation may. Whether it has none any more.
fn take_blocks(op: &mut Operation<'_>, record: &mut Record) -> Result<bool> {
    let inode = op.volume.inode(record.number)?;
    let has_map = match inode.kind()? {
        _ if inode.has(inode_flags::INLINE_DATA) => false,
        Kind::File | Kind::Directory => true,
        Kind::Symlink => !Node::Live(inode).has_fast_target(op.volume),
        _ => false,
    };
    Ok(!has_map || mapping::clear(op, record, 0..u64::MAX, FREED_AT_ONCE)?.is_none())
}

/// Frees a node that has no blocks in its map any more, and is no orphan.
fn finish(op: &mut Operation<'_>, record: &mut Record) -> Result<()> {
    attributes::clear(op, record)?;
    let is_directory = record.mode() & mode::TYPE == mode::DIRECTORY;
    record.set_links(0);
    record.set_size(0);
    record.set_deleted(op.now());
    op.put(record)?;
    inodes::free(op, record.number, is_directory)
}
