//! Where each part of a file lies that can be decompressed alone: the index, built when the file is opened.

use crate::{Budget, Reservation, Result, unsupported};

/// Our bound of the parts of one file. The index of so many takes 8 MiB.
const MAX_PARTS: usize = 1 << 19;
/// For how many there is room at first.
const FIRST_PARTS: usize = 64;
/// The decompressed length that smaller neighbours are joined to, in bytes, until there are too many for that.
const JOINED: u64 = 256 << 10;

/// Compressed bytes that can be decompressed alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins in the file, and where the next one does, in bytes.
    pub packed: (u64, u64),
    /// Where its content begins on the disk, in bytes.
    pub start: u64,
    /// The length of its content in bytes, at least 1.
    pub len: u64,
}

/// The parts of a file, which lie in it in the order of their content.
pub struct Index {
    /// Where each part begins in the file and on the disk.
    starts: Vec<(u64, u64)>,
    /// Where the last part ends in the file and on the disk.
    end: (u64, u64),
    /// Up to which length neighbours are joined; 0 if they cannot be.
    joined: u64,
    most: usize,
    /// What the starts take.
    memory: Reservation,
}

impl Index {
    /// For parts that can only be decompressed one by one.
    pub fn of_single_parts(budget: &Budget) -> Self {
        Self { starts: Vec::new(), end: (0, 0), joined: 0, most: MAX_PARTS, memory: budget.empty() }
    }

    /// For parts of which several in a row can be decompressed as if they were one.
    pub fn of_joined_parts(budget: &Budget) -> Self {
        Self { joined: JOINED, ..Self::of_single_parts(budget) }
    }

    /// The size of the disk in bytes.
    pub fn size(&self) -> u64 {
        self.end.1
    }

    /// Adds the next part: from `start` to `end` in the file, with `len` bytes of content. What lies between the parts
    /// before and this one belongs to nothing.
    ///
    /// Fails if the sizes do not add up in 63 bits, or if there are too many parts that cannot be joined.
    pub fn push(&mut self, start: u64, end: u64, len: u64) -> Result<()> {
        let Some(size) = self.end.1.checked_add(len).filter(|size| *size <= i64::MAX as u64) else {
            return Err(unsupported!("its content is larger than 2^63 bytes"));
        };
        let last = self.starts.last().copied();
        let joins = last.is_some_and(|(_, first)| self.joined > 0 && size - first <= self.joined);
        if len > 0 && !joins {
            if self.starts.len() == self.most {
                self.join()?;
            }
            if self.starts.len() == self.starts.capacity() {
                let more = self.starts.capacity().max(FIRST_PARTS);
                let bytes = (more * size_of::<(u64, u64)>()) as u64;
                self.memory.grow(bytes, "the index of the parts of a compressed file")?;
                self.starts.reserve_exact(more);
            }
            self.starts.push((start, self.end.1));
        }
        if len > 0 || !self.starts.is_empty() {
            self.end = (end, size);
        }
        Ok(())
    }

    /// Makes room: the parts are joined to twice the length, or more.
    fn join(&mut self) -> Result<()> {
        if self.joined == 0 {
            return Err(unsupported!("it has more than {} parts that are compressed alone", self.most));
        }
        while self.starts.len() > self.most / 2 {
            self.joined *= 2;
            let ends: Vec<u64> = self.starts.iter().skip(1).map(|(_, start)| *start).chain([self.end.1]).collect();
            let (mut ends, mut first) = (ends.into_iter(), 0);
            let joined = self.joined;
            self.starts.retain(|(_, start)| {
                let end = ends.next().unwrap_or(*start);
                let keep = *start == 0 || end - first > joined;
                if keep {
                    first = *start;
                }
                keep
            });
        }
        Ok(())
    }

    /// The parts, in order.
    pub fn iter(&self) -> impl Iterator<Item = Part> {
        (0..self.starts.len()).map(|index| self.get(index))
    }

    /// The part that holds the byte of the disk at `offset`, which lies inside it.
    pub fn part_at(&self, offset: u64) -> Part {
        self.get(self.starts.partition_point(|(_, start)| *start <= offset) - 1)
    }

    fn get(&self, index: usize) -> Part {
        let (packed, start) = self.starts[index];
        let (packed_end, end) = self.starts.get(index + 1).copied().unwrap_or(self.end);
        Part { packed: (packed, packed_end), start, len: end - start }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_by_their_content() {
        let mut index = Index::of_single_parts(&Budget::default());
        for (start, end, len) in [(10, 20, 5), (20, 24, 0), (24, 40, 100), (40, 50, 1)] {
            index.push(start, end, len).unwrap();
        }
        assert!(Index::of_single_parts(&Budget::new(1000)).push(0, 1, 1).is_err(), "it takes 1024 bytes");
        assert_eq!(index.size(), 106);
        assert_eq!(index.part_at(4), Part { packed: (10, 24), start: 0, len: 5 });
        assert_eq!(index.part_at(5), Part { packed: (24, 40), start: 5, len: 100 });
        assert_eq!(index.part_at(105), Part { packed: (40, 50), start: 105, len: 1 });
        assert!(index.push(50, 60, u64::MAX).is_err() && index.push(50, 60, i64::MAX as u64).is_err());
    }

    #[test]
    fn many_small_parts_become_fewer_and_the_index_is_bounded() {
        let mut index = Index { most: 16, ..Index::of_joined_parts(&Budget::default()) };
        for part in 0..10_000 {
            index.push(part * 7, part * 7 + 7, 60_000).unwrap();
            let parts: Vec<_> = index.iter().collect();
            assert!(parts.len() <= 16);
            assert!(parts.windows(2).all(|two| two[0].start + two[0].len == two[1].start));
            assert!(parts.iter().all(|part| part.packed.0 * 60_000 == part.start * 7 && part.len <= index.joined));
        }
        assert_eq!((index.size(), index.part_at(0).start), (600_000_000, 0));
        let mut index = Index { most: 16, ..Index::of_single_parts(&Budget::default()) };
        assert!((0..17).try_for_each(|part| index.push(part, part + 1, 1)).is_err());
    }
}
