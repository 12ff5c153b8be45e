//! Members of ZFS pools, by the uberblocks in the first label.
//!
//! Layout: <http://www.giis.co.in/Zfs_ondiskformat.pdf>, chapter 1.

use images::{Disk, Result};

use super::bytes_at;
use crate::Identity;
use crate::length::in_memory;

/// Name-value pairs in XDR begin with its number, the byte order (1 is little) and two zeros.
const PAIRS: u64 = 16 << 10;
const XDR: [[u8; 4]; 2] = [[1, 0, 0, 0], [1, 1, 0, 0]];
/// The uberblock array follows the name-value pairs in the label, 128 KiB long, one uberblock a slot.
const UBERBLOCKS: u64 = 128 << 10;
const SLOT: usize = 1 << 10;
/// `UBERBLOCK_MAGIC`, in the byte order of the machine that wrote it.
const MAGIC: u64 = 0x00ba_b10c;
/// So many slots tell a pool from what an old one left behind; blkid asks for as many.
const WANTED: usize = 4;

pub(super) fn probe(disk: &dyn Disk) -> Result<Option<Identity>> {
    // The cheap question first: the array is long.
    if disk.size() < 2 * UBERBLOCKS || !bytes_at(disk, PAIRS)?.is_some_and(|start| XDR.contains(&start)) {
        return Ok(None);
    }
    let mut array = vec![0; in_memory(UBERBLOCKS)];
    disk.read_at(&mut array, UBERBLOCKS)?;
    let magics = array.chunks_exact(SLOT).filter_map(|slot| slot.first_chunk());
    let found = magics.filter(|bytes| u64::from_le_bytes(**bytes) == MAGIC || u64::from_be_bytes(**bytes) == MAGIC);
    Ok((found.count() >= WANTED).then(|| Identity { kind: "zfs_member".into(), ..Identity::default() }))
}
