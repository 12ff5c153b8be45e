//! A volume behind dm-writecache: the origin, but for the blocks that were not written to it yet.
//!
//! The cache is that of Linux's `drivers/md/dm-writecache.c`,
//! <https://docs.kernel.org/admin-guide/device-mapper/writecache.html>, on persistent memory and on other disks alike: a
//! superblock, an entry for each block, and the blocks.

use std::collections::HashMap;
use std::sync::Arc;

use images::{Disk, Result, corrupt, unsupported};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::remap::{Remapped, Runs};

/// `MEMORY_SUPERBLOCK_MAGIC`.
const MAGIC: u32 = 0x2348_9321;
/// `MEMORY_SUPERBLOCK_VERSION`.
const VERSION: u32 = 1;
/// The sizes of blocks: from a sector to a page of the machine that wrote it.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 512..=65536;
/// Where the entries begin, in bytes.
const ENTRIES: u64 = 64;
/// The most blocks that wait to be written. Ours: 96 MiB of memory.
const MAX_BLOCKS: usize = 4 << 20;
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

/// The volume `name`, of this origin and this cache. LVM says that blocks have `block_size` bytes.
pub fn open(name: &str, origin: Arc<dyn Disk>, cache: Arc<dyn Disk>, block_size: u32) -> Result<Arc<dyn Disk>> {
    const WHAT: &str = "superblock of a writecache";
    let mut superblock = [0; size_of::<Superblock>()];
    cache.read_at(&mut superblock, 0)?;
    let (superblock, _) =
        Superblock::ref_from_prefix(&superblock).map_err(|_| corrupt!(WHAT, 0u32, "it is cut off"))?;
    let [magic, version, size] = [superblock.magic, superblock.version, superblock.block_size].map(U32::get);
    // A cache that was never in use was wiped at its start.
    if (magic, version) == (0, 0) {
        return Ok(origin);
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
    Ok(Arc::new(Remapped::new(name, origin, cache, Box::new(move || waiting.runs()))))
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

impl Waiting {
    fn runs(&self) -> Result<Runs> {
        // By the block of the origin: the newest one, and its number in the cache.
        let mut newest: HashMap<u64, (u64, u64)> = HashMap::new();
        let mut batch = vec![0; BATCH];
        let per_batch = (BATCH / size_of::<Entry>()) as u64;
        for first in (0..self.blocks).step_by(per_batch as usize) {
            let count = (self.blocks - first).min(per_batch);
            let batch = &mut batch[..count as usize * size_of::<Entry>()];
            let at = ENTRIES + first * size_of::<Entry>() as u64;
            self.cache.read_at(batch, at)?;
            let entries = <[Entry]>::ref_from_bytes(batch).map_err(|_| corrupt!("writecache", at, "an odd size"))?;
            for (number, entry) in (first..).zip(entries) {
                let (sector, seq_count) = (entry.original_sector.get(), entry.seq_count.get());
                if seq_count >= self.seq_count {
                    continue;
                }
                if !sector.is_multiple_of(self.size / 512) {
                    return Err(corrupt!(
                        "writecache",
                        at,
                        "entry {number} is for sector {sector:#x}, where no block starts"
                    ));
                }
                if newest.len() == MAX_BLOCKS {
                    return Err(unsupported!("more than {MAX_BLOCKS} blocks wait in the writecache"));
                }
                let known = newest.entry(sector / (self.size / 512)).or_insert((seq_count, number));
                if known.0 < seq_count {
                    *known = (seq_count, number);
                }
            }
        }
        let mut runs = Runs::new(self.size);
        for (block, (_, number)) in newest {
            runs.push(block, self.data + number * self.size)?;
        }
        Ok(runs)
    }
}
