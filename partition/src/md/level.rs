//! From MD's numbers for levels and layouts to what they mean, and the levels whose members differ in size.

use std::sync::Arc;

use images::disk::{Concat, Piece, ReadOnly, View};
use images::length::remainder;
use images::{Disk, Result, corrupt, unsupported};

use super::layout::LEVEL_LINEAR;
use super::superblock::Superblock;
use crate::raid::{self, Layout, Level, Rotation, Rotation6};

/// What `layout` of a RAID 0 says of members of different sizes; from Linux 5.4 on.
const RAID0_ORIGINAL: u32 = 1;
const RAID0_ALTERNATE: u32 = 2;

/// The level as `mdadm` and `/proc/mdstat` call it, in the spelling of this program.
pub fn name(level: i32) -> String {
    match level {
        LEVEL_LINEAR => "linear".to_owned(),
        0 | 1 | 4 | 5 | 6 | 10 => format!("RAID {level}"),
        -4 => "multipath".to_owned(),
        other => format!("level {other}"),
    }
}

/// Whether members may be missing.
pub fn is_redundant(level: i32) -> bool {
    level > 0
}

/// Whether missing members are made from parities, which are right only in an array that was in sync.
pub fn has_parity(level: i32) -> bool {
    matches!(level, 4..=6)
}

/// The array of these legs. For the levels that know them, sizes may differ.
pub fn open(name: &str, of: &Superblock, legs: Vec<Option<Arc<dyn Disk>>>) -> Result<Arc<dyn Disk>> {
    let layout = match of.level {
        LEVEL_LINEAR => return linear(name, of, legs),
        0 => return raid0(name, of, legs),
        1 => Level::Mirror,
        4 => Level::Raid5(Rotation::Last),
        5 => match rotation(of.layout) {
            Some(rotation) => Level::Raid5(rotation),
            None => return Err(unsupported!("{name}: RAID 5 with layout {}", of.layout)),
        },
        6 => match (rotation(of.layout), of.layout) {
            (Some(rotation), _) => Level::Raid6(Rotation6::Alike(rotation)),
            (_, 8) => Level::Raid6(Rotation6::ZeroRestart),
            (_, 9) => Level::Raid6(Rotation6::NRestart),
            (_, 10) => Level::Raid6(Rotation6::NContinue),
            (_, layout) => match layout.checked_sub(16).and_then(rotation) {
                Some(rotation) if rotation != Rotation::Last => Level::Raid6(Rotation6::QLast(rotation)),
                _ => return Err(unsupported!("{name}: RAID 6 with layout {layout}")),
            },
        },
        10 => raid10(name, of)?,
        level => return Err(unsupported!("{name}: MD {}, which is not supported", self::name(level))),
    };
    raid::open(name.to_owned(), &Layout { level: layout, chunk: of.chunk }, legs)
}

/// The rotations that RAID 5 and 6 have in common.
fn rotation(layout: u32) -> Option<Rotation> {
    Some(match layout {
        0 => Rotation::LeftAsymmetric,
        1 => Rotation::RightAsymmetric,
        2 => Rotation::LeftSymmetric,
        3 => Rotation::RightSymmetric,
        4 => Rotation::First,
        5 => Rotation::Last,
        _ => return None,
    })
}

/// Near copies in the lowest byte, far copies in the next, whether these are offset, and the kind of sets.
fn raid10(name: &str, of: &Superblock) -> Result<Level> {
    let [near, far, rest, last] = of.layout.to_le_bytes();
    let (near, far) = (u32::from(near), u32::from(far));
    let far_set = match rest >> 1 {
        0 => None,
        1 => of.raid_disks.checked_div(far),
        2 => Some(near * far),
        _ => Some(0),
    };
    if last != 0 || far_set == Some(0) {
        return Err(unsupported!("{name}: RAID 10 with layout {:#x}", of.layout));
    }
    Ok(Level::Raid10 { near, far, offset: rest & 1 != 0, far_set })
}

/// All legs, each cut to whole chunks. Fails if one is missing.
fn whole_legs(name: &str, of: &Superblock, legs: Vec<Option<Arc<dyn Disk>>>) -> Result<Vec<View>> {
    let (there, count) = (legs.iter().flatten().count(), legs.len());
    if there < count {
        let striped = Layout { level: Level::Striped, chunk: of.chunk.max(1) };
        // The error is that of every other level.
        let opened = raid::open(name.to_owned(), &striped, legs).map(|_| ());
        return Err(opened.err().unwrap_or_else(|| corrupt!(name, 0u32, "{there} of {count} members")));
    }
    let cut = |leg: Arc<dyn Disk>| {
        let size = leg.size().checked_div(of.chunk).map_or(leg.size(), |chunks| chunks * of.chunk);
        View::new(leg.to_string(), leg, 0, size)
    };
    legs.into_iter().flatten().map(cut).collect()
}

fn linear(name: &str, of: &Superblock, legs: Vec<Option<Arc<dyn Disk>>>) -> Result<Arc<dyn Disk>> {
    let legs = whole_legs(name, of, legs)?;
    let array = Concat::new(name, legs.into_iter().map(Piece::View))?;
    Ok(Arc::new(ReadOnly::new(Arc::new(array), format!("{name} is an array: arrays are not written"))))
}

/// Stripes over all members as far as the smallest goes, then over those that go on, and so on: in zones.
fn raid0(name: &str, of: &Superblock, legs: Vec<Option<Arc<dyn Disk>>>) -> Result<Arc<dyn Disk>> {
    if of.chunk == 0 {
        return Err(corrupt!(name, of.at, "RAID 0 with chunks of no bytes"));
    }
    let legs: Vec<Arc<View>> = whole_legs(name, of, legs)?.into_iter().map(Arc::new).collect();
    let mut sizes: Vec<u64> = legs.iter().map(|leg| leg.size()).filter(|size| *size > 0).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let rotates = match of.layout {
        _ if sizes.len() < 2 => false,
        RAID0_ORIGINAL if of.has_raid0_layout => true,
        RAID0_ALTERNATE if of.has_raid0_layout => false,
        _ => {
            return Err(unsupported!(
                "{name}: RAID 0 with members of different sizes, whose metadata does not say which of two layouts it has; \
                 mdadm --assemble --update=layout-original or layout-alternate sets it"
            ));
        }
    };
    let (mut zones, mut from, mut chunks) = (Vec::new(), 0, 0u64);
    for to in sizes {
        let mut zone = Vec::new();
        for leg in legs.iter().filter(|leg| leg.size() > from) {
            let part = View::new(leg.to_string(), leg.clone(), from, to - from)?;
            zone.push(Some(Arc::new(part) as Arc<dyn Disk>));
        }
        let count = zone.len();
        // The kernel of old counted the chunks from the start of the array, and not of the zone, to choose the member.
        if rotates {
            zone.rotate_left(remainder(chunks, count));
        }
        chunks = chunks.saturating_add(((to - from) / of.chunk).saturating_mul(count as u64));
        let zone = raid::open(name.to_owned(), &Layout { level: Level::Striped, chunk: of.chunk }, zone)?;
        zones.push(Piece::View(View::new(name, zone.clone(), 0, zone.size())?));
        from = to;
    }
    Ok(Arc::new(Concat::new(name, zones)?))
}
