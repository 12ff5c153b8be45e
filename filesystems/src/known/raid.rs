//! Members of Linux software RAID arrays, by the superblocks of versions 0.90, 1.0, 1.1 and 1.2.
//!
//! Layout: <https://raid.wiki.kernel.org/index.php/RAID_superblock_formats> and
//! <https://github.com/torvalds/linux/blob/master/include/uapi/linux/raid/md_p.h>.

use images::{Disk, Result};

use super::{bytes_at, label, uuid};
use crate::Identity;

/// `MD_SB_MAGIC`, little-endian in version 1; in version 0.90 in the order of the machine that made it.
const MAGIC: u32 = 0xa92b_4efc;
const KIND: &str = "linux_raid_member";
/// The 0.90 superblock lies at the last multiple of this that leaves as much room behind it.
const RESERVED_0: u64 = 64 << 10;
const SECTOR: u64 = 512;

pub(super) fn probe(disk: &dyn Disk) -> Result<Option<Identity>> {
    // Version 1.0 lies 8 to 12 KiB before the end, at a multiple of 4 KiB.
    let at_end = (disk.size() / SECTOR).checked_sub(16).map(|sector| sector / 8 * 8 * SECTOR);
    for offset in [Some(0), Some(4096), at_end].into_iter().flatten() {
        if let Some(identity) = version_1(disk, offset)? {
            return Ok(Some(identity));
        }
    }
    match (disk.size() / RESERVED_0).checked_sub(1) {
        Some(unit) => version_0(disk, unit * RESERVED_0),
        None => Ok(None),
    }
}

fn version_1(disk: &dyn Disk, offset: u64) -> Result<Option<Identity>> {
    let Some(superblock) = bytes_at::<256>(disk, offset)? else { return Ok(None) };
    let word = |at: usize| u32::from_le_bytes(*superblock[at..].first_chunk().expect("within 256 bytes"));
    let super_offset = u64::from_le_bytes(*superblock[144..].first_chunk().expect("within 256 bytes"));
    // The last check tells a superblock from a copy of one in the middle of a disk that another array holds.
    if word(0) != MAGIC || word(4) != 1 || super_offset != offset / SECTOR {
        return Ok(None);
    }
    let set_uuid = superblock[16..].first_chunk().expect("within 256 bytes");
    Ok(Some(Identity { kind: KIND.into(), label: label(&superblock[32..64]), uuid: uuid(set_uuid) }))
}

fn version_0(disk: &dyn Disk, offset: u64) -> Result<Option<Identity>> {
    let Some(superblock) = bytes_at::<64>(disk, offset)? else { return Ok(None) };
    let field = |index: usize| *superblock[index * 4..].first_chunk().expect("within 64 bytes");
    let little = u32::from_le_bytes(field(0)) == MAGIC;
    if !little && u32::from_be_bytes(field(0)) != MAGIC {
        return Ok(None);
    }
    let word = |index| if little { u32::from_le_bytes(field(index)) } else { u32::from_be_bytes(field(index)) };
    if (word(1), word(2)) != (0, 90) {
        return Ok(None);
    }
    let mut set_uuid = [0; 16];
    for (bytes, index) in set_uuid.chunks_exact_mut(4).zip([5, 13, 14, 15]) {
        bytes.copy_from_slice(&word(index).to_be_bytes());
    }
    Ok(Some(Identity { kind: KIND.into(), label: None, uuid: uuid(&set_uuid) }))
}
