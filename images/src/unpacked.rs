//! The cache of what was decompressed, which all images of the program share.

use std::sync::{Arc, LazyLock};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::Result;

/// Our bound of what all images of the program keep, in bytes: four of the largest clusters of qcow2.
pub const CACHE_BYTES: u64 = 8 << 20;
/// How many clusters of the usual size that is.
const USUAL_CLUSTERS: usize = (CACHE_BYTES / (64 << 10)) as usize;

/// The part of it that is for clusters which are read again and again. The rest is for new ones, and large enough for
/// two of the largest: reading in order must not unpack a cluster for each of its parts.
const HOT: f64 = 0.5;

/// A whole decompressed cluster, chunk or grain.
pub type Unit = Arc<Vec<u8>>;

/// What a unit is kept under: the number of its image (by [`next_number`](crate::disk::next_number)), and its place and
/// its length there.
pub type Key = (u64, u64, u64);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Unit> for ByBytes {
    fn weight(&self, _: &Key, unit: &Unit) -> u64 {
        unit.len() as u64
    }
}

/// A chain has up to 128 images, so a bound of each would be none.
static UNITS: LazyLock<Cache<Key, Unit, ByBytes>> = LazyLock::new(|| {
    // One shard: in a part of the capacity a cluster of 2 MiB would not find room. Its lock is held for a look-up
    // only, which is little beside the copy that follows.
    let options = OptionsBuilder::new()
        .shards(1)
        .hot_allocation(HOT)
        .estimated_items_capacity(USUAL_CLUSTERS)
        .weight_capacity(CACHE_BYTES)
        .build()
        .expect("both capacities are given");
    Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default())
});

/// The unit of this key, which `make` unpacks if it is not kept. Threads that want the same one unpack it once; no lock
/// is held meanwhile. One larger than half of [`CACHE_BYTES`] is not kept.
pub fn get_or_make(key: Key, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Unit> {
    UNITS.get_or_insert_with(&key, || Ok(Arc::new(make()?)))
}

/// The unit of this key, if it is kept.
pub fn get(key: &Key) -> Option<Unit> {
    UNITS.get(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_images_together_keep_to_one_bound() {
        for number in 0..128 {
            let unit = get_or_make((u64::MAX - number, 0, 1), || Ok(vec![0; 2 << 20])).unwrap();
            assert_eq!(unit.len(), 2 << 20);
            assert!(UNITS.weight() <= CACHE_BYTES);
        }
        assert!(UNITS.weight() >= CACHE_BYTES / 2, "even the largest clusters are kept");
        assert!(get(&(u64::MAX - 127, 0, 1)).is_some() && get(&(u64::MAX, 0, 2)).is_none());
    }
}
