//! Directories: their slots, the entries that these make up, and an index of the names.

use std::collections::BTreeSet;
use std::sync::Arc;

use images::{Disk, Result, corrupt};
use zerocopy::FromBytes;

use super::chain::{CACHE_OVERHEAD, Chain};
use super::geometry::{Geometry, Root};
use super::layout::*;
use super::name::{self, LongName};
use super::window::Window;
use crate::NodeId;

/// Where a directory lies.
pub enum Place {
    /// At this byte, with room for so many entries: the root of FAT12 and FAT16.
    Fixed(u64, u32),
    /// In clusters.
    Clusters(Arc<Chain>),
}

impl Place {
    /// The root directory; its chain is read with `chain`, from where its first cluster is named.
    pub fn of_root(geometry: &Geometry, chain: impl FnOnce(u64, u32) -> Arc<Chain>) -> Self {
        match geometry.root {
            Root::Fixed(at, slots) => Self::Fixed(at, slots),
            Root::Chain(first) => Self::Clusters(chain(ROOT_CLUS, first)),
        }
    }

    /// The longest chain that a directory may have, and one cluster more to tell.
    pub fn clusters_max(geometry: &Geometry) -> u32 {
        geometry.clusters_for(u64::from(DIRECTORY_SLOTS_MAX) * SLOT) + 1
    }

    /// Where a slot lies (bytes) and how many follow side by side, itself included; `None` after the last.
    pub fn find(&self, geometry: &Geometry, slot: u32) -> Result<Option<(u64, u32)>> {
        match self {
            Self::Fixed(at, slots) => {
                let left = slots.saturating_sub(slot);
                Ok((left > 0).then_some((at + u64::from(slot) * SLOT, left)))
            }
            Self::Clusters(chain) => {
                let per_cluster = geometry.cluster_size / SLOT_SIZE;
                let Some((cluster, count)) = chain.find(slot / per_cluster)? else { return Ok(None) };
                let at = geometry.offset_of(cluster) + u64::from(slot % per_cluster) * SLOT;
                if slot >= DIRECTORY_SLOTS_MAX {
                    return Err(corrupt!("directory", at, "more than {DIRECTORY_SLOTS_MAX} entries"));
                }
                Ok(Some((at, count.saturating_mul(per_cluster) - slot % per_cluster)))
            }
        }
    }
}

/// The entries of a directory from one of its slots on.
pub struct Entries<'a> {
    window: Window<'a>,
    geometry: &'a Geometry,
    place: &'a Place,
    slot: u32,
    /// Where `slot` lies, and how many slots follow it side by side.
    at: u64,
    left: u32,
    long: LongName,
    name: String,
}

/// One entry, without its name.
pub struct Found {
    pub node: NodeId,
    pub entry: DirEntry,
    /// The first slot of its long name, or its own.
    pub first_slot: u32,
    /// The slot that follows.
    pub next_slot: u32,
    /// Whether the name is a long one, and there is a short one too.
    pub is_long: bool,
}

impl<'a> Entries<'a> {
    pub fn new(disk: &'a dyn Disk, geometry: &'a Geometry, place: &'a Place, slot: u32) -> Self {
        let (window, name) = (Window::new(disk), String::new());
        Self { window, geometry, place, slot, at: 0, left: 0, long: LongName::default(), name }
    }

    /// Passes over the sector that could not be read, after an error; whether that was it, and not the chain of clusters.
    pub fn pass_over(&mut self) -> bool {
        const SECTOR: u64 = 512;
        self.long.clear();
        let slots = u32::try_from((SECTOR - self.at % SECTOR) / SLOT).expect("at most 16").min(self.left);
        (self.at, self.slot, self.left) = (self.at + u64::from(slots) * SLOT, self.slot + slots, self.left - slots);
        slots > 0
    }

    /// The name of the entry that was found last.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The next entry that is in use, volume labels included, `.` and `..` not. Fails where the directory is damaged.
    pub fn next(&mut self) -> Result<Option<Found>> {
        loop {
            if self.left == 0 {
                let Some((at, left)) = self.place.find(self.geometry, self.slot)? else { return Ok(None) };
                (self.at, self.left) = (at, left);
            }
            let bytes: [u8; SLOT_SIZE as usize] = self.window.get(self.at)?;
            let (at, slot) = (self.at, self.slot);
            (self.at, self.slot, self.left) = (at + SLOT, slot + 1, self.left - 1);
            let entry = DirEntry::read_from_bytes(&bytes).expect("as long as an entry");
            match entry.name[0] {
                FREE_TO_END => return Ok(None),
                FREE => self.long.clear(),
                _ if entry.attr & ATTR_LONG_NAME_MASK == ATTR_LONG_NAME => {
                    let part = LongDirEntry::read_from_bytes(&bytes).expect("as long as an entry");
                    self.long.push(&part, slot);
                }
                _ if name::is_dot(&entry) => self.long.clear(),
                _ => {
                    self.name.clear();
                    let first_slot = self.long.first_slot;
                    let is_long = self.long.take(&entry, &mut self.name);
                    if !is_long {
                        name::push_short(&entry, &mut self.name);
                    }
                    let first_slot = if is_long { first_slot } else { slot };
                    return Ok(Some(Found {
                        node: NodeId(at / SLOT),
                        entry,
                        first_slot,
                        next_slot: slot + 1,
                        is_long,
                    }));
                }
            }
        }
    }
}

/// The names of one directory by their hash, and what else is known after it was read once.
#[derive(Clone)]
pub struct Index {
    /// The hash of a name and the first slot of its entry; at most two for each of 65,536 entries.
    names: BTreeSet<(u32, u32)>,
    pub subdirectories: u32,
    /// Whether all of the directory could be read.
    complete: bool,
}

impl Index {
    pub fn read(disk: &dyn Disk, geometry: &Geometry, place: &Place) -> Self {
        let mut entries = Entries::new(disk, geometry, place, 0);
        let (mut names, mut subdirectories, mut short) = (Vec::new(), 0, String::new());
        let mut damaged = false;
        let complete = loop {
            let Found { entry, first_slot, is_long, .. } = match entries.next() {
                Ok(Some(found)) if found.entry.attr & ATTR_VOLUME_ID != 0 => continue,
                Ok(Some(found)) => found,
                Ok(None) => break !damaged,
                Err(_) => {
                    damaged = true;
                    if entries.pass_over() {
                        continue;
                    }
                    break false;
                }
            };
            names.push((name::hash(entries.name()), first_slot));
            if is_long {
                short.clear();
                name::push_short(&entry, &mut short);
                names.push((name::hash(&short), first_slot));
            }
            subdirectories += u32::from(entry.attr & ATTR_DIRECTORY != 0);
        };
        Self { names: names.into_iter().collect(), subdirectories, complete }
    }

    /// Fails if a part of the directory could not be read: then nobody knows which names are taken.
    pub fn check_complete(&self, disk: &dyn Disk, geometry: &Geometry, place: &Place) -> Result<()> {
        let mut entries = Entries::new(disk, geometry, place, 0);
        while !self.complete && entries.next()?.is_some() {}
        Ok(())
    }

    /// Notes a name of the entry that begins with this slot.
    pub fn add(&mut self, name: &str, first_slot: u32) {
        self.names.insert((name::hash(name), first_slot));
    }

    /// Forgets it.
    pub fn remove(&mut self, name: &str, first_slot: u32) {
        self.names.remove(&(name::hash(name), first_slot));
    }

    /// The entry of a name in any case, long or short. If there is none, fails where the directory is damaged.
    pub fn find(&self, disk: &dyn Disk, geometry: &Geometry, place: &Place, wanted: &str) -> Result<Option<Found>> {
        let hash = name::hash(wanted);
        let mut short = String::new();
        for (_, slot) in self.names.range((hash, 0)..=(hash, u32::MAX)) {
            let mut entries = Entries::new(disk, geometry, place, *slot);
            let Some(found) = entries.next()? else { continue };
            short.clear();
            name::push_short(&found.entry, &mut short);
            if name::same(entries.name(), wanted) || name::same(&short, wanted) {
                return Ok(Some(found));
            }
        }
        // Only to fail as the first time.
        self.check_complete(disk, geometry, place)?;
        Ok(None)
    }

    /// The memory that it takes, in bytes, with what a cache and the allocator add.
    pub fn weight(&self) -> u64 {
        /// What one of a set's elements takes, with the tree around it: a node is two thirds full.
        const NAME: usize = 16;
        (CACHE_OVERHEAD + size_of::<Self>() + self.names.len() * NAME) as u64
    }
}
