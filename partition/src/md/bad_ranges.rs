//! A member with places that are known to be bad, or not yet recovered.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use images::disk::check_range;
use images::{Data, Disk, Error, Extent, Properties, Result, Writer, read_only};

/// A disk of which some ranges must not be read: what is there is old, or was never written.
pub struct WithBadRanges {
    inner: Arc<dyn Disk>,
    /// In order, apart from each other, not empty.
    bad: Vec<Range<u64>>,
}

impl WithBadRanges {
    /// `inner` without these ranges, in bytes, in any order.
    pub fn new(inner: Arc<dyn Disk>, mut bad: Vec<Range<u64>>) -> Self {
        bad.retain(|range| !range.is_empty());
        bad.sort_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in bad {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        Self { inner, bad: joined }
    }

    /// The first bad range that ends behind `offset`.
    fn next_bad(&self, offset: u64) -> Option<&Range<u64>> {
        self.bad.get(self.bad.partition_point(|range| range.end <= offset))
    }
}

impl fmt::Display for WithBadRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Disk for WithBadRanges {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        match self.next_bad(offset) {
            Some(bad) if bad.start < offset + buf.len() as u64 => Err(Error::io(
                format!("cannot read {} at byte {:#x}", self.inner, bad.start.max(offset)),
                io::Error::other("the array's metadata says that it is bad there, or not recovered"),
            )),
            _ => self.inner.read_at(buf, offset),
        }
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        match self.next_bad(offset) {
            Some(bad) if bad.start <= offset => {
                Ok(Extent { len: bad.end.min(self.size()) - offset, data: Data::Opaque })
            }
            Some(bad) => Ok(self.inner.extent_at(offset)?.at_most(bad.start - offset)),
            None => self.inner.extent_at(offset),
        }
    }

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} has bad or unrecovered places: it cannot be written"))
    }
}

#[cfg(test)]
mod tests {
    use images::disk::Memory;

    use super::*;

    #[test]
    fn bad_ranges_are_errors_and_the_rest_is_read() {
        let inner = Arc::new(Memory::new("m", (0..100).collect::<Vec<u8>>()));
        let ranges = [(60, 70), (10, 20), (15, 30), (90, 500), (5, 5)].map(|(start, end)| start..end);
        let disk = WithBadRanges::new(inner, ranges.to_vec());
        let good = |at: u64| !(10..30).contains(&at) && !(60..70).contains(&at) && at < 90;
        for start in 0..100 {
            for end in start + 1..=100 {
                let mut buf = vec![0; (end - start) as usize];
                assert_eq!(disk.read_at(&mut buf, start).is_ok(), (start..end).all(good), "{start}..{end}");
            }
            let extent = disk.extent_at(start).unwrap();
            assert!(extent.len >= 1 && start + extent.len <= 100);
            assert!((start..start + extent.len).all(|at| good(at) == good(start)));
        }
    }
}
