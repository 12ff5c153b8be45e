//! A disk in memory: for tests, and for small things that are made rather than read.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use super::{Data, Disk, DiskMut, Extent, check_range};
use crate::Result;

/// A disk whose bytes are held in memory; the one writable disk of this crate's tests.
pub struct Memory {
    name: String,
    size: u64,
    bytes: RwLock<Vec<u8>>,
}

impl Memory {
    /// A disk of these bytes.
    pub fn new(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), size: bytes.len() as u64, bytes: RwLock::new(bytes) }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Disk for Memory {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        buf.copy_from_slice(&bytes[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        Ok(Extent { len: self.size - offset, data: Data::Opaque })
    }

    fn writer(&self) -> Result<&dyn DiskMut> {
        Ok(self)
    }
}

impl DiskMut for Memory {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        check_range(self, data.len(), offset)?;
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        bytes[offset as usize..][..data.len()].copy_from_slice(data);
        Ok(())
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        check_range(self, len, offset)?;
        let mut bytes = self.bytes.write().unwrap_or_else(PoisonError::into_inner);
        bytes[offset as usize..][..len].fill(0);
        Ok(())
    }

    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.zero_at(offset, len)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
