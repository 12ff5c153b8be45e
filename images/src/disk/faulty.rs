//! A disk with bad places, for tests of what an error reaches.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::{Disk, DiskMut, Extent, Properties, Writer};
use crate::{Error, Result};

/// Passes everything on, except that what touches one of the bad ranges fails with `Io`.
pub struct Faulty {
    inner: Arc<dyn Disk>,
    bad: Arc<Bad>,
}

/// The bad ranges of the disk of this name.
struct Bad {
    name: String,
    ranges: Vec<Range<u64>>,
}

impl Faulty {
    /// `inner`, of which these byte ranges can be neither read nor written.
    pub fn new(inner: Arc<dyn Disk>, bad: Vec<Range<u64>>) -> Self {
        let bad = Bad { name: inner.to_string(), ranges: bad };
        Self { inner, bad: Arc::new(bad) }
    }
}

impl Bad {
    fn check(&self, verb: &str, offset: u64, len: u64) -> Result<()> {
        let end = offset.saturating_add(len);
        if self.ranges.iter().any(|bad| offset < bad.end && bad.start < end) {
            let source = io::Error::other("medium error");
            return Err(Error::io(format!("cannot {verb} {} at byte {offset:#x}", self.name), source));
        }
        Ok(())
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Disk for Faulty {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.bad.check("read", offset, buf.len() as u64)?;
        self.inner.read_at(buf, offset)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        self.inner.extent_at(offset)
    }

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        Ok(Box::new(FaultyWriter { inner: self.inner.writer(bytes)?, bad: self.bad.clone() }))
    }
}

struct FaultyWriter {
    inner: Writer,
    bad: Arc<Bad>,
}

impl DiskMut for FaultyWriter {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.bad.check("write", offset, data.len() as u64)?;
        self.inner.write_at(data, offset)
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.bad.check("write", offset, len)?;
        self.inner.zero_at(offset, len)
    }

    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.bad.check("discard", offset, len)?;
        self.inner.discard_at(offset, len)
    }

    fn flush(&self) -> Result<()> {
        self.inner.flush()
    }

    fn grow(&self, size: u64) -> Result<()> {
        self.inner.grow(size)
    }
}
