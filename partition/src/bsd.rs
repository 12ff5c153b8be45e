//! The BSD disk label: up to sixteen partitions in a partition of an MBR, or on a disk that has nothing else.
//!
//! In a partition of an MBR they come after all others of the disk, as Linux numbers them: `a` of the first slice is
//! `/dev/sda5`, if there are no logical partitions. On a whole disk a letter is a number: `a` is 1. So it is in Linux for a
//! label where parted and Alphas have it; one in the second sector Linux, and so guestmount, does not look for, and here it is
//! read too.

mod kind;
mod layout;

use std::sync::Arc;

use images::disk::View;
use images::{Budget, Disk, Result, corrupt};
use zerocopy::FromBytes;

use self::layout::{DiskLabel, FS_UNUSED, MAGIC, MAX_PARTITIONS, Partition};
use crate::{Name, Scheme, Volume};

/// The disk label of a disk that has nothing else.
pub const SCHEME: Scheme = Scheme::new("bsd", probe, volumes);

/// Where the label is from the start of a disk or slice, in bytes: in the second sector on PCs; where parted and Alphas
/// have it.
const PLACES: [u64; 2] = [512, 64];

/// The type of an MBR partition of FreeBSD; `OSType`.
const FREEBSD: u8 = 0xa5;
/// Those of OpenBSD and NetBSD.
const OTHERS: [u8; 2] = [0xa6, 0xa9];

/// Whether an MBR partition of this type may have a label.
pub(crate) fn is_slice(os_type: u8) -> bool {
    os_type == FREEBSD || OTHERS.contains(&os_type)
}

/// A slice: a partition of an MBR that may have a label.
pub(crate) struct Slice {
    pub os_type: u8,
    /// In sectors of `sector_size` bytes.
    pub start: u64,
    pub size: u64,
    pub sector_size: u64,
}

/// One partition of a label.
pub(crate) struct Entry {
    /// 0 for `a`.
    letter: u32,
    /// In sectors of the whole disk.
    start: u64,
    size: u64,
    fstype: u8,
}

impl Entry {
    /// The volume that it is, under this number.
    pub fn volume(&self, disk: &Arc<dyn Disk>, member: usize, number: u32, sector_size: u64) -> Volume {
        // Both factors have at most 33 bits, and a sector 16.
        let (start, size) = (self.start * sector_size, self.size * sector_size);
        let cut = View::new(format!("partition {number} of {disk}"), disk.clone(), start, size);
        Volume {
            name: Name::Number(number),
            members: vec![member],
            start: Some(start),
            size,
            kind: kind::name(self.fstype).into(),
            kind_id: Some(format!("{:#04x}", self.fstype)),
            label: None,
            uuid: None,
            frame: false,
            disk: cut.map(|view| Arc::new(view) as Arc<dyn Disk>).map_err(Arc::new),
            mapped: None,
            shared_bytes: 0,
        }
    }
}

/// A label that was found.
struct Label(DiskLabel);

impl Label {
    /// The label at `at`, if there is one. Its checksum counts for nothing, as in Linux: those of parted are wrong.
    fn read(disk: &dyn Disk, at: u64) -> Result<Option<Self>> {
        let mut bytes = [0; size_of::<DiskLabel>()];
        if at.saturating_add(bytes.len() as u64) > disk.size() {
            return Ok(None);
        }
        disk.read_at(&mut bytes, at)?;
        let label = DiskLabel::read_from_bytes(&bytes).expect("as long as the structure");
        let count = usize::from(label.d_npartitions.get());
        if label.d_magic.get() != MAGIC || label.d_magic2.get() != MAGIC || count > MAX_PARTITIONS {
            return Ok(None);
        }
        Ok(Some(Self(label)))
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        let count = usize::from(self.0.d_npartitions.get());
        let used = |(_, entry): &(u32, &Partition)| entry.p_fstype != FS_UNUSED && entry.p_size.get() != 0;
        (0u32..).zip(self.0.d_partitions.iter().take(count)).filter(used).map(|(letter, entry)| Entry {
            letter,
            start: entry.p_offset.get().into(),
            size: entry.p_size.get().into(),
            fstype: entry.p_fstype,
        })
    }
}

/// The partitions of the label in a slice, without the one that is the slice itself. Those that do not lie in it are left
/// out, as Linux does.
pub(crate) fn entries(disk: &dyn Disk, slice: &Slice) -> Result<Vec<Entry>> {
    let Some(label) = Label::read(disk, (slice.start + 1) * slice.sector_size)? else { return Ok(Vec::new()) };
    // FreeBSD counts from the start of the slice, which `c` tells.
    let is_relative = slice.os_type == FREEBSD && label.0.d_partitions[2].p_offset.get() == 0;
    let from = if is_relative { slice.start } else { 0 };
    let end = slice.start + slice.size;
    let moved = label.entries().map(|entry| Entry { start: entry.start + from, ..entry });
    let is_whole = |entry: &Entry| entry.start == slice.start && entry.size == slice.size;
    let is_inside = |entry: &Entry| entry.start >= slice.start && entry.start + entry.size <= end;
    Ok(moved.filter(|entry| !is_whole(entry) && is_inside(entry)).collect())
}

/// The label of a whole disk.
fn find(disk: &dyn Disk) -> Result<Option<Label>> {
    for at in PLACES {
        if let Some(label) = Label::read(disk, at)? {
            return Ok(Some(label));
        }
    }
    Ok(None)
}

fn probe(disk: &dyn Disk) -> Result<bool> {
    Ok(find(disk)?.is_some())
}

fn volumes(members: &[Arc<dyn Disk>], _: &Budget) -> Result<Vec<Volume>> {
    members.iter().enumerate().try_fold(Vec::new(), |mut volumes, (member, disk)| {
        let Some(label) = find(&**disk)? else { return Err(corrupt!("BSD label", 512u64, "it is not there any more")) };
        let sector_size = disk.sector_size().map_or_else(|| sector_size(&label), u64::from);
        let all = disk.size() / sector_size;
        // `c` is the disk itself.
        let parts = label.entries().filter(|entry| (entry.start, entry.size) != (0, all));
        volumes.extend(parts.map(|entry| entry.volume(disk, member, entry.letter + 1, sector_size)));
        Ok(volumes)
    })
}

/// The size of a sector that the label says, if disks have such; otherwise 512 bytes.
fn sector_size(label: &Label) -> u64 {
    match label.0.d_secsize.get() {
        size @ (512 | 1024 | 2048 | 4096) => size.into(),
        _ => 512,
    }
}
