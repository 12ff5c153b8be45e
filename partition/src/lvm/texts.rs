//! The metadata texts of all members: every physical volume of a group has the same one, or an older one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use images::{Budget, Reservation, Result, corrupt, unsupported};
use lvm2_parser::{MAX_VALUES, Mapping, Uuid, VolumeGroup};

/// How many bytes of texts that differ are read. Ours: of so many physical volumes that each has the longest there is.
const MAX_READ: u64 = 32 * lvm2_parser::MAX_TEXT_SIZE;
/// What a value takes in memory while a text is parsed, in bytes: an entry with its name. A value has at least two bytes.
const VALUE: u64 = 128;
/// What is kept for a logical or physical volume, a segment and an area, with the disks that are made of them.
const VOLUME: u64 = 512;
const SEGMENT: u64 = 256;
const AREA: u64 = 192;

/// A text that was parsed.
pub struct Text {
    pub metadata: Arc<VolumeGroup>,
    /// The physical volumes that it lists.
    pub physical: HashSet<Uuid>,
}

/// The texts that were read so far.
pub struct Texts {
    /// By their sizes and checksums, which LVM2 tells them apart by too.
    known: HashMap<(u64, u32), Text>,
    read: u64,
    /// What the groups take, and the disks of their volumes.
    pub held: Reservation,
}

impl Texts {
    pub fn new(budget: &Budget) -> Self {
        Self { known: HashMap::new(), read: 0, held: budget.empty() }
    }

    /// The text of this size and checksum, which lies at byte `at` of its disk and is `read` unless it is known.
    pub fn read(&mut self, key: (u64, u32), at: u64, read: impl FnOnce() -> Result<Vec<u8>>) -> Result<&Text> {
        if !self.known.contains_key(&key) {
            let text = self.parse(key.0, at, read)?;
            self.known.insert(key, text);
        }
        Ok(&self.known[&key])
    }

    fn parse(&mut self, size: u64, at: u64, read: impl FnOnce() -> Result<Vec<u8>>) -> Result<Text> {
        self.read = self.read.saturating_add(size);
        if self.read > MAX_READ {
            return Err(unsupported!("more than {MAX_READ} bytes of LVM metadata that differ, the rest is not read"));
        }
        let before = self.held.bytes();
        let values = (size / 2).min(MAX_VALUES as u64);
        self.held.grow(size + values * VALUE, "LVM metadata")?;
        let parsed = read()
            .and_then(|bytes| VolumeGroup::parse(&bytes).map_err(|error| corrupt!("LVM metadata", at, "{error}")));
        let kept = parsed.as_ref().map_or(0, size_of_group).min(self.held.bytes() - before);
        self.held.shrink(self.held.bytes() - before - kept);
        let metadata = Arc::new(parsed?);
        let physical = metadata.physical_uuids().collect();
        Ok(Text { metadata, physical })
    }
}

/// What a group takes, and the disks of its volumes, in bytes: about.
fn size_of_group(group: &VolumeGroup) -> u64 {
    let volumes = group.logical_volumes.len() + group.physical_volumes.len();
    let segments = || group.logical_volumes.iter().flat_map(|volume| &volume.segments);
    let areas = segments().map(|segment| match &segment.mapping {
        Mapping::Raid(raid) => raid.images.len(),
        other => other.areas().len(),
    });
    let areas: usize = areas.sum();
    volumes as u64 * VOLUME + segments().count() as u64 * SEGMENT + areas as u64 * AREA
}
