//! What is stored, and how often it is told: no block of a journal or a directory may be there twice.
//!
//! A map of a few bytes can lead to the same block a million times, on the file system's disk or in the image's own
//! tables. Whoever walks what such a map leads to asks here first, so that work is bounded by what is stored.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;

use images::{Data, Disk};

/// How many stretches are remembered (ours): some 16 MiB. Images in so many pieces are not made of few bytes.
const MAX_PIECES: usize = 1 << 18;

/// Numbers that were taken, as stretches that are apart: by their start, the number after their end.
#[derive(Debug, Default)]
pub(crate) struct Stretches(BTreeMap<u64, u64>);

impl Stretches {
    /// Takes the numbers from `start` to before `end`, up to the first that is taken already. Returns how many.
    pub(crate) fn take(&mut self, start: u64, end: u64) -> u64 {
        if start >= end || self.0.range(..=start).next_back().is_some_and(|(_, to)| *to > start) {
            return 0;
        }
        let end = self.0.range(start..end).next().map_or(end, |(from, _)| *from);
        let before = self.0.range(..start).next_back().filter(|(_, to)| **to == start).map(|(from, _)| *from);
        let to = self.0.remove(&end).unwrap_or(end);
        self.0.insert(before.unwrap_or(start), to);
        end - start
    }

    /// How many stretches there are.
    fn len(&self) -> usize {
        self.0.len()
    }
}

/// Which bytes of a disk were counted, by their place on it and by their place in the host's files.
pub(crate) struct Stored<'a> {
    disk: &'a dyn Disk,
    places: Stretches,
    /// By the file: it stays open as long as the disk, so that its address is its own.
    host: HashMap<*const File, Stretches>,
}

impl<'a> Stored<'a> {
    /// Nothing of this disk yet.
    pub(crate) fn new(disk: &'a dyn Disk) -> Self {
        Self { disk, places: Stretches::default(), host: HashMap::new() }
    }

    /// Counts `len` bytes at `offset`. Returns how many of them, from the first on, were not counted before.
    ///
    /// With more than [`MAX_PIECES`] it forgets to count. What reads as zeros takes no space, and of what the disk does not tell where it lies only the place on the
    /// disk is known.
    pub(crate) fn count(&mut self, offset: u64, len: u64) -> u64 {
        if self.places.len() + self.host.values().map(Stretches::len).sum::<usize>() >= MAX_PIECES {
            return len;
        }
        let new = self.places.take(offset, offset.saturating_add(len));
        let mut done = 0;
        while done < new {
            // What cannot be read is told by whoever reads it.
            let Ok(extent) = self.disk.extent_at(offset + done) else { return new };
            let now = extent.len.min(new - done);
            if let Data::Host(file, at) = extent.data {
                let taken = self.host.entry(std::ptr::from_ref(file)).or_default().take(at, at.saturating_add(now));
                if taken < now {
                    return done + taken;
                }
            }
            done += now;
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use images::disk::Memory;

    use super::*;

    #[test]
    fn each_number_is_taken_once() {
        let mut stretches = Stretches::default();
        assert_eq!((stretches.take(10, 20), stretches.take(30, 40), stretches.len()), (10, 10, 2));
        assert_eq!((stretches.take(20, 30), stretches.len()), (10, 1), "joined on both sides");
        assert_eq!((stretches.take(10, 11), stretches.take(39, 50), stretches.take(15, 15)), (0, 0, 0));
        assert_eq!((stretches.take(5, 12), stretches.take(0, 4), stretches.len()), (5, 4, 2), "up to what is taken");
        assert_eq!((stretches.take(0, 9), stretches.take(4, 9), stretches.take(40, 41)), (0, 1, 1));
        assert_eq!(stretches.0, BTreeMap::from([(0, 41)]));
    }

    #[test]
    fn a_disk_without_files_is_counted_by_its_places() {
        let disk = Memory::new("m", vec![1; 100]);
        let mut stored = Stored::new(&disk);
        assert_eq!((stored.count(0, 50), stored.count(40, 20), stored.count(90, 100)), (50, 0, 100));
    }

    #[test]
    fn bytes_of_the_host_are_counted_once_wherever_they_are_shown() {
        use images::disk::{Concat, HostFile, Piece, View};
        use std::sync::Arc;
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), [7; 8192]).expect("written");
        let opened = File::open(file.path()).expect("opened");
        let host: Arc<dyn Disk> = Arc::new(HostFile::new(file.path(), opened).expect("a file"));
        let piece = |at| Piece::View(View::new("part", host.clone(), at, 4096).expect("inside"));
        let disk = Concat::new("twice", [piece(0), piece(4096), piece(0)]).expect("not empty");
        let mut stored = Stored::new(&disk);
        assert_eq!(stored.count(0, 12288), 8192);
        assert_eq!(Stored::new(&disk).count(4096, 8192), 8192, "each of them once");
    }
}
