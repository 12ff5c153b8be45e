//! The search: every directory that is left, live, deleted or only a cluster in free space, and the entries in it.

mod orphans;

use std::collections::{BTreeMap, HashMap, HashSet};

use images::{Disk, Result};

use super::super::geometry::{Geometry, Root, Width};
use super::super::layout::*;
use super::super::map::{Map, Use};
use super::super::name::is_dot;
use super::name::{Named, Slot, each_slot, is_plausible};
use super::wanted::Wanted;
use super::{Owner, node_at, seconds};
use crate::room::Room;
use crate::{Evidence, NodeId, Parent};

/// The most deleted entries that are listed, ours.
const FOUND_MAX: usize = 1 << 19;
/// What an entry takes in memory, in bytes, about, beside its name: it and its evidence, in a list that grows to twice its
/// size; and what is said of the files that want their clusters.
const FOUND: usize = 2 * size_of::<Found>() + 4 * size_of::<Evidence>() + 2 * size_of::<Wanted>() + 64;
/// What the owner of a chain takes, and a chain of nobody.
const OWNER: usize = 2 * size_of::<Owner>();
const LOST_CHAIN: usize = 48;
/// How many high halves of a cluster's number are tried, ours: 512 GiB in clusters of 32 KiB.
const HIGH_HALVES_MAX: usize = 256;
/// How rare a chance must be to count as none.
const RARE: f64 = 0.05;
/// `.` and `..`.
const HEAD: usize = 2 * SLOT_SIZE as usize;

/// A deleted entry.
pub struct Found {
    /// Where it lies, in bytes.
    pub at: u64,
    pub entry: DirEntry,
    pub name: Option<String>,
    pub parent: Parent,
    /// How `..` of a directory there names the parent.
    parent_first: u32,
    /// The first cluster, 0 for none.
    pub first: u32,
    /// Where the clusters of a directory lie that were found and read: (cluster, count).
    pub clusters: Vec<(u32, u32)>,
    pub evidence: Vec<Evidence>,
}

impl Found {
    pub fn node(&self) -> NodeId {
        node_at(self.at)
    }

    pub fn is_directory(&self) -> bool {
        self.entry.attr & ATTR_DIRECTORY != 0
    }
}

/// Everything that the search finds.
pub struct Scan<'a> {
    disk: &'a dyn Disk,
    geometry: &'a Geometry,
    /// What it may hold.
    room: Room,
    pub map: Map,
    /// The other copy of the FAT, where it differs: it may still have the chains of what is deleted.
    pub other_map: Option<Map>,
    pub found: Vec<Found>,
    /// What owns the chains; the owner `n` of the map is at `n - 1`.
    pub owners: Vec<Owner>,
    /// The clusters of deleted directories, and when these were created.
    pub directory_clusters: BTreeMap<u32, u32>,
    /// Chains of nobody that are not directories: the first cluster, and how many.
    pub lost_chains: BTreeMap<u32, u32>,
    /// The directories by their first cluster.
    live: HashMap<u32, NodeId>,
    deleted: HashMap<u32, NodeId>,
    /// Whether the high half of the number of the first cluster may be erased, which is what Windows does and Linux and
    /// mtools do not; and whether it seems to be.
    is_high_unknown: bool,
    is_high_erased: bool,
    /// The directories in free space by their first cluster, and all clusters of those that have more than one.
    heads: BTreeMap<u32, Head>,
    chains: HashMap<u32, Vec<u32>>,
    /// If it is: where the entries that are in use lie, in order, and their first clusters.
    firsts: Vec<(u64, u32)>,
}

impl<'a> Scan<'a> {
    pub fn run(disk: &'a dyn Disk, geometry: &'a Geometry, room: Room) -> Result<Self> {
        let map = Map::read(disk, geometry)?;
        room.need(map.bytes(), "the map of the FAT")?;
        let other_map = map.other(disk, geometry).filter(|other| room.take(other.bytes()));
        let mut scan = Self {
            disk,
            geometry,
            room,
            map,
            other_map,
            found: Vec::new(),
            owners: Vec::new(),
            directory_clusters: BTreeMap::new(),
            lost_chains: BTreeMap::new(),
            live: HashMap::new(),
            deleted: HashMap::new(),
            is_high_unknown: false,
            is_high_erased: false,
            firsts: Vec::new(),
            heads: BTreeMap::new(),
            chains: HashMap::new(),
        };
        scan.walk_live();
        let room = scan.room.clone();
        scan.lost_chains = scan.map.lost_chains(&mut || room.take(LOST_CHAIN)).into_iter().collect();
        let fragments = scan.search_free_space();
        scan.is_high_unknown =
            scan.geometry.width == Width::Fat32 && scan.found.iter().all(|found| found.entry.fst_clus_hi.get() == 0);
        scan.is_high_erased = scan.is_high_unknown && scan.seems_high_erased();
        if scan.is_high_erased {
            scan.firsts = scan.owners.iter().map(|owner| (owner.at, owner.first)).collect();
            scan.firsts.sort_unstable();
        }
        let mut next = 0;
        scan.walk_deleted(&mut next);
        scan.walk_orphans(fragments, &mut next);
        if scan.found.len() == FOUND_MAX {
            log::warn!("{disk}: only the first {FOUND_MAX} deleted entries are listed");
        }
        Ok(scan)
    }

    fn first_cluster(&self, entry: &DirEntry) -> u32 {
        match self.geometry.width {
            Width::Fat32 => u32::from(entry.fst_clus_hi.get()) << 16 | u32::from(entry.fst_clus_lo.get()),
            _ => entry.fst_clus_lo.get().into(),
        }
    }

    /// Whether this is how `..` names the root.
    fn is_root(&self, first: u32) -> bool {
        first == 0 || self.geometry.root == Root::Chain(first)
    }

    fn pieces(&self, clusters: &[(u32, u32)]) -> Vec<(u64, u64)> {
        // One cluster more would be the 65,537th entry.
        let mut left = u64::from(DIRECTORY_SLOTS_MAX) * SLOT;
        let piece = |&(cluster, count): &(u32, u32)| {
            let len = left.min(u64::from(count) * u64::from(self.geometry.cluster_size));
            left -= len;
            (self.geometry.offset_of(cluster), len)
        };
        clusters.iter().map(piece).filter(|(_, len)| *len > 0).collect()
    }

    fn clusters_max(&self) -> u32 {
        self.geometry.clusters_for(u64::from(DIRECTORY_SLOTS_MAX) * SLOT)
    }

    /// Reads every live directory once: whose the chains are, and what was deleted there.
    fn walk_live(&mut self) {
        let root = match self.geometry.root {
            Root::Fixed(at, slots) => vec![(at, u64::from(slots) * SLOT)],
            Root::Chain(first) => {
                let owner = Owner { at: ROOT_CLUS, first, created: 0, is_directory: true };
                self.own(owner);
                self.pieces(&self.map.chain(first, self.clusters_max()))
            }
        };
        let mut waiting = vec![(super::super::ROOT, 0, root)];
        while let Some((dir, dir_first, pieces)) = waiting.pop() {
            for named in self.entries(&pieces) {
                if is_dot(&named.entry) || named.entry.attr & ATTR_VOLUME_ID != 0 {
                    continue;
                }
                if named.is_free {
                    self.add(named, Parent::Live(dir), dir_first);
                    continue;
                }
                let first = self.first_cluster(&named.entry);
                let is_directory = named.entry.attr & ATTR_DIRECTORY != 0;
                let created = seconds(named.entry.crt_date, named.entry.crt_time);
                if self.own(Owner { at: named.at, first, created, is_directory }) && is_directory {
                    self.live.insert(first, node_at(named.at));
                    let pieces = self.pieces(&self.map.chain(first, self.clusters_max()));
                    waiting.push((node_at(named.at), first, pieces));
                }
            }
        }
    }

    fn own(&mut self, owner: Owner) -> bool {
        // 2^32 entries would take 128 GiB of directories.
        let Ok(number) = u32::try_from(self.owners.len() + 1) else { return false };
        let is_new = self.map.own(owner.first, number);
        // From the first on that does not fit, none is known.
        if is_new && self.room.take(OWNER) {
            self.owners.push(owner);
        }
        is_new
    }

    /// Lists an entry of a deleted directory, or a free one of a live directory.
    fn add(&mut self, named: Named, parent: Parent, parent_first: u32) {
        let Named { at, entry, name, long_at, .. } = named;
        if !is_plausible(self.geometry, &entry) {
            return;
        }
        if self.found.len() >= FOUND_MAX || !self.room.take(FOUND + name.len()) {
            return;
        }
        let mut evidence = vec![super::evidence("directory entry", at)];
        if let Some(long_at) = long_at {
            evidence.push(Evidence { checksum: Some(true), ..super::evidence("long name", long_at) });
        }
        let first = self.first_cluster(&entry);
        let clusters = Vec::new();
        self.found.push(Found { at, entry, name: Some(name), parent, parent_first, first, clusters, evidence });
    }

    /// Reads the directories among what is found from `next` on, which finds more.
    fn walk_deleted(&mut self, next: &mut usize) {
        while let Some(found) = self.found.get(*next) {
            if found.is_directory() {
                self.find_directory(*next);
                self.read_directory(*next);
            } else {
                self.find_file(*next);
            }
            *next += 1;
        }
    }

    /// Whether a deleted directory is found only with another high half; or else, whether so many deleted entries
    /// without one would be a rare chance, going by the entries in use.
    fn seems_high_erased(&self) -> bool {
        let mut directories = self.found.iter().filter(|found| found.is_directory());
        if directories.any(|found| self.directory_at(found).is_some_and(|first| first != found.first)) {
            return true;
        }
        let low = self.owners.iter().filter(|owner| owner.first <= u32::from(u16::MAX)).count();
        let share = (low + 1) as f64 / (self.owners.len() + 2) as f64;
        let deleted = self.found.iter().filter(|found| found.first != 0).count();
        self.owners.len() > low && share.powi(i32::try_from(deleted).unwrap_or(i32::MAX)) < RARE
    }

    /// The numbers that the first cluster can have, the likeliest first.
    fn candidates(&self, found: &Found) -> Vec<u32> {
        let is_unknown = if found.is_directory() { self.is_high_unknown } else { self.is_high_erased };
        if !is_unknown || found.first == 0 || found.first > u32::from(u16::MAX) {
            return vec![found.first];
        }
        // Likely near the file before it, or near its directory.
        let before = self.firsts.partition_point(|(at, _)| *at < found.at).checked_sub(1);
        let parent = found.parent_first >> 16;
        let near = before.map_or(parent, |before| self.firsts[before].1 >> 16);
        // A directory is proved where it is.
        let mut high = vec![if found.is_directory() { 0 } else { near }, parent];
        high.extend((0..=self.geometry.clusters >> 16).take(HIGH_HALVES_MAX));
        let mut seen = HashSet::new();
        high.retain(|high| seen.insert(*high));
        high.into_iter()
            .map(|high| high << 16 | found.first & 0xffff)
            .filter(|first| self.geometry.has(*first))
            .collect()
    }

    /// The first cluster of a file, if its high half is erased: the first of the candidates that is free for as long
    /// as the file.
    fn find_file(&mut self, index: usize) {
        let found = &self.found[index];
        let wanted = self.geometry.clusters_for(found.entry.file_size.get().into());
        let fits = |first: &u32| match self.map.at(*first) {
            Some((Use::Free, end)) => end - first >= wanted,
            _ => false,
        };
        let candidates = self.candidates(found);
        let Some(first) = candidates.iter().copied().find(fits) else { return };
        if candidates.len() > 1 {
            let guess = super::evidence("first cluster with a guessed high half", found.at + FST_CLUS_LO);
            let found = &mut self.found[index];
            found.first = first;
            found.evidence.push(guess);
        }
    }

    /// The first cluster of a deleted directory, if it still says that it is: `.` leads to itself and `..` to the
    /// parent, and it was created when the entry was.
    fn directory_at(&self, found: &Found) -> Option<u32> {
        let created = seconds(found.entry.crt_date, found.entry.crt_time);
        self.candidates(found).into_iter().find(|first| {
            let Some(head) = self.head(*first) else { return false };
            let is_parent =
                head.parent == found.parent_first || self.is_root(head.parent) && self.is_root(found.parent_first);
            let is_created = created == 0 || head.created == 0 || head.created == created;
            is_parent && is_created && !self.deleted.contains_key(first)
        })
    }

    /// Finds the clusters of a deleted directory.
    fn find_directory(&mut self, index: usize) {
        let found = &self.found[index];
        if !found.clusters.is_empty() {
            return;
        }
        let Some(first) = self.directory_at(found) else { return };
        let node = found.node();
        let clusters = self.directory_clusters_from(first);
        let at = self.geometry.offset_of(first);
        let found = &mut self.found[index];
        if found.first != first {
            found.evidence.push(super::evidence("first cluster with its high half found", at));
        }
        found.evidence.push(super::evidence("entry '.' that leads to its own cluster", at));
        (found.first, found.clusters) = (first, clusters);
        self.deleted.insert(first, node);
    }

    /// What the first two entries of a cluster say, if it is the first of a directory that no live entry names.
    fn head(&self, first: u32) -> Option<Head> {
        match self.map.at(first)?.0 {
            Use::Free => return self.heads.get(&first).copied(),
            Use::Chain(0) => {}
            _ => return None,
        }
        let mut bytes = [0; HEAD];
        self.disk.read_at(&mut bytes, self.geometry.offset_of(first)).ok()?;
        self.parse_head(&bytes).filter(|head| head.own == first)
    }

    fn parse_head(&self, bytes: &[u8]) -> Option<Head> {
        let (slots, _) = bytes.as_chunks::<{ SLOT_SIZE as usize }>();
        let [dot, dot_dot, ..] = slots else { return None };
        let read = |slot: &[u8; SLOT_SIZE as usize], name: &[u8; 11]| {
            use zerocopy::FromBytes;
            let entry = DirEntry::read_from_bytes(slot).expect("as long as an entry");
            let is_it = matches!(entry.name[0], b'.' | FREE) && entry.name[1..] == name[1..];
            let is_directory = entry.attr & (ATTR_DIRECTORY | ATTR_VOLUME_ID) == ATTR_DIRECTORY;
            (is_it && is_directory && entry.file_size.get() == 0).then_some(entry)
        };
        let dot = read(dot, b".          ")?;
        let dot_dot = read(dot_dot, b"..         ")?;
        let created = seconds(dot.crt_date, dot.crt_time);
        Some(Head { entry: dot, own: self.first_cluster(&dot), parent: self.first_cluster(&dot_dot), created })
    }

    /// The clusters of a directory that is not live: its chain if the FAT still has it, or the clusters in
    /// free space that go on with it.
    fn directory_clusters_from(&self, first: u32) -> Vec<(u32, u32)> {
        if let Some((Use::Chain(_), _)) = self.map.at(first) {
            return self.map.chain(first, self.clusters_max());
        }
        match self.chains.get(&first) {
            Some(chain) => chain.iter().map(|cluster| (*cluster, 1)).collect(),
            None => vec![(first, 1)],
        }
    }

    fn cluster(&self, cluster: u32) -> Option<Vec<u8>> {
        let mut bytes = vec![0; self.geometry.cluster_size as usize];
        self.disk.read_at(&mut bytes, self.geometry.offset_of(cluster)).ok()?;
        Some(bytes)
    }

    /// Lists what is in a deleted directory whose clusters are found.
    fn read_directory(&mut self, index: usize) {
        let Found { clusters, first, entry, .. } = &self.found[index];
        let created = seconds(entry.crt_date, entry.crt_time);
        let (first, node) = (*first, self.found[index].node());
        let pieces = self.pieces(clusters);
        let numbers: Vec<u32> = clusters.iter().flat_map(|&(start, count)| start..start + count).collect();
        self.directory_clusters.extend(numbers.into_iter().map(|cluster| (cluster, created)));
        self.read_entries(&pieces, Parent::Deleted(node), first);
    }

    /// The entries of a directory, those that are free too.
    fn entries(&self, pieces: &[(u64, u64)]) -> Vec<Named> {
        let mut entries = Vec::new();
        each_slot(self.disk, pieces, &mut |slot| match slot {
            Slot::Entry(named) => {
                entries.push(*named);
                true
            }
            Slot::Other => true,
            Slot::End => false,
        });
        entries
    }

    fn read_entries(&mut self, pieces: &[(u64, u64)], parent: Parent, parent_first: u32) {
        for named in self.entries(pieces) {
            // `.` and `..` may be marked as free too.
            let is_dots = matches!(&named.entry.name[1..], b"          " | b".         ")
                && named.entry.attr & ATTR_DIRECTORY != 0
                && pieces.first().is_some_and(|(start, _)| (*start..start + HEAD as u64).contains(&named.at));
            if !is_dots && !is_dot(&named.entry) && named.entry.attr & ATTR_VOLUME_ID == 0 {
                self.add(named, parent, parent_first);
            }
        }
    }
}

/// What `.` and `..` say of a directory.
#[derive(Clone, Copy)]
struct Head {
    entry: DirEntry,
    own: u32,
    parent: u32,
    created: u32,
}
