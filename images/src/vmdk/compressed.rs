//! Compressed grains: how they are unpacked.

use std::cell::RefCell;
use std::sync::Arc;

use zerocopy::FromBytes;

use super::header::{Header, Packing};
use super::layout::{GrainMarker, SECTOR};
use crate::disk::next_number;
use crate::inflate::{Inflated, Wrapping, inflate};
use crate::length::in_memory;
use crate::unpacked::{KEPT_BUFFER, Units};
use crate::{Budget, Disk, Result, corrupt};

/// How much of a grain is read before its length is known, in bytes.
const FIRST_READ: u64 = 4096;

thread_local! {
    // Every thread keeps a buffer.
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The compressed grains of an extent.
pub struct Compressed {
    file: Arc<dyn Disk>,
    packing: Packing,
    /// The size of a whole grain, and of the extent, in bytes.
    grain: u64,
    capacity: u64,
    /// By which the cache of grains knows the extent.
    number: u64,
    units: Arc<Units>,
}

/// Where a compressed grain lies in the file, and what it must be.
struct Place {
    /// The first byte of the marker, or of the compressed bytes if there is none.
    offset: u64,
    /// How much of the grain the extent has, in bytes: less at its end.
    needed: u64,
    /// The grain's first sector in the extent.
    lba: u64,
}

impl Compressed {
    /// Those of the extent in `file`.
    pub fn new(file: Arc<dyn Disk>, packing: Packing, header: &Header, budget: &Budget) -> Self {
        let Header { grain, capacity, .. } = *header;
        Self { file, packing, grain, capacity, number: next_number(), units: budget.units() }
    }

    /// Fills `buf` from byte `offset` of the extent, all of it in the grain at byte `place` of the file.
    pub fn read_at(&self, place: u64, buf: &mut [u8], offset: u64) -> Result<()> {
        let inside = offset % self.grain;
        let start = offset - inside;
        let at = Place { offset: place, needed: self.grain.min(self.capacity - start), lba: start / SECTOR };
        // Below 2 MiB.
        let (len, inside) = (in_memory(self.grain), in_memory(inside));
        self.units.read((self.number, place, at.lba), len, buf, inside, |grain| self.unpack(&at, grain))
    }

    /// Fills `out`, which is as long as a grain; what follows the end of a short last grain is left as it is.
    fn unpack(&self, at: &Place, out: &mut [u8]) -> Result<()> {
        // Taken, not borrowed: the file below may be made of compressed grains, too.
        let mut packed = PACKED.take();
        let done = self.read_packed(at, &mut packed).map(|start| inflate(Wrapping::Zlib, &packed[start..], out));
        packed.shrink_to(KEPT_BUFFER);
        PACKED.set(packed);
        match done? {
            Ok(Inflated::Ended(len)) if len as u64 >= at.needed => Ok(()),
            Ok(Inflated::Ended(len)) => Err(corrupt!("compressed grain", at.offset, "{len} bytes, want {}", at.needed)),
            Ok(Inflated::Full) => Err(corrupt!("compressed grain", at.offset, "longer than a grain")),
            Err(why) => Err(corrupt!("compressed grain", at.offset, "{why}")),
        }
    }

    /// Reads the compressed bytes, and what precedes them: how long that is.
    fn read_packed(&self, at: &Place, packed: &mut Vec<u8>) -> Result<usize> {
        let left = self.file.size().saturating_sub(at.offset);
        // Deflate makes nothing twice as long; QEMU has the same limit.
        let most = 2 * self.grain;
        let marker = match self.packing {
            Packing::Marked => size_of::<GrainMarker>(),
            Packing::Bare => {
                packed.resize(in_memory(left.min(most)), 0);
                self.file.read_at(packed, at.offset)?;
                return Ok(0);
            }
        };
        let first = in_memory(left.min(FIRST_READ));
        packed.resize(first, 0);
        self.file.read_at(packed, at.offset)?;
        let Ok((raw, _)) = GrainMarker::read_from_prefix(packed) else { return Err(self.past_end(at)) };
        let size = u64::from(raw.size.get());
        if size == 0 || size > most {
            return Err(corrupt!("grain marker", at.offset, "{size} compressed bytes, {most} is the most"));
        }
        let found = raw.lba.get();
        if found != at.lba {
            return Err(corrupt!("grain marker", at.offset, "it is of sector {found:#x}, want {:#x}", at.lba));
        }
        let len = marker as u64 + size;
        if len > left {
            return Err(self.past_end(at));
        }
        packed.resize(in_memory(len), 0);
        if packed.len() > first {
            self.file.read_at(&mut packed[first..], at.offset + first as u64)?;
        }
        Ok(marker)
    }

    fn past_end(&self, at: &Place) -> crate::Error {
        let size = self.file.size();
        corrupt!("compressed grain", at.offset, "past the end of the file at byte {size:#x}: truncated?")
    }
}
