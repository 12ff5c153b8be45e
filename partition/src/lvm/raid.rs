//! RAID segments: which images are there and up to date, as dm-raid's superblocks on them say.
//!
//! The superblock is that of Linux's `drivers/md/dm-raid.c`,
//! <https://docs.kernel.org/admin-guide/device-mapper/dm-raid.html>, at the start of an image's metadata volume.

use std::sync::Arc;

use images::disk::View;
use images::{Disk, Error, Result, unsupported};
use lvm2_parser::Raid;
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::bounds::Bounds;
use crate::raid::{self, Layout, Level, Rotation, Rotation6};

/// `DM_RAID_MAGIC`: `DmRd`.
const MAGIC: u32 = 0x6452_6d44;
/// In `compat_features`: everything from `flags` on means something.
const SUPPORTS_V190: u32 = 1;
/// In `flags`: the array is being reshaped.
const RESHAPE_ACTIVE: u32 = 1;
/// An offset when there is nothing left to do.
const DONE: u64 = u64::MAX;
/// The most images: as many as the superblock has bits for.
const MAX_IMAGES: usize = 256;

/// `dm_raid_superblock`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
struct Superblock {
    magic: U32,
    compat_features: U32,
    num_devices: U32,
    array_position: U32,
    events: U64,
    failed_devices: U64,
    disk_recovery_offset: U64,
    array_resync_offset: U64,
    level: U32,
    layout: U32,
    stripe_sectors: U32,
    flags: U32,
    reshape_position: U64,
    new_level: U32,
    new_layout: U32,
    new_stripe_sectors: U32,
    delta_disks: U32,
    array_sectors: U64,
    data_offset: U64,
    new_data_offset: U64,
    sectors: U64,
    extended_failed_devices: [U64; 3],
    incompat_features: U32,
}

const _: () = assert!(size_of::<Superblock>() == 148);

impl Superblock {
    fn read(disk: &dyn Disk) -> Result<Option<Self>> {
        let mut bytes = [0; size_of::<Self>()];
        disk.read_at(&mut bytes, 0)?;
        let superblock = Self::read_from_bytes(&bytes).ok();
        Ok(superblock.filter(|superblock| superblock.magic.get() == MAGIC))
    }

    fn extended(&self) -> bool {
        self.compat_features.get() & SUPPORTS_V190 != 0
    }

    /// Whether it says that the image at this position has failed.
    fn failed(&self, position: usize) -> bool {
        let field = match position / 64 {
            0 => Some(self.failed_devices),
            more if self.extended() => self.extended_failed_devices.get(more - 1).copied(),
            _ => None,
        };
        field.is_some_and(|bits| bits.get() >> (position % 64) & 1 != 0)
    }
}

/// An image whose volumes are there.
pub struct Image {
    /// Its metadata; `raid0` has none.
    pub metadata: Option<Arc<dyn Disk>>,
    /// Its data.
    pub data: Arc<dyn Disk>,
    /// Whether LVM says that it is to be made anew.
    pub rebuild: bool,
}

/// The array `name` of these images, in order, where `None` is missing; its first `size` bytes.
pub fn open(name: &str, segment: &Raid, images: Vec<Option<Image>>, size: u64, bounds: &Bounds) -> Result<View> {
    if images.len() > MAX_IMAGES {
        return Err(unsupported!("{name}: RAID of {} images, want at most {MAX_IMAGES}", images.len()));
    }
    let Some(level) = level(segment) else {
        return Err(unsupported!("{name}: LVM segment type {} is not supported", segment.kind.escape_debug()));
    };
    let mut superblocks = Vec::with_capacity(images.len());
    for image in &images {
        let metadata = image.as_ref().and_then(|image| image.metadata.as_ref());
        metadata.map_or(Ok(()), |metadata| bounds.count(&**metadata, 0))?;
        superblocks.push(metadata.map(|metadata| Superblock::read(&**metadata)).transpose()?.flatten());
    }
    // Of those with as many events the first one counts, as for the kernel.
    let freshest = superblocks.iter().flatten().rev().max_by_key(|superblock| superblock.events.get()).cloned();
    let mut legs = Vec::with_capacity(images.len());
    for (position, (image, superblock)) in images.into_iter().zip(&superblocks).enumerate() {
        let why = match (&image, &freshest) {
            (None, _) => Some("is missing"),
            (Some(image), _) if image.rebuild => Some("is to be made anew"),
            (Some(_), None) => None,
            (Some(_), Some(freshest)) => behind(superblock.as_ref(), freshest, position),
        };
        if let Some(why) = why {
            log::warn!("{name}: image {position} {why}, the others are read");
        }
        let leg = image.filter(|_| why.is_none()).map(|image| leg(name, image.data, superblock.as_ref()));
        legs.push(leg.transpose()?);
    }
    if let Some(freshest) = &freshest {
        check_state(name, freshest, level, &legs)?;
    }
    let chunk = u64::from(segment.stripe_size) * 512;
    let array = raid::open(name.into(), &Layout { level, chunk }, legs)?;
    View::new(name, array, 0, size)
}

/// The data of an image: behind the space that it keeps for a reshape, if that comes first.
fn leg(name: &str, data: Arc<dyn Disk>, superblock: Option<&Superblock>) -> Result<Arc<dyn Disk>> {
    let offset =
        superblock.filter(|superblock| superblock.extended()).map_or(0, |superblock| superblock.data_offset.get());
    if offset == 0 {
        return Ok(data);
    }
    let start = offset.saturating_mul(512);
    let size = data.size().saturating_sub(start);
    Ok(Arc::new(View::new(name, data, start, size)?))
}

/// Why an image is not up to date, if it is not.
fn behind(superblock: Option<&Superblock>, freshest: &Superblock, position: usize) -> Option<&'static str> {
    let Some(superblock) = superblock else { return Some("was added, and holds nothing yet") };
    if freshest.failed(position) {
        return Some("failed earlier");
    }
    // The images are written one after the other, so one change less is no sign of a failure.
    if superblock.events.get().saturating_add(1) < freshest.events.get() {
        return Some("is out of date");
    }
    (superblock.disk_recovery_offset.get() != DONE).then_some("was not made anew completely")
}

/// Whether the array is in a state in which it can be read.
fn check_state(name: &str, superblock: &Superblock, level: Level, legs: &[Option<Arc<dyn Disk>>]) -> Result<()> {
    if superblock.extended() {
        if superblock.incompat_features.get() != 0 {
            return Err(unsupported!("{name}: RAID with incompatible features {:#x}", superblock.incompat_features));
        }
        if superblock.flags.get() & RESHAPE_ACTIVE != 0 {
            return Err(unsupported!("{name}: the RAID is being reshaped, which is not supported"));
        }
    }
    let degraded = legs.iter().any(Option::is_none);
    let parity = matches!(level, Level::Raid5(_) | Level::Raid6(_));
    if degraded && superblock.array_resync_offset.get() != DONE {
        if parity {
            let why = "its parity is not in sync up to the end, so that what the missing image held is not known";
            return Err(Error::io(
                format!("{name}: {why}"),
                std::io::Error::new(std::io::ErrorKind::NotFound, "add the missing disk with -a"),
            ));
        }
        log::warn!("{name}: the images were not in sync, and one of them is missing");
    }
    Ok(())
}

/// What LVM's segment type is: `man lvmraid`, and `raid_types` of `dm-raid.c`.
fn level(segment: &Raid) -> Option<Level> {
    use Rotation::{First, Last, LeftAsymmetric, LeftSymmetric, RightAsymmetric, RightSymmetric};
    let raid6 = |rotation| Some(Level::Raid6(rotation));
    let copies = segment.data_copies.unwrap_or(2);
    match segment.kind.as_str() {
        "raid0" | "raid0_meta" => Some(Level::Striped),
        "raid1" => Some(Level::Mirror),
        "raid4" => Some(Level::Raid5(First)),
        "raid5" | "raid5_ls" => Some(Level::Raid5(LeftSymmetric)),
        "raid5_la" => Some(Level::Raid5(LeftAsymmetric)),
        "raid5_ra" => Some(Level::Raid5(RightAsymmetric)),
        "raid5_rs" => Some(Level::Raid5(RightSymmetric)),
        "raid5_n" => Some(Level::Raid5(Last)),
        "raid6" | "raid6_zr" => raid6(Rotation6::ZeroRestart),
        "raid6_nr" => raid6(Rotation6::NRestart),
        "raid6_nc" => raid6(Rotation6::NContinue),
        "raid6_ls_6" => raid6(Rotation6::QLast(LeftSymmetric)),
        "raid6_la_6" => raid6(Rotation6::QLast(LeftAsymmetric)),
        "raid6_rs_6" => raid6(Rotation6::QLast(RightSymmetric)),
        "raid6_ra_6" => raid6(Rotation6::QLast(RightAsymmetric)),
        "raid6_n_6" => raid6(Rotation6::Alike(Last)),
        "raid10" | "raid10_near" => Some(Level::Raid10 { near: copies, far: 1, offset: false, far_set: None }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use images::Budget;
    use images::disk::Memory;
    use lvm2_parser::RaidImage;

    use super::*;

    /// What is patched into a superblock: where, and eight bytes.
    type Patch = (usize, u64);

    const EVENTS: usize = 16;
    const FAILED: usize = 24;
    const RECOVERY: usize = 32;
    const RESYNC: usize = 40;

    /// An image filled with this byte, with a superblock that says that all is well, but for the patches.
    fn image(byte: u8, patches: &[Patch]) -> Option<Image> {
        let mut superblock = vec![0; 4096];
        let all_is_well = [(0, u64::from(MAGIC) | 1 << 32), (EVENTS, 10), (RECOVERY, DONE), (RESYNC, DONE)];
        for (at, value) in all_is_well.iter().chain(patches) {
            superblock[*at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let metadata: Option<Arc<dyn Disk>> = Some(Arc::new(Memory::new("rmeta", superblock)));
        Some(Image { metadata, data: Arc::new(Memory::new("rimage", vec![byte; 8192])), rebuild: false })
    }

    fn open_as(kind: &str, images: Vec<Option<Image>>) -> Result<View> {
        let named = vec![RaidImage { metadata: Some(0), data: 0 }; images.len()];
        let segment = Raid { kind: kind.into(), stripe_size: 8, data_copies: None, reshape_extents: 0, images: named };
        open("vg/r", &segment, images, 8192, &Bounds::new(&Budget::default()))
    }

    /// Which image a mirror of these reads.
    fn read(images: Vec<Option<Image>>) -> u8 {
        let mut byte = [0];
        open_as("raid1", images).unwrap().read_at(&mut byte, 5000).unwrap();
        byte[0]
    }

    fn why(kind: &str, images: Vec<Option<Image>>) -> String {
        open_as(kind, images).map(|_| ()).expect_err("no array").to_string()
    }

    #[test]
    fn images_that_are_not_up_to_date_are_left_out() {
        let good = || image(2, &[]);
        assert_eq!(read(vec![image(1, &[]), good()]), 1);
        assert_eq!(read(vec![None, good()]), 2);
        // The others know that it failed, also when it does not.
        assert_eq!(read(vec![image(1, &[(EVENTS, 9)]), image(2, &[(FAILED, 1)])]), 2);
        assert_eq!(read(vec![image(1, &[(EVENTS, 8)]), good()]), 2);
        assert_eq!(read(vec![image(1, &[(EVENTS, 9)]), good()]), 1, "only the last change of state was not written");
        assert_eq!(read(vec![image(1, &[(RECOVERY, 100)]), good()]), 2);
        assert_eq!(read(vec![image(1, &[(0, 0)]), good()]), 2, "one that was added");
        let again = image(1, &[]).map(|image| Image { rebuild: true, ..image });
        assert_eq!(read(vec![again, good()]), 2);
        // No superblock at all: an array that was never active.
        assert_eq!(read(vec![image(1, &[(0, 0)]), image(2, &[(0, 0)])]), 1);
        let beyond = vec![good(), image(3, &[(EVENTS, 20), (FAILED, 0b11)])];
        assert!(why("raid1", beyond).contains("vg/r"), "none is left");
    }

    #[test]
    fn states_that_cannot_be_read_are_refused_by_name() {
        for (at, value, want) in [(60, 1, "the RAID is being reshaped"), (144, 1, "incompatible features 0x1")] {
            let why = why("raid1", vec![image(1, &[(at, value)]), image(2, &[])]);
            assert!(
                why.contains(&format!("vg/r: {want}")) || why.contains(&format!("vg/r: RAID with {want}")),
                "{why}"
            );
            // Superblocks of before version 1.9 end earlier.
            assert_eq!(read(vec![image(1, &[(0, MAGIC.into()), (at, value)])]), 1);
        }
        // Space for a reshape before the data.
        assert!(why("raid1", vec![image(1, &[(96, 1)])]).contains("8192 bytes long, but vg/r ends at byte 0x1e00"));
        assert!(why("raid1", vec![image(1, &[(96, u64::MAX)])]).contains("vg/r"));
        assert!(why("raid7", vec![image(1, &[])]).contains("LVM segment type raid7 is not supported"));
        let three = |patches: &[Patch]| vec![None, image(2, patches), image(3, patches)];
        assert!(open_as("raid5_ls", three(&[])).is_ok());
        assert!(why("raid5_ls", three(&[(RESYNC, 512)])).contains("its parity is not in sync up to the end"));
        assert!(open_as("raid5_ls", vec![image(1, &[(RESYNC, 0)]), image(2, &[(RESYNC, 0)])]).is_ok(), "all are there");
    }
}
