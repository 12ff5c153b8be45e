//! A disk that keeps what was read, for the small blocks of metadata that are read again and again.

use std::fmt;
use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::{Disk, Extent, check_range};
use crate::Result;

/// One page of the disk; the last page of a disk may be short.
pub type Page = Arc<[u8]>;

#[derive(Clone)]
struct ByBytes;

impl Weighter<u64, Page> for ByBytes {
    fn weight(&self, _: &u64, page: &Page) -> u64 {
        page.len() as u64
    }
}

/// Reads another disk in whole pages and keeps the pages that are used most.
pub struct Cached {
    inner: Arc<dyn Disk>,
    page_size: usize,
    pages: Cache<u64, Page, ByBytes>,
}

impl Cached {
    /// Keeps at most `capacity` bytes of `inner`, in pages of `page_size` bytes (a power of two, at least 512).
    pub fn new(inner: Arc<dyn Disk>, page_size: usize, capacity: u64) -> Self {
        assert!(page_size.is_power_of_two() && page_size >= 512, "a page size is chosen by the driver, not the image");
        let items = usize::try_from(capacity).unwrap_or(usize::MAX) / page_size;
        Self { inner, page_size, pages: Cache::with_weighter(items.max(16), capacity, ByBytes) }
    }

    /// The size of a page in bytes.
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// The page that holds byte `offset`, without a copy. Fails as `read_at` of the page would.
    pub fn page_at(&self, offset: u64) -> Result<Page> {
        check_range(self, 1, offset)?;
        let start = offset - offset % self.page_size as u64;
        self.pages.get_or_insert_with(&start, || {
            let len = (self.inner.size() - start).min(self.page_size as u64) as usize;
            let mut page = vec![0; len];
            self.inner.read_at(&mut page, start)?;
            Ok(page.into())
        })
    }
}

impl fmt::Display for Cached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Disk for Cached {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        while !buf.is_empty() {
            let page = self.page_at(offset)?;
            let inside = (offset % self.page_size as u64) as usize;
            let len = buf.len().min(page.len() - inside);
            let (now, rest) = buf.split_at_mut(len);
            now.copy_from_slice(&page[inside..][..len]);
            buf = rest;
            offset += len as u64;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        self.inner.extent_at(offset)
    }

    fn sector_size(&self) -> Option<u32> {
        self.inner.sector_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Counting, Memory};

    #[test]
    fn a_page_is_read_once() {
        let bytes: Vec<u8> = (0..3000u32).map(|i| i as u8).collect();
        let counting = Arc::new(Counting::new(Arc::new(Memory::new("m", bytes.clone()))));
        let cached = Cached::new(counting.clone(), 1024, 1 << 20);
        let mut buf = vec![0; 2900];
        for _ in 0..3 {
            cached.read_at(&mut buf, 50).unwrap();
            assert_eq!(buf, bytes[50..2950]);
        }
        assert_eq!(counting.take(), (3, 3000), "three pages, the last one short");
        assert!(cached.read_at(&mut buf, 101).is_err());
    }
}
