//! From a group's metadata to disks: each visible logical volume, or why it cannot be read.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use images::disk::{ReadOnly, View};
use images::{Disk, Error, Result, corrupt};
use lvm2_parser::{LogicalVolume, Mapping, SingleCache, Snapshot, Target, VolumeGroup};

use super::bounds::Bounds;
use super::describe::dm_uuid;
use super::remap::{Copies, remapped};
use super::scan::{FoundGroup, Place};
use super::snapshot;
use super::thin::Pool;
use crate::{Built, Name, Volume};

/// The most logical volumes that may lie on each other. Ours: LVM2's deepest stacks (a snapshot of a cached thin pool on
/// RAID) have about eight.
pub const MAX_LAYERS: usize = 16;

/// Makes the disks of a group's logical volumes.
pub struct Mapper<'s> {
    pub group: &'s FoundGroup,
    pub metadata: &'s VolumeGroup,
    pub members: &'s [Arc<dyn Disk>],
    /// By the index of the logical volume: what was built of its segments.
    built: Vec<Option<Built>>,
    /// By the index of the logical volume: the thin pool that is on it.
    pub pools: HashMap<usize, std::result::Result<Arc<Pool>, Arc<Error>>>,
    /// The blocks that caches and stores hold for other volumes.
    copies: HashMap<Holder, Option<Arc<Copies>>>,
    pub bounds: &'s Arc<Bounds>,
    /// By the index of the logical volume: the members that it lies on, if that was asked already.
    spread: Vec<Option<Vec<usize>>>,
    /// By the index of the logical volume: how many others lie below it, more than `MAX_LAYERS` for a circle.
    layers: Vec<usize>,
    /// By the index of the logical volume: what stands between its segments and what it reads as.
    special: Vec<Option<Special>>,
    /// By the index of a thin volume: the identifier of the snapshot that it is to become.
    pub merges: HashMap<usize, u32>,
    /// A physical volume that two members claim to be: by index, and the members.
    pub twice: Option<(usize, usize, usize)>,
}

/// A logical volume that holds blocks of others, by its index, and what it is to them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Holder {
    /// The store of a snapshot.
    Store(usize),
    /// A cache, and where its parts are, if it is not a pool.
    Cache(usize, Option<SingleCache>),
    /// A writecache with blocks of so many bytes.
    Writecache(usize, u32),
}

/// A logical volume whose segments do not say what it reads as.
#[derive(Clone, Copy)]
enum Special {
    /// It holds the changed blocks of a snapshot of `origin`, which has `extents`.
    Snapshot { origin: usize, extents: u32 },
    /// It holds the changed blocks of a snapshot that is being merged into its origin.
    MergingSnapshot,
    /// A snapshot, whose changes are on `store`, is being merged into it.
    MergingOrigin { store: usize },
    /// It only ties a snapshot to its origin.
    Tie,
}

impl<'s> Mapper<'s> {
    /// For the volumes of this group on these members.
    pub fn new(group: &'s FoundGroup, members: &'s [Arc<dyn Disk>], bounds: &'s Arc<Bounds>) -> Self {
        let metadata = group.metadata.as_ref();
        let count = metadata.logical_volumes.len();
        let twice = group.places.iter().enumerate().find_map(|(index, place)| match place {
            Place::Twice(one, other) => Some((index, *one, *other)),
            Place::Member(_) | Place::Missing => None,
        });
        Self {
            group,
            metadata,
            members,
            built: vec![None; count],
            pools: HashMap::new(),
            copies: HashMap::new(),
            bounds,
            spread: vec![None; count],
            layers: layers(metadata),
            special: specials(metadata),
            merges: merges(metadata),
            twice,
        }
    }

    /// The visible volumes, in the order of the metadata.
    pub fn volumes(mut self) -> Vec<Volume> {
        let metadata = self.metadata;
        let mut volumes = Vec::new();
        for (index, volume) in metadata.logical_volumes.iter().enumerate() {
            // The volume that a snapshot's changes are on stands for the snapshot, and is shown if its origin is. A
            // snapshot without an origin has a hidden one.
            let shown = match self.special[index] {
                Some(Special::Snapshot { origin, .. }) => {
                    let origin = &metadata.logical_volumes[origin];
                    origin.is_visible() || origin.name.ends_with("_vorigin")
                }
                Some(Special::MergingSnapshot | Special::Tie) => false,
                Some(Special::MergingOrigin { .. }) | None => volume.is_visible(),
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
        let mut extents = volume.extents;
        if let Some(Special::Snapshot { extents: shown, .. }) = self.special[index] {
            (kinds, extents) = (vec!["snapshot"], shown);
        }
        Volume {
            name: Name::InGroup(self.group.name.clone(), volume.name.clone()),
            members: self.shown_spread(index),
            start: None,
            size: self.metadata.bytes(extents),
            kind: kinds.join(", "),
            kind_id: None,
            label: None,
            uuid: Some(volume.uuid.to_string()),
            frame: kinds == ["thin-pool"],
            disk: self.shown(index),
            mapped: Some(dm_uuid(&self.metadata.uuid.to_string(), &volume.uuid.to_string())),
            shared_bytes: 0,
        }
    }

    /// The members that what a logical volume is shown as lies on.
    fn shown_spread(&mut self, index: usize) -> Vec<usize> {
        let other = match self.special[index] {
            Some(Special::Snapshot { origin, .. }) => Some(origin),
            Some(Special::MergingOrigin { store }) => Some(store),
            Some(Special::MergingSnapshot | Special::Tie) | None => None,
        };
        let mut members: BTreeSet<usize> = self.spread(index).into_iter().collect();
        members.extend(other.map(|other| self.spread(other)).unwrap_or_default());
        members.into_iter().collect()
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
        for segment in &metadata.logical_volumes[index].segments {
            for area in segment.mapping.areas() {
                let Target::Physical(physical) = area.target else { continue };
                match self.group.places.get(physical) {
                    Some(Place::Member(member)) => drop(members.insert(*member)),
                    Some(Place::Twice(one, other)) => members.extend([*one, *other]),
                    Some(Place::Missing) | None => {}
                }
            }
            for below in segment.mapping.logical() {
                members.extend(self.spread(below));
            }
        }
        let members: Vec<usize> = members.into_iter().collect();
        self.spread[index] = Some(members.clone());
        members
    }

    /// What a logical volume is shown as. Only one that has each byte in one place can be written.
    fn shown(&mut self, index: usize) -> Built {
        let disk = match self.special[index] {
            Some(special) => self.snapshot(index, special).map_err(Arc::new),
            None => self.disk(index),
        };
        match self.why_not_written(index) {
            None => disk,
            Some(why) => Ok(Arc::new(ReadOnly::new(disk?, format!("{}: {why}", self.name(index))))),
        }
    }

    /// Why a logical volume is not written: what lies in copies, in a pool or under a snapshot would not fit together.
    fn why_not_written(&self, index: usize) -> Option<String> {
        let is_origin =
            |special: &Option<Special>| matches!(special, Some(Special::Snapshot { origin, .. }) if *origin == index);
        if self.special[index].is_some() {
            return Some("snapshots, and volumes that one is merged into, are not written".into());
        }
        if self.special.iter().any(is_origin) {
            return Some("a volume that has snapshots is not written: these would lose what was there".into());
        }
        let segments = &self.metadata.logical_volumes[index].segments;
        let is_plain = |mapping: &Mapping| {
            let on_disks = mapping.areas().iter().all(|area| matches!(area.target, Target::Physical(_)));
            match mapping {
                Mapping::Linear(_) | Mapping::Striped { .. } => on_disks,
                Mapping::Zero | Mapping::Error => true,
                _ => false,
            }
        };
        let other = segments.iter().find(|segment| !is_plain(&segment.mapping))?;
        let kind = other.mapping.kind().escape_debug();
        Some(format!("volumes of the segment type {kind} are not written, only linear and striped ones"))
    }

    fn snapshot(&mut self, index: usize, special: Special) -> Result<Arc<dyn Disk>> {
        let name = self.name(index);
        match special {
            Special::Snapshot { origin, extents } => {
                // The origin was at least as large when the snapshot was taken.
                let origin = View::new(&*name, self.below(&name, origin)?, 0, self.metadata.bytes(extents))?;
                self.changed(&name, Arc::new(origin), index)
            }
            // As the kernel shows it: what was not merged yet is read from the snapshot.
            Special::MergingOrigin { store } => {
                log::warn!("{name}: a snapshot is being merged into it; what is read is the snapshot");
                let origin = self.below(&name, index)?;
                self.changed(&name, origin, store)
            }
            Special::MergingSnapshot | Special::Tie => self.below(&name, index),
        }
    }

    /// The snapshot `name` of `origin`, whose changes are on logical volume `store`.
    fn changed(&mut self, name: &str, origin: Arc<dyn Disk>, store: usize) -> Result<Arc<dyn Disk>> {
        let disk = self.below(name, store)?;
        let bounds = self.bounds;
        let copies = self.copies(Holder::Store(store), || snapshot::open(name, disk, bounds))?;
        Ok(remapped(name, origin, copies))
    }

    /// What this volume holds for others, opened once for all of them.
    pub fn copies(
        &mut self,
        holder: Holder,
        open: impl FnOnce() -> Result<Option<Arc<Copies>>>,
    ) -> Result<Option<Arc<Copies>>> {
        if let Some(known) = self.copies.get(&holder) {
            return Ok(known.clone());
        }
        let copies = open()?;
        self.copies.insert(holder, copies.clone());
        Ok(copies)
    }

    /// What is called `VG/LV` in messages.
    pub fn name(&self, index: usize) -> String {
        format!("{}/{}", self.group.name, self.metadata.logical_volumes[index].name)
    }

    /// The disk of a logical volume's segments, for the volume `name` that lies on it.
    pub fn below(&mut self, name: &str, index: usize) -> Result<Arc<dyn Disk>> {
        let own = self.name(index);
        self.disk(index).map_err(|error| match unshared(&error) {
            error if own == name => error,
            error => Error::Within { place: name.into(), source: Box::new(error) },
        })
    }

    /// The disk of a logical volume's segments.
    pub fn disk(&mut self, index: usize) -> Built {
        if let Some(built) = &self.built[index] {
            return built.clone();
        }
        let built = if self.layers[index] > MAX_LAYERS {
            let name = self.name(index);
            Err(corrupt!(name, 0u32, "more than {MAX_LAYERS} logical volumes lie on each other"))
        } else {
            self.build(index)
        };
        let built = built.map_err(Arc::new);
        self.built[index] = Some(built.clone());
        built
    }
}

/// An error that several volumes have, for one of them: errors cannot be cloned.
pub fn unshared(error: &Error) -> Error {
    match error.root() {
        Error::Corrupt { what, offset, why } => {
            Error::Corrupt { what: what.clone(), offset: *offset, why: why.clone() }
        }
        Error::Ambiguous(why) => Error::Ambiguous(why.clone()),
        Error::Memory(why) => Error::Memory(why.clone()),
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
            let below = volume.segments.iter().flat_map(|segment| segment.mapping.logical());
            let new = below.map(|below| layers[below] + 1).max().unwrap_or(0).min(MAX_LAYERS + 1);
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
    let mut specials = vec![None; metadata.logical_volumes.len()];
    for (index, volume) in metadata.logical_volumes.iter().enumerate() {
        for segment in &volume.segments {
            let Mapping::Snapshot(Snapshot { origin, store, merging, .. }) = &segment.mapping else { continue };
            specials[index] = Some(Special::Tie);
            if *merging {
                specials[*store] = Some(Special::MergingSnapshot);
                specials[*origin] = Some(Special::MergingOrigin { store: *store });
            } else {
                specials[*store] = Some(Special::Snapshot { origin: *origin, extents: segment.extents });
            }
        }
    }
    specials
}

/// The thin volumes that are to become a snapshot, by index, with the identifier of that.
fn merges(metadata: &VolumeGroup) -> HashMap<usize, u32> {
    let segments = metadata.logical_volumes.iter().flat_map(|volume| &volume.segments);
    let merge = |mapping: &Mapping| match mapping {
        Mapping::Thin(thin) => thin.merge.map(|origin| (origin, thin.device_id)),
        _ => None,
    };
    segments.filter_map(|segment| merge(&segment.mapping)).collect()
}
