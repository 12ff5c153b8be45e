//! The Apple partition map: a block for each partition, and one for the map itself, which is a partition too.
//!
//! As Linux has it, and so guestmount: every block of the map is a partition of that number, also free space, and a map on a
//! disk with an MBR or a GPT is passed over.

mod layout;

use std::sync::Arc;

use images::disk::View;
use images::{Budget, Disk, Result, corrupt, unsupported};
use zerocopy::FromBytes;

use self::layout::{Block0, DRIVER_SIGNATURE, MAP_SIGNATURE, Partition};
use crate::{Name, Scheme, Volume};

/// The partition map of a disk that has nothing else.
pub const SCHEME: Scheme = Scheme::new("apple", probe, volumes);

/// How many blocks a map may have; the kernel's (`DISK_MAX_PARTS`).
const MAX_PARTITIONS: u32 = 256;
/// The sizes of blocks that are used: of disks, and of CDs.
const BLOCK_SIZES: [u16; 4] = [512, 1024, 2048, 4096];

/// The size of the disk's blocks in bytes, if it has a map.
fn block_size(disk: &dyn Disk) -> Result<Option<u64>> {
    let mut bytes = [0; size_of::<Block0>()];
    if disk.size() < 1024 {
        return Ok(None);
    }
    disk.read_at(&mut bytes, 0)?;
    let block0 = Block0::read_from_bytes(&bytes).expect("as long as the structure");
    let size = block0.sb_blk_size.get();
    if block0.sb_sig.get() != DRIVER_SIGNATURE || !BLOCK_SIZES.contains(&size) {
        return Ok(None);
    }
    Ok(block(disk, 1, size.into())?.map(|_| size.into()))
}

/// A block of the map, if it is one.
fn block(disk: &dyn Disk, number: u32, block_size: u64) -> Result<Option<Partition>> {
    let mut bytes = [0; size_of::<Partition>()];
    let at = u64::from(number) * block_size;
    if at + bytes.len() as u64 > disk.size() {
        return Ok(None);
    }
    disk.read_at(&mut bytes, at)?;
    let found = Partition::read_from_bytes(&bytes).expect("as long as the structure");
    Ok((found.pm_sig.get() == MAP_SIGNATURE).then_some(found))
}

fn probe(disk: &dyn Disk) -> Result<bool> {
    Ok(block_size(disk)?.is_some())
}

fn volumes(members: &[Arc<dyn Disk>], _: &Budget) -> Result<Vec<Volume>> {
    members.iter().enumerate().try_fold(Vec::new(), |mut volumes, (member, disk)| {
        let found = block_size(&**disk)?;
        let first = found.map(|size| Ok::<_, images::Error>((size, block(&**disk, 1, size)?))).transpose()?;
        let Some((size, Some(first))) = first else {
            return Err(corrupt!("Apple partition map", 512u64, "it is not there any more"));
        };
        let count = first.pm_map_blk_cnt.get();
        if count >= MAX_PARTITIONS {
            return Err(unsupported!(
                "{disk}: an Apple partition map of {count} blocks, want fewer than {MAX_PARTITIONS}, which is the kernel's \
                 limit"
            ));
        }
        for number in 1..=count {
            let Some(partition) = block(&**disk, number, size)? else {
                log::warn!("{disk}: the Apple partition map ends before block {number} of {count}");
                break;
            };
            volumes.push(volume(disk, member, number, size, &partition));
        }
        Ok(volumes)
    })
}

fn volume(disk: &Arc<dyn Disk>, member: usize, number: u32, block_size: u64, found: &Partition) -> Volume {
    let (start, size) = (found.pm_py_part_start.get(), found.pm_part_blk_cnt.get());
    let (start, size) = (u64::from(start) * block_size, u64::from(size) * block_size);
    let cut = View::new(format!("partition {number} of {disk}"), disk.clone(), start, size);
    let (label, kind) = (text(&found.pm_part_name), text(&found.pm_par_type));
    Volume {
        name: Name::Number(number),
        members: vec![member],
        start: Some(start),
        size,
        kind: if kind.is_empty() { "unknown".to_owned() } else { kind.clone() },
        kind_id: (!kind.is_empty()).then_some(kind),
        label: (!label.is_empty()).then_some(label),
        uuid: None,
        frame: false,
        disk: cut.map(|view| Arc::new(view) as Arc<dyn Disk>).map_err(Arc::new),
        mapped: None,
        shared_bytes: 0,
    }
}

/// A string up to its NUL. Bytes above 127 are letters of Mac OS Roman in old maps and of UTF-8 in new ones.
fn text(bytes: &[u8; 32]) -> String {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
