//! The free clusters as a disk of the volume's size, in which everything else is a hole.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use images::disk::check_range;
use images::{Budget, Data, Disk, Extent, Properties, Reservation, Result, Writer, read_only};

use super::geometry::Geometry;
use super::map::Map;

/// What no cluster chain uses.
pub struct FreeSpace {
    disk: Arc<dyn Disk>,
    /// Where free bytes begin and end, ascending and apart.
    runs: Box<[(u64, u64)]>,
    /// The memory that they take.
    _held: Reservation,
}

impl FreeSpace {
    /// Fails with `Memory` if the budget does not hold the list.
    pub fn new(disk: Arc<dyn Disk>, geometry: &Geometry, map: &Map, budget: &Budget) -> Result<Self> {
        let stretches = map.free().count() as u64;
        let held = budget.take(stretches * size_of::<(u64, u64)>() as u64, "the list of the free clusters")?;
        let size = disk.size();
        let bytes = map.free().map(|(cluster, count)| {
            let start = geometry.offset_of(cluster).min(size);
            (start, size.min(start + u64::from(count) * u64::from(geometry.cluster_size)))
        });
        Ok(Self { runs: bytes.filter(|(start, end)| start < end).collect(), disk, _held: held })
    }

    /// Whether the byte at `offset` is free, and where that ends.
    fn at(&self, offset: u64) -> (bool, u64) {
        let index = self.runs.partition_point(|(_, end)| *end <= offset);
        match self.runs.get(index) {
            Some((start, end)) if *start <= offset => (true, *end),
            Some((start, _)) => (false, *start),
            None => (false, self.size()),
        }
    }
}

impl fmt::Display for FreeSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "free space of {}", self.disk)
    }
}

impl Disk for FreeSpace {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        while !buf.is_empty() {
            let (is_free, end) = self.at(offset);
            let len = usize::try_from(end - offset).unwrap_or(usize::MAX).min(buf.len());
            let (now, rest) = buf.split_at_mut(len);
            if is_free {
                self.disk.read_at(now, offset)?;
            } else {
                now.fill(0);
            }
            (buf, offset) = (rest, offset + len as u64);
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let (is_free, end) = self.at(offset);
        if is_free {
            Ok(self.disk.extent_at(offset)?.at_most(end - offset))
        } else {
            Ok(Extent { len: end - offset, data: Data::Hole })
        }
    }

    fn properties(&self) -> Properties {
        self.disk.properties()
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} cannot be written"))
    }
}
