//! Content that lies in the inode: <https://docs.kernel.org/filesystems/ext4/ifork.html#inline-data>.
//!
//! The first 60 bytes are in `i_block`, the rest in the value of the attribute `system.data`, also in the inode.

use images::{Result, corrupt};

use super::inode::Inode;
use super::xattr_entries::Entries;

/// `e_name_index` of `system.`.
const SYSTEM: u8 = 7;
/// Bytes of the header before the first entry; values are counted from there.
const HEADER_SIZE: usize = 4;

/// Where a part of the content lies: the bytes, and their offset on the disk.
pub(super) type Part<'a> = (&'a [u8], u64);

/// The two parts of an inode's inline content, as long as there is room for, not cut to the file's size.
pub(super) fn parts(inode: &Inode) -> Result<[Part<'_>; 2]> {
    let first = (inode.i_block().as_slice(), inode.i_block_offset());
    Ok([first, system_data(inode)?])
}

/// The value of `system.data`, or no bytes without one.
fn system_data(inode: &Inode) -> Result<Part<'_>> {
    let entries = inode.tail.get(HEADER_SIZE..).unwrap_or_default();
    let start = inode.tail_offset + HEADER_SIZE as u64;
    for found in Entries::new(entries, start) {
        let (entry, name, at) = found?;
        if entry.e_name_index == SYSTEM && name == b"data" {
            let (from, len) = (usize::from(entry.e_value_offs.get()), entry.e_value_size.get() as usize);
            let value = entries.get(from..).and_then(|rest| rest.get(..len));
            return match value {
                Some(value) if entry.e_value_inum.get() == 0 => Ok((value, start + from as u64)),
                _ => {
                    let what = format!("inline data of inode {}", inode.number);
                    Err(corrupt!(what, at, "{len} bytes at {from} of {}", entries.len()))
                }
            };
        }
    }
    Ok((&[], start))
}

/// Reads inline content from `offset`; short only at the end of the file. Fails if the inode holds less than its size.
pub(super) fn read(inode: &Inode, buf: &mut [u8], offset: u64) -> Result<usize> {
    let [(first, at), (second, _)] = parts(inode)?;
    let room = first.len() + second.len();
    let size = match usize::try_from(inode.size) {
        Ok(size) if size <= room => size,
        _ => {
            let what = format!("inline data of inode {}", inode.number);
            return Err(corrupt!(what, at, "size {}, but room for {room} bytes", inode.size));
        }
    };
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(size);
    let len = buf.len().min(size - start);
    for (index, byte) in buf[..len].iter_mut().enumerate() {
        let at = start + index;
        *byte = if at < first.len() { first[at] } else { second[at - first.len()] };
    }
    Ok(len)
}
