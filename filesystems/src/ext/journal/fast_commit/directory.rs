//! A directory whose names change: its blocks, and where each name is.
//!
//! A directory that gets a new name loses its hash tree: the blocks of the tree become empty ones, as every reader
//! of linear directories expects. Finding a name is slower then; nothing else differs.

use std::collections::{BTreeSet, HashMap};

use images::{Result, corrupt, unsupported};

use super::extent_map::{ExtentMap, Piece};
use super::store::{I_BLOCKS_LO, I_FLAGS, I_SIZE_HIGH, I_SIZE_LO, Store, get16, get32, set16, set32};
use crate::ext::checksum::crc32c;
use crate::ext::directory::{file_type, rec_len};
use crate::ext::features::incompat;
use crate::ext::inode::Inode;
use crate::ext::layout::{DIR_TAIL_FILE_TYPE, NAME_LEN, inode_flags, mode};

/// The longest directory that fast commits may change, in blocks, all of them together: ours.
pub const MAX_BLOCKS: usize = 1 << 16;
/// Bytes of an entry before its name.
const HEADER_SIZE: usize = 8;
/// Bytes of the checksum at the end of a block.
const TAIL_SIZE: usize = TAIL_LEN as usize;
const TAIL_LEN: u16 = 12;

/// A directory in memory.
pub struct Directory {
    number: u32,
    /// What the checksums of its blocks start from; `None` without metadata_csum.
    seed: Option<u32>,
    blocks: Vec<Slot>,
    /// The room and the index of every block.
    rooms: BTreeSet<(usize, usize)>,
    /// The inode of each name, and the block that it is in.
    names: HashMap<Vec<u8>, (u32, usize)>,
    indexed: bool,
    grows: bool,
    has_type: bool,
}

/// A block of the directory.
struct Slot {
    number: u64,
    /// The longest entry that it has room for.
    room: usize,
}

/// An entry, in use or not: where it starts, its length, the length of its name, its inode.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    len: usize,
    name_len: usize,
    inode: u32,
}

impl Place {
    /// What the entry itself takes.
    fn used(&self) -> usize {
        if self.inode == 0 { 0 } else { size_of_entry(self.name_len) }
    }
}

fn size_of_entry(name_len: usize) -> usize {
    (HEADER_SIZE + name_len).next_multiple_of(4)
}

impl Directory {
    /// Reads a directory as it is now.
    pub fn load(store: &Store, inode: &Inode, map: &ExtentMap) -> Result<Self> {
        let mut directory = Self::empty(store, inode)?;
        directory.indexed = inode.has(inode_flags::INDEX);
        let count = inode.size / store.volume.block_size();
        if count > MAX_BLOCKS as u64 {
            return Err(unsupported!("fast commits that change a directory of more than {MAX_BLOCKS} blocks"));
        }
        for logical in 0..count {
            // A hole is a block without names.
            let Some(number) = map.get(logical) else { continue };
            let block = store.block(number)?;
            let index = directory.blocks.len();
            let places = directory.places(&block)?;
            for place in places.iter().filter(|place| place.inode != 0) {
                let name = block.get(place.at + HEADER_SIZE..).and_then(|rest| rest.get(..place.name_len));
                directory.names.insert(name.unwrap_or_default().to_vec(), (place.inode, index));
            }
            let room = directory.room(&places);
            directory.blocks.push(Slot { number, room });
            directory.rooms.insert((room, index));
        }
        Ok(directory)
    }

    fn empty(store: &Store, inode: &Inode) -> Result<Self> {
        let features = &store.volume.superblock().features;
        if inode.has(inode_flags::INLINE_DATA) {
            return Err(unsupported!("fast commits that change a directory in its inode (inline data)"));
        }
        if inode.has(inode_flags::ENCRYPT) && inode.has(inode_flags::CASEFOLD) {
            return Err(unsupported!("fast commits that change an encrypted directory without regard to case"));
        }
        Ok(Self {
            number: inode.number,
            seed: store.volume.superblock().checksum_seed.map(|_| inode.seed),
            blocks: Vec::new(),
            rooms: BTreeSet::new(),
            names: HashMap::new(),
            indexed: false,
            grows: inode.has(inode_flags::EXTENTS),
            has_type: features.has_incompat(incompat::FILETYPE),
        })
    }

    /// Makes a directory that has only `.` and `..`.
    pub fn create(store: &mut Store, inode: &Inode, parent: u32, map: &mut ExtentMap) -> Result<Self> {
        let mut directory = Self::empty(store, inode)?;
        let mut record = store.record(inode.number)?;
        set32(&mut record, I_SIZE_LO, 0);
        set32(&mut record, I_SIZE_HIGH, 0);
        set32(&mut record, I_BLOCKS_LO, 0);
        set32(&mut record, I_FLAGS, inode.flags & !inode_flags::INDEX);
        store.put_record(inode.number, record)?;
        directory.grow(store, map)?;
        directory.insert(store, map, b".", inode.number, mode::DIRECTORY)?;
        directory.insert(store, map, b"..", parent, mode::DIRECTORY)?;
        Ok(directory)
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The inode of a name.
    pub fn get(&self, name: &[u8]) -> Option<u32> {
        self.names.get(name).map(|(inode, _)| *inode)
    }

    /// Adds a name that is not there yet, of an inode with this mode.
    pub fn insert(&mut self, store: &mut Store, map: &mut ExtentMap, name: &[u8], inode: u32, mode: u16) -> Result<()> {
        if name.is_empty() || name.len() > NAME_LEN || name.contains(&0) || name.contains(&b'/') {
            let name = String::from_utf8_lossy(name);
            return Err(corrupt!("fast commit", 0u64, "a name that no file can have: {name:?}"));
        }
        if self.indexed {
            self.drop_index(store)?;
        }
        let need = size_of_entry(name.len());
        let index = match self.rooms.range((need, 0)..).next() {
            Some((_, index)) => *index,
            None => self.grow(store, map)?,
        };
        let Some(number) = self.blocks.get(index).map(|slot| slot.number) else { return Ok(()) };
        let mut block = store.block(number)?;
        let places = self.places(&block)?;
        if let Some(place) = places.iter().find(|place| place.len - place.used() >= need) {
            let (at, len) = (place.at + place.used(), place.len - place.used());
            if place.inode != 0 {
                self.set_len(&mut block, place.at, place.used());
            }
            set32(&mut block, at, inode);
            self.set_len(&mut block, at, len);
            let kind = if self.has_type { file_type(mode) } else { 0 };
            let name_len = u8::try_from(name.len()).expect("no longer than NAME_LEN");
            set16(&mut block, at + 6, u16::from_le_bytes([name_len, kind]));
            if let Some(place) = block.get_mut(at + HEADER_SIZE..).and_then(|rest| rest.get_mut(..name.len())) {
                place.copy_from_slice(name);
            }
            self.names.insert(name.to_vec(), (inode, index));
        }
        self.put(store, index, block)
    }

    /// Removes a name.
    pub fn remove(&mut self, store: &mut Store, name: &[u8]) -> Result<()> {
        let Some((_, index)) = self.names.remove(name) else { return Ok(()) };
        let Some(number) = self.blocks.get(index).map(|slot| slot.number) else { return Ok(()) };
        let mut block = store.block(number)?;
        let places = self.places(&block)?;
        let is_it = |place: &&Place| {
            let found = block.get(place.at + HEADER_SIZE..).and_then(|rest| rest.get(..place.name_len));
            place.inode != 0 && found == Some(name)
        };
        if let Some(place) = places.iter().find(is_it).copied() {
            // The entry before it takes its room.
            match places.iter().find(|before| before.at + before.len == place.at) {
                Some(before) => self.set_len(&mut block, before.at, before.len + place.len),
                None => set32(&mut block, place.at, 0),
            }
        }
        self.put(store, index, block)
    }

    /// Adds an empty block at the end.
    fn grow(&mut self, store: &mut Store, map: &mut ExtentMap) -> Result<usize> {
        if !self.grows {
            return Err(unsupported!("fast commits that extend a directory which has no extents"));
        }
        let number = store.allocate()?;
        let mut record = store.record(self.number)?;
        let block_size = store.volume.superblock().block_size;
        // Whole blocks; the bound of `load` holds for it.
        let logical = get32(&record, I_SIZE_LO) / block_size;
        let Some(size) = (logical + 1).checked_mul(block_size) else {
            return Err(unsupported!("fast commits that extend a directory to 4 GiB"));
        };
        set32(&mut record, I_SIZE_LO, size);
        let blocks = get32(&record, I_BLOCKS_LO).saturating_add(block_size / 512);
        set32(&mut record, I_BLOCKS_LO, blocks);
        store.put_record(self.number, record)?;
        map.add(logical.into(), Piece { len: 1, physical: number, unwritten: false })?;
        self.blocks.push(Slot { number, room: 0 });
        let index = self.blocks.len() - 1;
        let block = self.empty_block(block_size as usize);
        self.put(store, index, block)?;
        Ok(index)
    }

    /// Makes the directory a linear one.
    fn drop_index(&mut self, store: &mut Store) -> Result<()> {
        for index in 0..self.blocks.len() {
            let Some(number) = self.blocks.get(index).map(|slot| slot.number) else { continue };
            let mut block = store.block(number)?;
            let len = |at: usize| rec_len(get16(&block, at + 4), store.volume.superblock().block_size);
            if index == 0 {
                // The root lies behind `..`, which is as long as the rest of the block.
                let (second, end) = (len(0), self.end(&block));
                let tail_at = second.saturating_add(size_of_entry(2));
                if let Some(rest) = block.get_mut(tail_at..) {
                    rest.fill(0);
                    self.set_len(&mut block, second, end.saturating_sub(second));
                }
            } else if get32(&block, 0) == 0 && len(0) == block.len() {
                block = self.empty_block(block.len());
            } else {
                continue;
            }
            self.put(store, index, block)?;
        }
        let mut record = store.record(self.number)?;
        let flags = get32(&record, I_FLAGS) & !inode_flags::INDEX;
        set32(&mut record, I_FLAGS, flags);
        self.indexed = false;
        store.put_record(self.number, record)
    }

    fn empty_block(&self, len: usize) -> Vec<u8> {
        let mut block = vec![0; len];
        let end = self.end(&block);
        self.set_len(&mut block, 0, end);
        block
    }

    /// Sets the checksum of a block and writes it.
    fn put(&mut self, store: &mut Store, index: usize, mut block: Vec<u8>) -> Result<()> {
        let room = self.room(&self.places(&block)?);
        if let Some(seed) = self.seed {
            let end = self.end(&block);
            set32(&mut block, end, 0);
            set16(&mut block, end + 4, TAIL_LEN);
            set16(&mut block, end + 6, u16::from(DIR_TAIL_FILE_TYPE) << 8);
            let crc = crc32c(seed, block.get(..end).unwrap_or_default());
            set32(&mut block, end + 8, crc);
        }
        match self.blocks.get_mut(index) {
            Some(slot) => {
                self.rooms.remove(&(slot.room, index));
                self.rooms.insert((room, index));
                slot.room = room;
                store.put(slot.number, block)
            }
            None => Ok(()),
        }
    }

    /// Where the entries of a block end.
    fn end(&self, block: &[u8]) -> usize {
        block.len().saturating_sub(if self.seed.is_some() { TAIL_SIZE } else { 0 })
    }

    /// All entries of a block.
    fn places(&self, block: &[u8]) -> Result<Vec<Place>> {
        let (mut places, mut at, end) = (Vec::new(), 0, self.end(block));
        while at < end {
            let raw = rec_len(get16(block, at + 4), u32::try_from(block.len()).unwrap_or(u32::MAX));
            let name_len =
                if self.has_type { usize::from(get16(block, at + 6) & 0xff) } else { get16(block, at + 6).into() };
            let inode = get32(block, at);
            let sound = raw.is_multiple_of(4) && raw > HEADER_SIZE && raw <= block.len() - at;
            // The blocks of a hash tree have an entry that covers the end of the block too.
            let place = Place { at, len: raw.min(end - at), name_len, inode };
            if !sound || place.used() > place.len {
                let number = self.number;
                return Err(corrupt!("directory", 0u64, "entry of {raw} bytes at {at} of a block of inode {number}"));
            }
            places.push(place);
            at += raw;
        }
        Ok(places)
    }

    fn room(&self, places: &[Place]) -> usize {
        places.iter().map(|place| place.len - place.used()).max().unwrap_or(0)
    }

    /// Sets the length of an entry; 64 KiB does not fit into its field.
    fn set_len(&self, block: &mut [u8], at: usize, len: usize) {
        set16(block, at + 4, u16::try_from(len).unwrap_or(u16::MAX));
    }
}
