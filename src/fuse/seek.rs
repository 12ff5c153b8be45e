//! `SEEK_DATA` and `SEEK_HOLE`, answered from a file's extents.

use filesystems::{FileSystem, NodeId};
use images::Result;

/// How many extents one call looks at. A longer search stops where it is and gives the answer that is always
/// allowed: that there is data. Ours; a million extents of 4 KiB are 4 GiB.
const MOST_EXTENTS: usize = 1 << 16;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    Data,
    Hole,
}

/// The first byte at or after `offset` that is data, or that is a hole; the end of the file counts as a hole.
/// `None` means ENXIO: `offset` is not inside the file, or there is no more data.
pub fn seek(fs: &dyn FileSystem, file: NodeId, offset: u64, whence: Whence) -> Result<Option<u64>> {
    let size = fs.stat(file)?.size;
    if offset >= size {
        return Ok(None);
    }
    let mut at = offset;
    for _ in 0..MOST_EXTENTS {
        let extent = fs.extent_at(file, at)?;
        let found = match whence {
            Whence::Data => !extent.data.reads_zero(),
            Whence::Hole => extent.data.reads_zero(),
        };
        if found {
            return Ok(Some(at));
        }
        at = at.saturating_add(extent.len.max(1));
        if at >= size {
            return Ok(match whence {
                Whence::Data => None,
                Whence::Hole => Some(size),
            });
        }
    }
    Ok(Some(match whence {
        Whence::Data => at,
        Whence::Hole => size,
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use filesystems::{Entry, FileSystemMut, Forensics, Properties, Space, Stat};
    use images::{Data, Error, Extent};

    use super::*;

    /// One file: data in the blocks that are named, and each block an extent of its own.
    struct File {
        size: u64,
        data: fn(u64) -> bool,
        asked: AtomicUsize,
    }

    impl FileSystem for File {
        fn properties(&self, _: NodeId) -> &Properties {
            unreachable!("seeking asks for attributes and extents")
        }
        fn space(&self, _: NodeId) -> Result<Space> {
            Ok(Space::default())
        }
        fn root(&self) -> NodeId {
            NodeId(1)
        }
        fn stat(&self, _: NodeId) -> Result<Stat> {
            let time = filesystems::Time::default();
            Ok(Stat {
                kind: filesystems::Kind::File,
                generation: 0,
                permissions: 0,
                links: 1,
                owner: 0,
                group: 0,
                size: self.size,
                blocks: 0,
                device: (0, 0),
                accessed: time,
                modified: time,
                changed: time,
                created: None,
            })
        }
        fn lookup(&self, _: NodeId, _: &[u8]) -> Result<NodeId> {
            Err(Error::NotFound)
        }
        fn read_dir(&self, _: NodeId, _: u64, _: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
            Err(Error::NotDirectory)
        }
        fn read_at(&self, _: NodeId, _: &mut [u8], _: u64) -> Result<usize> {
            Ok(0)
        }
        fn read_link(&self, _: NodeId) -> Result<Vec<u8>> {
            Err(Error::Invalid)
        }
        fn extent_at(&self, _: NodeId, offset: u64) -> Result<Extent<'_>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let data = if (self.data)(offset / 10) { Data::Opaque } else { Data::Zero };
            Ok(Extent { len: 10 - offset % 10, data })
        }
        fn forensics(&self) -> Result<&dyn Forensics> {
            Err(Error::Invalid)
        }

        fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
            Err(Error::Invalid)
        }
    }

    fn file(size: u64, data: fn(u64) -> bool) -> File {
        File { size, data, asked: AtomicUsize::new(0) }
    }

    #[test]
    fn runs_are_merged_and_the_end_is_a_hole() {
        let file = file(95, |block| block == 2 || block == 3 || block == 9);
        let at = |offset, whence| seek(&file, NodeId(1), offset, whence).unwrap();
        assert_eq!([at(0, Whence::Data), at(0, Whence::Hole)], [Some(20), Some(0)]);
        assert_eq!([at(25, Whence::Data), at(25, Whence::Hole)], [Some(25), Some(40)]);
        assert_eq!([at(41, Whence::Data), at(92, Whence::Hole)], [Some(90), Some(95)]);
        assert_eq!([at(95, Whence::Data), at(95, Whence::Hole)], [None, None]);
    }

    #[test]
    fn a_search_without_end_stops_and_says_data() {
        let holes = file(u64::MAX, |_| false);
        assert_eq!(seek(&holes, NodeId(1), 0, Whence::Data).unwrap(), Some(10 * MOST_EXTENTS as u64));
        let data = file(u64::MAX, |_| true);
        assert_eq!(seek(&data, NodeId(1), 0, Whence::Hole).unwrap(), Some(u64::MAX));
        assert_eq!([&holes, &data].map(|file| file.asked.load(Ordering::Relaxed)), [MOST_EXTENTS; 2]);
    }
}
