//! What is left of a content on the disk, found by searching all of it: its bytes, and what says where they were.
//!
//! Nothing here knows the journal, or what is deleted: any block may hold anything.

use std::collections::HashMap;

/// `EXT4_EXTENTS_FL`, `EXT4_INLINE_DATA_FL`.
const EXTENTS: u32 = 0x8_0000;
const INLINE: u32 = 0x1000_0000;
const EXTENT_MAGIC: u16 = 0xf30a;
/// The longest written extent, in blocks; longer ones are unwritten, by what they are longer.
const WRITTEN_MAX: u16 = 0x8000;
/// Where `i_block` lies in an inode, and how long it is.
const MAP_AT: usize = 40;
const MAP_LEN: usize = 60;
/// Pointers to data in an inode.
const DIRECT: usize = 12;

/// What says where a content was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// Some copy of an inode has its size, and that copy leads to all of its blocks.
    Whole,
    /// All blocks of its place are in maps, but no inode with this size leads to them.
    Place,
    /// Not all of its place is in any map.
    No,
}

/// An extent: first block of the file, of the disk, and how many.
type Extent = (u32, u64, u32);

/// A whole disk, searched.
pub struct Remains<'a> {
    disk: &'a [u8],
    block: usize,
    /// Blocks by their first eight bytes.
    starts: HashMap<u64, Vec<usize>>,
    /// Copies of inodes of files by their size.
    inodes: HashMap<u64, Vec<usize>>,
    /// Extents in blocks of maps, by what the block of the disk is more than that of the file.
    extents: HashMap<i64, Vec<Extent>>,
    /// Extents in copies of inodes.
    own: HashMap<i64, Vec<Extent>>,
    /// The blocks that may be indirect blocks, by a pointer in them and its place.
    pointers: HashMap<(usize, u32), Vec<usize>>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

/// The leaf's extents, if it is one.
fn leaf(node: &[u8]) -> Vec<Extent> {
    if u16_at(node, 0) != EXTENT_MAGIC || u16_at(node, 6) != 0 {
        return Vec::new();
    }
    let entries = node[12..].chunks_exact(12).take(u16_at(node, 2).into());
    let written = entries.filter(|entry| u16_at(entry, 4) <= WRITTEN_MAX);
    let extent = |entry: &[u8]| {
        let start = u64::from(u32_at(entry, 8)) | u64::from(u16_at(entry, 6)) << 32;
        (u32_at(entry, 0), start, u32::from(u16_at(entry, 4)))
    };
    written.map(extent).collect()
}

impl<'a> Remains<'a> {
    pub fn new(disk: &'a [u8], block: usize, inode_size: usize) -> Self {
        let mut remains = Self {
            disk,
            block,
            starts: HashMap::new(),
            inodes: HashMap::new(),
            extents: HashMap::new(),
            own: HashMap::new(),
            pointers: HashMap::new(),
        };
        let blocks = (disk.len() / block) as u32;
        for (number, bytes) in disk.chunks_exact(block).enumerate() {
            if bytes.iter().all(|byte| *byte == 0) {
                continue;
            }
            let start = u64::from(u32_at(bytes, 0)) | u64::from(u32_at(bytes, 4)) << 32;
            remains.starts.entry(start).or_default().push(number);
            for extent in leaf(bytes) {
                remains.extents.entry(extent.1 as i64 - i64::from(extent.0)).or_default().push(extent);
            }
            let words = || (0..block / 4).map(|word| u32_at(bytes, word * 4));
            if words().all(|word| word < blocks) {
                for pointer in words().enumerate().filter(|(_, word)| *word != 0) {
                    remains.pointers.entry(pointer).or_default().push(number);
                }
            }
        }
        for (number, record) in disk.chunks_exact(inode_size).enumerate() {
            let is_file = u16_at(record, 0) & 0xf000 == 0x8000;
            let size = u64::from(u32_at(record, 4)) | u64::from(u32_at(record, 108)) << 32;
            if is_file && size != 0 && size < disk.len() as u64 {
                remains.inodes.entry(size).or_default().push(number * inode_size);
                for extent in leaf(&record[MAP_AT..MAP_AT + MAP_LEN]) {
                    remains.own.entry(extent.1 as i64 - i64::from(extent.0)).or_default().push(extent);
                }
            }
        }
        remains
    }

    /// Where each block of a content lies, the first that has it; `None` if not all are there. Zeros are anywhere.
    pub fn places(&self, content: &[u8]) -> Option<Vec<Option<usize>>> {
        let place = |bytes: &[u8]| {
            if bytes.iter().all(|byte| *byte == 0) {
                return Some(None);
            }
            let start = u64::from(u32_at(bytes, 0)) | u64::from(u32_at(bytes, 4)) << 32;
            let places = self.starts.get(&start)?.iter();
            let mut same = places.filter(|number| self.disk[*number * self.block..].starts_with(bytes));
            same.next().map(|number| Some(*number))
        };
        content.chunks(self.block).map(place).collect()
    }

    /// Whether a copy of an inode holds the content itself.
    pub fn is_inline(&self, content: &[u8]) -> bool {
        let copies = self.inodes.get(&(content.len() as u64)).into_iter().flatten();
        let (head, rest) = content.split_at(content.len().min(MAP_LEN));
        copies.copied().any(|at| {
            let record = &self.disk[at..self.disk.len().min(at + 1024)];
            u32_at(record, 32) & INLINE != 0
                && record[MAP_AT..].starts_with(head)
                && (rest.is_empty() || record[128..].windows(rest.len()).any(|bytes| bytes == rest))
        })
    }

    /// What says that a content of `size` bytes was at these places.
    pub fn told(&self, size: usize, places: &[Option<usize>]) -> Told {
        let copies = self.inodes.get(&(size as u64)).into_iter().flatten();
        if copies.copied().any(|at| self.leads(at, places)) {
            return Told::Whole;
        }
        let mapped = |file: usize, disk: usize| {
            covers(&self.extents, file, disk)
                || covers(&self.own, file, disk)
                || self.pointers.contains_key(&(self.place_of_pointer(file), disk as u32))
        };
        match numbered(places).all(|(file, disk)| mapped(file, disk)) {
            true => Told::Place,
            false => Told::No,
        }
    }

    /// In which word of an indirect block a block of the file is.
    fn place_of_pointer(&self, file: usize) -> usize {
        file.wrapping_sub(DIRECT) % (self.block / 4)
    }

    fn leads(&self, inode: usize, places: &[Option<usize>]) -> bool {
        let record = &self.disk[inode..];
        let map = &record[MAP_AT..MAP_AT + MAP_LEN];
        if u32_at(record, 32) & EXTENTS == 0 {
            let (direct, indirect) = places.split_at(places.len().min(DIRECT));
            return numbered(direct).all(|(file, disk)| u32_at(map, file * 4) == disk as u32)
                && indirect.chunks(self.block / 4).all(|part| self.is_in_one(part));
        }
        let own = leaf(map);
        numbered(places).all(|(file, disk)| match u16_at(map, 6) {
            0 => own.iter().any(|extent| covered(extent, file, disk)),
            _ => covers(&self.extents, file, disk),
        })
    }
}

impl Remains<'_> {
    /// Whether one block points to all of these.
    fn is_in_one(&self, part: &[Option<usize>]) -> bool {
        let mut copies: Option<Vec<usize>> = None;
        for (place, disk) in numbered(part) {
            let with = self.pointers.get(&(place, disk as u32)).map(Vec::as_slice).unwrap_or_default();
            match &mut copies {
                Some(copies) => copies.retain(|copy| with.binary_search(copy).is_ok()),
                None => copies = Some(with.to_vec()),
            }
        }
        copies.is_none_or(|copies| !copies.is_empty())
    }
}

fn numbered(places: &[Option<usize>]) -> impl Iterator<Item = (usize, usize)> {
    places.iter().enumerate().filter_map(|(file, disk)| disk.map(|disk| (file, disk)))
}

fn covered((start, at, len): &Extent, file: usize, disk: usize) -> bool {
    let inside = (file as u64).wrapping_sub(u64::from(*start));
    inside < u64::from(*len) && at + inside == disk as u64
}

fn covers(extents: &HashMap<i64, Vec<Extent>>, file: usize, disk: usize) -> bool {
    let list = extents.get(&(disk as i64 - file as i64)).into_iter().flatten();
    list.into_iter().any(|extent| covered(extent, file, disk))
}
