//! A volume that is cached by dm-cache: the origin, but for the blocks that the cache holds and did not write back.
//!
//! The metadata is that of Linux's `drivers/md/dm-cache-metadata.c`,
//! <https://docs.kernel.org/admin-guide/device-mapper/cache.html>, in the persistent data library's arrays.

use std::sync::Arc;

use images::{Disk, Result, corrupt, unsupported};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::bounds::Bounds;
use super::persistent::{Array, Store};
use super::remap::{Copies, Runs};

/// `CACHE_SUPERBLOCK_MAGIC`, which is written in octal.
const MAGIC: u64 = 0o6142003;
/// What the checksum of the superblock is mixed with: `SUPERBLOCK_CSUM_XOR`.
const CSUM_XOR: u32 = 9031977;
/// The known values of `version`: `MIN_CACHE_VERSION` and `MAX_CACHE_VERSION`.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;
/// In `flags`: the cache was stopped properly, so that it is known which blocks are dirty.
const CLEAN_SHUTDOWN: u32 = 1;
/// In `flags`: the kernel asks for a check by the tools.
const NEEDS_CHECK: u32 = 2;
/// What `data_block_size` is a multiple of, in sectors: `DATA_DEV_BLOCK_SIZE_MIN_SECTORS`.
const DATA_BLOCK_MIN_SECTORS: u32 = 64;
/// The largest `data_block_size`, in sectors: `DATA_DEV_BLOCK_SIZE_MAX_SECTORS`.
const DATA_BLOCK_MAX_SECTORS: u32 = 2 << 20;
/// In a mapping: there is one. Its block is above `MAPPING_FLAG_BITS`.
const VALID: u64 = 1;
/// In a mapping of version 1: the block differs from the origin's.
const DIRTY: u64 = 2;
/// How many low bits of a mapping are flags.
const MAPPING_FLAG_BITS: u32 = 16;
/// How many words of bits are kept room for at first.
const MIN_WORDS: usize = 512;

/// `cache_disk_superblock`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Superblock {
    csum: U32,
    flags: U32,
    blocknr: U64,
    uuid: [u8; 16],
    magic: U64,
    version: U32,
    policy_name: [u8; 16],
    policy_hint_size: U32,
    metadata_space_map_root: [u8; 128],
    mapping_root: U64,
    hint_root: U64,
    discard_root: U64,
    discard_block_size: U64,
    discard_nr_blocks: U64,
    data_block_size: U32,
    metadata_block_size: U32,
    cache_blocks: U32,
    compat_flags: U32,
    compat_ro_flags: U32,
    incompat_flags: U32,
    read_hits: U32,
    read_misses: U32,
    write_hits: U32,
    write_misses: U32,
    policy_version: [U32; 3],
    dirty_root: U64,
}

const _: () = assert!(size_of::<Superblock>() == 292);

/// What the volume `name` reads from this cache in place of its origin; `None` if the cache was never in use.
pub fn open(
    name: &str,
    metadata: Arc<dyn Disk>,
    data: Arc<dyn Disk>,
    bounds: &Arc<Bounds>,
) -> Result<Option<Arc<Copies>>> {
    const WHAT: &str = "superblock of a cache";
    let store = Store::new(metadata, bounds);
    // A cache that was never in use was wiped at its start.
    let Some(block) = store.superblock(CSUM_XOR)? else { return Ok(None) };
    let (superblock, _) = Superblock::ref_from_prefix(&block).map_err(|_| corrupt!(WHAT, 0u32, "it is cut off"))?;
    let (magic, blocknr) = (superblock.magic.get(), superblock.blocknr.get());
    if magic != MAGIC || blocknr != 0 {
        return Err(corrupt!(WHAT, 0u32, "magic {magic} for block {blocknr}, want {MAGIC} for 0"));
    }
    let (version, flags) = (superblock.version.get(), superblock.flags.get());
    if !VERSIONS.contains(&version) {
        return Err(unsupported!(
            "{name}: cache metadata of version {version}, the newest known one is {}",
            VERSIONS.end()
        ));
    }
    if superblock.incompat_flags.get() != 0 {
        return Err(unsupported!("{name}: cache with incompatible features {:#x}", superblock.incompat_flags));
    }
    let sectors = superblock.data_block_size.get();
    if !(DATA_BLOCK_MIN_SECTORS..=DATA_BLOCK_MAX_SECTORS).contains(&sectors)
        || !sectors.is_multiple_of(DATA_BLOCK_MIN_SECTORS)
    {
        return Err(corrupt!(WHAT, 0u32, "blocks of {sectors} sectors, want a multiple of {DATA_BLOCK_MIN_SECTORS}"));
    }
    if flags & NEEDS_CHECK != 0 {
        log::warn!("{name}: the kernel found faults in the metadata of this cache; what is read may be wrong");
    }
    let clean = flags & CLEAN_SHUTDOWN != 0;
    let mapping = Mapping {
        store,
        blocks: superblock.cache_blocks.get().into(),
        block_size: u64::from(sectors) * 512,
        mapping: Array { root: superblock.mapping_root.get() },
        dirty: match (clean, version) {
            (false, _) => Dirty::All,
            (true, 1) => Dirty::Flagged,
            (true, _) => Dirty::Bits(Array { root: superblock.dirty_root.get() }),
        },
    };
    Ok(Some(Copies::new(data, Box::new(move || mapping.dirty()))))
}

/// Which origin's blocks a cache holds.
struct Mapping {
    store: Store,
    blocks: u64,
    block_size: u64,
    mapping: Array<8>,
    dirty: Dirty,
}

/// Which of them differ from the origin's.
enum Dirty {
    /// It is not known, after a crash. All are at least as new.
    All,
    /// A flag in the mapping says.
    Flagged,
    /// So do these bits, sixty-four a value.
    Bits(Array<8>),
}

impl Mapping {
    /// The blocks of the origin that are read from the cache.
    fn dirty(&self) -> Result<Runs> {
        let budget = &self.store.bounds.budget;
        let mut runs = Runs::new(self.block_size, budget);
        let (mut bits, mut held) = (Vec::new(), budget.empty());
        if let Dirty::Bits(array) = &self.dirty {
            array.for_each(&self.store, self.blocks.div_ceil(64), |_, word| {
                if bits.len() == bits.capacity() {
                    let more = bits.len().max(MIN_WORDS);
                    held.grow((more * size_of::<u64>()) as u64, "the list of its dirty blocks")?;
                    bits.reserve_exact(more);
                }
                bits.push(u64::from_le_bytes(word));
                Ok(())
            })?;
        }
        self.mapping.for_each(&self.store, self.blocks, |index, value| {
            let value = u64::from_le_bytes(value);
            let dirty = match &self.dirty {
                Dirty::All => true,
                Dirty::Flagged => value & DIRTY != 0,
                Dirty::Bits(_) => bits.get((index / 64) as usize).is_some_and(|word| word >> (index % 64) & 1 != 0),
            };
            if value & VALID != 0 && dirty {
                let at = index.saturating_mul(self.block_size);
                runs.push(value >> MAPPING_FLAG_BITS, at)?;
            }
            Ok(())
        })?;
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use images::Budget;
    use images::disk::Memory;
    use zerocopy::IntoBytes;

    use super::*;
    use crate::lvm::persistent::layout::{BLOCK_SIZE, LEAF_NODE};
    use crate::lvm::persistent::tests::{array_block, node, seal};
    use crate::lvm::remap::remapped;

    const BLOCK: usize = 32 << 10;

    /// The metadata of a cache of three blocks, of which the last two hold blocks 1 and 4 of the origin; that of block 4
    /// is dirty, as both ways to say it say.
    fn metadata(patches: &[(usize, u32)]) -> Vec<u8> {
        let mut superblock = vec![0; BLOCK_SIZE];
        let mut write = |at: usize, bytes: &[u8]| superblock[at..at + bytes.len()].copy_from_slice(bytes);
        write(4, CLEAN_SHUTDOWN.as_bytes());
        write(32, MAGIC.as_bytes());
        write(40, 2u32.as_bytes());
        write(192, 1u64.as_bytes());
        write(232, DATA_BLOCK_MIN_SECTORS.as_bytes());
        write(240, 3u32.as_bytes());
        write(284, 3u64.as_bytes());
        patches.iter().for_each(|(at, value)| write(*at, value.as_bytes()));
        seal(&mut superblock, CSUM_XOR);
        let mapping = [0, 1 << MAPPING_FLAG_BITS | VALID, 4 << MAPPING_FLAG_BITS | VALID | DIRTY];
        let blocks = [superblock, node(1, LEAF_NODE, &[(0, 2)]), array_block(2, &mapping)];
        [blocks.concat(), node(3, LEAF_NODE, &[(0, 4)]), array_block(4, &[0b100])].concat()
    }

    fn read(metadata: Vec<u8>) -> Result<Vec<u8>> {
        let disk = |name, bytes| -> Arc<dyn Disk> { Arc::new(Memory::new(name, bytes)) };
        let data = (1..=3).flat_map(|block| [block; BLOCK]).collect();
        let bounds = Bounds::new(&Budget::default());
        let (origin, copies) = (disk("origin", vec![0; 5 * BLOCK]), disk("cdata", data));
        let cache = remapped("vg/c", origin, open("vg/c", disk("cmeta", metadata), copies, &bounds)?);
        let mut content = vec![9; 5 * BLOCK];
        cache.read_at(&mut content, 0)?;
        Ok(content.chunks(BLOCK).map(|block| block[0]).collect())
    }

    #[test]
    fn dirty_blocks_are_read_from_the_cache() {
        assert_eq!(read(metadata(&[])).unwrap(), [0, 0, 0, 0, 3]);
        assert_eq!(read(metadata(&[(40, 1)])).unwrap(), [0, 0, 0, 0, 3], "version 1");
        assert_eq!(read(metadata(&[(4, 0)])).unwrap(), [0, 2, 0, 0, 3], "after a crash");
        assert_eq!(read(metadata(&[(4, CLEAN_SHUTDOWN | NEEDS_CHECK)])).unwrap(), [0, 0, 0, 0, 3]);
        assert_eq!(read(vec![0; BLOCK_SIZE]).unwrap(), [0; 5], "never in use");
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        for (at, value, want) in [
            (32, 1, "magic 1 for block 0"),
            (8, 3, "for block 3"),
            (40, 3, "vg/c: cache metadata of version 3"),
            (252, 1, "vg/c: cache with incompatible features 0x1"),
            (232, 0, "blocks of 0 sectors"),
            (232, 65, "blocks of 65 sectors"),
            (240, 4, "3 entries of 8 bytes, want 4"),
            (240, u32::MAX, "entries of 8 bytes, want 509 of 8"),
            (192, 77, "in block 0x4d of cmeta"),
            (284, 2, "B-tree node at byte 0x2000"),
        ] {
            let error = read(metadata(&[(at, value)])).unwrap_err().to_string();
            assert!(error.contains(want), "{at}: {error}");
        }
        // Larger blocks, of which the last one lies outside.
        assert!(read(metadata(&[(232, 128)])).unwrap_err().to_string().contains("lie outside"));
    }
}
