//! A disk that keeps what was read, for the small blocks of metadata that are read again and again.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use super::{Disk, DiskMut, Extent, Properties, Writer, check_range};
use crate::{Budget, Reservation, Result};

/// How many pages are forgotten one by one when they are written; ours. After more all pages of the disk are.
const FORGOTTEN_ONE_BY_ONE: u64 = 4096;

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
    own: Arc<OwnPages>,
}

/// The pages of one disk among those of others.
struct OwnPages {
    /// By which its pages are known; changes when all are forgotten.
    number: AtomicU64,
    all: Arc<Pages>,
}

impl Cached {
    /// Keeps at most `capacity` bytes of `inner`, in pages of `page_size` bytes (a power of two, at least 512).
    pub fn new(inner: Arc<dyn Disk>, page_size: usize, capacity: u64) -> Self {
        Self::sharing(inner, page_size, Pages::new(page_size, capacity))
    }

    /// Keeps what it reads among the `pages` of other disks. `page_size` is as for [`Self::new`].
    pub fn sharing(inner: Arc<dyn Disk>, page_size: usize, pages: Arc<Pages>) -> Self {
        assert!(page_size.is_power_of_two() && page_size >= 512, "a page size is chosen by the driver, not the image");
        Self { inner, page_size, own: Arc::new(OwnPages { number: next_number().into(), all: pages }) }
    }

    /// The size of a page in bytes.
    pub fn page_size(&self) -> usize {
        self.page_size
    }

    /// The page that holds byte `offset`, without a copy. Fails as `read_at` of the page would.
    pub fn page_at(&self, offset: u64) -> Result<Page> {
        check_range(self, 1, offset)?;
        let start = offset - offset % self.page_size as u64;
        self.own.all.get_or_make(self.own.number.load(Ordering::Acquire), start, || {
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

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        let inner = self.inner.writer(bytes)?;
        Ok(Box::new(CachedWriter {
            inner,
            disk: self.inner.clone(),
            page_size: self.page_size as u64,
            own: self.own.clone(),
        }))
    }
}

/// Writes to the disk below, and forgets the pages that this changed.
struct CachedWriter {
    inner: Writer,
    disk: Arc<dyn Disk>,
    page_size: u64,
    own: Arc<OwnPages>,
}

impl CachedWriter {
    /// Forgets the pages of `len` bytes at `offset`, which were changed in the disk below, or may have been: `done` failed.
    ///
    /// They are forgotten after that, so that a page which is read meanwhile, and may have old bytes, is forgotten too.
    fn forget(&self, offset: u64, len: u64, done: Result<()>) -> Result<()> {
        let OwnPages { number, all } = &*self.own;
        let first = offset / self.page_size;
        let count = match len {
            0 => 0,
            _ => (offset % self.page_size).saturating_add(len).div_ceil(self.page_size),
        };
        if count > FORGOTTEN_ONE_BY_ONE {
            number.store(next_number(), Ordering::Release);
            return done;
        }
        let number = number.load(Ordering::Acquire);
        for page in first..first.saturating_add(count) {
            all.cache.remove(&(number, page.saturating_mul(self.page_size)));
        }
        done
    }
}

impl DiskMut for CachedWriter {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.forget(offset, data.len() as u64, self.inner.write_at(data, offset))
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.forget(offset, len, self.inner.zero_at(offset, len))
    }

    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.forget(offset, len, self.inner.discard_at(offset, len))
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    /// The last page may have been a short one.
    fn grow(&self, size: u64) -> Result<()> {
        let old = self.disk.size();
        self.forget(old, 1, self.inner.grow(size))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

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

    /// Whose reads wait until they are told to go on, and say that they wait.
    struct Slow {
        inner: Memory,
        began: mpsc::SyncSender<()>,
        go_on: Mutex<mpsc::Receiver<()>>,
    }

    impl fmt::Display for Slow {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.inner.fmt(f)
        }
    }

    impl Disk for Slow {
        fn size(&self) -> u64 {
            self.inner.size()
        }

        fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
            self.inner.read_at(buf, offset)?;
            self.began.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
            Ok(())
        }

        fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
            self.inner.extent_at(offset)
        }

        fn properties(&self) -> Properties {
            self.inner.properties()
        }

        fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
            self.inner.writer(bytes)
        }
    }

    /// A page that is read while it is written may have the old bytes, but is not kept with them.
    #[test]
    fn what_is_read_during_a_write_is_not_kept() {
        let size = (FORGOTTEN_ONE_BY_ONE + 2) as usize * 512;
        for all in [false, true] {
            let (began, has_begun) = mpsc::sync_channel(0);
            let (go_on, may_go_on) = mpsc::sync_channel(1);
            let slow = Slow { inner: Memory::new("m", vec![1; size]), began, go_on: Mutex::new(may_go_on) };
            let cached = Cached::new(Arc::new(slow), 512, 1 << 20);
            let writer = cached.writer(0..size as u64).unwrap();
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| cached.page_at(700).unwrap());
                has_begun.recv().unwrap();
                // What is written is in this page, alone or with very many others.
                if all {
                    writer.zero_at(0, size as u64).unwrap()
                } else {
                    writer.write_at(&[0], 700).unwrap()
                }
                go_on.send(()).unwrap();
                assert_eq!(reader.join().unwrap()[700 % 512], 1, "it was read before");
                let reader = scope.spawn(|| cached.page_at(700).unwrap());
                has_begun.recv().unwrap();
                go_on.send(()).unwrap();
                assert_eq!(reader.join().unwrap()[700 % 512], 0);
            });
            assert_eq!(cached.page_at(700).unwrap()[700 % 512], 0, "now it is kept: nobody tells the disk to go on");
        }
    }

    #[test]
    fn pages_that_were_not_written_are_kept() {
        let counting = Arc::new(Counting::new(Arc::new(Memory::new("m", vec![1; 4096]))));
        let cached = Cached::new(counting.clone(), 512, 1 << 20);
        cached.read_at(&mut [0; 4096], 0).unwrap();
        counting.take();
        let writer = cached.writer(0..4096).unwrap();
        writer.write_at(&[2; 513], 1023).unwrap();
        writer.zero_at(3000, 0).unwrap();
        let mut bytes = [0; 4096];
        cached.read_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes[1023..1536], [2; 513]);
        assert_eq!(counting.take(), (2, 1024), "of the second page, its last byte");
    }
}
