//! A disk that counts what is asked of it, for tests with a budget of device reads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Disk, Extent};
use crate::Result;

/// Passes everything on and counts the reads.
pub struct Counting {
    inner: Arc<dyn Disk>,
    reads: AtomicU64,
    bytes: AtomicU64,
}

impl Counting {
    /// Counts the reads of `inner` from now on.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, reads: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// How many reads there were, and of how many bytes together, since the last call.
    pub fn take(&self) -> (u64, u64) {
        (self.reads.swap(0, Ordering::Relaxed), self.bytes.swap(0, Ordering::Relaxed))
    }
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Disk for Counting {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.inner.read_at(buf, offset)
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
