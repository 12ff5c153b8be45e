//! A volume group, as its metadata text describes it: validated, so that every area lies inside what it names.

use crate::config::Section;
use crate::layout::SECTOR_SIZE;
use crate::segment::{self, Mapping, Names, Segment, Target};
use crate::{Result, Uuid};

/// What `contents` of a text says.
const CONTENTS: &str = "Text Format Volume Group";
/// What `version` of a text says: the only one there is.
const VERSION: i64 = 1;
/// The longest name of a volume group or logical volume: LVM2's `NAME_LEN`, less the NUL.
const MAX_NAME: usize = 127;

/// A volume group: physical volumes cut into extents, and the logical volumes that are made of them.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeGroup {
    /// Its name: letters, digits and `+_.-`.
    pub name: String,
    /// Its identifier.
    pub uuid: Uuid,
    /// How often the text was changed: the copy with the highest number holds.
    pub seqno: u32,
    /// `RESIZEABLE`, `READ`, `WRITE`, `EXPORTED`, `CLUSTERED` and so on.
    pub status: Vec<String>,
    /// Flags that may be ignored by those who do not know them.
    pub flags: Vec<String>,
    /// The size of an extent in sectors of 512 bytes, not zero.
    pub extent_size: u32,
    /// The host that wrote the text, if it says.
    pub creation_host: Option<String>,
    /// When the text was written, in seconds since 1970, if it says.
    pub creation_time: Option<i64>,
    /// In the order of the text.
    pub physical_volumes: Vec<PhysicalVolume>,
    /// In the order of the text, with those that are only parts of others.
    pub logical_volumes: Vec<LogicalVolume>,
}

/// A physical volume of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct PhysicalVolume {
    /// What the text calls it: `pv0`.
    pub name: String,
    /// Its identifier, which its label repeats.
    pub uuid: Uuid,
    /// Where it was last seen: a hint only.
    pub device: Option<String>,
    /// `ALLOCATABLE`.
    pub status: Vec<String>,
    /// `MISSING` if LVM2 once wrote the text without this volume.
    pub flags: Vec<String>,
    /// The size of the device in sectors of 512 bytes, if the text says.
    pub dev_size: Option<u64>,
    /// Where its first extent starts, in sectors of 512 bytes.
    pub pe_start: u64,
    /// How many extents it has. The end of the last one is below 2^64 bytes.
    pub pe_count: u32,
}

/// A logical volume of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct LogicalVolume {
    /// Its name.
    pub name: String,
    /// Its identifier.
    pub uuid: Uuid,
    /// `READ`, `WRITE`, `VISIBLE` and so on.
    pub status: Vec<String>,
    /// Flags that may be ignored by those who do not know them.
    pub flags: Vec<String>,
    /// By their start; each starts where the one before ends, and the first at zero.
    pub segments: Vec<Segment>,
    /// Its size in extents, less than 2^64 bytes.
    pub extents: u32,
}

impl VolumeGroup {
    /// The identifiers of its physical volumes, in the order of the text.
    pub fn physical_uuids(&self) -> impl Iterator<Item = Uuid> {
        self.physical_volumes.iter().map(|volume| volume.uuid)
    }

    /// Parses a metadata text.
    ///
    /// ```
    /// let text = br#"
    /// vg {
    ///     id = "6lDQRc-LdAB-ZjxB-fqoU-l0Jz-IT1Y-Nci7sb" seqno = 2 status = ["READ"] extent_size = 8192
    ///     physical_volumes {
    ///         pv0 {
    ///             id = "mWJf01-fhfE-CINf-Rzot-Pt91-RKT1-WMCY0V" status = ["ALLOCATABLE"]
    ///             pe_start = 2048 pe_count = 15
    ///         }
    ///     }
    ///     logical_volumes {
    ///         root {
    ///             id = "JpKBGz-3TVb-v10Y-RTtX-IbfS-wZtC-N7r2Q8" status = ["READ", "VISIBLE"] segment_count = 1
    ///             segment1 {
    ///                 start_extent = 0 extent_count = 3 type = "striped" stripe_count = 1
    ///                 stripes = ["pv0", 7]
    ///             }
    ///         }
    ///     }
    /// }
    /// contents = "Text Format Volume Group" version = 1"#;
    /// let vg = lvm2_parser::VolumeGroup::parse(text).unwrap();
    /// let root = &vg.logical_volumes[0];
    /// assert_eq!((vg.name.as_str(), root.name.as_str(), vg.bytes(root.extents)), ("vg", "root", 12 << 20));
    /// assert_eq!(root.segments[0].mapping.areas()[0].start, 7);
    /// assert_eq!(vg.free_extents(), [12]);
    /// ```
    pub fn parse(text: &[u8]) -> Result<Self> {
        let file = Section::parse(text)?;
        let error = |why: String| Err(file.place.error(why));
        match file.string("contents")? {
            CONTENTS => {}
            other => return error(format!("contents \"{}\", want \"{CONTENTS}\"", other.escape_debug())),
        }
        match file.integer("version")? {
            VERSION => {}
            other => return error(format!("version {other}, want {VERSION}")),
        }
        let mut groups = file.sections();
        let Some((name, section)) = groups.next() else { return error("no volume group".into()) };
        if let Some((other, _)) = groups.next() {
            return error(format!("two volume groups, \"{}\" and \"{}\"", name.escape_debug(), other.escape_debug()));
        }

        let mut group = Self {
            name: checked_name(name, section)?,
            uuid: uuid(section)?,
            seqno: section.integer("seqno")?,
            status: section.strings("status")?,
            flags: section.strings("flags")?,
            extent_size: section.integer("extent_size")?,
            creation_host: file.string("creation_host").ok().map(Into::into),
            creation_time: file.integer("creation_time").ok(),
            physical_volumes: Vec::new(),
            logical_volumes: Vec::new(),
        };
        if group.extent_size == 0 {
            return Err(section.place.error("extents of size zero"));
        }
        let empty = Section::default();
        let Some(physical) = section.section("physical_volumes") else {
            return Err(section.place.error("no physical volumes"));
        };
        let logical = section.section("logical_volumes").unwrap_or(&empty);
        let names = Names {
            physical: physical.sections().enumerate().map(|(index, (name, _))| (name, index)).collect(),
            logical: logical.sections().enumerate().map(|(index, (name, _))| (name, index)).collect(),
        };
        for (name, section) in physical.sections() {
            let volume = PhysicalVolume::parse(name, section, group.extent_size)?;
            group.physical_volumes.push(volume);
        }
        for (name, section) in logical.sections() {
            let volume = LogicalVolume::parse(name, section, &names)?;
            let bytes = u64::from(volume.extents).checked_mul(group.extent_size.into());
            if bytes.and_then(|sectors| sectors.checked_mul(SECTOR_SIZE as u64)).is_none() {
                return Err(section.place.error(format!("volume of {} extents: over 2^64 bytes", volume.extents)));
            }
            group.logical_volumes.push(volume);
        }
        for (volume, (_, section)) in group.logical_volumes.iter().zip(logical.sections()) {
            for segment in &volume.segments {
                group.check(segment).map_err(|why| {
                    section.place.error(format!("segment at extent {} of {}: {why}", segment.start, volume.name))
                })?;
            }
        }
        Ok(group)
    }

    /// Whether the areas of a segment lie inside what they name, and stripes share it evenly.
    fn check(&self, segment: &Segment) -> std::result::Result<(), String> {
        let areas = segment.mapping.areas();
        if let Mapping::Striped { stripe_size, .. } = segment.mapping {
            let count = segment::count(areas);
            let sectors = u64::from(segment.share()) * u64::from(self.extent_size);
            if !segment.extents.is_multiple_of(count) {
                return Err(format!("{} extents cannot be shared by {count} stripes", segment.extents));
            }
            if stripe_size == 0 || !sectors.is_multiple_of(stripe_size.into()) {
                return Err(format!("stripe size {stripe_size}: {sectors} sectors in each stripe are no multiple"));
            }
        }
        let share = segment.share();
        for area in areas {
            let (name, extents) = match area.target {
                Target::Physical(index) => self.physical_volumes.get(index).map(|pv| (&pv.name, pv.pe_count)),
                Target::Logical(index) => self.logical_volumes.get(index).map(|lv| (&lv.name, lv.extents)),
            }
            .ok_or("no such volume")?;
            if area.start.checked_add(share).is_none_or(|end| end > extents) {
                return Err(format!("{share} extents from {} on {name}, which has {extents}", area.start));
            }
        }
        Ok(())
    }

    /// The size of so many extents in bytes. Of extents that lie inside a volume of this group this is exact, and
    /// otherwise at most `u64::MAX`.
    pub fn bytes(&self, extents: u32) -> u64 {
        u64::from(extents).saturating_mul(self.extent_size.into()).saturating_mul(SECTOR_SIZE as u64)
    }

    /// Where an extent of a physical volume starts, in bytes from the start of that; `None` if there is no such volume.
    pub fn extent_offset(&self, physical: usize, extent: u32) -> Option<u64> {
        let start = self.physical_volumes.get(physical)?.pe_start.checked_mul(SECTOR_SIZE as u64)?;
        start.checked_add(self.bytes(extent))
    }

    /// How many extents of each physical volume no logical volume uses, in the order of the physical volumes.
    pub fn free_extents(&self) -> Vec<u32> {
        let mut free: Vec<u32> = self.physical_volumes.iter().map(|pv| pv.pe_count).collect();
        for segment in self.logical_volumes.iter().flat_map(|lv| &lv.segments) {
            for area in segment.mapping.areas() {
                if let Target::Physical(index) = area.target
                    && let Some(free) = free.get_mut(index)
                {
                    *free = free.saturating_sub(segment.share());
                }
            }
        }
        free
    }
}

impl PhysicalVolume {
    fn parse(name: &str, section: &Section, extent_size: u32) -> Result<Self> {
        let optional = |name| section.value(name).map(|_| section.integer(name)).transpose();
        let volume = Self {
            name: name.into(),
            uuid: uuid(section)?,
            device: section.string("device").ok().map(Into::into),
            status: section.strings("status")?,
            flags: section.strings("flags")?,
            dev_size: optional("dev_size")?,
            pe_start: section.integer("pe_start")?,
            pe_count: section.integer("pe_count")?,
        };
        let sectors = u64::from(volume.pe_count).checked_mul(extent_size.into());
        let end = sectors.and_then(|sectors| sectors.checked_add(volume.pe_start));
        if end.and_then(|end| end.checked_mul(SECTOR_SIZE as u64)).is_none() {
            return Err(section.place.error(format!("{} extents: over 2^64 bytes", volume.pe_count)));
        }
        Ok(volume)
    }

    /// Whether LVM2 marked it as missing when the text was written; what it holds may be old.
    pub fn is_marked_missing(&self) -> bool {
        self.flags.iter().any(|flag| flag == "MISSING")
    }
}

impl LogicalVolume {
    fn parse(name: &str, section: &Section, names: &Names<'_>) -> Result<Self> {
        let error = |why: String| Err(section.place.error(why));
        let mut segments =
            section.sections().map(|(_, section)| Segment::parse(section, names)).collect::<Result<Vec<_>>>()?;
        let count: usize = section.integer("segment_count")?;
        if count != segments.len() {
            return error(format!("segment_count {count}, but there are {} segments", segments.len()));
        }
        segments.sort_by_key(|segment| segment.start);
        let mut end = 0u32;
        for segment in &segments {
            if segment.start != end {
                return error(format!("segment starts at extent {}, the one before ends at {end}", segment.start));
            }
            match end.checked_add(segment.extents) {
                Some(next) if segment.extents > 0 => end = next,
                _ => return error(format!("segment of {} extents at {end}", segment.extents)),
            }
        }
        Ok(Self {
            name: checked_name(name, section)?,
            uuid: uuid(section)?,
            status: section.strings("status")?,
            flags: section.strings("flags")?,
            segments,
            extents: end,
        })
    }

    /// Whether it is there for users; the others are parts of volumes that are.
    pub fn is_visible(&self) -> bool {
        self.status.iter().any(|flag| flag == "VISIBLE")
    }
}

fn uuid(section: &Section) -> Result<Uuid> {
    let text = section.string("id")?;
    text.parse().map_err(|_| section.place.error(format!("id \"{}\" is no LVM2 UUID", text.escape_debug())))
}

/// A name that LVM2 allows. It becomes part of paths and messages.
fn checked_name(name: &str, section: &Section) -> Result<String> {
    let characters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+_.-".contains(&byte));
    if !characters || name.starts_with('-') || matches!(name, "" | "." | "..") || name.len() > MAX_NAME {
        return Err(section.place.error(format!("\"{}\" is no name for a volume", name.escape_debug())));
    }
    Ok(name.into())
}
