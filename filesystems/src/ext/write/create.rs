//! New nodes.

use std::hash::{BuildHasher, Hasher, RandomState};

use images::{Error, Result, corrupt};

use super::mapping::{self, Content};
use super::names::{self, changed, check_name};
use super::operation::Operation;
use super::record::Record;
use super::{directory, inodes, xattrs};
use crate::ext::directory::file_type;
use crate::ext::layout::{inode_flags, mode};
use crate::ext::node::FAST_SYMLINK_MAX;
use crate::ext::run::State;
use crate::node::NodeId;
use crate::{New, NewContent};

/// The set-group-id bit.
const SET_GROUP_ID: u16 = 0o2000;
/// Reading, writing and executing, for all.
const EVERYTHING: u16 = 0o777;
/// The largest numbers of a device that the format has room for: 12 and 20 bits.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

/// Makes a node called `name` in a directory, and gives its inode.
pub(in crate::ext) fn create(op: &mut Operation<'_>, dir: NodeId, name: &[u8], new: &New<'_>) -> Result<u32> {
    check_name(name)?;
    let mut dir = names::directory(op, dir)?;
    if directory::find(op, &dir, name)?.is_some() {
        return Err(Error::Exists);
    }
    let is_directory = new.content == NewContent::Directory;
    let number = inodes::allocate(op, dir.number, is_directory)?;
    let generation = RandomState::new().build_hasher().finish() as u32;
    let mut record = Record::new(op.superblock(), number, op.volume.inode_offset(number)?, generation);
    describe(op, &mut record, &dir, new);
    xattrs::initial(op, &mut record, &dir, new)?;
    set_content(op, &mut record, &dir, new)?;
    op.put(&mut record)?;
    directory::insert(op, &mut dir, name, number, file_type(record.mode()))?;
    changed(op, &mut dir, i8::from(is_directory))?;
    Ok(number)
}

/// Everything about a new node but its permissions, which attributes may decide, and its content.
fn describe(op: &Operation<'_>, record: &mut Record, dir: &Record, new: &New<'_>) {
    let (kind, inherited) = match new.content {
        NewContent::File => (mode::FILE, inode_flags::INHERITED_BY_FILES),
        NewContent::Directory => (mode::DIRECTORY, inode_flags::INHERITED),
        NewContent::Symlink(_) => (mode::SYMLINK, inode_flags::INHERITED_BY_OTHERS),
        NewContent::CharDevice(..) => (mode::CHAR, inode_flags::INHERITED_BY_OTHERS),
        NewContent::BlockDevice(..) => (mode::BLOCK, inode_flags::INHERITED_BY_OTHERS),
        NewContent::Fifo => (mode::FIFO, inode_flags::INHERITED_BY_OTHERS),
        NewContent::Socket => (mode::SOCKET, inode_flags::INHERITED_BY_OTHERS),
    };
    let passes_on = dir.mode() & SET_GROUP_ID != 0;
    let group = if passes_on { dir.owner().1 } else { new.group };
    record.set_mode(match kind {
        mode::DIRECTORY if passes_on => kind | SET_GROUP_ID,
        // Nobody asks for the permissions of a link.
        mode::SYMLINK => kind | EVERYTHING,
        _ => kind,
    });
    record.set_owner(new.owner, group);
    record.set_links(if kind == mode::DIRECTORY { 2 } else { 1 });
    record.set_flag(dir.raw().i_flags.get() & inherited, true);
    let now = op.now();
    record.set_accessed(now);
    record.set_modified(now);
    record.set_changed(now);
    record.set_created(now);
}

fn set_content(op: &mut Operation<'_>, record: &mut Record, dir: &Record, new: &New<'_>) -> Result<()> {
    match new.content {
        NewContent::File => {
            mapping::start(record, op.superblock());
            Ok(())
        }
        NewContent::Directory => directory::make(op, record, dir.number),
        NewContent::Symlink(target) => set_target(op, record, target),
        NewContent::CharDevice(major, minor) | NewContent::BlockDevice(major, minor) => {
            set_device(record, major, minor)
        }
        NewContent::Fifo | NewContent::Socket => Ok(()),
    }
}

/// A target lies in the inode, or, if it is too long, in a block, with a NUL behind it.
fn set_target(op: &mut Operation<'_>, record: &mut Record, target: &[u8]) -> Result<()> {
    let len = target.len() as u64;
    if target.is_empty() || target.contains(&0) {
        return Err(Error::Invalid);
    }
    if len >= op.volume.block_size() {
        return Err(Error::NameTooLong);
    }
    record.set_size(len);
    if len <= FAST_SYMLINK_MAX {
        record.raw_mut().i_block[..target.len()].copy_from_slice(target);
        return Ok(());
    }
    mapping::start(record, op.superblock());
    let filled = mapping::fill(op, record, 0..1, Content::Written)?;
    let Some(State::Written(block)) = filled.first().map(|filled| filled.run.state) else {
        return Err(corrupt!(
            format!("symbolic link, inode {}", record.number),
            record.offset,
            "its block has no place"
        ));
    };
    let mut content = vec![0; op.superblock().block_size as usize];
    content[..target.len()].copy_from_slice(target);
    op.writer.write_at(&content, op.superblock().block_offset(block)?)
}

/// Small numbers are written as old kernels read them.
fn set_device(record: &mut Record, major: u32, minor: u32) -> Result<()> {
    if major > MAX_MAJOR || minor > MAX_MINOR {
        return Err(Error::Invalid);
    }
    let i_block = &mut record.raw_mut().i_block;
    if major < 256 && minor < 256 {
        i_block[..4].copy_from_slice(&(major << 8 | minor).to_le_bytes());
    } else {
        let number = (minor & 0xff) | major << 8 | (minor & !0xff) << 12;
        i_block[4..8].copy_from_slice(&number.to_le_bytes());
    }
    Ok(())
}
