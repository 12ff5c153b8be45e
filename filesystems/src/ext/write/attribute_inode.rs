//! Inodes that hold the value of an extended attribute: <https://docs.kernel.org/filesystems/ext4/eainode.html>.
//!
//! Their access time is a hash of the value, and how many attributes have it is in the time of change (the upper half)
//! and the version (the lower one).

use images::{Error, Result, corrupt};

use super::operation::Operation;
use super::record::{Record, halves};
use super::{block_content, inodes, mapping};
use crate::ext::features::incompat;
use crate::ext::layout::{inode_flags, mode};
use crate::ext::xattr::{MAX_VALUE, value_hash};

/// Puts a value into an inode of its own, for an attribute of `owner`: gives its number, and the hash of the value. Fails with `NoSpace` where the file system has no
/// such inodes.
pub(super) fn create(op: &mut Operation<'_>, owner: &Record, value: &[u8]) -> Result<(u32, u32)> {
    let superblock = op.superblock();
    if !superblock.features.has_incompat(incompat::EA_INODE) || value.len() > MAX_VALUE as usize {
        return Err(Error::NoSpace);
    }
    let number = inodes::allocate(op, owner.number, false)?;
    let hash = value_hash(superblock, value);
    let mut record = Record::new(superblock, number, op.volume.inode_offset(number)?, owner.raw().i_generation.get());
    let raw = record.raw_mut();
    raw.i_mode = (mode::FILE | 0o600).into();
    raw.i_links_count = 1.into();
    (raw.i_uid, raw.l_i_uid_high) = (owner.raw().i_uid, owner.raw().l_i_uid_high);
    (raw.i_gid, raw.l_i_gid_high) = (owner.raw().i_gid, owner.raw().l_i_gid_high);
    raw.i_atime = hash.into();
    set_references(&mut record, 1);
    record.set_flag(inode_flags::EA_INODE, true);
    mapping::start(&mut record, superblock);
    block_content::write(op, &mut record, value, 0)?;
    op.put(&mut record)?;
    Ok((number, hash))
}

/// One more attribute has the value.
pub(super) fn share(op: &mut Operation<'_>, number: u32) -> Result<()> {
    let mut record = value_record(op, number)?;
    let count = references(&record);
    set_references(&mut record, count.saturating_add(1));
    op.put(&mut record)
}

/// One attribute less has the value; with the last one it ends.
pub(super) fn release(op: &mut Operation<'_>, number: u32) -> Result<()> {
    let mut record = value_record(op, number)?;
    let count = references(&record);
    if count > 1 {
        set_references(&mut record, count - 1);
        return op.put(&mut record);
    }
    block_content::cut_all(op, &mut record)?;
    record.raw_mut().i_links_count = 0.into();
    record.raw_mut().i_dtime = u32::try_from(op.now().seconds).unwrap_or(u32::MAX).into();
    op.put(&mut record)?;
    inodes::free(op, number, false)
}

fn value_record(op: &Operation<'_>, number: u32) -> Result<Record> {
    let record = op.record(number)?;
    if !record.has(inode_flags::EA_INODE) {
        let why = "it should hold the value of an extended attribute, but has no such flag";
        return Err(corrupt!(format!("inode {number}"), record.offset, "{why}"));
    }
    Ok(record)
}

fn references(record: &Record) -> u64 {
    u64::from(record.raw().i_ctime.get()) << 32 | u64::from(record.raw().l_i_version.get())
}

fn set_references(record: &mut Record, count: u64) {
    let raw = record.raw_mut();
    [raw.l_i_version, raw.i_ctime] = halves(count);
}
