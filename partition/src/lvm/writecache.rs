//! A volume behind dm-writecache: the origin, but for the blocks that were not written to it yet.
//!
//! The cache is that of Linux's `drivers/md/dm-writecache.c`,
//! <https://docs.kernel.org/admin-guide/device-mapper/writecache.html>, on persistent memory and on other disks alike: a
//! superblock, an entry for each block, and the blocks.

use std::cmp::Reverse;
use std::sync::Arc;

use images::length::in_memory;
use images::{Disk, Reservation, Result, corrupt, unsupported};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, KnownLayout, Unaligned};

use super::bounds::Bounds;
use super::remap::{Copies, Runs};

/// `MEMORY_SUPERBLOCK_MAGIC`.
const MAGIC: u32 = 0x2348_9321;
/// `MEMORY_SUPERBLOCK_VERSION`.
const VERSION: u32 = 1;
/// The sizes of blocks: from a sector to a page of the machine that wrote it.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 512..=65536;
/// Where the entries begin, in bytes.
const ENTRIES: u64 = 64;
/// How many bytes of entries are read at once.
const BATCH: usize = 64 << 10;

/// `wc_memory_superblock`, without the padding and the entries at its end.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Superblock {
    magic: U32,
    version: U32,
    block_size: U32,
    pad: U32,
    n_blocks: U64,
    seq_count: U64,
}

/// `wc_memory_entry`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Entry {
    original_sector: U64,
    seq_count: U64,
}

const _: () = assert!(size_of::<Superblock>() == 32 && size_of::<Entry>() == 16);

/// What the volume `name` reads from this cache in place of its origin; `None` if the cache was never in use. LVM says that
/// blocks have `block_size` bytes.
pub fn open(name: &str, cache: Arc<dyn Disk>, block_size: u32, bounds: &Arc<Bounds>) -> Result<Option<Arc<Copies>>> {
    const WHAT: &str = "superblock of a writecache";
    let mut superblock = [0; size_of::<Superblock>()];
    bounds.count(&*cache, 0)?;
    cache.read_at(&mut superblock, 0)?;
    let (superblock, _) =
        Superblock::ref_from_prefix(&superblock).map_err(|_| corrupt!(WHAT, 0u32, "it is cut off"))?;
    let [magic, version, size] = [superblock.magic, superblock.version, superblock.block_size].map(U32::get);
    // A cache that was never in use was wiped at its start.
    if (magic, version) == (0, 0) {
        return Ok(None);
    }
    if magic != MAGIC {
        return Err(corrupt!(WHAT, 0u32, "magic {magic:#x}, want {MAGIC:#x}"));
    }
    if version != VERSION {
        return Err(unsupported!("{name}: writecache of version {version}, the known one is {VERSION}"));
    }
    if !size.is_power_of_two() || !BLOCK_SIZES.contains(&size) || size != block_size {
        return Err(corrupt!(WHAT, 0u32, "blocks of {size} bytes, but LVM says {block_size}"));
    }
    let (size, blocks) = (u64::from(size), superblock.n_blocks.get());
    let entries_end = blocks.checked_mul(size_of::<Entry>() as u64).and_then(|len| len.checked_add(ENTRIES));
    let data = entries_end.and_then(|end| end.checked_next_multiple_of(size));
    let end = blocks.checked_mul(size).and_then(|len| len.checked_add(data?));
    let Some(data) = data.filter(|_| end.is_some_and(|end| end <= cache.size())) else {
        return Err(corrupt!(WHAT, 0u32, "{blocks} blocks of {size} bytes, in {} bytes", cache.size()));
    };
    let waiting = Waiting { cache: cache.clone(), blocks, size, data, seq_count: superblock.seq_count.get() };
    let bounds = bounds.clone();
    Ok(Some(Copies::new(cache, Box::new(move || waiting.runs(&bounds)))))
}

/// The blocks of a cache that may wait to be written.
struct Waiting {
    cache: Arc<dyn Disk>,
    blocks: u64,
    /// Of a block, in bytes.
    size: u64,
    /// Where the blocks begin, in bytes.
    data: u64,
    /// What was written with this count, or later, was not finished.
    seq_count: u64,
}

/// A block that waits.
#[derive(Clone, Copy)]
struct Block {
    /// Its number in the origin.
    block: u64,
    seq_count: u64,
    /// Its number in the cache.
    number: u64,
}

impl Waiting {
    fn runs(&self, bounds: &Bounds) -> Result<Runs> {
        let mut waiting = Newest { blocks: Vec::new(), held: bounds.budget.empty() };
        let mut batch = vec![0; BATCH];
        let (size, per_batch) = (size_of::<Entry>() as u64, (BATCH / size_of::<Entry>()) as u64);
        let mut first = 0;
        while first < self.blocks {
            let count = (self.blocks - first).min(per_batch);
            let at = ENTRIES + first * size;
            bounds.count(&*self.cache, count * size)?;
            let hole = self.cache.extent_at(at).ok().filter(|extent| extent.data.reads_zero());
            let zeros = hole.map_or(0, |extent| extent.len / size).min(self.blocks - first);
            if zeros >= count {
                // All of them are for the same block, and the first counts.
                self.add(&Entry::new_zeroed(), first, at, &mut waiting)?;
                first += zeros;
                continue;
            }
            let batch = &mut batch[..in_memory(count * size)];
            self.cache.read_at(batch, at)?;
            let entries = <[Entry]>::ref_from_bytes(batch).map_err(|_| corrupt!("writecache", at, "an odd size"))?;
            for (number, entry) in (first..).zip(entries) {
                self.add(entry, number, at, &mut waiting)?;
            }
            first += count;
        }
        waiting.sort();
        let mut runs = Runs::new(self.size, &bounds.budget);
        for Block { block, number, .. } in waiting.blocks {
            runs.push(block, self.data + number * self.size)?;
        }
        Ok(runs)
    }

    /// Adds the block of entry `number`, if it has one. The entry was read with others from `at`.
    fn add(&self, entry: &Entry, number: u64, at: u64, waiting: &mut Newest) -> Result<()> {
        let (sector, seq_count) = (entry.original_sector.get(), entry.seq_count.get());
        if seq_count >= self.seq_count {
            return Ok(());
        }
        if !sector.is_multiple_of(self.size / 512) {
            return Err(corrupt!("writecache", at, "entry {number} is for sector {sector:#x}, where no block starts"));
        }
        waiting.add(Block { block: sector / (self.size / 512), seq_count, number })
    }
}

/// The blocks that wait; of those that wait more than once, the newest count.
struct Newest {
    blocks: Vec<Block>,
    held: Reservation,
}

impl Newest {
    fn add(&mut self, block: Block) -> Result<()> {
        if self.blocks.len() == self.blocks.capacity() {
            self.sort();
            if self.blocks.len() >= self.blocks.capacity() / 2 {
                let more = self.blocks.len().max(1024);
                self.held.grow((more * size_of::<Block>()) as u64, "the list of blocks that wait in its writecache")?;
                self.blocks.reserve_exact(more);
            }
        }
        self.blocks.push(block);
        Ok(())
    }

    /// Puts them in order, and leaves out all but the newest.
    fn sort(&mut self) {
        self.blocks.sort_unstable_by_key(|found| (found.block, Reverse(found.seq_count), found.number));
        self.blocks.dedup_by_key(|found| found.block);
    }
}

#[cfg(test)]
mod tests {
    use images::Budget;
    use images::disk::Memory;

    use super::*;
    use crate::lvm::remap::remapped;

    const BLOCK: usize = 512;

    /// A cache of four blocks, which are filled with their numbers from 1, with these entries; and an origin of zeros.
    fn cache(entries: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = vec![0; BLOCK];
        let mut long = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        long(0, u64::from(MAGIC) | 1 << 32);
        long(8, BLOCK as u64);
        long(16, 4);
        long(24, 100);
        for (index, (sector, seq_count)) in entries.iter().enumerate() {
            long(ENTRIES as usize + 16 * index, *sector);
            long(ENTRIES as usize + 16 * index + 8, *seq_count);
        }
        bytes.extend((1..=4).flat_map(|number| [number; BLOCK]));
        bytes
    }

    fn read(bytes: Vec<u8>) -> Result<Vec<u8>> {
        let origin = Arc::new(Memory::new("origin", vec![0; 8 * BLOCK]));
        let bounds = Bounds::new(&Budget::default());
        let copies = open("vg/w", Arc::new(Memory::new("cache", bytes)), BLOCK as u32, &bounds)?;
        let disk = remapped("vg/w", origin, copies);
        let mut content = vec![9; 8 * BLOCK];
        disk.read_at(&mut content, 0)?;
        Ok(content.chunks(BLOCK).map(|block| block[0]).collect())
    }

    #[test]
    fn the_newest_committed_block_counts() {
        let free = (u64::MAX, u64::MAX);
        assert_eq!(read(cache(&[(2, 5), (7, 99), free, free])).unwrap(), [0, 0, 1, 0, 0, 0, 0, 2]);
        assert_eq!(read(cache(&[(2, 5), (2, 7), (2, 6), (3, 100)])).unwrap(), [0, 0, 2, 0, 0, 0, 0, 0]);
        let mut wiped = cache(&[(2, 5), free, free, free]);
        wiped[..8].fill(0);
        assert_eq!(read(wiped).unwrap(), [0; 8], "never in use");
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        for (at, value, want) in [
            (0, 1u64 << 32, "magic 0x0"),
            (4, 2, "writecache of version 2"),
            (8, 1024, "blocks of 1024 bytes, but LVM says 512"),
            (16, 5, "5 blocks of 512 bytes, in 2560 bytes"),
            (16, u64::MAX, "blocks of 512 bytes"),
            (16, u64::MAX / 16, "blocks of 512 bytes"),
        ] {
            let mut bytes = cache(&[(2, 5); 4]);
            let width = if at == 4 { 4 } else { 8 };
            bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
            let error = read(bytes).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
        // A place beyond the origin is never read.
        assert_eq!(read(cache(&[(u64::MAX >> 12, 5); 4])).unwrap(), [0; 8]);
    }
}
