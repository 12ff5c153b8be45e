//! From members to groups: reads labels and metadata areas, and finds the copy of each group's metadata that holds.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use images::length::in_memory;
use images::{Budget, Data, Disk, Error, Reservation, Result, ResultExt, corrupt, unsupported};
use lvm2_parser::{Label, Location, MetadataArea, Uuid, VolumeGroup, checksum};

use super::foreign::Foreign;
use super::read_start;
use super::texts::{Text, Texts};

/// The most metadata areas of a physical volume that are read. Ours: LVM2's tools make at most two.
const MAX_AREAS: usize = 4;
/// The most extents that are compared to find out whether two members are one disk. Ours.
const MAX_COMPARED_EXTENTS: usize = 1 << 16;

/// What the members hold.
pub struct Scan {
    /// The LVM2 physical volumes.
    pub physical: Vec<Found>,
    /// The groups that they make, in the order of the first member that tells of them.
    pub groups: Vec<FoundGroup>,
    /// Members of other formats.
    pub foreign: Vec<(usize, Foreign)>,
    /// What was wrong and could be passed over.
    pub problems: Vec<Error>,
    /// What the groups and the disks of their volumes take.
    pub held: Reservation,
}

/// A physical volume.
pub struct Found {
    /// The index of the member.
    pub member: usize,
    /// Its label.
    pub label: Label,
}

/// A volume group and where its physical volumes are.
pub struct FoundGroup {
    /// The name that it is shown by: its own, unless an earlier group has it.
    pub name: String,
    /// The metadata that holds.
    pub metadata: Arc<VolumeGroup>,
    /// Where the physical volumes are, in the order of the metadata.
    pub places: Vec<Place>,
}

/// Where a physical volume is.
pub enum Place {
    /// It is this member.
    Member(usize),
    /// It is none of the members.
    Missing,
    /// Two members that differ both claim to be it.
    Twice(usize, usize),
}

/// A copy of a group's metadata.
struct Copy {
    member: usize,
    physical: Uuid,
    ignored: bool,
    metadata: Arc<VolumeGroup>,
}

impl Scan {
    /// Reads the labels and all metadata of the members.
    pub fn new(members: &[Arc<dyn Disk>], budget: &Budget) -> Self {
        let (physical, groups, foreign, problems) = Default::default();
        let mut scan = Self { physical, groups, foreign, problems, held: budget.empty() };
        let mut copies = Vec::new();
        let mut texts = Texts::new(budget);
        for (member, disk) in members.iter().enumerate() {
            match scan.read_label(member, disk.as_ref()) {
                Ok(Some(label)) => {
                    if label.metadata_areas.len() > MAX_AREAS {
                        let count = label.metadata_areas.len();
                        scan.problems.push(unsupported!(
                            "{disk}: {count} LVM metadata areas, of which only the first {MAX_AREAS} are read"
                        ));
                    }
                    for area in label.metadata_areas.iter().take(MAX_AREAS) {
                        match read_area(disk.as_ref(), &label, *area, &mut texts).within(disk) {
                            Ok(Some((ignored, metadata))) => {
                                copies.push(Copy { member, physical: label.uuid, ignored, metadata });
                            }
                            Ok(None) => {}
                            Err(error) => scan.problems.push(error),
                        }
                    }
                    scan.physical.push(Found { member, label });
                }
                Ok(None) => {}
                Err(error) => scan.problems.push(error),
            }
        }
        scan.held = texts.held;
        let metadata = scan.choose(copies, members);
        scan.place(metadata, members);
        scan
    }

    fn read_label(&mut self, member: usize, disk: &dyn Disk) -> Result<Option<Label>> {
        let Some(start) = read_start(disk)? else { return Ok(None) };
        let label = Label::find(&start).map_err(corrupted).within(disk)?;
        if label.is_none() {
            self.foreign.extend(Foreign::find(&start).map(|foreign| (member, foreign)));
        }
        Ok(label)
    }

    /// The copy that holds of each group, in the order of the first member that has one.
    fn choose(&mut self, copies: Vec<Copy>, members: &[Arc<dyn Disk>]) -> Vec<Arc<VolumeGroup>> {
        let mut chosen: Vec<Arc<VolumeGroup>> = Vec::new();
        let mut by_uuid: HashMap<Uuid, usize> = HashMap::new();
        let mut choose = |copy: &Copy| match by_uuid.get(&copy.metadata.uuid) {
            None => {
                by_uuid.insert(copy.metadata.uuid, chosen.len());
                chosen.push(copy.metadata.clone());
            }
            Some(index) if chosen[*index].seqno < copy.metadata.seqno => chosen[*index] = copy.metadata.clone(),
            Some(_) => {}
        };
        let (ignored, active): (Vec<_>, Vec<_>) = copies.into_iter().partition(|copy| copy.ignored);
        active.iter().for_each(&mut choose);
        // A physical volume whose own copy is not kept up to date usually is in a group that others tell of.
        let claimed: HashSet<Uuid> = active.iter().flat_map(|copy| copy.metadata.physical_uuids()).collect();
        for copy in ignored.iter().filter(|copy| !claimed.contains(&copy.physical)) {
            choose(copy);
            let name = &copy.metadata.name;
            self.problems.push(Error::Unknown(format!(
                "{}: the metadata of volume group {name} is from an area that LVM was told to ignore, and may be old",
                members[copy.member]
            )));
        }
        for copy in &active {
            let Some(index) = by_uuid.get(&copy.metadata.uuid) else { continue };
            let (holds, name) = (&chosen[*index], &copy.metadata.name);
            let (seqno, disk) = (copy.metadata.seqno, &members[copy.member]);
            if seqno < holds.seqno {
                self.problems.push(Error::Unknown(format!(
                    "{disk}: the metadata of volume group {name} is old (seqno {seqno}), seqno {} is used",
                    holds.seqno
                )));
            } else if *holds != copy.metadata {
                self.problems.push(Error::Ambiguous(format!(
                    "{disk}: the metadata of volume group {name} differs from another copy with the same seqno {seqno}, \
                     the first is used"
                )));
            }
        }
        chosen
    }

    /// Finds the physical volumes of each group among the members, and a name for each group.
    fn place(&mut self, metadata: Vec<Arc<VolumeGroup>>, members: &[Arc<dyn Disk>]) {
        let mut by_uuid: HashMap<Uuid, Place> = HashMap::new();
        for found in &self.physical {
            let place = match by_uuid.get(&found.label.uuid) {
                None => Place::Member(found.member),
                Some(Place::Member(first)) if !same_disk(&members[*first], &members[found.member]) => {
                    Place::Twice(*first, found.member)
                }
                Some(_) => continue,
            };
            by_uuid.insert(found.label.uuid, place);
        }
        let mut names = HashSet::new();
        for metadata in metadata {
            let short = || format!("{}@{}", metadata.name, &metadata.uuid.compact()[..6]);
            let long = || format!("{}@{}", metadata.name, metadata.uuid);
            let mut name = metadata.name.clone();
            for other in [short(), long()] {
                if names.contains(&name) {
                    name = other;
                }
            }
            names.insert(name.clone());
            let places = metadata
                .physical_uuids()
                .map(|uuid| match by_uuid.get(&uuid) {
                    Some(Place::Member(member)) => Place::Member(*member),
                    Some(Place::Twice(one, other)) => Place::Twice(*one, *other),
                    Some(Place::Missing) | None => Place::Missing,
                })
                .collect();
            self.groups.push(FoundGroup { name, metadata, places });
        }
        self.doubt(members);
    }

    /// Says which physical volumes are of no use, or of doubtful use.
    fn doubt(&mut self, members: &[Arc<dyn Disk>]) {
        let mut known = HashSet::new();
        for group in &self.groups {
            for (volume, place) in group.metadata.physical_volumes.iter().zip(&group.places) {
                known.insert(volume.uuid);
                if let Place::Member(member) = place
                    && volume.is_marked_missing()
                {
                    self.problems.push(Error::Unknown(format!(
                        "{}: volume group {} was changed while this physical volume was missing, it may be out of date",
                        members[*member], group.name
                    )));
                }
            }
        }
        for found in &self.physical {
            let used = found.label.extension.as_ref().is_some_and(|extension| extension.used);
            if used && !known.contains(&found.label.uuid) {
                self.problems.push(Error::Unknown(format!(
                    "{}: physical volume {} belongs to a volume group that none of the disks tells of, \
                     add the others of its disks with -a",
                    members[found.member], found.label.uuid
                )));
            }
        }
    }
}

/// The metadata in this area of a physical volume, if there is some, and whether the area is to be ignored.
fn read_area(
    disk: &dyn Disk,
    label: &Label,
    location: Location,
    texts: &mut Texts,
) -> Result<Option<(bool, Arc<VolumeGroup>)>> {
    let mut header = [0; 512];
    disk.read_at(&mut header, location.offset)?;
    let area = MetadataArea::parse(&header, location.offset).map_err(corrupted)?;
    let Some(text) = area.text else { return Ok(None) };
    let at = area.text_ranges()[0].start;
    let read = || read_text(disk, &area, text.checksum);
    let Text { metadata, physical } = texts.read((text.size, text.checksum), at, read)?;
    if !physical.contains(&label.uuid) {
        return Err(corrupt!("LVM metadata", at, "does not list the physical volume that holds it, {}", label.uuid));
    }
    Ok(Some((area.ignored, metadata.clone())))
}

/// The text of an area, whose checksum must be this one.
fn read_text(disk: &dyn Disk, area: &MetadataArea, want: u32) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for range in area.text_ranges().into_iter().filter(|range| !range.is_empty()) {
        // The parser bounds a text, and so both parts of it.
        let len = in_memory(range.end - range.start);
        if range.end > disk.size() {
            return Err(corrupt!("metadata text", range.start, "{len} bytes, but {disk} ends at {:#x}", disk.size()));
        }
        let read = bytes.len();
        bytes.resize(read + len, 0);
        disk.read_at(&mut bytes[read..], range.start)?;
    }
    let (at, computed) = (area.text_ranges()[0].start, checksum(&bytes));
    if computed != want {
        return Err(corrupt!("metadata text", at, "checksum {computed:#010x}, want {want:#010x}"));
    }
    Ok(bytes)
}

/// The parser's error as ours.
fn corrupted(error: lvm2_parser::Error) -> Error {
    match error {
        lvm2_parser::Error::Structure { structure, offset, why } => corrupt!(structure, offset, "{why}"),
        other => corrupt!("LVM metadata", 0u32, "{other}"),
    }
}

/// Whether two members are the same bytes of the same host files, and so one disk that was given twice.
fn same_disk(one: &Arc<dyn Disk>, other: &Arc<dyn Disk>) -> bool {
    if Arc::ptr_eq(one, other) {
        return true;
    }
    let mut at = 0;
    for _ in 0..MAX_COMPARED_EXTENTS {
        if at == one.size() {
            return at == other.size();
        }
        if at >= other.size() {
            return false;
        }
        let (Ok(a), Ok(b)) = (one.extent_at(at), other.extent_at(at)) else { return false };
        let same = match (a.data, b.data) {
            (Data::Host(a, a_at), Data::Host(b, b_at)) => a_at == b_at && same_file(a, b),
            (a, b) => a.reads_zero() && b.reads_zero(),
        };
        if !same {
            return false;
        }
        at = at.saturating_add(a.len.min(b.len).max(1));
    }
    false
}

fn same_file(one: &std::fs::File, other: &std::fs::File) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (one.metadata(), other.metadata()) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}
