//! The tree of a FAT volume, as the rest of the program sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use images::disk::{Access, Cached};
use images::{Budget, Disk, Error, Extent, Result, read_only, unsupported};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use zerocopy::{FromBytes, IntoBytes};

use super::chain::{self, Chain};
use super::deleted;
use super::directory::{Entries, Found, Index, Place};
use super::free_space::FreeSpace;
use super::geometry::{self, Geometry, Root};
use super::layout::*;
use super::map::Map;
use super::node::{File, Node};
use super::pending::Pending;
use super::writing::{Nodes, ORPHAN, Writing};
use super::{ROOT, identity, truncated};
use crate::{
    Deleted, Entry, FileSystem, FileSystemMut, Forensics, Holds, Kind, NodeId, Options, Properties, Space, Stat,
};

/// What is kept of the FAT and of directories, in bytes.
const METADATA_CACHE: u64 = 4 << 20;
/// A bad sector takes the directory entries of its page along.
const METADATA_PAGE: usize = 4096;
/// What is kept of the chains of files and directories, and of the names of directories, in bytes.
const CHAIN_CACHE: u64 = 8 << 20;
const INDEX_CACHE: u64 = 4 << 20;
/// How many chains and directories are expected in the caches; so few that each cache is one piece, in which the
/// largest fits.
const CACHE_ITEMS: usize = 31;
/// Of how many damaged directories is kept what was wrong, ours.
const DAMAGED_MAX: usize = 1024;
/// How many entries of a directory are copied before anyone is told of them, ours.
const LISTED_AT_ONCE: usize = 64;
/// The longest name: 255 units of UTF-16, of at most 3 bytes in UTF-8.
const NAME_MAX: u32 = 255 * 3;

/// Caches count bytes.
#[derive(Clone)]
pub(super) struct ByBytes;

impl Weighter<(u32, u32), Arc<Chain>> for ByBytes {
    fn weight(&self, _: &(u32, u32), chain: &Arc<Chain>) -> u64 {
        chain.weight()
    }
}

impl Weighter<u64, Arc<Index>> for ByBytes {
    fn weight(&self, _: &u64, index: &Arc<Index>) -> u64 {
        index.weight()
    }
}

/// A FAT volume. A node is where its directory entry lies on the disk, in units of 32 bytes; where entries may move, it is
/// known by that, and has an id.
pub(super) struct Fat {
    pub(super) disk: Arc<dyn Disk>,
    /// The same disk, for the FAT and for directories.
    pub(super) metadata: Pending,
    pub(super) geometry: Geometry,
    properties: Properties,
    /// By first cluster and by how many clusters were asked for.
    pub(super) chains: Cache<(u32, u32), Arc<Chain>, ByBytes>,
    /// By [`Self::directory_key`].
    pub(super) indices: Cache<u64, Arc<Index>, ByBytes>,
    /// How many clusters are free; 0 where that is not known.
    free: OnceLock<u64>,
    /// What is deleted, once it was looked for.
    deleted: OnceLock<std::result::Result<deleted::All, Arc<Error>>>,
    /// What was found first in each directory that is damaged.
    damage: Mutex<HashMap<NodeId, Arc<Error>>>,
    /// What may be held of deleted files, and of what is written.
    pub(super) budget: Budget,
    /// The nodes that are held, if it is written.
    pub(super) nodes: Option<Nodes>,
    /// The entries of those of them that have no name any more, by their keys.
    orphans: Mutex<HashMap<u64, DirEntry>>,
    /// Why it is not written, or what is being written; who reads shares it.
    pub(super) writing: std::result::Result<RwLock<Writing>, String>,
}

impl Fat {
    /// Reads the boot sector and the label, and takes the writer of the disk if it is to be written.
    pub(super) fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Self> {
        let budget = options.budget.clone();
        let geometry = Geometry::read(disk.as_ref())?;
        let mut notes = Vec::new();
        if geometry.dirty {
            notes.push(format!("{disk} was not unmounted cleanly"));
        }
        if let Some(note) = truncated(&geometry, disk.as_ref()) {
            log::warn!("{disk}: {note}");
            notes.push(note);
        }
        let metadata = Pending::new(Cached::new(disk.clone(), METADATA_PAGE, METADATA_CACHE));
        let writing = match options.access {
            Access::Read => Err(format!("{disk} was opened for reading only")),
            // Through the cache, which forgets what is written.
            Access::ReadWrite => Writing::new(metadata.below(), &geometry, &budget).map_err(|why| why.to_string()),
        };
        let properties =
            Properties { identity: identity(&metadata, &geometry)?, name_max: NAME_MAX, case_insensitive: true, notes };
        Ok(Self {
            properties,
            disk,
            metadata,
            geometry,
            chains: Cache::with_weighter(CACHE_ITEMS, CHAIN_CACHE, ByBytes),
            indices: Cache::with_weighter(CACHE_ITEMS, INDEX_CACHE, ByBytes),
            free: OnceLock::new(),
            deleted: OnceLock::new(),
            damage: Mutex::default(),
            nodes: writing.is_ok().then(|| Nodes::new(ROOT.0, &budget)),
            orphans: Mutex::default(),
            writing: writing.map(RwLock::new),
            budget,
        })
    }

    /// The directory entry at a place: of a node other than the root, or with [`ORPHAN`] of one that has no name any more.
    pub(super) fn entry(&self, key: u64) -> Result<DirEntry> {
        if key & ORPHAN != 0 {
            return self.orphans().get(&key).copied().ok_or(Error::NotFound);
        }
        let root = match self.geometry.root {
            Root::Fixed(at, slots) => at..at + u64::from(slots) * SLOT,
            Root::Chain(_) => 0..0,
        };
        let at = key.checked_mul(SLOT).ok_or(Error::NotFound)?;
        if !root.contains(&at) && !(self.geometry.data..self.geometry.end).contains(&at) {
            return Err(Error::NotFound);
        }
        let mut bytes = [0; SLOT as usize];
        self.metadata.read_at(&mut bytes, at)?;
        let entry = DirEntry::read_from_bytes(&bytes).expect("as long as an entry");
        let is_used = !matches!(entry.name[0], FREE | FREE_TO_END) && entry.attr & ATTR_VOLUME_ID == 0;
        is_used.then_some(entry).ok_or(Error::NotFound)
    }

    pub(super) fn first_cluster(&self, entry: &DirEntry) -> u32 {
        match self.geometry.width {
            geometry::Width::Fat32 => u32::from(entry.fst_clus_hi.get()) << 16 | u32::from(entry.fst_clus_lo.get()),
            _ => entry.fst_clus_lo.get().into(),
        }
    }

    pub(super) fn chain(&self, named_at: u64, first: u32, wanted: u32) -> Arc<Chain> {
        // Where chains grow, there is one of each, and it is whole.
        let wanted = if self.writing.is_ok() && wanted > 0 { self.geometry.clusters } else { wanted };
        let read = || Ok::<_, Error>(Arc::new(Chain::read(&self.metadata, &self.geometry, named_at, first, wanted)));
        self.chains.get_or_insert_with(&(first, wanted), read).expect("reading a chain keeps its errors")
    }

    /// The node with this id: here it is decided whether it lives.
    pub(super) fn node(&self, id: NodeId) -> Result<Node<'_>> {
        if id == ROOT {
            return Ok(Node::Root);
        }
        let deleted = self.deleted.get().and_then(|all| all.as_ref().ok()?.nodes.get(&id));
        let live = || {
            let key = self.key(id)?;
            Ok(Node::Live(NodeId(key), self.entry(key)?))
        };
        deleted.map_or_else(live, |node| Ok(Node::Deleted(node)))
    }

    /// Where a directory lies. Fails with `NotDirectory` for other nodes.
    pub(super) fn place(&self, dir: &Node<'_>) -> Result<Place> {
        let max = Place::clusters_max(&self.geometry);
        match dir {
            Node::Root => Ok(Place::of_root(&self.geometry, |at, first| self.chain(at, first, max))),
            Node::Live(_, entry) if entry.attr & ATTR_DIRECTORY == 0 => Err(Error::NotDirectory),
            // It was empty when it was removed.
            Node::Live(id, _) if id.0 & ORPHAN != 0 => Ok(Place::Fixed(0, 0)),
            Node::Live(id, entry) => {
                Ok(Place::Clusters(self.chain(id.0 * SLOT + FST_CLUS_LO, self.first_cluster(entry), max)))
            }
            // What was in it is found as deleted nodes are, not through its clusters.
            Node::Deleted(_) => Err(Error::NotFound),
        }
    }

    /// What the names of a directory are known by; 0 is the root.
    pub(super) fn directory_key(&self, dir: &Node<'_>) -> u64 {
        match dir {
            Node::Live(_, entry) => 1 << 32 | u64::from(self.first_cluster(entry)),
            _ => 0,
        }
    }

    pub(super) fn index(&self, key: u64, place: &Place) -> Arc<Index> {
        let read = || Ok::<_, Error>(Arc::new(Index::read(&self.metadata, &self.geometry, place)));
        self.indices.get_or_insert_with(&key, read).expect("reading a directory keeps its errors")
    }

    /// A file and where its content lies. Fails with `IsDirectory` for other nodes.
    fn file(&self, id: NodeId) -> Result<File<'_>> {
        match self.node(id)? {
            Node::Live(id, entry) if entry.attr & ATTR_DIRECTORY == 0 => {
                let (at, size) = (entry_at(id.0), entry.file_size.get().into());
                let wanted = self.geometry.clusters_for(size);
                Ok(File::Live(at, size, self.chain(at + FST_CLUS_LO, self.first_cluster(&entry), wanted)))
            }
            Node::Deleted(deleted) if !deleted.is_directory() => Ok(File::Deleted(deleted)),
            _ => Err(Error::IsDirectory),
        }
    }

    /// What a node is known by: the place of its entry, in units of 32 bytes, or with [`ORPHAN`] a number of its own.
    pub(super) fn key(&self, node: NodeId) -> Result<u64> {
        self.nodes.as_ref().map_or(Ok(node.0), |nodes| nodes.key(node))
    }

    /// The node whose entry lies there, held once more.
    pub(super) fn id(&self, place: NodeId) -> Result<NodeId> {
        self.nodes.as_ref().map_or(Ok(place), |nodes| nodes.id(&place.0))
    }

    pub(super) fn orphans(&self) -> MutexGuard<'_, HashMap<u64, DirEntry>> {
        self.orphans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the node at this place is gone. If somebody holds it, its entry is kept under this key from now on.
    pub(super) fn retire_node(&self, place: NodeId, orphan: u64, entry: DirEntry) -> bool {
        let Some(nodes) = self.nodes.as_ref().filter(|nodes| nodes.is_held(&place.0)) else { return false };
        nodes.rekey(&place.0, orphan);
        self.orphans().insert(orphan, entry);
        true
    }

    /// The entry of the node at one place lies at another one from now on.
    pub(super) fn move_node(&self, from: NodeId, to: NodeId) {
        if let Some(nodes) = self.nodes.as_ref().filter(|_| from != to) {
            nodes.rekey(&from.0, to.0);
        }
    }

    /// Changes the entry of a node other than the root.
    pub(super) fn store(&self, node: NodeId, entry: &DirEntry) -> Result<()> {
        let key = self.key(node)?;
        if key & ORPHAN != 0 {
            self.orphans().insert(key, *entry);
            return Ok(());
        }
        self.metadata.put(entry.as_bytes(), entry_at(key))
    }

    pub(super) fn set_first_cluster(&self, entry: &mut DirEntry, first: u32) {
        entry.fst_clus_lo = (first as u16).into();
        if self.geometry.width == geometry::Width::Fat32 {
            entry.fst_clus_hi = ((first >> 16) as u16).into();
        }
    }

    /// Whoever reads has this, and nothing changes meanwhile. None where nothing ever does.
    fn shared(&self) -> Option<RwLockReadGuard<'_, Writing>> {
        self.writing.as_ref().ok().map(|writing| writing.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Calls `each` for the entries of a directory as [`FileSystem::read_dir`] has it, with their places, and says whether it
    /// came to the end.
    fn list(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<bool> {
        let place = self.place(&self.node(dir)?)?;
        let from = u32::try_from(from).unwrap_or(u32::MAX).min(DIRECTORY_SLOTS_MAX);
        let mut entries = Entries::new(&self.metadata, &self.geometry, &place, from);
        let damage = || self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let Found { node, entry, next_slot, .. } = match entries.next() {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(error) => {
                    let goes_on = entries.pass_over();
                    let mut damage = damage();
                    if damage.len() < DAMAGED_MAX {
                        damage.entry(dir).or_insert_with(|| Arc::new(error));
                    } else if !damage.contains_key(&dir) {
                        return Err(error);
                    }
                    if goes_on {
                        continue;
                    }
                    break;
                }
            };
            if entry.attr & ATTR_VOLUME_ID != 0 {
                continue;
            }
            let kind = if entry.attr & ATTR_DIRECTORY != 0 { Kind::Directory } else { Kind::File };
            let name = entries.name().as_bytes();
            if !each(Entry { name, node, kind: Some(kind), next: next_slot.into() }) {
                return Ok(false);
            }
        }
        // What is sound is listed.
        match damage().get(&dir) {
            Some(error) => Err(Error::Shared(error.clone())),
            None => Ok(true),
        }
    }

    fn free_clusters(&self) -> u64 {
        *self.free.get_or_init(|| {
            let hint = self.geometry.fs_info.map(|at| self.free_hint(at));
            if let Some(Ok(Some(free))) = hint {
                return free;
            }
            chain::count_free(self.disk.as_ref(), &self.geometry).unwrap_or_else(|why| {
                log::warn!("{}: free space is not known: {why}", self.disk);
                0
            })
        })
    }

    /// What the FSInfo sector says, if it is one and what it says is possible.
    fn free_hint(&self, at: u64) -> Result<Option<u64>> {
        let mut sector = [0; 512];
        self.disk.read_at(&mut sector, at)?;
        let info = FsInfo::read_from_bytes(&sector).expect("as long as a sector");
        let is_valid = info.lead_sig == LEAD_SIG && info.struc_sig == STRUC_SIG;
        let free = info.free_count.get();
        Ok((is_valid && free <= self.geometry.clusters).then_some(free.into()))
    }
}

impl FileSystem for Fat {
    fn may_have_xattr(&self, _name: &[u8]) -> bool {
        false
    }

    fn properties(&self, _: NodeId) -> &Properties {
        &self.properties
    }

    fn space(&self, _: NodeId) -> Result<Space> {
        let now = self.shared().and_then(|writing| self.free_now(&writing));
        let free = now.unwrap_or_else(|| self.free_clusters());
        Ok(Space {
            block_size: self.geometry.cluster_size,
            blocks: self.geometry.clusters.into(),
            blocks_free: free,
            blocks_available: free,
            files: 0,
            files_free: 0,
        })
    }

    fn root(&self) -> NodeId {
        ROOT
    }

    fn stat(&self, id: NodeId) -> Result<Stat> {
        let _shared = self.shared();
        let node = self.node(id)?;
        let mut stat = node.stat();
        let cluster_size = u64::from(self.geometry.cluster_size);
        if stat.kind == Kind::File {
            stat.blocks = stat.size.next_multiple_of(cluster_size) / 512;
            return Ok(stat);
        }
        if !matches!(node, Node::Deleted(_)) {
            let place = self.place(&node)?;
            stat.links += self.index(self.directory_key(&node), &place).subdirectories;
            stat.size = match &place {
                Place::Fixed(_, slots) => u64::from(*slots) * SLOT,
                Place::Clusters(chain) => u64::from(chain.clusters()) * cluster_size,
            };
        }
        stat.blocks = stat.size.div_ceil(512);
        Ok(stat)
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let _shared = self.shared();
        let dir = self.node(dir)?;
        let place = self.place(&dir)?;
        let Ok(name) = std::str::from_utf8(name) else { return Err(Error::NotFound) };
        let index = self.index(self.directory_key(&dir), &place);
        let find = |name| index.find(&self.metadata, &self.geometry, &place, name);
        // As in Windows and Linux, dots at the end of a name do not count.
        let trimmed = name.trim_end_matches('.');
        match find(name)? {
            Some(found) => self.id(found.node),
            None if trimmed.len() < name.len() => self.id(find(trimmed)?.ok_or(Error::NotFound)?.node),
            None => Err(Error::NotFound),
        }
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        if self.nodes.is_none() {
            return self.list(dir, from, each).map(drop);
        }
        let mut from = from;
        loop {
            // Nobody else is kept waiting while `each` runs, so it gets copies.
            let shared = self.shared();
            let (mut copies, mut unheld) = (Vec::new(), Ok(()));
            let listed = self.list(dir, from, &mut |Entry { name, node, kind, next }| match self.id(node) {
                Ok(node) => {
                    copies.push((name.to_vec(), node, kind, next));
                    copies.len() < LISTED_AT_ONCE
                }
                Err(error) => {
                    unheld = Err(error);
                    false
                }
            });
            drop(shared);
            let mut goes_on = true;
            for (name, node, kind, next) in copies {
                match goes_on {
                    true => goes_on = each(Entry { name: &name, node, kind, next }),
                    false => self.forget(node, 1),
                }
                from = next;
            }
            if !goes_on {
                return Ok(());
            }
            unheld?;
            if listed? {
                return Ok(());
            }
        }
    }

    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        let _shared = self.shared();
        self.file(file)?.read(&*self.disk, &self.geometry, buf, offset)
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        let _shared = self.shared();
        self.node(link)?;
        Err(Error::Invalid)
    }

    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        let _shared = self.shared();
        self.file(file)?.extent_at(&*self.disk, &self.geometry, offset)
    }

    fn holds(&self) -> Option<&dyn Holds> {
        self.nodes.is_some().then_some(self as _)
    }

    fn forensics(&self) -> Result<&dyn Forensics> {
        match self.nodes {
            None => Ok(self),
            Some(_) => Err(unsupported!("deleted files are looked for in a FAT volume that is not being written")),
        }
    }

    fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
        self.writing.as_ref().map(|_| self as _).map_err(|why| read_only!("{why}"))
    }
}

/// Where the entry with this key lies in bytes; 0 if it has none.
pub(super) fn entry_at(key: u64) -> u64 {
    if key & ORPHAN == 0 { key.saturating_mul(SLOT) } else { 0 }
}

impl Forensics for Fat {
    fn deleted(&self) -> Result<Arc<[Deleted]>> {
        let search = || deleted::search(self.disk.as_ref(), &self.geometry, &self.budget).map_err(Arc::new);
        let found = self.deleted.get_or_init(search).as_ref();
        found.map(|all| all.list.clone()).map_err(|error| Error::Shared(error.clone()))
    }

    /// None: a directory entry is overwritten in its place, and nothing keeps what it was.
    fn versions(&self, _: NodeId, _: &mut dyn FnMut(&Deleted) -> bool) -> Result<()> {
        Ok(())
    }

    fn unallocated(&self) -> Result<Arc<dyn Disk>> {
        let map = Map::read(self.disk.as_ref(), &self.geometry)?;
        Ok(Arc::new(FreeSpace::new(self.disk.clone(), &self.geometry, &map, &self.budget)?))
    }
}
