//! Which clusters are free: one bit for each.

use images::{Budget, Reservation, Result};

use super::super::geometry::Geometry;
use super::super::layout::FIRST_CLUSTER;
use super::super::map::Map;

/// The clusters of a volume, and where the next free one is looked for.
pub struct Space {
    /// A bit is set where a cluster is in use, or is none.
    taken: Vec<u64>,
    free: u32,
    /// Where the search goes on: the index of a cluster, from 0.
    next: u32,
    /// The memory of the bits.
    _held: Reservation,
}

impl Space {
    /// What the FAT says. Clusters of which it cannot be read are in use. Fails with `Memory` if the budget does not hold
    /// the bits: 32 MiB for the largest volume.
    pub fn new(geometry: &Geometry, map: &Map, budget: &Budget) -> Result<Self> {
        let words = geometry.clusters.div_ceil(u64::BITS) as usize;
        let held = budget.take(words as u64 * 8, "the map of the free clusters")?;
        let mut space = Self { taken: vec![u64::MAX; words], free: 0, next: 0, _held: held };
        for (first, count) in map.free() {
            space.release(first, count);
        }
        Ok(space)
    }

    /// How many clusters are free.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// The number of the cluster from which on free ones are looked for.
    pub fn next(&self) -> u32 {
        self.next + FIRST_CLUSTER
    }

    /// Takes a free cluster: the one behind `last` if it is free, else the next that is.
    pub fn take(&mut self, last: Option<u32>) -> Option<u32> {
        if self.free == 0 {
            return None;
        }
        // The number of the one behind the last is the last's index and one more.
        let behind = last.map(|last| last - FIRST_CLUSTER + 1).filter(|index| self.is_free(*index));
        let index = match behind {
            Some(index) => index,
            None => self.find(self.next)?,
        };
        self.taken[(index / u64::BITS) as usize] |= 1 << (index % u64::BITS);
        self.free -= 1;
        self.next = index + 1;
        Some(index + FIRST_CLUSTER)
    }

    fn is_free(&self, index: u32) -> bool {
        let word = self.taken.get((index / u64::BITS) as usize);
        word.is_some_and(|word| word >> (index % u64::BITS) & 1 == 0)
    }

    /// The next free index from `start` on, and then from the first.
    fn find(&self, start: u32) -> Option<u32> {
        let words = self.taken.len();
        let first = (start / u64::BITS) as usize;
        // The word in which the search starts comes twice: its higher bits first, and all of them at last.
        (0..=words).find_map(|step| {
            let at = (first + step) % words;
            let below = if step == 0 && first < words { (1u64 << (start % u64::BITS)) - 1 } else { 0 };
            let free = !(self.taken[at] | below);
            (free != 0).then(|| at as u32 * u64::BITS + free.trailing_zeros())
        })
    }

    /// Gives clusters back; those that are free already stay so.
    pub fn release(&mut self, first: u32, count: u32) {
        for index in first - FIRST_CLUSTER..first - FIRST_CLUSTER + count {
            let word = &mut self.taken[(index / u64::BITS) as usize];
            let bit = 1 << (index % u64::BITS);
            self.free += u32::from(*word & bit != 0);
            *word &= !bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(clusters: usize) -> Space {
        let taken = vec![u64::MAX; clusters.div_ceil(64)];
        Space { taken, free: 0, next: 0, _held: Budget::default().empty() }
    }

    #[test]
    fn the_next_is_taken_and_then_the_first() {
        let mut space = space(200);
        space.release(3, 2);
        space.release(100, 1);
        space.release(3, 1);
        assert_eq!(space.free(), 3);
        assert_eq!(space.take(Some(99)), Some(100), "the one behind");
        space.release(100, 1);
        assert_eq!(space.take(Some(100)), Some(3), "from the start again");
        assert_eq!(space.take(None), Some(4));
        assert_eq!(space.take(Some(201)), Some(100), "nothing is behind the last");
        assert_eq!((space.take(None), space.free()), (None, 0));
        space.release(4, 1);
        assert_eq!(space.take(Some(90)), Some(4), "the word in which the search starts, its lower bits");
    }
}
