//! A contiguous part of another disk: what a partition is.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::claim::check_claimed;
use super::{Disk, DiskMut, Extent, Properties, Writer, check_range};
use crate::{Result, corrupt, read_only};

/// Bytes `start .. start + size` of another disk, under a name of their own.
pub struct View {
    name: String,
    inner: Arc<dyn Disk>,
    start: u64,
    size: u64,
    /// The logical sector size in bytes, if the user forces one.
    sector_size: Option<u32>,
}

impl View {
    /// The `size` bytes of `inner` from `start`. Fails with `Corrupt` if they do not lie inside it.
    pub fn new(name: impl Into<String>, inner: Arc<dyn Disk>, start: u64, size: u64) -> Result<Self> {
        let (name, sector_size) = (name.into(), None);
        match start.checked_add(size) {
            Some(end) if end <= inner.size() => Ok(Self { name, inner, start, size, sector_size }),
            _ => Err(corrupt!(name, start, "{size} bytes long, but {inner} ends at byte {:#x}", inner.size())),
        }
    }

    /// All of `inner`, with a logical sector size in bytes that the user forces.
    pub fn with_sector_size(inner: Arc<dyn Disk>, sector_size: u32) -> Self {
        Self { name: inner.to_string(), start: 0, size: inner.size(), inner, sector_size: Some(sector_size) }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Disk for View {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        self.inner.read_at(buf, self.start + offset)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        Ok(self.inner.extent_at(self.start + offset)?.at_most(self.size - offset))
    }

    fn properties(&self) -> Properties {
        let below = self.inner.properties();
        Properties { sector_size: self.sector_size.or(below.sector_size), ..below }
    }

    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        check_claimed(self, &bytes)?;
        let inner = self.inner.writer(self.start + bytes.start..self.start + bytes.end)?;
        Ok(Box::new(ViewWriter { name: self.name.clone(), inner, start: self.start, size: self.size }))
    }
}

struct ViewWriter {
    name: String,
    inner: Writer,
    start: u64,
    size: u64,
}

impl ViewWriter {
    /// Where `offset` lies in the disk below. Fails if `len` bytes from there do not lie inside the view.
    fn below(&self, offset: u64, len: u64) -> Result<u64> {
        match offset.checked_add(len) {
            Some(end) if end <= self.size => Ok(self.start + offset),
            _ => {
                let (name, size) = (self.name.as_str(), self.size);
                Err(corrupt!(name, offset, "{len} bytes to be written, but it ends at byte {size:#x}"))
            }
        }
    }
}

impl DiskMut for ViewWriter {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.inner.write_at(data, self.below(offset, data.len() as u64)?)
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.inner.zero_at(self.below(offset, len)?, len)
    }

    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.inner.discard_at(self.below(offset, len)?, len)
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    fn grow(&self, size: u64) -> Result<()> {
        if size <= self.size {
            return Ok(());
        }
        Err(read_only!("{} cannot grow: it is a part of a disk", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    #[test]
    fn a_view_is_cut_at_both_ends() {
        let disk: Arc<dyn Disk> = Arc::new(Memory::new("m", (0..100).collect::<Vec<u8>>()));
        let view = View::new("part", disk.clone(), 10, 20).unwrap();
        let mut buf = [0; 20];
        view.read_at(&mut buf, 0).unwrap();
        assert_eq!(buf.to_vec(), (10..30).collect::<Vec<u8>>());
        assert!(view.read_at(&mut buf, 1).is_err(), "one byte past the end");
        assert!(view.read_at(&mut buf, u64::MAX).is_err(), "no overflow");
        assert_eq!(view.extent_at(5).unwrap().len, 15);
        assert!(view.extent_at(20).is_err());
        assert!(View::new("p", disk.clone(), 90, 11).is_err());
        assert!(View::new("p", disk, u64::MAX, 2).is_err());
    }
}
