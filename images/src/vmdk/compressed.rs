//! Compressed grains: how they are unpacked, and the cache of those that were.

use std::cell::RefCell;
use std::sync::Arc;

use flate2::{Decompress, FlushDecompress, Status};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use zerocopy::FromBytes;

use super::header::Packing;
use super::layout::GrainMarker;
use crate::{Disk, Result, corrupt};

/// Our bound of the decompressed grains that an image keeps, in bytes.
const CACHE_BYTES: u64 = 8 << 20;
/// How much of a grain is read before its length is known, in bytes.
const FIRST_READ: u64 = 4096;

/// A whole decompressed grain.
pub type Grain = Arc<Vec<u8>>;

/// The number of an extent in its image, and the first sector of a grain in the extent.
type Key = (usize, u64);

#[derive(Clone)]
struct ByBytes;

impl Weighter<Key, Grain> for ByBytes {
    fn weight(&self, _: &Key, grain: &Grain) -> u64 {
        grain.len() as u64
    }
}

thread_local! {
    // The state of the decoder is tens of kilobytes, as large as a grain: every thread keeps one, and a buffer.
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(true));
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The decompressed grains of all extents of an image.
pub struct Grains(Cache<Key, Grain, ByBytes>);

impl Grains {
    /// An empty cache.
    pub fn new() -> Self {
        // Few items, so that the cache is not split into parts that are too small for a large grain.
        Self(Cache::with_weighter(16, CACHE_BYTES, ByBytes))
    }

    /// The grain that `at` describes, in extent `extent`. Threads that want the same one unpack it once; no lock is
    /// held meanwhile.
    pub fn grain(&self, extent: usize, file: &dyn Disk, at: &Place) -> Result<Grain> {
        self.0.get_or_insert_with(&(extent, at.lba), || {
            let mut grain = vec![0; at.grain];
            at.unpack(file, &mut grain)?;
            Ok(Arc::new(grain))
        })
    }

    /// Fills `buf`, which is as long as the grain, without keeping it: for who reads it whole.
    pub fn read_whole(&self, extent: usize, file: &dyn Disk, at: &Place, buf: &mut [u8]) -> Result<()> {
        match self.0.get(&(extent, at.lba)) {
            Some(grain) => {
                buf.copy_from_slice(&grain);
                Ok(())
            }
            None => at.unpack(file, buf),
        }
    }
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
    fn unpack(&self, file: &dyn Disk, out: &mut [u8]) -> Result<()> {
        PACKED.with_borrow_mut(|packed| {
            let start = self.read_packed(file, packed)?;
            let done = INFLATE.with_borrow_mut(|state| {
                state.reset(true);
                match state.decompress(&packed[start..], out, FlushDecompress::Finish) {
                    Ok(Status::StreamEnd) => Ok(state.total_out() as usize),
                    Ok(_) if state.total_out() as usize == out.len() => Err("longer than a grain".to_owned()),
                    Ok(_) => Err("the compressed bytes end too early".to_owned()),
                    Err(error) => Err(format!("deflate: {error}")),
                }
            });
            match done {
                Ok(len) if len >= self.needed => Ok(()),
                Ok(len) => Err(corrupt!("compressed grain", self.offset, "{len} bytes, want {}", self.needed)),
                Err(why) => Err(corrupt!("compressed grain", self.offset, "{why}")),
            }
        })
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
