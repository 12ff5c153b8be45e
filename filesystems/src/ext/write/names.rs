//! What all operations on names have in common: what may be changed, and what a directory notices of it.

use images::{Error, Result, corrupt};

use super::held::Held;
use super::operation::Operation;
use super::record::Record;
use super::{directory, index};
use crate::ext::features::ro_compat;
use crate::ext::layout::{NAME_LEN, ROOT_INO, inode_flags, mode};
use crate::node::NodeId;

/// `EXT4_LINK_MAX`, and what ext2 and ext3 have.
const MAX_LINKS: u16 = 65_000;
const MAX_LINKS_OLD: u16 = 32_000;
/// The links of a directory that has more directories in it than can be counted.
const UNCOUNTED: u16 = 1;

/// A name that a node can get.
pub(super) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > NAME_LEN {
        return Err(Error::NameTooLong);
    }
    match name {
        b"" | b"." | b".." => Err(Error::Invalid),
        _ if name.iter().any(|byte| matches!(byte, 0 | b'/')) => Err(Error::Invalid),
        _ => Ok(()),
    }
}

/// The inode of a node's id.
pub(in crate::ext) fn number(op: &Operation<'_>, node: NodeId) -> Result<u32> {
    let number = u32::try_from(node.0).map_err(|_| Error::NotFound)?;
    let superblock = op.superblock();
    let is_one = number == ROOT_INO || (superblock.first_inode..=superblock.inodes).contains(&number);
    if is_one { Ok(number) } else { Err(Error::NotFound) }
}

/// The record of a node, which lives: it has a name, or somebody holds it.
pub(in crate::ext) fn living(op: &Operation<'_>, held: &Held, node: NodeId) -> Result<Record> {
    let record = op.record(number(op, node)?)?;
    let lives = record.mode() != 0 && (record.links() > 0 || held.contains(record.number));
    if lives { Ok(record) } else { Err(Error::NotFound) }
}

/// The record of a directory in which names can be changed.
pub(super) fn directory(op: &Operation<'_>, node: NodeId) -> Result<Record> {
    let record = op.record(number(op, node)?)?;
    if record.mode() & mode::TYPE != mode::DIRECTORY {
        return Err(Error::NotDirectory);
    }
    // One that was removed, and is held.
    if record.links() == 0 {
        return Err(Error::NotFound);
    }
    if record.has(inode_flags::IMMUTABLE) { Err(Error::NotPermitted) } else { Ok(record) }
}

/// The same for taking names out: what can only be appended to loses none.
pub(super) fn directory_to_take_from(op: &Operation<'_>, node: NodeId) -> Result<Record> {
    let record = directory(op, node)?;
    if record.has(inode_flags::APPEND) { Err(Error::NotPermitted) } else { Ok(record) }
}

/// What a name means, with the record of it.
pub(super) fn find(op: &Operation<'_>, dir: &Record, name: &[u8]) -> Result<Option<(directory::Found, Record)>> {
    let Some(found) = directory::find(op, dir, name)? else { return Ok(None) };
    let what = || format!("directory inode {}", dir.number);
    if number(op, NodeId(found.inode.into())).is_err() || found.inode == dir.number {
        return Err(corrupt!(what(), dir.offset, "an entry names inode {}", found.inode));
    }
    let record = op.record(found.inode)?;
    if record.mode() == 0 || record.links() == 0 {
        return Err(corrupt!(what(), dir.offset, "an entry names inode {}, which is free", found.inode));
    }
    Ok(Some((found, record)))
}

/// Fails if a node's own flags keep its names as they are.
pub(super) fn check_movable(record: &Record) -> Result<()> {
    if record.has(inode_flags::IMMUTABLE | inode_flags::APPEND) { Err(Error::NotPermitted) } else { Ok(()) }
}

/// Names of a directory changed, and its record is put. `subdirectories` says how many directories it has more or less.
pub(super) fn changed(op: &mut Operation<'_>, dir: &mut Record, subdirectories: i8) -> Result<()> {
    let now = op.now();
    dir.set_modified(now);
    dir.set_changed(now);
    if subdirectories > 0 {
        add_subdirectory(op, dir)?;
    } else if subdirectories < 0 && dir.links() > 2 {
        // 1 means that they are not counted.
        dir.set_links(dir.links() - 1);
    }
    op.put(dir)
}

/// The most links that a node can have.
fn most_links(op: &Operation<'_>) -> u16 {
    if op.superblock().features.kind() == "ext4" { MAX_LINKS } else { MAX_LINKS_OLD }
}

/// Fails with `TooManyLinks` if a node that is no directory cannot have one more name.
pub(super) fn check_links(op: &Operation<'_>, record: &Record) -> Result<()> {
    if record.links() >= most_links(op) { Err(Error::TooManyLinks) } else { Ok(()) }
}

fn add_subdirectory(op: &Operation<'_>, dir: &mut Record) -> Result<()> {
    let (links, most) = (dir.links(), most_links(op));
    if links == UNCOUNTED {
        return Ok(());
    }
    let uncounted = op.superblock().features.has_ro_compat(ro_compat::DIR_NLINK) && index::is_used(op, dir);
    match links {
        _ if links < most => dir.set_links(links + 1),
        _ if uncounted => dir.set_links(UNCOUNTED),
        _ => return Err(Error::TooManyLinks),
    }
    Ok(())
}
