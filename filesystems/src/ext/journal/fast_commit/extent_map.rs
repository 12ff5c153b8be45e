//! Which blocks a file has while its map changes, and the extent tree for it in the end.

use std::collections::BTreeMap;

use images::{Result, corrupt, unsupported};

use super::store::{I_BLOCK, Store, set16, set32};
use crate::ext::checksum::crc32c;
use crate::ext::inode::Inode;
use crate::ext::layout::{EXTENT_INIT_MAX_LEN, EXTENT_MAGIC, EXTENT_MAX_DEPTH, block_halves};
use crate::ext::run::State;

/// The most pieces that the files which fast commits change may have together: ours.
const MAX_PIECES: usize = 1 << 20;
/// Bytes of a node's header, and of each of its entries.
const ENTRY_SIZE: usize = 12;
/// Entries of the root, in the inode.
const ROOT_ENTRIES: usize = 4;
/// Block numbers in a file have 32 bits.
const MAX_BLOCKS: u64 = 1 << 32;

/// Blocks that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// How many.
    pub len: u64,
    /// Where the first one lies.
    pub physical: u64,
    /// Whether they were never written.
    pub unwritten: bool,
}

/// The pieces of a file by their first block's number in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtentMap(BTreeMap<u64, Piece>);

impl ExtentMap {
    /// The map that a file has before.
    pub fn load(store: &Store, inode: &Inode) -> Result<Self> {
        let mut map = Self::default();
        store.volume.map(inode, 0, &mut |run| {
            let (physical, unwritten) = match run.state {
                State::Hole => return true,
                State::Unwritten(block) => (block, true),
                State::Written(block) => (block, false),
            };
            map.0.insert(run.logical, Piece { len: run.len, physical, unwritten });
            map.0.len() <= MAX_PIECES
        })?;
        map.check()?;
        Ok(map)
    }

    fn check(&self) -> Result<()> {
        if self.0.len() <= MAX_PIECES {
            Ok(())
        } else {
            Err(unsupported!("fast commits that change a file of more than {MAX_PIECES} pieces"))
        }
    }

    /// Where a block of the file lies.
    pub fn get(&self, logical: u64) -> Option<u64> {
        let (start, piece) = self.0.range(..=logical).next_back()?;
        (logical - start < piece.len).then_some(piece.physical + (logical - start))
    }

    /// Makes a hole.
    pub fn remove(&mut self, from: u64, len: u64) {
        let to = from.saturating_add(len);
        let touched: Vec<(u64, Piece)> = self
            .0
            .range(..to)
            .rev()
            .take_while(|(start, piece)| *start + piece.len > from)
            .map(|(a, b)| (*a, *b))
            .collect();
        for (start, piece) in touched {
            self.0.remove(&start);
            if start < from {
                self.0.insert(start, Piece { len: from - start, ..piece });
            }
            if start + piece.len > to {
                let skip = to - start;
                let rest = Piece { len: piece.len - skip, physical: piece.physical + skip, ..piece };
                self.0.insert(to, rest);
            }
        }
    }

    /// Maps blocks, whatever was mapped there.
    pub fn add(&mut self, logical: u64, piece: Piece) -> Result<()> {
        self.remove(logical, piece.len);
        if let Some((start, last)) = self.0.range_mut(..logical).next_back() {
            let follows = *start + last.len == logical && last.physical + last.len == piece.physical;
            if follows && last.unwritten == piece.unwritten {
                last.len += piece.len;
                return Ok(());
            }
        }
        self.0.insert(logical, piece);
        self.check()
    }

    /// Writes the map as an extent tree: the root into `record`, the record of an inode whose blocks' checksums start
    /// from `seed`, and the other nodes into spare blocks.
    pub fn write(&self, store: &mut Store, record: &mut [u8], seed: u32) -> Result<()> {
        let block_size = store.volume.superblock().block_size as usize;
        let per_block = (block_size - ENTRY_SIZE) / ENTRY_SIZE;
        let mut entries = self.leaf_entries()?;
        let mut depth = 0;
        while entries.len() > ROOT_ENTRIES {
            let mut parents = Vec::new();
            for chunk in entries.chunks(per_block) {
                let mut node = vec![0; block_size];
                write_node(&mut node, chunk, per_block, depth);
                if store.volume.superblock().checksum_seed.is_some() {
                    let end = ENTRY_SIZE * (1 + per_block);
                    let crc = crc32c(seed, node.get(..end).unwrap_or_default());
                    set32(&mut node, end, crc);
                }
                let number = store.allocate()?;
                store.put(number, node)?;
                let mut index = [0; ENTRY_SIZE];
                index[..4].copy_from_slice(&chunk[0][..4]);
                let (low, high) = block_halves(number);
                set32(&mut index, 4, low);
                set16(&mut index, 8, high);
                parents.push(index);
            }
            (entries, depth) = (parents, depth + 1);
            if depth > EXTENT_MAX_DEPTH {
                return Err(corrupt!("extent tree", 0u64, "more than {EXTENT_MAX_DEPTH} levels after fast commits"));
            }
        }
        let root = record.get_mut(I_BLOCK..I_BLOCK + 60).unwrap_or_default();
        root.fill(0);
        write_node(root, &entries, ROOT_ENTRIES, depth);
        Ok(())
    }

    /// The entries of the leaves; a piece that is too long for one entry takes several.
    fn leaf_entries(&self) -> Result<Vec<[u8; ENTRY_SIZE]>> {
        let mut entries = Vec::with_capacity(self.0.len());
        for (start, piece) in &self.0 {
            let longest = u64::from(EXTENT_INIT_MAX_LEN) - u64::from(piece.unwritten);
            let mut done = 0;
            while done < piece.len {
                let len = (piece.len - done).min(longest);
                let physical = piece.physical + done;
                let bias = if piece.unwritten { EXTENT_INIT_MAX_LEN } else { 0 };
                let mut entry = [0; ENTRY_SIZE];
                let (low, high) = block_halves(physical);
                let Ok(logical) = u32::try_from(start + done) else {
                    return Err(corrupt!("extent tree", 0u64, "block {} of a file", start + done));
                };
                set32(&mut entry, 0, logical);
                set16(&mut entry, 4, u16::try_from(len).expect("no longer than an entry holds") + bias);
                set16(&mut entry, 6, high);
                set32(&mut entry, 8, low);
                entries.push(entry);
                done += len;
            }
        }
        Ok(entries)
    }
}

/// Whether a range of a file can exist.
pub fn check_range(logical: u64, len: u64) -> Result<()> {
    if len > 0 && logical + len <= MAX_BLOCKS {
        Ok(())
    } else {
        Err(corrupt!("fast commit", 0u64, "{len} blocks at block {logical} of a file"))
    }
}

fn write_node(node: &mut [u8], entries: &[[u8; ENTRY_SIZE]], max: usize, depth: u16) {
    set16(node, 0, EXTENT_MAGIC);
    let count = |count| u16::try_from(count).expect("a block has at most 64 KiB");
    set16(node, 2, count(entries.len()));
    set16(node, 4, count(max));
    set16(node, 6, depth);
    for (place, entry) in node.chunks_exact_mut(ENTRY_SIZE).skip(1).zip(entries) {
        place.copy_from_slice(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(len: u64, physical: u64) -> Piece {
        Piece { len, physical, unwritten: false }
    }

    /// Random changes against a map of single blocks.
    #[test]
    fn equals_a_map_of_blocks() {
        let (mut map, mut model) = (ExtentMap::default(), BTreeMap::new());
        let mut seed = 7u64;
        let mut random = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for _ in 0..2000 {
            let (logical, len) = (random(200), 1 + random(30));
            if random(3) == 0 {
                map.remove(logical, len);
                model.retain(|block, _| *block < logical || *block >= logical + len);
            } else {
                let physical = 1000 + random(50) * 10;
                map.add(logical, piece(len, physical)).unwrap();
                model.extend((0..len).map(|i| (logical + i, physical + i)));
            }
            for block in 0..240 {
                assert_eq!(map.get(block), model.get(&block).copied());
            }
        }
    }

    #[test]
    fn long_pieces_take_several_entries() {
        let mut map = ExtentMap::default();
        map.add(5, piece(40_000, 1 << 33)).unwrap();
        map.add(40_005, Piece { len: 32_768, physical: 7, unwritten: true }).unwrap();
        let entries = map.leaf_entries().unwrap();
        assert_eq!(entries.len(), 4);
        assert_eq!(entries[0], [5, 0, 0, 0, 0, 0x80, 2, 0, 0, 0, 0, 0]);
        assert_eq!(entries[1][..6], [5, 0x80, 0, 0, 0x40, 0x1c]);
        assert_eq!(entries[2][4..], [0xff, 0xff, 0, 0, 7, 0, 0, 0]);
        assert_eq!(entries[3][4..], [1, 0x80, 0, 0, 6, 0x80, 0, 0]);
    }
}
