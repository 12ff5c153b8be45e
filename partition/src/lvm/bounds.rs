//! What the volumes of all groups together may make us read and keep, beside what is read for those who read them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use images::disk::Pages;
use images::{Budget, Disk, Reservation, Result, unsupported};

use super::persistent::layout::BLOCK_SIZE;

/// How many bytes of the metadata of all pools and caches are kept. Ours: the nodes of a mapping of some 100 GiB in blocks of
/// 64 KiB.
const KEPT: u64 = 16 << 20;
/// How many bytes may be read to find out which blocks lie where, each counted as often as it is read from images. Ours: the
/// entries of a writecache of two terabytes. Volumes can share their bytes, so this is not bounded by what is stored.
const MAX_READ: u64 = 8 << 30;
/// What the least read counts for, in bytes.
const LEAST: u64 = 4096;

/// The bounds of one set of physical volumes.
pub struct Bounds {
    pub budget: Budget,
    /// The pages of metadata that are kept.
    pub pages: Arc<Pages>,
    _pages: Reservation,
    read: AtomicU64,
}

impl Bounds {
    pub fn new(budget: &Budget) -> Arc<Self> {
        let reserved = budget.share(KEPT);
        Arc::new(Self {
            budget: budget.clone(),
            pages: Pages::new(BLOCK_SIZE, reserved.bytes()),
            _pages: reserved,
            read: AtomicU64::new(0),
        })
    }

    /// Counts a read of so many bytes of metadata on `disk`. Fails if there were too many.
    pub fn count(&self, disk: &dyn Disk, bytes: u64) -> Result<()> {
        let bytes = bytes.max(LEAST).saturating_mul(disk.amplification());
        let sum = |read: u64| read.checked_add(bytes).filter(|sum| *sum <= MAX_READ);
        match self.read.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum) {
            Ok(_) => Ok(()),
            Err(_) => Err(unsupported!(
                "{disk}: the metadata of the volumes in these groups is longer than {MAX_READ} bytes, as often as it must be \
                 read"
            )),
        }
    }
}
