//! The cache of decompressed clusters, chunks and grains, which all images under one budget share.

use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::Result;

/// Our bound of what all images keep, in bytes: four of the largest clusters of qcow2.
pub const CACHE_BYTES: u64 = 8 << 20;
/// How many clusters of the usual size that is.
const USUAL_CLUSTERS: usize = (CACHE_BYTES / (64 << 10)) as usize;

/// How much of a buffer for compressed bytes a thread keeps: enough for units of the usual size.
pub const KEPT_BUFFER: usize = 256 << 10;
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

/// What was decompressed last, of all images under one budget.
pub struct Units(Cache<Key, Unit, ByBytes>);

impl Units {
    /// Keeps at most `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        // One shard: in a part of the capacity a cluster of 2 MiB would not find room. Its lock is held for a look-up
        // only, which is little beside the copy that follows.
        let options = OptionsBuilder::new()
            .shards(1)
            .hot_allocation(HOT)
            .estimated_items_capacity(USUAL_CLUSTERS)
            .weight_capacity(capacity)
            .build()
            .expect("both capacities are given");
        Self(Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default()))
    }

    /// Whether there is room for several units of `len` bytes.
    pub fn keeps(&self, len: u64) -> bool {
        len <= self.0.capacity() / 4
    }

    /// The unit of this key, which `make` unpacks if it is not kept. Threads that want the same one unpack it once; no
    /// lock is held meanwhile. One larger than half of the capacity is not kept.
    pub fn get_or_make(&self, key: Key, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Unit> {
        self.0.get_or_insert_with(&key, || Ok(Arc::new(make()?)))
    }

    /// Fills `buf` with the unit of this key from byte `inside` on. `unpack` fills the whole unit of `len` bytes, if it is not
    /// kept. Who reads it whole needs no copy of it, and asks for it no second time: then it is not kept either.
    pub fn read(
        &self,
        key: Key,
        len: usize,
        buf: &mut [u8],
        inside: usize,
        unpack: impl Fn(&mut [u8]) -> Result<()>,
    ) -> Result<()> {
        if buf.len() == len && self.get(&key).is_none() {
            return unpack(buf);
        }
        let make = || {
            let mut unit = vec![0; len];
            unpack(&mut unit)?;
            Ok(unit)
        };
        buf.copy_from_slice(&self.get_or_make(key, make)?[inside..][..buf.len()]);
        Ok(())
    }

    /// The unit of this key, if it is kept.
    pub fn get(&self, key: &Key) -> Option<Unit> {
        self.0.get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_images_together_keep_to_one_bound() {
        let units = Units::new(CACHE_BYTES);
        for number in 0..128 {
            let unit = units.get_or_make((number, 0, 1), || Ok(vec![0; 2 << 20])).unwrap();
            assert_eq!(unit.len(), 2 << 20);
            assert!(units.0.weight() <= CACHE_BYTES);
        }
        assert!(units.0.weight() >= CACHE_BYTES / 2, "even the largest clusters are kept");
        assert!(units.get(&(127, 0, 1)).is_some() && units.get(&(0, 0, 2)).is_none());
        assert!(units.keeps(2 << 20) && !units.keeps(4 << 20));
        let none = Units::new(0);
        assert_eq!(*none.get_or_make((0, 0, 1), || Ok(vec![1])).unwrap(), [1], "without room it is made each time");
    }
}
