//! Compressed grains: how they are unpacked.

use std::cell::RefCell;

use zerocopy::FromBytes;

use super::header::Packing;
use super::layout::GrainMarker;
use crate::inflate::{Inflated, Wrapping, inflate};
use crate::unpacked::KEPT_BUFFER;
use crate::{Disk, Result, corrupt};

/// How much of a grain is read before its length is known, in bytes.
const FIRST_READ: u64 = 4096;

thread_local! {
    // Every thread keeps a buffer.
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Where a compressed grain lies in the file, and what it must be.
pub struct Place {
    /// The first byte of the marker, or of the compressed bytes if there is none.
    pub offset: u64,
    pub packing: Packing,
    /// The size of a whole grain in bytes.
    pub grain: usize,
    /// How much of the grain the extent has: less at its end.
    pub needed: usize,
    /// The grain's first sector in the extent.
    pub lba: u64,
}

impl Place {
    /// Fills `out`, which is as long as a grain; what follows the end of a short last grain is left as it is.
    pub fn unpack(&self, file: &dyn Disk, out: &mut [u8]) -> Result<()> {
        // Taken, not borrowed: the file below may be made of compressed grains, too.
        let mut packed = PACKED.take();
        let done = self.read_packed(file, &mut packed).map(|start| inflate(Wrapping::Zlib, &packed[start..], out));
        packed.shrink_to(KEPT_BUFFER);
        PACKED.set(packed);
        match done? {
            Ok(Inflated::Ended(len)) if len >= self.needed => Ok(()),
            Ok(Inflated::Ended(len)) => {
                Err(corrupt!("compressed grain", self.offset, "{len} bytes, want {}", self.needed))
            }
            Ok(Inflated::Full) => Err(corrupt!("compressed grain", self.offset, "longer than a grain")),
            Err(why) => Err(corrupt!("compressed grain", self.offset, "{why}")),
        }
    }

    /// Reads the compressed bytes, and what precedes them: how long that is.
    fn read_packed(&self, file: &dyn Disk, packed: &mut Vec<u8>) -> Result<usize> {
        let left = file.size().saturating_sub(self.offset);
        // Deflate makes nothing twice as long; QEMU has the same limit.
        let most = 2 * self.grain as u64;
        let marker = match self.packing {
            Packing::Marked => size_of::<GrainMarker>(),
            Packing::Bare => {
                packed.resize(left.min(most) as usize, 0);
                file.read_at(packed, self.offset)?;
                return Ok(0);
            }
        };
        let first = left.min(FIRST_READ) as usize;
        packed.resize(first, 0);
        file.read_at(packed, self.offset)?;
        let Ok((raw, _)) = GrainMarker::read_from_prefix(packed) else { return Err(self.past_end(file)) };
        let size = u64::from(raw.size.get());
        if size == 0 || size > most {
            return Err(corrupt!("grain marker", self.offset, "{size} compressed bytes, {most} is the most"));
        }
        self.check_lba(&raw)?;
        let len = marker as u64 + size;
        if len > left {
            return Err(self.past_end(file));
        }
        packed.resize(len as usize, 0);
        if packed.len() > first {
            file.read_at(&mut packed[first..], self.offset + first as u64)?;
        }
        Ok(marker)
    }

    fn check_lba(&self, marker: &GrainMarker) -> Result<()> {
        let (found, want) = (marker.lba.get(), self.lba);
        if found != want {
            return Err(corrupt!("grain marker", self.offset, "it is of sector {found:#x}, want {want:#x}"));
        }
        Ok(())
    }

    fn past_end(&self, file: &dyn Disk) -> crate::Error {
        let size = file.size();
        corrupt!("compressed grain", self.offset, "past the end of the file at byte {size:#x}: truncated?")
    }
}
