//! The segment type `mirror`, from before there was RAID: copies, and a log that says where they are equal.
//!
//! The log is that of Linux's `drivers/md/dm-log.c`. The first copy is the one that counts: the others are made from it.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use images::disk::{View, check_range};
use images::length::in_memory;
use images::{Data, Disk, Error, Extent, Properties, Reservation, Result, Writer, corrupt, read_only, unsupported};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::bounds::Bounds;

/// `MIRROR_MAGIC`: `MiRr`, read in the other order.
const MAGIC: u32 = 0x4d69_5272;
/// The known values of `version`: `MIRROR_DISK_VERSION`, and the one before it, which has the same layout.
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;
/// Where the bits begin: `LOG_OFFSET`, in bytes.
const BITS: u64 = 1024;
/// The most regions of a mirror whose first copy is missing. Ours: 512 KiB of bits.
const MAX_REGIONS: u64 = 4 << 20;
/// The most runs of regions that are equal, or not. Ours.
const MAX_RUNS: usize = 1 << 16;

/// `log_header_disk`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: U32,
    version: U32,
    nr_regions: U64,
}

const _: () = assert!(size_of::<Header>() == 16);

/// The mirror `name` of these copies, in order, where `None` is missing. `region_size` is in bytes.
pub fn open(
    name: &str,
    copies: Vec<Option<View>>,
    log: Option<Arc<dyn Disk>>,
    region_size: u64,
    bounds: &Bounds,
) -> Result<Arc<dyn Disk>> {
    let missing = |why: &str| {
        let why = std::io::Error::new(std::io::ErrorKind::NotFound, why);
        Error::io(format!("{name}: the first copy of the mirror is missing"), why)
    };
    let mut copies = copies.into_iter();
    if let Some(Some(first)) = copies.next() {
        return Ok(Arc::new(first));
    }
    let Some(copy) = copies.flatten().next() else { return Err(missing("so are all others, add their disks with -a")) };
    let Some(log) = log else {
        return Err(missing("and nothing says which parts of the others are equal, add its disk with -a"));
    };
    let equal = Equal::read(name, &*log, copy.size(), region_size, bounds)?;
    log::warn!("{name}: the first copy of the mirror is missing, another one is read");
    Ok(Arc::new(Copy { copy, equal }))
}

/// A copy that is read in place of the first one, where they are equal.
struct Copy {
    copy: View,
    equal: Equal,
}

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.copy.fmt(f)
    }
}

impl Disk for Copy {
    fn size(&self) -> u64 {
        self.copy.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        if let Some(at) = self.equal.first_difference(offset, buf.len() as u64) {
            let why = "the first copy of the mirror is missing, and the others are not equal to it here";
            return Err(Error::io(format!("cannot read {self} at byte {at:#x}"), std::io::Error::other(why)));
        }
        self.copy.read_at(buf, offset)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        match self.equal.at(offset) {
            (true, left) => Ok(self.copy.extent_at(offset)?.at_most(left)),
            (false, len) => Ok(Extent { len, data: Data::Opaque }),
        }
    }

    fn properties(&self) -> Properties {
        self.copy.properties()
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} is a mirror without its first copy: it cannot be written"))
    }
}

/// Where copies are equal: up to which byte they are or are not, in turns.
struct Equal {
    runs: Vec<(bool, u64)>,
    _held: Reservation,
}

impl Equal {
    /// Whether they are at `offset`, which lies inside the mirror, and for how many bytes this holds.
    fn at(&self, offset: u64) -> (bool, u64) {
        let run = self.runs.get(self.runs.partition_point(|(_, end)| *end <= offset));
        run.map_or((false, u64::MAX), |(equal, end)| (*equal, end - offset))
    }

    /// The first of `len` bytes from `offset` at which they are not.
    fn first_difference(&self, offset: u64, len: u64) -> Option<u64> {
        let mut at = offset;
        while at < offset + len {
            let (equal, left) = self.at(at);
            if !equal {
                return Some(at);
            }
            at += left;
        }
        None
    }
}

impl Equal {
    /// What the log says of a mirror of so many bytes.
    fn read(name: &str, log: &dyn Disk, size: u64, region_size: u64, bounds: &Bounds) -> Result<Self> {
        const WHAT: &str = "log of a mirror";
        let mut header = [0; size_of::<Header>()];
        log.read_at(&mut header, 0)?;
        let (header, _) = Header::ref_from_prefix(&header).map_err(|_| corrupt!(WHAT, 0u32, "it is cut off"))?;
        let (magic, version) = (header.magic.get(), header.version.get());
        if magic != MAGIC || !VERSIONS.contains(&version) {
            return Err(corrupt!(
                WHAT,
                0u32,
                "magic {magic:#x}, version {version}, want {MAGIC:#x}, {}",
                VERSIONS.end()
            ));
        }
        let Some(regions) =
            size.checked_next_multiple_of(region_size.max(1)).and_then(|end| end.checked_div(region_size))
        else {
            return Err(corrupt!(WHAT, 0u32, "regions of {region_size} bytes"));
        };
        if regions > MAX_REGIONS {
            return Err(unsupported!("{name}: {regions} regions in the log of a mirror, want at most {MAX_REGIONS}"));
        }
        if header.nr_regions.get() < regions {
            return Err(corrupt!(WHAT, 0u32, "{} regions, want {regions}", header.nr_regions));
        }
        // Going through the bits takes longer than reading them.
        bounds.count(log, regions)?;
        let mut bits = vec![0; in_memory(regions.div_ceil(8))];
        log.read_at(&mut bits, BITS)?;
        let mut runs: Vec<(bool, u64)> = Vec::new();
        for region in 0..regions {
            let equal = bits.get(in_memory(region / 8)).is_some_and(|byte| byte >> (region % 8) & 1 != 0);
            // The last region may be cut.
            let end = (region + 1).saturating_mul(region_size).min(size);
            if let Some(last) = runs.last_mut().filter(|last| last.0 == equal) {
                last.1 = end;
            } else if runs.len() == MAX_RUNS {
                return Err(unsupported!("{name}: more than {MAX_RUNS} parts in which the copies are equal, or not"));
            } else {
                runs.push((equal, end));
            }
        }
        runs.shrink_to_fit();
        let held = bounds
            .budget
            .take(size_of_val(&*runs) as u64, format_args!("{name}: the parts in which its copies are equal"))?;
        Ok(Self { runs, _held: held })
    }
}

#[cfg(test)]
mod tests {
    use images::Budget;
    use images::disk::Memory;

    use super::*;

    fn bounds() -> Arc<Bounds> {
        Bounds::new(&Budget::default())
    }

    /// A log of regions, whose bits are these.
    fn log(regions: u64, bits: &[u8]) -> Arc<dyn Disk> {
        let mut bytes = vec![0; 2048];
        bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[4] = 2;
        bytes[8..16].copy_from_slice(&regions.to_le_bytes());
        bytes[1024..1024 + bits.len()].copy_from_slice(bits);
        Arc::new(Memory::new("log", bytes))
    }

    fn copy(byte: u8) -> Option<View> {
        View::new("copy", Arc::new(Memory::new("copy", vec![byte; 1000])), 0, 1000).ok()
    }

    #[test]
    fn the_first_copy_counts() {
        let mirror = open("vg/m", vec![copy(1), copy(2)], None, 100, &bounds()).unwrap();
        let mut bytes = [0; 1000];
        mirror.read_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, [1; 1000]);
    }

    #[test]
    fn another_copy_is_read_where_the_log_says_that_it_is_equal() {
        let mirror =
            open("vg/m", vec![None, None, copy(3)], Some(log(10, &[0b1110_0111, 0b11])), 100, &bounds()).unwrap();
        for region in 0..10 {
            let mut bytes = [0; 100];
            let read = mirror.read_at(&mut bytes, region * 100);
            if matches!(region, 3 | 4) {
                assert!(read.unwrap_err().to_string().contains("the others are not equal to it here"));
            } else {
                read.unwrap();
                assert_eq!(bytes, [3; 100]);
            }
        }
        assert_eq!(mirror.size(), 1000);
    }

    #[test]
    fn without_a_sound_log_nothing_is_known() {
        let why = |copies, log, region| {
            open("vg/m", copies, log, region, &bounds()).map(|_| ()).expect_err("nothing to read").to_string()
        };
        let other = || vec![None, copy(3)];
        assert!(why(other(), None, 100).contains("nothing says which parts of the others are equal"));
        assert!(why(vec![None, None], Some(log(10, &[255, 3])), 100).contains("so are all others"));
        assert!(why(other(), Some(log(9, &[255, 3])), 100).contains("9 regions, want 10"));
        assert!(why(other(), Some(log(10, &[255, 3])), 0).contains("regions of 0 bytes"));
        let wiped: Arc<dyn Disk> = Arc::new(Memory::new("log", vec![0; 2048]));
        assert!(why(other(), Some(wiped), 100).contains("magic 0x0, version 0"));
        let one_region = open("vg/m", other(), Some(log(u64::MAX, &[1])), u64::MAX, &bounds()).unwrap();
        one_region.read_at(&mut [0; 1000], 0).unwrap();
    }
}
