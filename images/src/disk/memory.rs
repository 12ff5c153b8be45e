//! A disk in memory: for tests, and for small things that are made rather than read.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::claim::{Claim, Claims};
use super::{Data, Disk, DiskMut, Extent, Properties, Writer, check_range};
use crate::{Error, Result};

/// A disk whose bytes are held in memory.
pub struct Memory {
    shared: Arc<Shared>,
}

/// What the disk and its writer have in common.
struct Shared {
    name: String,
    /// As many as there are `bytes`.
    size: AtomicU64,
    bytes: RwLock<Vec<u8>>,
    claims: Claims,
}

impl Memory {
    /// A disk of these bytes.
    pub fn new(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        let size = AtomicU64::new(bytes.len() as u64);
        let (name, bytes, claims) = (name.into(), RwLock::new(bytes), Claims::default());
        Self { shared: Arc::new(Shared { name, size, bytes, claims }) }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shared.name)
    }
}

impl Disk for Memory {
    fn size(&self) -> u64 {
        self.shared.size.load(Ordering::Acquire)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        let bytes = self.shared.bytes.read().unwrap_or_else(PoisonError::into_inner);
        buf.copy_from_slice(&bytes[offset as usize..][..buf.len()]);
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        Ok(Extent { len: self.size() - offset, data: Data::Opaque })
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        let claim = self.shared.claims.take(self, bytes)?;
        Ok(Box::new(MemoryWriter { shared: self.shared.clone(), claim }))
    }
}

struct MemoryWriter {
    shared: Arc<Shared>,
    claim: Claim,
}

impl MemoryWriter {
    /// Changes `len` bytes at `offset`.
    fn change(&self, offset: u64, len: u64, change: impl FnOnce(&mut [u8])) -> Result<()> {
        let mut bytes = self.shared.bytes.write().unwrap_or_else(PoisonError::into_inner);
        self.claim.check(&self.shared.name, bytes.len() as u64, offset, len)?;
        change(&mut bytes[offset as usize..][..len as usize]);
        Ok(())
    }
}

impl DiskMut for MemoryWriter {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.change(offset, data.len() as u64, |bytes| bytes.copy_from_slice(data))
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.change(offset, len, |bytes| bytes.fill(0))
    }

    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.zero_at(offset, len)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn grow(&self, size: u64) -> Result<()> {
        let name = &self.shared.name;
        self.claim.check_end(name)?;
        let mut bytes = self.shared.bytes.write().unwrap_or_else(PoisonError::into_inner);
        if size > bytes.len() as u64 {
            let more = usize::try_from(size).unwrap_or(usize::MAX) - bytes.len();
            if bytes.try_reserve_exact(more).is_err() {
                return Err(Error::Memory(format!("{name}: no memory for {size} bytes")));
            }
            let all = bytes.len() + more;
            bytes.resize(all, 0);
            self.shared.size.store(size, Ordering::Release);
        }
        Ok(())
    }
}
