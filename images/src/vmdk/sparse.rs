//! One sparse extent as a disk: grains of its file, of the parent, and zeros.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::compressed::Place;
use super::header::{Header, Packing};
use super::layout::SECTOR;
use super::mapping::{Mapping, Run, Tables};
use crate::cache::TABLE_PAGE;
use crate::disk::{check_range, next_number};
use crate::unpacked::Units;
use crate::{Budget, Data, Disk, Extent, Properties, Result, ResultExt, Writer, corrupt, read_only};

/// The disk that has the grains which an extent does not have.
#[derive(Clone)]
pub struct Parent {
    pub disk: Arc<dyn Disk>,
    /// Where the extent starts in it, in bytes.
    pub start: u64,
}

/// An open sparse extent.
pub struct SparseExtent {
    name: String,
    file: Arc<dyn Disk>,
    tables: Tables,
    /// By which the cache of grains knows it.
    number: u64,
    units: Arc<Units>,
    parent: Option<Parent>,
}

impl SparseExtent {
    /// The extent in `file`.
    pub fn new(name: String, file: Arc<dyn Disk>, header: Header, parent: Option<Parent>, budget: &Budget) -> Self {
        if header.unclean {
            log::warn!("{file}: was not closed by its writer; what was written last may be missing");
        }
        let tables = Tables::new(Arc::new(budget.tables(file.clone(), TABLE_PAGE)), header);
        Self { name, file, tables, number: next_number(), units: budget.units(), parent }
    }

    fn run_at(&self, offset: u64, want: u64) -> Result<Run> {
        self.tables.run_at(offset, want).within(self)
    }

    /// The parent and the offset in it, if `offset` is not past its end.
    fn parent_at(&self, offset: u64) -> Option<(&dyn Disk, u64)> {
        let Parent { disk, start } = self.parent.as_ref()?;
        let at = start.checked_add(offset).filter(|at| *at < disk.size())?;
        Some((&**disk, at))
    }

    /// Reads what the parent has at `offset`; past its end, and without one, there are zeros.
    fn read_parent(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let Some((parent, at)) = self.parent_at(offset) else {
            buf.fill(0);
            return Ok(());
        };
        let there = (parent.size() - at).min(buf.len() as u64);
        let (there, past) = buf.split_at_mut(there as usize);
        past.fill(0);
        parent.read_at(there, at)
    }

    /// Fails unless `len` bytes at `host` lie inside the file: a truncated file is an error, and no zeros.
    fn check_data(&self, host: u64, len: u64) -> Result<()> {
        match host.checked_add(len) {
            Some(end) if end <= self.file.size() => Ok(()),
            _ => {
                let size = self.file.size();
                Err(corrupt!("grain", host, "{len} bytes wanted, but the file ends at byte {size:#x}: truncated?"))
                    .within(self)
            }
        }
    }

    /// Reads from the compressed grain at byte `place` of the file, of which `buf` is the part at `offset`.
    fn read_compressed(&self, buf: &mut [u8], place: u64, packing: Packing, offset: u64) -> Result<()> {
        let Header { grain, capacity, .. } = *self.tables.header();
        let inside = offset % grain;
        let start = offset - inside;
        let at = Place {
            offset: place,
            packing,
            grain: grain as usize,
            needed: grain.min(capacity - start) as usize,
            lba: start / SECTOR,
        };
        let key = (self.number, place, at.lba);
        // Who reads a grain whole needs no copy of it, and asks for it no second time.
        if buf.len() == at.grain && self.units.get(&key).is_none() {
            return at.unpack(&*self.file, buf).within(self);
        }
        let unpack = || {
            let mut grain = vec![0; at.grain];
            at.unpack(&*self.file, &mut grain)?;
            Ok(grain)
        };
        let grain = self.units.get_or_make(key, unpack).within(self)?;
        buf.copy_from_slice(&grain[inside as usize..][..buf.len()]);
        Ok(())
    }
}

impl fmt::Display for SparseExtent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Disk for SparseExtent {
    fn size(&self) -> u64 {
        self.tables.header().capacity
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        while !buf.is_empty() {
            let run = self.run_at(offset, buf.len() as u64)?;
            let (now, rest) = buf.split_at_mut(run.len as usize);
            match run.mapping {
                Mapping::Unallocated => self.read_parent(now, offset)?,
                Mapping::Zero => now.fill(0),
                Mapping::Compressed(place, packing) => self.read_compressed(now, place, packing, offset)?,
                Mapping::Data(host) => {
                    self.check_data(host, run.len)?;
                    self.file.read_at(now, host)?;
                }
            }
            buf = rest;
            offset += run.len;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let run = self.run_at(offset, u64::MAX)?;
        let extent = match run.mapping {
            Mapping::Unallocated => match self.parent_at(offset) {
                Some((parent, at)) => parent.extent_at(at)?,
                None => Extent { len: run.len, data: Data::Hole },
            },
            Mapping::Zero => Extent { len: run.len, data: Data::Zero },
            Mapping::Data(host) => {
                self.check_data(host, 1)?;
                self.file.extent_at(host)?
            }
            Mapping::Compressed(..) => Extent { len: run.len, data: Data::Opaque },
        };
        Ok(extent.at_most(run.len))
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} is a sparse VMDK extent: those cannot be written yet"))
    }
}
