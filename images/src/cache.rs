//! What all images of the program together keep in memory: pages of their tables, and what was unpacked.
//!
//! A chain has up to 128 images and a disk thousands of extents, so that a bound of each would be none.

use std::sync::{Arc, LazyLock};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::Disk;
use crate::Result;
use crate::disk::{Cached, Pages, next_number};

/// The granularity in which tables are read, in bytes.
pub const TABLE_PAGE: usize = 4096;
/// Our bound of the tables that are kept, in bytes; with blocks of 64 KiB and entries of 8 bytes they map 64 GiB.
const TABLE_BYTES: u64 = 8 << 20;
/// Our bound of the unpacked blocks that are kept, in bytes: four of the largest, which are clusters of qcow2.
const UNPACKED_BYTES: u64 = 8 << 20;
/// How many blocks of the usual size that is.
const USUAL_BLOCKS: usize = (UNPACKED_BYTES / (64 << 10)) as usize;
/// The part of it that is for blocks which are read again and again. The rest is for new ones, and large enough for
/// two of the largest: reading in order must not unpack a block for each of its parts.
const HOT: f64 = 0.5;

static TABLES: LazyLock<Arc<Pages>> = LazyLock::new(|| Pages::new(TABLE_PAGE, TABLE_BYTES));

static UNPACKED: LazyLock<Cache<Key, Block, ByBytes>> = LazyLock::new(|| {
    // One shard: in a part of the capacity a block of 2 MiB would not find room. Its lock is held for a look-up only,
    // which is little beside the copy that follows.
    let options = OptionsBuilder::new()
        .shards(1)
        .hot_allocation(HOT)
        .estimated_items_capacity(USUAL_BLOCKS)
        .weight_capacity(UNPACKED_BYTES)
        .build()
        .expect("both capacities are given");
    Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default())
});

/// A whole unpacked cluster or grain.
pub type Block = Arc<Vec<u8>>;

/// The number of a file, and what tells its blocks apart: where one lies and how long it is, say.
type Key = (u64, (u64, u64));

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Block> for ByBytes {
    fn weight(&self, _: &Key, block: &Block) -> u64 {
        block.len() as u64
    }
}

/// `file` as tables are read from it: in pages of [`TABLE_PAGE`] bytes, or of a smaller size, that are kept.
pub fn tables(file: Arc<dyn Disk>, page_size: usize) -> Cached {
    Cached::sharing(file, page_size, TABLES.clone())
}

/// The unpacked blocks of one file.
pub struct Unpacked(u64);

impl Unpacked {
    /// For another file than any before.
    pub fn new() -> Self {
        Self(next_number())
    }

    /// The block `at`, which `unpack` makes. Threads that want the same one unpack it once; no lock is held meanwhile.
    pub fn get_or(&self, at: (u64, u64), unpack: impl FnOnce() -> Result<Vec<u8>>) -> Result<Block> {
        UNPACKED.get_or_insert_with(&(self.0, at), || unpack().map(Arc::new))
    }

    /// The block `at`, if it is kept.
    pub fn get(&self, at: (u64, u64)) -> Option<Block> {
        UNPACKED.get(&(self.0, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_files_together_keep_to_one_bound() {
        for number in 0..128 {
            let file = Unpacked::new();
            assert_eq!(file.get_or((0, 1), || Ok(vec![number; 2 << 20])).unwrap()[..], vec![number; 2 << 20]);
            assert!(UNPACKED.weight() <= UNPACKED_BYTES);
        }
        assert!(UNPACKED.weight() >= UNPACKED_BYTES / 2, "even the largest blocks are kept");
    }

    #[test]
    fn files_are_told_apart() {
        let (one, other) = (Unpacked::new(), Unpacked::new());
        one.get_or((5, 6), || Ok(vec![1])).unwrap();
        assert_eq!(other.get((5, 6)), None);
        assert_eq!(one.get((5, 7)), None);
        assert_eq!(other.get_or((5, 6), || Ok(vec![2])).unwrap()[..], [2]);
    }
}
