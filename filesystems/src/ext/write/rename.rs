//! Names that move.

use std::collections::HashSet;

use images::{Error, Result, corrupt};

use super::directory::{self, Found};
use super::held::Held;
use super::names::{self, changed, check_movable, check_name};
use super::operation::Operation;
use super::record::Record;
use super::removal::{check_replaceable, lose_name};
use crate::Rename;
use crate::ext::directory::file_type;
use crate::ext::layout::{ROOT_INO, mode};
use crate::node::NodeId;

/// A name that is moved or replaced.
struct Named {
    dir: u32,
    found: Found,
    node: Record,
}

impl Named {
    fn is_directory(&self) -> bool {
        self.node.mode() & mode::TYPE == mode::DIRECTORY
    }
}

/// Moves a name. Gives the inode of the node that was replaced, if that ends now, and is to be freed.
pub(in crate::ext) fn rename(
    op: &mut Operation<'_>,
    held: &Held,
    (from_dir, from_name): (NodeId, &[u8]),
    (to_dir, to_name): (NodeId, &[u8]),
    how: Rename,
) -> Result<Option<u32>> {
    check_name(from_name)?;
    check_name(to_name)?;
    let from_dir = names::directory_to_take_from(op, from_dir)?;
    let to_dir = names::directory(op, to_dir)?;
    let named = |op: &Operation<'_>, dir: &Record, name: &[u8]| -> Result<Option<Named>> {
        let found = names::find(op, dir, name)?;
        Ok(found.map(|(found, node)| Named { dir: dir.number, found, node }))
    };
    let source = named(op, &from_dir, from_name)?.ok_or(Error::NotFound)?;
    let target = named(op, &to_dir, to_name)?;
    check_movable(&source.node)?;
    match (how, target) {
        (Rename::NoReplace, Some(_)) => Err(Error::Exists),
        (Rename::Exchange, None) => Err(Error::NotFound),
        // Two names of the same node: rename(2) does nothing.
        (_, Some(target)) if target.node.number == source.node.number => Ok(None),
        (Rename::Exchange, Some(target)) => exchange(op, source, target).map(|()| None),
        (_, target) => replace(op, held, source, from_name, &to_dir, to_name, target),
    }
}

fn replace(
    op: &mut Operation<'_>,
    held: &Held,
    mut source: Named,
    from_name: &[u8],
    to_dir: &Record,
    to_name: &[u8],
    target: Option<Named>,
) -> Result<Option<u32>> {
    let (from, to) = (source.dir, to_dir.number);
    let moves_directory = source.is_directory() && from != to;
    if let Some(target) = &target {
        names::directory_to_take_from(op, NodeId(to.into()))?;
        check_replaceable(op, &target.node, source.is_directory())?;
    }
    if moves_directory {
        check_outside(op, source.node.number, to)?;
    }
    let kind = file_type(source.node.mode());
    let mut to_dir = op.record(to)?;
    match &target {
        Some(target) => directory::replace(op, &mut to_dir, &target.found, source.node.number, kind)?,
        None => directory::insert(op, &mut to_dir, to_name, source.node.number, kind)?,
    }
    // A directory that comes, and one that goes.
    let more = i8::from(moves_directory) - i8::from(target.as_ref().is_some_and(Named::is_directory));
    changed(op, &mut to_dir, more)?;
    // The entry may lie elsewhere since the other one came.
    let mut from_dir = op.record(from)?;
    let found = directory::find(op, &from_dir, from_name)?.ok_or(Error::NotFound)?;
    directory::remove(op, &mut from_dir, &found)?;
    changed(op, &mut from_dir, -i8::from(moves_directory))?;
    if moves_directory {
        directory::set_parent(op, &mut source.node, to)?;
    }
    source.node.set_changed(op.now());
    op.put(&mut source.node)?;
    match target {
        Some(mut target) => lose_name(op, held, &mut target.node),
        None => Ok(None),
    }
}

fn exchange(op: &mut Operation<'_>, mut one: Named, mut other: Named) -> Result<()> {
    check_movable(&other.node)?;
    names::directory_to_take_from(op, NodeId(other.dir.into()))?;
    if one.dir != other.dir {
        for (named, dir) in [(&one, other.dir), (&other, one.dir)] {
            if named.is_directory() {
                check_outside(op, named.node.number, dir)?;
            }
        }
    }
    let more = i8::from(one.is_directory()) - i8::from(other.is_directory());
    for (named, by, more) in [(&one, &other, -more), (&other, &one, more)] {
        let mut dir = op.record(named.dir)?;
        directory::replace(op, &mut dir, &named.found, by.node.number, file_type(by.node.mode()))?;
        changed(op, &mut dir, if one.dir == other.dir { 0 } else { more })?;
    }
    let (one_dir, other_dir) = (one.dir, other.dir);
    for (named, dir) in [(&mut one, other_dir), (&mut other, one_dir)] {
        if named.is_directory() && one_dir != other_dir {
            directory::set_parent(op, &mut named.node, dir)?;
        }
        named.node.set_changed(op.now());
        op.put(&mut named.node)?;
    }
    Ok(())
}

/// Fails with `Invalid` if the directory `inside` is `moved`, or lies in it.
fn check_outside(op: &Operation<'_>, moved: u32, inside: u32) -> Result<()> {
    let (mut at, mut seen) = (inside, HashSet::new());
    while at != ROOT_INO {
        if at == moved {
            return Err(Error::Invalid);
        }
        if !seen.insert(at) {
            return Err(corrupt!(format!("directory inode {at}"), 0u64, "it lies in itself"));
        }
        at = directory::parent(op, &op.record(at)?)?;
    }
    Ok(())
}
