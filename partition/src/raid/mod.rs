//! The disk that several legs make together: stripes, mirrors and parities, with legs missing as far as the level allows.
//!
//! This knows nothing of who wrote the array: MD and LVM say how the bytes lie, and which legs are there and up to date.

mod copies;
mod galois;
mod parity;
mod rotation;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;

use images::disk::check_range;
use images::length::remainder;
use images::{Data, Disk, Error, Extent, Properties, Result, corrupt, unsupported};

pub use rotation::{Rotation, Rotation6};

use crate::amplification;
use copies::Copies;
use parity::{Parities, Parity};

/// How many legs an array may have; MD's: so many roles fit in a superblock of version 1.
const MAX_LEGS: usize = 1920;
/// How many legs a RAID 6 may have: as many as there are different factors in its second parity.
const MAX_LEGS_OF_RAID6: usize = 255;

/// How the bytes of an array lie on its legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What the legs are to each other.
    pub level: Level,
    /// How many bytes lie on one leg before the next one's turn comes. Not asked for a [`Level::Mirror`].
    pub chunk: u64,
}

/// What the legs of an array are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// They take turns: RAID 0 of equal legs.
    Striped,
    /// All have the same content: RAID 1.
    Mirror,
    /// One parity: RAID 5. MD's RAID 4 is [`Rotation::Last`], LVM's is [`Rotation::First`].
    Raid5(Rotation),
    /// Two parities.
    Raid6(Rotation6),
    /// Stripes, of which there are copies.
    Raid10 {
        /// How many copies of a chunk follow one another on neighbouring legs.
        near: u32,
        /// How many copies of all of these there are, each a part further down the legs and on other legs.
        far: u32,
        /// Whether a far copy is in the next row of chunks, and not in another part of the legs.
        offset: bool,
        /// How many legs the far copies stay within, where these are not all legs.
        far_set: Option<u32>,
    },
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Striped => "RAID 0",
            Self::Mirror => "RAID 1",
            Self::Raid5(Rotation::First | Rotation::Last) => "RAID 4",
            Self::Raid5(_) => "RAID 5",
            Self::Raid6(_) => "RAID 6",
            Self::Raid10 { .. } => "RAID 10",
        })
    }
}

/// The array of these legs, which are disks of their data alone and of the same size. `None` is one that is missing or
/// not up to date.
///
/// Fails, and says so, if too many are missing. A leg that cannot be read at some place is as good as missing there.
/// What of the legs' size makes no whole chunk is left out; the caller cuts the array where it ends earlier.
pub fn open(name: String, layout: &Layout, legs: Vec<Option<Arc<dyn Disk>>>) -> Result<Arc<dyn Disk>> {
    let Layout { level, chunk } = *layout;
    if chunk == 0 && level != Level::Mirror {
        return Err(corrupt!(name, 0u32, "{level} with chunks of no bytes"));
    }
    if legs.len() > MAX_LEGS {
        return Err(unsupported!("{name}: an array of {} members, want at most {MAX_LEGS}", legs.len()));
    }
    let legs = Legs::new(name, legs, &level)?;
    match level {
        Level::Mirror => Ok(Arc::new(Copies::mirror(legs)?)),
        Level::Striped => Ok(Arc::new(Copies::new(legs, chunk, level, copies::Pattern::STRIPED)?)),
        Level::Raid10 { near, far, offset, far_set } => {
            let pattern = copies::Pattern::new(&legs, near, far, offset, far_set)?;
            Ok(Arc::new(Copies::new(legs, chunk, level, pattern)?))
        }
        Level::Raid5(rotation) => Ok(Arc::new(Parity::new(legs, chunk, Parities::One(rotation))?)),
        Level::Raid6(rotation) => Ok(Arc::new(Parity::new(legs, chunk, Parities::Two(rotation))?)),
    }
}

/// The legs of an array, and what the array is called.
struct Legs {
    name: String,
    legs: Vec<Option<Arc<dyn Disk>>>,
    /// How many bytes of each leg can be used: the size of the smallest.
    size: u64,
    /// Those of the array.
    properties: Properties,
}

impl Legs {
    fn new(name: String, legs: Vec<Option<Arc<dyn Disk>>>, level: &Level) -> Result<Self> {
        let Some(size) = legs.iter().flatten().map(|leg| leg.size()).min() else {
            return Err(missing(&name, level, 0, legs.len()));
        };
        // Where one cannot be read all others may be, and for a second parity once more. Also asking them for holes counts.
        let passes = if matches!(level, Level::Raid6(_)) { 2 } else { 1 };
        let each = legs.iter().flatten().map(|leg| leg.amplification());
        let reads = each.fold(0, u64::saturating_add).saturating_mul(passes);
        let amplification = amplification::bounded(&name, reads)?;
        let all = Properties::of_parts(legs.iter().flatten().map(|leg| leg.properties()));
        Ok(Self { name, legs, size, properties: Properties { amplification, ..all } })
    }

    fn len(&self) -> usize {
        self.legs.len()
    }

    fn present(&self) -> usize {
        self.legs.iter().flatten().count()
    }

    /// That there are not enough of them.
    fn too_few(&self, level: &Level) -> Error {
        missing(&self.name, level, self.present(), self.len())
    }

    /// The size of an array of so many chunks.
    fn array_size(&self, chunks: Option<u64>, chunk: u64) -> Result<u64> {
        let size = chunks.and_then(|chunks| chunks.checked_mul(chunk));
        size.ok_or_else(|| unsupported!("{}: larger than 2^64 bytes", self.name))
    }

    fn read(&self, leg: usize, buf: &mut [u8], at: u64) -> Result<()> {
        match &self.legs[leg] {
            Some(disk) => disk.read_at(buf, at),
            None => Err(Error::io(
                format!("cannot read {} at byte {at:#x} of member {leg}", self.name),
                io::Error::new(io::ErrorKind::NotFound, "the member is missing, or not up to date"),
            )),
        }
    }

    /// The extent of a leg, which may go on for longer than the array; what cannot be told is opaque for `len` bytes.
    fn extent(&self, leg: usize, at: u64, len: u64) -> Extent<'_> {
        let known = self.legs[leg].as_ref().and_then(|disk| disk.extent_at(at).ok());
        known.unwrap_or(Extent { len, data: Data::Opaque })
    }

    /// How many bytes from `at` read as zeros on all legs that are there. Of one leg it may be known already; it is not
    /// asked again, for arrays may lie on each other.
    fn zeros(&self, at: u64, known: Option<(usize, u64)>) -> u64 {
        let mut least = self.size.saturating_sub(at);
        for (leg, disk) in self.legs.iter().enumerate() {
            let Some(disk) = disk else { continue };
            if let Some((_, len)) = known.filter(|(known, _)| *known == leg) {
                least = least.min(len);
                continue;
            }
            least = match disk.extent_at(at) {
                Ok(extent) if extent.data.reads_zero() => least.min(extent.len),
                _ => return 0,
            };
        }
        least
    }
}

fn missing(name: &str, level: &Level, there: usize, of: usize) -> Error {
    let what = format!("{name}: cannot assemble {level} from {there} of {of} members");
    let why = "too many are missing or not up to date, add the disks that they are on with -a";
    Error::io(what, io::Error::new(io::ErrorKind::NotFound, why))
}

/// The least that is read on its own where a longer read failed, in bytes: the smallest sectors that disks have.
const SECTOR_SIZE: usize = 512;

/// Reads `buf` from `at` sector by sector, after reading all of it `failed`. Ends at the first sector for which nothing else
/// can stand in. Not by halves: in arrays on arrays the halves of each would multiply.
fn by_sector(
    buf: &mut [u8],
    mut at: u64,
    failed: Error,
    mut read: impl FnMut(&mut [u8], u64) -> Result<()>,
) -> Result<()> {
    let first = buf.len().min(SECTOR_SIZE - remainder(at, SECTOR_SIZE));
    if first == buf.len() {
        return Err(failed);
    }
    let (first, rest) = buf.split_at_mut(first);
    for sector in std::iter::once(first).chain(rest.chunks_mut(SECTOR_SIZE)) {
        read(sector, at)?;
        at += sector.len() as u64;
    }
    Ok(())
}

/// Cuts a read into parts that end where chunks end: each is given its part of the buffer and where it begins.
fn by_chunk(
    disk: &dyn Disk,
    chunk: u64,
    mut buf: &mut [u8],
    mut offset: u64,
    mut read: impl FnMut(&mut [u8], u64) -> Result<()>,
) -> Result<()> {
    check_range(disk, buf.len(), offset)?;
    while !buf.is_empty() {
        let left = chunk - offset % chunk;
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let (now, rest) = buf.split_at_mut(len);
        read(now, offset)?;
        buf = rest;
        offset += len as u64;
    }
    Ok(())
}
