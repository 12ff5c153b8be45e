//! Files whose content lies in the inode: they are given blocks before they are written.

use images::{Error, Result};

use super::operation::Operation;
use super::record::Record;
use super::{attributes, block_content, mapping};
use crate::ext::inline;
use crate::ext::layout::inode_flags;

/// Moves the content of an inline file into blocks; of any other nothing. The record is not written.
pub(super) fn move_out(op: &mut Operation<'_>, record: &mut Record) -> Result<()> {
    if !record.has(inode_flags::INLINE_DATA) {
        return Ok(());
    }
    let inode = record.inode(op.superblock())?;
    // As much as an inode has room for.
    let len = usize::try_from(inode.size).map_err(|_| Error::Invalid)?.min(record.bytes().len());
    let mut bytes = vec![0; len];
    inline::read(&inode, &mut bytes, 0)?;
    take_out(op, record)?;
    record.set_size(0);
    block_content::write(op, record, &bytes, 0)
}

/// Cuts off an inline file. The record is not written.
pub(super) fn cut(op: &mut Operation<'_>, record: &mut Record, size: u64) -> Result<()> {
    if size == 0 {
        record.set_size(0);
        return take_out(op, record);
    }
    move_out(op, record)?;
    if block_content::cut(op, record, size)? { Ok(()) } else { Err(Error::Invalid) }
}

/// Takes the content away, so that the inode has a map instead.
fn take_out(op: &mut Operation<'_>, record: &mut Record) -> Result<()> {
    let mut all = attributes::read(op, record)?;
    all.retain(|attribute| !attribute.is_inline_data());
    attributes::write(op, record, all)?;
    record.set_flag(inode_flags::INLINE_DATA, false);
    record.raw_mut().i_block.fill(0);
    mapping::start(record, op.superblock());
    Ok(())
}
