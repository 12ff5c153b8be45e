//! The tree of a FAT volume, as the rest of the program sees it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use images::disk::Cached;
use images::{Budget, Disk, Error, Extent, Result, read_only};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use zerocopy::FromBytes;

use super::chain::{self, Chain};
use super::deleted;
use super::directory::{Entries, Found, Index, Place};
use super::free_space::FreeSpace;
use super::geometry::{self, Geometry, Root};
use super::layout::*;
use super::map::Map;
use super::node::{File, Node};
use super::{ROOT, identity, truncated};
use crate::length::in_memory;
use crate::{Deleted, Entry, FileSystem, FileSystemMut, Forensics, Kind, NodeId, Properties, Space, Stat};

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
/// The longest name: 255 units of UTF-16, of at most 3 bytes in UTF-8.
const NAME_MAX: u32 = 255 * 3;

#[derive(Clone)]
struct ByBytes;

impl Weighter<(u32, u32), Arc<Chain>> for ByBytes {
    fn weight(&self, _: &(u32, u32), chain: &Arc<Chain>) -> u64 {
        chain.weight()
    }
}

impl Weighter<NodeId, Arc<Index>> for ByBytes {
    fn weight(&self, _: &NodeId, index: &Arc<Index>) -> u64 {
        index.weight()
    }
}

/// A FAT volume. A node is where its directory entry lies on the disk, in units of 32 bytes.
pub(super) struct Fat {
    disk: Arc<dyn Disk>,
    /// The same disk, for the FAT and for directories.
    metadata: Cached,
    geometry: Geometry,
    properties: Properties,
    /// By first cluster and by how many clusters were asked for.
    chains: Cache<(u32, u32), Arc<Chain>, ByBytes>,
    indices: Cache<NodeId, Arc<Index>, ByBytes>,
    /// How many clusters are free; 0 where that is not known.
    free: OnceLock<u64>,
    /// What is deleted, once it was looked for.
    deleted: OnceLock<std::result::Result<deleted::All, Arc<Error>>>,
    /// What was found first in each directory that is damaged.
    damage: Mutex<HashMap<NodeId, Arc<Error>>>,
    /// What may be held of deleted files.
    budget: Budget,
}

impl Fat {
    /// Reads the boot sector and the label; `budget` is for what is kept of deleted files.
    pub(super) fn open(disk: Arc<dyn Disk>, budget: Budget) -> Result<Self> {
        let geometry = Geometry::read(disk.as_ref())?;
        let mut notes = Vec::new();
        if geometry.dirty {
            notes.push(format!("{disk} was not unmounted cleanly"));
        }
        if let Some(note) = truncated(&geometry, disk.as_ref()) {
            log::warn!("{disk}: {note}");
            notes.push(note);
        }
        let metadata = Cached::new(disk.clone(), METADATA_PAGE, METADATA_CACHE);
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
            budget,
        })
    }

    /// The directory entry of a node other than the root.
    fn entry(&self, node: NodeId) -> Result<DirEntry> {
        let root = match self.geometry.root {
            Root::Fixed(at, slots) => at..at + u64::from(slots) * SLOT,
            Root::Chain(_) => 0..0,
        };
        let at = node.0.checked_mul(SLOT).ok_or(Error::NotFound)?;
        if !root.contains(&at) && !(self.geometry.data..self.geometry.end).contains(&at) {
            return Err(Error::NotFound);
        }
        let page = self.metadata.page_at(at)?;
        let bytes = page.get(in_memory(at % METADATA_PAGE as u64)..).unwrap_or_default();
        let Ok((entry, _)) = DirEntry::read_from_prefix(bytes) else { return Err(Error::NotFound) };
        let is_used = !matches!(entry.name[0], FREE | FREE_TO_END) && entry.attr & ATTR_VOLUME_ID == 0;
        is_used.then_some(entry).ok_or(Error::NotFound)
    }

    fn first_cluster(&self, entry: &DirEntry) -> u32 {
        match self.geometry.width {
            geometry::Width::Fat32 => u32::from(entry.fst_clus_hi.get()) << 16 | u32::from(entry.fst_clus_lo.get()),
            _ => entry.fst_clus_lo.get().into(),
        }
    }

    fn chain(&self, named_at: u64, first: u32, wanted: u32) -> Arc<Chain> {
        let read = || Ok::<_, Error>(Arc::new(Chain::read(&self.metadata, &self.geometry, named_at, first, wanted)));
        self.chains.get_or_insert_with(&(first, wanted), read).expect("reading a chain keeps its errors")
    }

    /// The node with this id: here it is decided whether it lives.
    fn node(&self, id: NodeId) -> Result<Node<'_>> {
        if id == ROOT {
            return Ok(Node::Root);
        }
        let deleted = self.deleted.get().and_then(|all| all.as_ref().ok()?.nodes.get(&id));
        deleted.map_or_else(|| self.entry(id).map(|entry| Node::Live(id, entry)), |node| Ok(Node::Deleted(node)))
    }

    /// Where a directory lies. Fails with `NotDirectory` for other nodes.
    fn place(&self, dir: &Node<'_>) -> Result<Place> {
        let max = Place::clusters_max(&self.geometry);
        match dir {
            Node::Root => Ok(Place::of_root(&self.geometry, |at, first| self.chain(at, first, max))),
            Node::Live(_, entry) if entry.attr & ATTR_DIRECTORY == 0 => Err(Error::NotDirectory),
            Node::Live(id, entry) => {
                Ok(Place::Clusters(self.chain(id.0 * SLOT + FST_CLUS_LO, self.first_cluster(entry), max)))
            }
            // What was in it is found as deleted nodes are, not through its clusters.
            Node::Deleted(_) => Err(Error::NotFound),
        }
    }

    fn index(&self, dir: NodeId, place: &Place) -> Arc<Index> {
        let read = || Ok::<_, Error>(Arc::new(Index::read(&self.metadata, &self.geometry, place)));
        self.indices.get_or_insert_with(&dir, read).expect("reading a directory keeps its errors")
    }

    /// A file and where its content lies. Fails with `IsDirectory` for other nodes.
    fn file(&self, id: NodeId) -> Result<File<'_>> {
        match self.node(id)? {
            Node::Live(id, entry) if entry.attr & ATTR_DIRECTORY == 0 => {
                let (at, size) = (id.0 * SLOT, entry.file_size.get().into());
                let wanted = self.geometry.clusters_for(size);
                Ok(File::Live(at, size, self.chain(at + FST_CLUS_LO, self.first_cluster(&entry), wanted)))
            }
            Node::Deleted(deleted) if !deleted.is_directory() => Ok(File::Deleted(deleted)),
            _ => Err(Error::IsDirectory),
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
        let free = self.free_clusters();
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
        let node = self.node(id)?;
        let mut stat = node.stat();
        let cluster_size = u64::from(self.geometry.cluster_size);
        if stat.kind == Kind::File {
            stat.blocks = stat.size.next_multiple_of(cluster_size) / 512;
            return Ok(stat);
        }
        if !matches!(node, Node::Deleted(_)) {
            let place = self.place(&node)?;
            stat.links += self.index(id, &place).subdirectories;
            stat.size = match &place {
                Place::Fixed(_, slots) => u64::from(*slots) * SLOT,
                Place::Clusters(chain) => u64::from(chain.clusters()) * cluster_size,
            };
        }
        stat.blocks = stat.size.div_ceil(512);
        Ok(stat)
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let place = self.place(&self.node(dir)?)?;
        let Ok(name) = std::str::from_utf8(name) else { return Err(Error::NotFound) };
        let index = self.index(dir, &place);
        let find = |name| index.find(&self.metadata, &self.geometry, &place, name);
        // As in Windows and Linux, dots at the end of a name do not count.
        let trimmed = name.trim_end_matches('.');
        match find(name)? {
            Some(node) => Ok(node),
            None if trimmed.len() < name.len() => find(trimmed)?.ok_or(Error::NotFound),
            None => Err(Error::NotFound),
        }
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
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
                return Ok(());
            }
        }
        // What is sound is listed.
        match damage().get(&dir) {
            Some(error) => Err(Error::Shared(error.clone())),
            None => Ok(()),
        }
    }

    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.file(file)?.read(&*self.disk, &self.geometry, buf, offset)
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        self.node(link)?;
        Err(Error::Invalid)
    }

    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        self.file(file)?.extent_at(&*self.disk, &self.geometry, offset)
    }

    fn forensics(&self) -> Result<&dyn Forensics> {
        Ok(self)
    }

    fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
        Err(read_only!("writing to FAT is not implemented"))
    }
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
