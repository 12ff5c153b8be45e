//! A disk that keeps what was read, for the small blocks of metadata that are read again and again.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::{Disk, Extent, check_range};
use crate::{Budget, Reservation, Result};

/// One page of the disk; the last page of a disk may be short.
pub type Page = Arc<[u8]>;

/// What a page is kept under: the number of the disk, and the page's offset in it in bytes.
type Key = (u64, u64);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Page> for ByBytes {
    fn weight(&self, _: &Key, page: &Page) -> u64 {
        page.len() as u64
    }
}

/// The pages of one disk or of several, under one bound.
pub struct Pages {
    cache: Cache<Key, Page, ByBytes>,
    /// The share of the budget that they are in, if it goes back.
    _memory: Option<Reservation>,
}

impl Pages {
    /// Keeps at most `capacity` bytes, in pages of about `page_size` bytes.
    pub fn new(page_size: usize, capacity: u64) -> Arc<Self> {
        let items = usize::try_from(capacity).unwrap_or(usize::MAX) / page_size;
        Arc::new(Self { cache: Cache::with_weighter(items.max(16), capacity, ByBytes), _memory: None })
    }

    /// Keeps what [`Budget::share`] has of `wanted` bytes, in pages of about `page_size` bytes. The share goes back when
    /// this is dropped.
    pub fn within(budget: &Budget, page_size: usize, wanted: u64) -> Arc<Self> {
        let share = budget.share(wanted);
        let items = usize::try_from(share.bytes()).unwrap_or(usize::MAX) / page_size;
        Arc::new(Self { cache: Cache::with_weighter(items.max(16), share.bytes(), ByBytes), _memory: Some(share) })
    }

    /// Keeps at most `capacity` bytes, for pages that are dear to make and up to a quarter of `capacity` long.
    ///
    /// Half of it is for pages that are used again and again, half for new ones: reading in order must not make a page
    /// for each of its parts. It is one shard, because a large page would not find room in a part of the capacity.
    pub(crate) fn large(capacity: u64) -> Self {
        let options = OptionsBuilder::new()
            .shards(1)
            .hot_allocation(0.5)
            .estimated_items_capacity(16)
            .weight_capacity(capacity)
            .build()
            .expect("both capacities are given");
        let cache = Cache::with_options(options, ByBytes, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Self { cache, _memory: None }
    }

    /// The page that is kept under this number and offset, if one is.
    pub(crate) fn get(&self, number: u64, offset: u64) -> Option<Page> {
        self.cache.get(&(number, offset))
    }

    /// The page that is kept under this number (of [`next_number`]) and offset; if there is none, it is made and kept.
    /// Threads that want the same one make it once; no lock is held meanwhile.
    pub(crate) fn get_or_make(&self, number: u64, offset: u64, make: impl FnOnce() -> Result<Page>) -> Result<Page> {
        self.cache.get_or_insert_with(&(number, offset), make)
    }
}

/// A number that no other disk of this process has: what caches that several disks share tell them apart by.
pub(crate) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Reads another disk in whole pages and keeps the pages that are used most.
pub struct Cached {
    inner: Arc<dyn Disk>,
    page_size: usize,
    number: u64,
    pages: Arc<Pages>,
}

impl Cached {
    /// Keeps at most `capacity` bytes of `inner`, in pages of `page_size` bytes (a power of two, at least 512).
    pub fn new(inner: Arc<dyn Disk>, page_size: usize, capacity: u64) -> Self {
        Self::sharing(inner, page_size, Pages::new(page_size, capacity))
    }

    /// Keeps what it reads among the `pages` of other disks. `page_size` is as for [`Self::new`].
    pub fn sharing(inner: Arc<dyn Disk>, page_size: usize, pages: Arc<Pages>) -> Self {
        assert!(page_size.is_power_of_two() && page_size >= 512, "a page size is chosen by the driver, not the image");
        Self { inner, page_size, number: next_number(), pages }
    }

    /// The size of a page in bytes.
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// The page that holds byte `offset`, without a copy. Fails as `read_at` of the page would.
    pub fn page_at(&self, offset: u64) -> Result<Page> {
        check_range(self, 1, offset)?;
        let start = offset - offset % self.page_size as u64;
        self.pages.get_or_make(self.number, start, || {
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

    fn amplification(&self) -> u64 {
        self.inner.amplification()
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

    #[test]
    fn disks_that_share_a_bound_are_told_apart_and_keep_to_it() {
        let pages = Pages::new(512, 64 << 10);
        let disks: Vec<_> = (0..32u8)
            .map(|byte| Cached::sharing(Arc::new(Memory::new("m", vec![byte; 16 << 10])), 512, pages.clone()))
            .collect();
        for at in (0..16 << 10).step_by(512) {
            for (disk, byte) in disks.iter().zip(0..) {
                assert_eq!(disk.page_at(at).unwrap()[..], [byte; 512]);
            }
        }
        assert!(pages.cache.weight() <= 64 << 10 && pages.cache.weight() > 32 << 10, "{}", pages.cache.weight());
    }
}
