//! A contiguous part of another disk: what a partition is.

use std::fmt;
use std::sync::Arc;

use super::{Disk, Extent, check_range};
use crate::{Result, corrupt};

/// Bytes `start .. start + size` of another disk, under a name of their own.
pub struct View {
    name: String,
    inner: Arc<dyn Disk>,
    start: u64,
    size: u64,
    sector_size: Option<u32>,
}

impl View {
    /// The `size` bytes of `inner` from `start`. Fails with `Corrupt` if they do not lie inside it.
    pub fn new(name: impl Into<String>, inner: Arc<dyn Disk>, start: u64, size: u64) -> Result<Self> {
        let (name, sector_size) = (name.into(), inner.sector_size());
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

    fn sector_size(&self) -> Option<u32> {
        self.sector_size
    }

    fn amplification(&self) -> u64 {
        self.inner.amplification()
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
