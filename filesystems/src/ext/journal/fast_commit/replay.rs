//! The operations of fast commits, applied in memory.
//!
//! As in the kernel's replay, an operation on an inode that does not exist is passed over. Times and link counts of
//! directories are in no fast commit: the times stay, and the counts follow the directories that come and go.

use std::collections::BTreeMap;

use images::disk::Replacement;
use images::{Error, Result, corrupt, unsupported};

use super::super::log::Log;
use super::Operation;
use super::directory::{Directory, MAX_BLOCKS};
use super::extent_map::{ExtentMap, Piece, check_range};
use super::store::{I_BLOCK, I_FLAGS, I_GENERATION, I_LINKS_COUNT, Store, get16, get32, set16};
use crate::ext::inode::Inode;
use crate::ext::layout::{GOOD_OLD_INODE_SIZE, inode_flags, mode};
use crate::ext::volume::Volume;

/// The blocks of `volume` that read differently after `operations`; `log` is its journal.
///
/// Memory: what the operations change, at most 256 MiB.
pub fn replay(volume: Volume, log: &Log, operations: Vec<Operation>) -> Result<BTreeMap<u64, Replacement>> {
    let mut replay = Replay { store: Store::new(volume, log), maps: BTreeMap::new(), directories: BTreeMap::new() };
    for operation in operations {
        replay.apply(operation)?;
    }
    replay.finish()
}

struct Replay {
    store: Store,
    maps: BTreeMap<u32, ExtentMap>,
    directories: BTreeMap<u32, Directory>,
}

impl Replay {
    fn apply(&mut self, operation: Operation) -> Result<()> {
        match operation {
            Operation::Inode { inode, record } => self.inode(inode, &record),
            Operation::AddRange { inode, logical, len, physical, unwritten } => {
                check_range(logical.into(), len.into())?;
                let blocks = self.store.volume.superblock().blocks;
                if physical == 0 || physical + u64::from(len) > blocks {
                    let why = format!("{len} blocks at {physical} for inode {inode}, but there are {blocks}");
                    return Err(corrupt!("fast commit", 0u64, "{why}"));
                }
                match self.map(inode)? {
                    Some(map) => map.add(logical.into(), Piece { len: len.into(), physical, unwritten }),
                    None => Ok(()),
                }
            }
            Operation::DelRange { inode, logical, len } => {
                if let Some(map) = self.map(inode)? {
                    map.remove(logical.into(), len.into());
                }
                Ok(())
            }
            Operation::Create { parent, inode, name } => self.create(parent, inode, &name),
            Operation::Link { parent, inode, name } => self.link(parent, inode, &name),
            Operation::Unlink { parent, inode, name } => self.unlink(parent, inode, &name),
        }
    }

    /// Writes a record: all of it but the extent tree, and the extended attributes behind its fields.
    fn inode(&mut self, number: u32, new: &[u8]) -> Result<()> {
        let mut record = self.store.record(number)?;
        if new.len() < GOOD_OLD_INODE_SIZE || new.len() > record.len() {
            let len = new.len();
            return Err(corrupt!("fast commit", 0u64, "a record of {len} bytes for inode {number}"));
        }
        // Another generation is another file: nothing of the old one counts.
        let is_new = get32(new, I_GENERATION) != get32(&record, I_GENERATION) || get16(&record, 0) == 0;
        if is_new {
            record.fill(0);
            self.directories.remove(&number);
        }
        let in_tree = get32(new, I_FLAGS) & inode_flags::EXTENTS != 0;
        let old_tree = get32(&record, I_FLAGS) & inode_flags::EXTENTS != 0;
        let kept: Vec<u8> = record.get(I_BLOCK..I_GENERATION).unwrap_or_default().to_vec();
        for (place, byte) in record.iter_mut().zip(new) {
            *place = *byte;
        }
        if in_tree {
            // An empty tree, until the map is written; what was mapped before stays.
            if let Some(place) = record.get_mut(I_BLOCK..I_GENERATION) {
                place.fill(0);
                if old_tree {
                    place.copy_from_slice(&kept);
                }
            }
            if !old_tree {
                let mut seedless = record.clone();
                let map = self.maps.entry(number).or_default();
                if is_new {
                    *map = ExtentMap::default();
                }
                // A root without entries, which needs no block.
                ExtentMap::default().write(&mut self.store, &mut seedless, 0)?;
                record = seedless;
            }
        } else {
            self.maps.remove(&number);
        }
        self.store.put_record(number, record)
    }

    /// An inode that exists; `None` for those that the kernel passes over.
    fn existing(&self, number: u32) -> Result<Option<Inode>> {
        match self.store.inode(number) {
            Ok(inode) if inode.mode & mode::TYPE != 0 => Ok(Some(inode)),
            Ok(_) | Err(Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The map of an inode, to be changed.
    fn map(&mut self, number: u32) -> Result<Option<&mut ExtentMap>> {
        if !self.maps.contains_key(&number) {
            let Some(inode) = self.existing(number)? else { return Ok(None) };
            let map = if inode.has(inode_flags::INLINE_DATA) {
                ExtentMap::default()
            } else if inode.has(inode_flags::EXTENTS) {
                ExtentMap::load(&self.store, &inode)?
            } else {
                return Err(unsupported!(
                    "fast commits that change the blocks of inode {number}, which has no extents"
                ));
            };
            self.maps.insert(number, map);
        }
        Ok(self.maps.get_mut(&number))
    }

    /// Reads a directory that is to be changed; false if there is none with this number.
    fn load(&mut self, number: u32) -> Result<bool> {
        if self.directories.contains_key(&number) {
            return Ok(true);
        }
        let Some(inode) = self.existing(number)?.filter(|inode| inode.mode & mode::TYPE == mode::DIRECTORY) else {
            return Ok(false);
        };
        // Directories with block maps can be read, but not extended: their map is not written.
        let fresh = match self.maps.get(&number) {
            Some(_) => None,
            None => Some(ExtentMap::load(&self.store, &inode)?),
        };
        let map = match (&fresh, self.maps.get(&number)) {
            (Some(map), _) | (None, Some(map)) => map,
            (None, None) => return Ok(false),
        };
        let directory = Directory::load(&self.store, &inode, map)?;
        let blocks: usize = self.directories.values().map(Directory::blocks).sum();
        if blocks + directory.blocks() > MAX_BLOCKS {
            return Err(unsupported!("fast commits that change directories of more than {MAX_BLOCKS} blocks"));
        }
        if let Some(map) = fresh.filter(|_| inode.has(inode_flags::EXTENTS)) {
            self.maps.insert(number, map);
        }
        self.directories.insert(number, directory);
        Ok(true)
    }

    fn create(&mut self, parent: u32, number: u32, name: &[u8]) -> Result<()> {
        let Some(inode) = self.existing(number)? else {
            return Err(corrupt!("fast commit", 0u64, "a name for inode {number}, which does not exist"));
        };
        if inode.mode & mode::TYPE == mode::DIRECTORY {
            let map = self.map(number)?;
            if let Some(map) = map.filter(|map| map.get(0).is_none()) {
                let mut map = std::mem::take(map);
                let directory = Directory::create(&mut self.store, &inode, parent, &mut map)?;
                self.maps.insert(number, map);
                self.directories.insert(number, directory);
            }
        }
        self.link(parent, number, name)
    }

    fn link(&mut self, parent: u32, number: u32, name: &[u8]) -> Result<()> {
        let Some(inode) = self.existing(number)? else { return Ok(()) };
        if !self.load(parent)? {
            return Ok(());
        }
        let Some(directory) = self.directories.get_mut(&parent) else { return Ok(()) };
        // A name that is there stays, whatever it names: so the kernel.
        if directory.get(name).is_some() {
            return Ok(());
        }
        let mut none = ExtentMap::default();
        let map = self.maps.get_mut(&parent).unwrap_or(&mut none);
        directory.insert(&mut self.store, map, name, number, inode.mode)?;
        if inode.mode & mode::TYPE == mode::DIRECTORY {
            self.count_links(parent, 1)?;
        }
        Ok(())
    }

    fn unlink(&mut self, parent: u32, number: u32, name: &[u8]) -> Result<()> {
        if !self.load(parent)? {
            return Ok(());
        }
        let Some(directory) = self.directories.get_mut(&parent) else { return Ok(()) };
        if directory.get(name) != Some(number) {
            return Ok(());
        }
        directory.remove(&mut self.store, name)?;
        if self.existing(number)?.is_some_and(|inode| inode.mode & mode::TYPE == mode::DIRECTORY) {
            self.count_links(parent, -1)?;
        }
        Ok(())
    }

    /// Changes a directory's count of links; 1 stands for more than can be counted.
    fn count_links(&mut self, number: u32, by: i16) -> Result<()> {
        let mut record = self.store.record(number)?;
        let links = get16(&record, I_LINKS_COUNT);
        if links > 1 {
            set16(&mut record, I_LINKS_COUNT, links.saturating_add_signed(by));
            self.store.put_record(number, record)?;
        }
        Ok(())
    }

    /// Writes the maps that were changed.
    fn finish(mut self) -> Result<BTreeMap<u64, Replacement>> {
        for (number, map) in std::mem::take(&mut self.maps) {
            let Some(inode) = self.existing(number)?.filter(|inode| inode.has(inode_flags::EXTENTS)) else { continue };
            let mut record = self.store.record(number)?;
            map.write(&mut self.store, &mut record, inode.seed)?;
            self.store.put_record(number, record)?;
        }
        Ok(self.store.into_blocks())
    }
}
