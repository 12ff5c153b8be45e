//! A disk that counts what is asked of it, for tests with a budget of device reads.

use std::fmt;
use std::mem;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Disk, DiskMut, Extent, Properties, Writer};
use crate::Result;

/// Passes everything on, and counts reads, writes and flushes.
pub struct Counting {
    inner: Arc<dyn Disk>,
    reads: AtomicU64,
    bytes: AtomicU64,
    written: Arc<Mutex<Written>>,
}

/// What was asked of a writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many writes there were, those of zeros among them.
    pub writes: u64,
    /// Of how many bytes together.
    pub bytes: u64,
    /// How many flushes there were.
    pub flushes: u64,
}

impl Counting {
    /// Counts what is asked of `inner` from now on.
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, reads: AtomicU64::new(0), bytes: AtomicU64::new(0), written: Arc::default() }
    }

    /// How many reads there were, and of how many bytes together, since the last call.
    pub fn take(&self) -> (u64, u64) {
        (self.reads.swap(0, Ordering::Relaxed), self.bytes.swap(0, Ordering::Relaxed))
    }

    /// What was written since the last call.
    pub fn take_written(&self) -> Written {
        mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
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

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        Ok(Box::new(CountingWriter { inner: self.inner.writer(bytes)?, written: self.written.clone() }))
    }
}

struct CountingWriter {
    inner: Writer,
    written: Arc<Mutex<Written>>,
}

impl CountingWriter {
    fn count(&self, writes: u64, bytes: u64, flushes: u64) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.writes += writes;
        written.bytes = written.bytes.saturating_add(bytes);
        written.flushes += flushes;
    }
}

impl DiskMut for CountingWriter {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.count(1, data.len() as u64, 0);
        self.inner.write_at(data, offset)
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.count(1, len, 0);
        self.inner.zero_at(offset, len)
    }

    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.inner.discard_at(offset, len)
    }

    fn flush(&self) -> Result<()> {
        self.count(0, 0, 1);
        self.inner.flush()
    }

    fn grow(&self, size: u64) -> Result<()> {
        self.inner.grow(size)
    }
}
