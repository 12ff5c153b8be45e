//! The FAT and the directories as they are now: what the disk holds, and over it what was changed and not yet written.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use images::disk::{Cached, check_range};
use images::{Disk, Extent, Properties, Result, Writer, read_only};

use crate::length::in_memory;

/// What is kept of a change, in bytes: the smallest sector, which a disk writes whole or not at all.
pub const SECTOR: u64 = 512;

/// One sector.
pub type Sector = [u8; SECTOR as usize];

/// A disk under changes that nobody has written yet. Empty where nothing is ever changed.
pub struct Pending {
    below: Cached,
    /// By where they begin, in bytes.
    sectors: RwLock<BTreeMap<u64, Box<Sector>>>,
}

impl Pending {
    pub fn new(below: Cached) -> Self {
        Self { below, sectors: RwLock::default() }
    }

    /// What the disk holds.
    pub fn below(&self) -> &Cached {
        &self.below
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<u64, Box<Sector>>> {
        self.sectors.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<u64, Box<Sector>>> {
        self.sectors.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes bytes. Fails if what lies around them cannot be read.
    pub fn put(&self, bytes: &[u8], at: u64) -> Result<()> {
        let mut sectors = self.write();
        let (mut rest, mut at) = (bytes, at);
        while !rest.is_empty() {
            let (start, inside) = (at - at % SECTOR, in_memory(at % SECTOR));
            let sector = match sectors.entry(start) {
                Entry::Occupied(sector) => sector.into_mut(),
                Entry::Vacant(vacant) => {
                    let mut sector = Box::new([0; SECTOR as usize]);
                    self.below.read_at(&mut *sector, start)?;
                    vacant.insert(sector)
                }
            };
            let (now, later) = rest.split_at(rest.len().min(sector.len() - inside));
            sector[inside..inside + now.len()].copy_from_slice(now);
            (rest, at) = (later, at + now.len() as u64);
        }
        Ok(())
    }

    /// The sectors that begin in these bytes and have changed.
    pub fn changed(&self, bytes: Range<u64>) -> Vec<(u64, Box<Sector>)> {
        self.read().range(bytes).map(|(at, sector)| (*at, sector.clone())).collect()
    }

    /// Forgets the changes of these bytes, whole sectors.
    pub fn forget(&self, bytes: Range<u64>) {
        let mut sectors = self.write();
        if sectors.is_empty() {
            return;
        }
        let gone: Vec<u64> = sectors.range(bytes).map(|(at, _)| *at).collect();
        gone.iter().for_each(|at| drop(sectors.remove(at)));
    }

    /// How many sectors have changed.
    pub fn count(&self) -> usize {
        self.read().len()
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.below.fmt(f)
    }
}

impl Disk for Pending {
    fn size(&self) -> u64 {
        self.below.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        let sectors = self.read();
        self.below.read_at(buf, offset)?;
        if sectors.is_empty() || buf.is_empty() {
            return Ok(());
        }
        let end = offset + buf.len() as u64;
        let around = (Bound::Included(offset - offset % SECTOR), Bound::Excluded(end));
        for (at, sector) in sectors.range::<u64, _>(around) {
            let (start, stop) = (offset.max(*at), end.min(at + SECTOR));
            let target = &mut buf[(start - offset) as usize..(stop - offset) as usize];
            target.copy_from_slice(&sector[(start - at) as usize..(stop - at) as usize]);
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        self.below.extent_at(offset)
    }

    fn properties(&self) -> Properties {
        self.below.properties()
    }

    /// None: who writes changes this with `put`, and the disk below in the order that a cut of the power may find.
    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("the metadata of {self} is written by its driver"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use images::disk::Memory;

    use super::*;

    #[test]
    fn changes_lie_over_the_disk() {
        let pending = Pending::new(Cached::new(Arc::new(Memory::new("m", vec![1; 4096])), 4096, 1 << 20));
        pending.put(&[2; 600], 500).unwrap();
        let mut seen = [0; 4096];
        pending.read_at(&mut seen, 0).unwrap();
        assert!(seen.iter().enumerate().all(|(at, byte)| *byte == 1 + u8::from((500..1100).contains(&at))));
        pending.read_at(&mut seen[..4], 1098).unwrap();
        assert_eq!(seen[..4], [2, 2, 1, 1]);
        assert_eq!((pending.count(), pending.changed(512..1536).len()), (3, 2));
        pending.forget(512..1024);
        pending.read_at(&mut seen[..2], 511).unwrap();
        assert_eq!(seen[..2], [2, 1]);
        assert!(pending.put(&[0], 4096).is_err());
    }
}
