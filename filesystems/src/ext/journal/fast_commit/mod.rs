//! Fast commits: what changed since the last whole transaction, told as operations on inodes and directories.
//!
//! Specification: <https://docs.kernel.org/filesystems/ext4/journal.html#fast-commits>
//!
//! As in the kernel, each fast commit counts up to its tail, whose CRC-32C covers it. Other than the kernel, which then
//! refuses to mount, damage in the first one ends the replay as it does in later ones: it was never complete.

#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

mod directory;
mod extent_map;
mod layout;
mod replay;
mod store;

use images::{Result, unsupported};
use zerocopy::FromBytes;

use self::layout::*;
use super::log::Log;
use crate::ext::checksum::crc32c;
use crate::ext::layout::EXTENT_INIT_MAX_LEN;

pub use replay::replay;

/// The longest fast-commit area that is read, in bytes: ours. By default it has 256 blocks.
const MAX_AREA: u64 = 64 << 20;

/// The most operations that are replayed: ours. The default area has room for some 80,000 of the shortest.
const MAX_OPERATIONS: usize = 1 << 18;

/// What one tag says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    /// These blocks of the file lie there now, whatever was mapped before.
    AddRange { inode: u32, logical: u32, len: u32, physical: u64, unwritten: bool },
    /// These blocks of the file are a hole now.
    DelRange { inode: u32, logical: u32, len: u32 },
    /// A name for an inode that was just made.
    Create { parent: u32, inode: u32, name: Vec<u8> },
    /// Another name.
    Link { parent: u32, inode: u32, name: Vec<u8> },
    /// The name is gone.
    Unlink { parent: u32, inode: u32, name: Vec<u8> },
    /// The inode's record, up to its last field, without `i_block` where that is an extent tree.
    Inode { inode: u32, record: Vec<u8> },
}

/// The complete fast commits after the last transaction.
#[derive(Debug, Default)]
pub struct Commits {
    /// How many.
    pub count: u32,
    /// What they say, in order.
    pub operations: Vec<Operation>,
}

/// Reads the fast commits that belong to transaction `sequence`.
pub fn read(log: &Log, sequence: u32) -> Result<Commits> {
    let mut commits = Commits::default();
    let Some(end) = log.superblock.fast_commit_end else { return Ok(commits) };
    // One block behind the log is never used.
    let area = log.superblock.last.saturating_add(1)..end;
    let (mut block, mut pending, mut crc) = (Vec::new(), Vec::new(), 0);
    let mut size = 0;
    for number in area.clone() {
        log.read(number, &mut block)?;
        size += block.len() as u64;
        if number == area.start && !block.starts_with(&EXT4_FC_TAG_HEAD.to_le_bytes()) {
            return Ok(commits);
        }
        for tag in tags(&block) {
            let Some(Tag { tag, value, covered, .. }) = tag else { return Ok(commits) };
            crc = crc32c(crc, covered);
            match tag {
                EXT4_FC_TAG_TAIL => {
                    let Ok((tail, _)) = FcTail::ref_from_prefix(value) else { return Ok(commits) };
                    if tail.fc_tid.get() != sequence || tail.fc_crc.get() != crc {
                        return Ok(commits);
                    }
                    commits.operations.append(&mut pending);
                    commits.count += 1;
                    crc = 0;
                }
                EXT4_FC_TAG_PAD => {}
                EXT4_FC_TAG_HEAD => {
                    let Ok((head, _)) = FcHead::ref_from_prefix(value) else { return Ok(commits) };
                    if head.fc_tid.get() != sequence {
                        return Ok(commits);
                    }
                    if head.fc_features.get() != 0 {
                        let features = head.fc_features;
                        return Err(unsupported!("the fast commits use the unknown features {features:#x}"));
                    }
                }
                _ => match operation(tag, value) {
                    Some(operation) => pending.push(operation),
                    None => return Ok(commits),
                },
            }
        }
        if size > MAX_AREA || pending.len() + commits.operations.len() > MAX_OPERATIONS {
            return Err(unsupported!("fast commits of more than {MAX_AREA} bytes or {MAX_OPERATIONS} operations"));
        }
    }
    Ok(commits)
}

/// Calls `each` with the transaction of every fast commit that is whole in the area, also of those that were replayed or
/// superseded long ago, and with what it says and where that lies in bytes. Blocks that cannot be read are passed over.
pub fn scan(log: &Log, each: &mut dyn FnMut(u32, u64, &Operation)) {
    let Some(end) = log.superblock.fast_commit_end else { return };
    let (mut block, mut pending, mut crc) = (Vec::new(), Vec::new(), 0);
    for number in log.superblock.last.saturating_add(1)..end {
        let Some(at) = log.offset(number).ok().filter(|_| log.read(number, &mut block).is_ok()) else { continue };
        for tag in tags(&block) {
            // What begins in the middle, or is damaged, has no right checksum at its end.
            let Some(Tag { tag, value, covered, place }) = tag else { break };
            crc = crc32c(crc, covered);
            match tag {
                EXT4_FC_TAG_TAIL => {
                    let tail = FcTail::ref_from_prefix(value).ok().filter(|(tail, _)| tail.fc_crc.get() == crc);
                    if let Some((tail, _)) = tail {
                        pending.iter().for_each(|(at, operation)| each(tail.fc_tid.get(), *at, operation));
                    }
                    pending.clear();
                    crc = 0;
                }
                EXT4_FC_TAG_HEAD => {
                    // The first of the area's fast commits.
                    pending.clear();
                    crc = crc32c(0, covered);
                }
                _ => pending.extend(operation(tag, value).map(|operation| (at + place as u64, operation))),
            }
        }
        if pending.len() > MAX_OPERATIONS {
            pending.clear();
        }
    }
}

/// A tag, as it lies in a block.
struct Tag<'a> {
    tag: u16,
    value: &'a [u8],
    /// What of it the checksum in the tail covers.
    covered: &'a [u8],
    /// Where it begins in the block, in bytes.
    place: usize,
}

/// The tags of a block, which do not cross blocks; `None` where one is too long, which ends them.
fn tags(block: &[u8]) -> impl Iterator<Item = Option<Tag<'_>>> {
    let mut place = Some(0);
    std::iter::from_fn(move || {
        let start = place?;
        let rest = block.get(start..)?;
        let (tl, after) = FcTl::ref_from_prefix(rest).ok()?;
        let (tag, len) = (tl.fc_tag.get(), usize::from(tl.fc_len.get()));
        // The tail and the padding may claim the last bytes of the block and one more.
        let Some(value) = after.get(..len.min(after.len())).filter(|_| len <= after.len() + 4) else {
            place = None;
            return Some(None);
        };
        place = Some(start + size_of::<FcTl>() + len);
        let covered = if tag == EXT4_FC_TAG_TAIL { size_of::<u32>().min(value.len()) } else { value.len() };
        Some(Some(Tag { tag, value, covered: &rest[..size_of::<FcTl>() + covered], place: start }))
    })
}

/// What a tag says; `None` if it is not a known one or too short.
fn operation(tag: u16, value: &[u8]) -> Option<Operation> {
    Some(match tag {
        EXT4_FC_TAG_ADD_RANGE => {
            let (range, _) = FcAddRange::ref_from_prefix(value).ok()?;
            let (extent, raw) = (&range.fc_ex, range.fc_ex.ee_len.get());
            let unwritten = raw > EXTENT_INIT_MAX_LEN;
            Operation::AddRange {
                inode: range.fc_ino.get(),
                logical: extent.ee_block.get(),
                len: u32::from(if unwritten { raw - EXTENT_INIT_MAX_LEN } else { raw }),
                physical: u64::from(extent.ee_start_hi.get()) << 32 | u64::from(extent.ee_start_lo.get()),
                unwritten,
            }
        }
        EXT4_FC_TAG_DEL_RANGE => {
            let (range, _) = FcDelRange::ref_from_prefix(value).ok()?;
            Operation::DelRange { inode: range.fc_ino.get(), logical: range.fc_lblk.get(), len: range.fc_len.get() }
        }
        EXT4_FC_TAG_CREAT | EXT4_FC_TAG_LINK | EXT4_FC_TAG_UNLINK => {
            let (info, name) = FcDentryInfo::ref_from_prefix(value).ok()?;
            let (parent, inode, name) = (info.fc_parent_ino.get(), info.fc_ino.get(), name.to_vec());
            match tag {
                EXT4_FC_TAG_CREAT => Operation::Create { parent, inode, name },
                EXT4_FC_TAG_LINK => Operation::Link { parent, inode, name },
                _ => Operation::Unlink { parent, inode, name },
            }
        }
        EXT4_FC_TAG_INODE => {
            let (inode, record) = value.split_first_chunk::<4>()?;
            Operation::Inode { inode: u32::from_le_bytes(*inode), record: record.to_vec() }
        }
        _ => return None,
    })
}
