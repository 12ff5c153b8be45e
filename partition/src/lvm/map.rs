//! From a group's metadata to disks: each visible logical volume, or why it cannot be read.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use images::disk::{Concat, Piece, View};
use images::{Disk, Error, Result, corrupt, unsupported};
use lvm2_parser::layout::SECTOR_SIZE;
use lvm2_parser::{Area, LogicalVolume, Mapping, Target, VolumeGroup};

use super::scan::{FoundGroup, Place};
use super::striped::Striped;
use crate::{Name, Volume};

/// The most logical volumes that may lie on each other. Ours: LVM2's deepest stacks (a snapshot of a cached thin pool on
/// RAID) have about eight.
const MAX_LAYERS: usize = 16;

type Built = std::result::Result<Arc<dyn Disk>, Arc<Error>>;

/// Makes the disks of a group's logical volumes.
pub struct Mapper<'s> {
    group: &'s FoundGroup,
    metadata: &'s VolumeGroup,
    members: &'s [Arc<dyn Disk>],
    /// By the index of the logical volume: what was built of it.
    built: Vec<Option<Built>>,
    /// By the index of the logical volume: the members that it lies on, if that was asked already.
    spread: Vec<Option<Vec<usize>>>,
    /// By the index of the logical volume: how many others lie below it, more than `MAX_LAYERS` for a circle.
    layers: Vec<usize>,
    /// By the index of the logical volume: what stands between its segments and what it reads as.
    special: Vec<Option<Special>>,
    /// A physical volume that two members claim to be: by index, and the members.
    twice: Option<(usize, usize, usize)>,
}

/// A logical volume whose segments do not say what it reads as.
#[derive(Clone, Copy)]
enum Special {
    /// It holds the changed blocks of a snapshot of this logical volume.
    Snapshot { origin: usize },
    /// It holds the changed blocks of a snapshot that is being merged into its origin.
    MergingSnapshot,
    /// A snapshot is being merged into it.
    MergingOrigin,
}

impl<'s> Mapper<'s> {
    /// For the volumes of this group on these members.
    pub fn new(group: &'s FoundGroup, members: &'s [Arc<dyn Disk>]) -> Self {
        let metadata = group.metadata.as_ref();
        let count = metadata.logical_volumes.len();
        let twice = group.places.iter().enumerate().find_map(|(index, place)| match place {
            Place::Twice(one, other) => Some((index, *one, *other)),
            Place::Member(_) | Place::Missing => None,
        });
        let (built, spread) = (vec![None; count], vec![None; count]);
        Self { group, metadata, members, built, spread, layers: layers(metadata), special: specials(metadata), twice }
    }

    /// The visible volumes, in the order of the metadata.
    pub fn volumes(mut self) -> Vec<Volume> {
        let metadata = self.metadata;
        let mut volumes = Vec::new();
        for (index, volume) in metadata.logical_volumes.iter().enumerate() {
            // The volume that a snapshot's changes are on stands for the snapshot, and is shown if its origin is. A
            // snapshot without an origin has a hidden one.
            let shown = match self.special[index] {
                Some(Special::Snapshot { origin }) => {
                    let origin = &metadata.logical_volumes[origin];
                    origin.is_visible() || origin.name.ends_with("_vorigin")
                }
                Some(Special::MergingSnapshot) => false,
                Some(Special::MergingOrigin) | None => volume.is_visible(),
            };
            if shown {
                volumes.push(self.volume(index, volume));
            }
        }
        volumes
    }

    fn volume(&mut self, index: usize, volume: &LogicalVolume) -> Volume {
        let mut kinds: Vec<&str> = Vec::new();
        for segment in &volume.segments {
            if !kinds.contains(&segment.mapping.kind()) {
                kinds.push(segment.mapping.kind());
            }
        }
        if self.special[index].is_some() {
            kinds = vec!["snapshot"];
        }
        Volume {
            name: Name::InGroup(self.group.name.clone(), volume.name.clone()),
            members: self.spread(index),
            start: None,
            size: self.metadata.bytes(volume.extents),
            kind: kinds.join(", "),
            kind_id: None,
            label: None,
            uuid: Some(volume.uuid.to_string()),
            frame: false,
            disk: self.disk(index),
        }
    }

    /// The members that a logical volume lies on, as far as its segments tell.
    fn spread(&mut self, index: usize) -> Vec<usize> {
        if self.layers[index] > MAX_LAYERS {
            return Vec::new();
        }
        if let Some(known) = &self.spread[index] {
            return known.clone();
        }
        let mut members = BTreeSet::new();
        let metadata = self.metadata;
        for area in metadata.logical_volumes[index].segments.iter().flat_map(|segment| segment.mapping.areas()) {
            match area.target {
                Target::Physical(physical) => match self.group.places.get(physical) {
                    Some(Place::Member(member)) => drop(members.insert(*member)),
                    Some(Place::Twice(one, other)) => members.extend([*one, *other]),
                    Some(Place::Missing) | None => {}
                },
                Target::Logical(below) => members.extend(self.spread(below)),
            }
        }
        let members: Vec<usize> = members.into_iter().collect();
        self.spread[index] = Some(members.clone());
        members
    }

    /// The disk of a logical volume.
    fn disk(&mut self, index: usize) -> Built {
        if let Some(built) = &self.built[index] {
            return built.clone();
        }
        let built = self.build(index).map_err(Arc::new);
        self.built[index] = Some(built.clone());
        built
    }

    fn build(&mut self, index: usize) -> Result<Arc<dyn Disk>> {
        let metadata = self.metadata;
        let volume = &metadata.logical_volumes[index];
        let name = format!("{}/{}", self.group.name, volume.name);
        if self.layers[index] > MAX_LAYERS {
            return Err(corrupt!(name, 0u32, "more than {MAX_LAYERS} logical volumes lie on each other"));
        }
        match self.special[index] {
            Some(Special::Snapshot { .. } | Special::MergingSnapshot) => {
                return Err(unsupported!("{name}: LVM segment type snapshot is not supported"));
            }
            Some(Special::MergingOrigin) => {
                return Err(unsupported!("{name}: a snapshot is being merged into it, which is not supported"));
            }
            None => {}
        }
        if let Some((physical, one, other)) = self.twice {
            // This is a doubt about the whole group: of which of the two is the metadata?
            let (one, other) = (&self.members[one], &self.members[other]);
            let uuid = metadata.physical_volumes[physical].uuid;
            return Err(Error::Ambiguous(format!(
                "{name}: {one} and {other} both claim to be physical volume {uuid}, give only one of them"
            )));
        }
        let mut pieces = Vec::with_capacity(volume.segments.len());
        for segment in &volume.segments {
            let size = metadata.bytes(segment.extents);
            pieces.push(match &segment.mapping {
                Mapping::Linear(area) => Piece::View(self.view(&name, *area, size)?),
                Mapping::Striped { stripe_size, areas } => {
                    let share = size / areas.len().max(1) as u64;
                    let views = areas.iter().map(|area| self.view(&name, *area, share));
                    let stripe_size = u64::from(*stripe_size) * SECTOR_SIZE as u64;
                    let striped = Striped::new(name.as_str(), stripe_size, views.collect::<Result<_>>()?);
                    let striped = striped.ok_or_else(|| corrupt!(name.as_str(), 0u32, "uneven stripes"))?;
                    Piece::View(View::new(name.as_str(), Arc::new(striped), 0, size)?)
                }
                Mapping::Zero => Piece::Hole(size),
                Mapping::Error => Piece::Missing(size, "LVM gave up the physical volume that it was on".into()),
                other => {
                    // The text may hold anything, and a message must not talk to the terminal.
                    let [kind, full] = [other.kind(), segment_type(other)].map(|text| text.escape_debug().to_string());
                    let why = if full == kind { String::new() } else { format!(" ({full})") };
                    return Err(unsupported!("{name}: LVM segment type {kind}{why} is not supported"));
                }
            });
        }
        // Most volumes are one linear segment: no need to look for the piece at each read.
        if matches!(pieces[..], [Piece::View(_)])
            && let Some(Piece::View(view)) = pieces.pop()
        {
            return Ok(Arc::new(view));
        }
        Ok(Arc::new(Concat::new(name, pieces)?))
    }

    /// The bytes of an area, `size` of them.
    fn view(&mut self, name: &str, area: Area, size: u64) -> Result<View> {
        match area.target {
            Target::Physical(index) => {
                let physical = &self.metadata.physical_volumes[index];
                let Some(Place::Member(member)) = self.group.places.get(index) else {
                    let last = physical.device.as_ref();
                    let last = last.map(|device| format!(", last seen as {}", device.escape_debug()));
                    let what =
                        format!("{name}: cannot find physical volume {}{}", physical.uuid, last.unwrap_or_default());
                    let why = "it is on none of the disks, add the one that it is on with -a";
                    return Err(Error::io(what, std::io::Error::new(std::io::ErrorKind::NotFound, why)));
                };
                let disk = self.members[*member].clone();
                let start = self.metadata.extent_offset(index, area.start);
                let start = start.ok_or_else(|| corrupt!(name, 0u32, "extent {} is out of range", area.start))?;
                View::new(name, disk, start, size)
            }
            Target::Logical(index) => {
                let below = self
                    .disk(index)
                    .map_err(|error| Error::Within { place: name.into(), source: Box::new(unshared(&error)) })?;
                View::new(name, below, self.metadata.bytes(area.start), size)
            }
        }
    }
}

/// The segment type with its flags.
fn segment_type(mapping: &Mapping) -> &str {
    match mapping {
        Mapping::Other { kind, .. } => kind,
        other => other.kind(),
    }
}

/// An error that several volumes have, for one of them: errors cannot be cloned.
fn unshared(error: &Error) -> Error {
    match error.root() {
        Error::Corrupt { what, offset, why } => {
            Error::Corrupt { what: what.clone(), offset: *offset, why: why.clone() }
        }
        Error::Ambiguous(why) => Error::Ambiguous(why.clone()),
        Error::Io { what, source } => Error::io(what.clone(), std::io::Error::new(source.kind(), source.to_string())),
        other => Error::Unsupported(other.to_string()),
    }
}

/// How many logical volumes lie below each, counted up to one more than `MAX_LAYERS`.
fn layers(metadata: &VolumeGroup) -> Vec<usize> {
    let mut layers = vec![0; metadata.logical_volumes.len()];
    for _ in 0..=MAX_LAYERS {
        let mut changed = false;
        for (index, volume) in metadata.logical_volumes.iter().enumerate() {
            let below = volume.segments.iter().flat_map(|segment| segment.mapping.areas());
            let deepest = below.filter_map(|area| match area.target {
                Target::Logical(below) => Some(layers[below] + 1),
                Target::Physical(_) => None,
            });
            let new = deepest.max().unwrap_or(0).min(MAX_LAYERS + 1);
            changed |= new != layers[index];
            layers[index] = new;
        }
        if !changed {
            break;
        }
    }
    layers
}

/// Which logical volumes a snapshot makes special. Its own segment, of a hidden volume, names them.
fn specials(metadata: &VolumeGroup) -> Vec<Option<Special>> {
    let names = metadata.logical_volumes.iter().enumerate();
    let index: HashMap<&str, usize> = names.map(|(at, volume)| (volume.name.as_str(), at)).collect();
    let mut specials = vec![None; metadata.logical_volumes.len()];
    for segment in metadata.logical_volumes.iter().flat_map(|volume| &volume.segments) {
        let Mapping::Other { section, .. } = &segment.mapping else { continue };
        if segment.mapping.kind() != "snapshot" {
            continue;
        }
        let find = |key| section.string(key).ok().and_then(|name| index.get(name)).copied();
        match (find("origin"), find("cow_store"), find("merging_store")) {
            (Some(origin), Some(store), _) => specials[store] = Some(Special::Snapshot { origin }),
            (Some(origin), None, Some(store)) => {
                specials[store] = Some(Special::MergingSnapshot);
                specials[origin] = Some(Special::MergingOrigin);
            }
            _ => {}
        }
    }
    specials
}
