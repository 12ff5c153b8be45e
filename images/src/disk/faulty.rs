//! A disk with unreadable places, for tests of what an error reaches.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::{Disk, Extent};
use crate::{Error, Result};

/// Passes everything on, except that reads which touch one of the bad ranges fail with `Io`.
pub struct Faulty {
    inner: Arc<dyn Disk>,
    bad: Vec<Range<u64>>,
}

impl Faulty {
    /// `inner` with these byte ranges unreadable.
    pub fn new(inner: Arc<dyn Disk>, bad: Vec<Range<u64>>) -> Self {
        Self { inner, bad }
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
        let end = offset.saturating_add(buf.len() as u64);
        if self.bad.iter().any(|bad| offset < bad.end && bad.start < end) {
            let source = io::Error::other("medium error");
            return Err(Error::io(format!("cannot read {} at byte {offset:#x}", self.inner), source));
        }
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
