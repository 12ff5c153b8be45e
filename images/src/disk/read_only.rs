//! A disk that is never written, whatever it is made of, and the reason.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::{Disk, Extent, Properties, Writer};
use crate::{Error, Result};

/// Another disk, without its writer.
pub struct ReadOnly {
    inner: Arc<dyn Disk>,
    why: String,
}

impl ReadOnly {
    /// `inner`, which is not written because of `why`, a sentence that names it. What cannot be written anyway says its own
    /// reason.
    pub fn new(inner: Arc<dyn Disk>, why: impl Into<String>) -> Self {
        Self { inner, why: why.into() }
    }
}

impl fmt::Display for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Disk for ReadOnly {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.inner.read_at(buf, offset)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        self.inner.extent_at(offset)
    }

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        drop(self.inner.writer(bytes.start..bytes.start)?);
        Err(Error::ReadOnly(self.why.clone()))
    }
}
