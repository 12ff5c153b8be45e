//! Disks of blocks that lie anywhere in a file: what the formats with a block map have in common.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use zerocopy::{FromBytes, IntoBytes};

use crate::cache::TABLE_PAGE;
use crate::disk::{Cached, check_range};
use crate::{Budget, Data, Disk, Extent, Properties, Result, ResultExt, Writer, corrupt, read_only};

/// Our limit of the work of one call of `extent_at`: so many entries of tables are looked at while a run grows.
const MAX_STEPS: usize = 4096;

/// What a format's tables say about a byte of the guest's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Nothing: the parent's byte, else zero.
    Parent,
    /// Zero, whatever the parent has.
    Zero,
    /// The byte at this offset of the file.
    Data(u64),
    /// A byte that only [`Map::unpack`] can make.
    Packed,
}

/// Consecutive bytes of the guest's disk with one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The length in bytes, at least 1; may reach past the end of the disk.
    pub len: u64,
    /// What its first byte is mapped to; for `Data` the others follow.
    pub mapping: Mapping,
}

impl Run {
    /// Appends `next` if it continues this run.
    fn join(&mut self, next: Self) -> bool {
        let joins = match (self.mapping, next.mapping) {
            (Mapping::Parent, Mapping::Parent) | (Mapping::Zero, Mapping::Zero) => true,
            (Mapping::Data(at), Mapping::Data(next)) => at.checked_add(self.len) == Some(next),
            _ => false,
        };
        match self.len.checked_add(next.len) {
            Some(len) if joins => self.len = len,
            _ => return false,
        }
        true
    }
}

/// A format's tables.
pub trait Map: Send + Sync {
    /// The mapping at `offset` (bytes), which lies inside the disk, and how far it surely holds: to the end of the
    /// block, say. Neighbours with one mapping are joined by the caller.
    fn run_at(&self, offset: u64) -> Result<Run>;

    /// Fills `buf` from `offset` (bytes), where all of it is one run of [`Mapping::Packed`].
    fn unpack(&self, _buf: &mut [u8], offset: u64) -> Result<()> {
        Err(corrupt!("block", offset, "compressed, which this format does not have"))
    }
}

/// A disk of blocks: a format's map, the file that the blocks lie in, and the disk below.
pub struct Blocks {
    /// Where the blocks lie.
    pub file: Arc<dyn Disk>,
    /// The disk that has what this one has not; it may be shorter.
    pub parent: Option<Arc<dyn Disk>>,
    /// The size of the guest's disk in bytes.
    pub size: u64,
    /// The logical sector size in bytes, where the format records one.
    pub sector_size: Option<u32>,
    /// Where which block lies.
    pub map: Box<dyn Map>,
}

impl Blocks {
    /// The mapping at `offset` and how far it holds: at most `want` bytes.
    fn run_at(&self, offset: u64, want: u64) -> Result<Run> {
        let want = want.min(self.size - offset);
        let mut run = self.map.run_at(offset).within(self)?;
        for _ in 1..MAX_STEPS {
            if run.len >= want || run.mapping == Mapping::Packed {
                break;
            }
            // A damaged entry is an error of the bytes behind it, not of those before.
            match self.map.run_at(offset + run.len) {
                Ok(next) if run.join(next) => {}
                _ => break,
            }
        }
        Ok(Run { len: run.len.min(want), ..run })
    }

    /// Reads what the parent has at `offset`; past its end, and without one, there are zeros.
    fn read_parent(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let Some(parent) = &self.parent else {
            buf.fill(0);
            return Ok(());
        };
        let there = parent.size().saturating_sub(offset).min(buf.len() as u64);
        let (there, past) = buf.split_at_mut(there as usize);
        past.fill(0);
        if there.is_empty() { Ok(()) } else { parent.read_at(there, offset) }
    }

    /// Fails unless `len` bytes at `at` lie inside the file. QEMU reads what is missing as zeros, which would turn a
    /// truncated image into silent zeros.
    fn check_inside(&self, at: u64, len: u64) -> Result<()> {
        match at.checked_add(len) {
            Some(end) if end <= self.file.size() => Ok(()),
            _ => {
                let size = self.file.size();
                Err(corrupt!("block", at, "{len} bytes wanted, but the file ends at byte {size:#x}: truncated?"))
                    .within(self)
            }
        }
    }
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl Disk for Blocks {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        while !buf.is_empty() {
            let run = self.run_at(offset, buf.len() as u64)?;
            let (now, rest) = buf.split_at_mut(run.len as usize);
            match run.mapping {
                Mapping::Parent => self.read_parent(now, offset)?,
                Mapping::Zero => now.fill(0),
                Mapping::Data(at) => {
                    self.check_inside(at, run.len)?;
                    self.file.read_at(now, at)?;
                }
                Mapping::Packed => self.map.unpack(now, offset).within(self)?,
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
            Mapping::Parent => match &self.parent {
                Some(parent) if offset < parent.size() => parent.extent_at(offset)?,
                _ => Extent { len: run.len, data: Data::Hole },
            },
            Mapping::Zero => Extent { len: run.len, data: Data::Zero },
            Mapping::Data(at) => {
                self.check_inside(at, 1)?;
                self.file.extent_at(at)?
            }
            Mapping::Packed => Extent { len: run.len, data: Data::Opaque },
        };
        Ok(extent.at_most(run.len))
    }

    fn properties(&self) -> Properties {
        Properties { sector_size: self.sector_size, ..Properties::default() }
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} is an image of a format that cannot be written yet"))
    }
}

/// The file as tables are read from it: in pages that are kept, within the bound of all images.
pub fn tables(file: Arc<dyn Disk>, budget: &Budget) -> Cached {
    budget.tables(file, TABLE_PAGE)
}

/// Reads bytes of a structure; what lies past the end of the file is `Corrupt` under the structure's name.
pub fn read(file: &dyn Disk, what: &str, buf: &mut [u8], at: u64) -> Result<()> {
    match at.checked_add(buf.len() as u64) {
        Some(end) if end <= file.size() => file.read_at(buf, at),
        _ => Err(corrupt!(what, at, "lies past the end of the file at byte {:#x}: truncated?", file.size())),
    }
}

/// Reads a whole structure of a `layout`, as [`read`] does.
pub fn structure<T: FromBytes + IntoBytes>(file: &dyn Disk, what: &str, at: u64) -> Result<T> {
    let mut value = T::new_zeroed();
    read(file, what, value.as_mut_bytes(), at)?;
    Ok(value)
}

/// Fails unless a table of `entries` entries of `entry_size` bytes at `at` lies inside the file.
pub fn check_table(file: &dyn Disk, what: &str, at: u64, entries: u64, entry_size: u64) -> Result<()> {
    match entries.checked_mul(entry_size).and_then(|len| at.checked_add(len)) {
        Some(end) if end <= file.size() => Ok(()),
        _ => {
            let size = file.size();
            Err(corrupt!(what, at, "{entries} entries, which reach past the end of the file at byte {size:#x}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Counting, Memory};

    /// Blocks of 16 bytes.
    struct Fixed(Vec<Mapping>);

    impl Map for Fixed {
        fn run_at(&self, offset: u64) -> Result<Run> {
            let inside = offset % 16;
            let mapping = match self.0[(offset / 16) as usize] {
                Mapping::Data(at) => Mapping::Data(at.wrapping_add(inside)),
                other => other,
            };
            Ok(Run { len: 16 - inside, mapping })
        }
    }

    fn disk(map: Vec<Mapping>, size: u64) -> (Arc<Counting>, Blocks) {
        let file = Arc::new(Counting::new(Arc::new(Memory::new("m", (0..=255).collect()))));
        let parent: Arc<dyn Disk> = Arc::new(Memory::new("p", vec![7; 20]));
        let blocks =
            Blocks { file: file.clone(), parent: Some(parent), size, sector_size: None, map: Box::new(Fixed(map)) };
        (file, blocks)
    }

    #[test]
    fn neighbours_are_one_read_and_one_extent() {
        use Mapping::*;
        let (file, disk) = disk(vec![Parent, Parent, Zero, Data(32), Data(48), Data(64), Data(0), Zero], 120);
        let mut buf = [1; 120];
        disk.read_at(&mut buf, 0).unwrap();
        let mut want = vec![7; 20];
        want.resize(48, 0);
        want.extend(32..80);
        want.extend(0..16);
        want.resize(120, 0);
        assert_eq!(buf.to_vec(), want);
        assert_eq!(file.take(), (2, 64));
        let lens: Vec<_> = [0, 20, 32, 48, 50, 96, 112].map(|at| disk.extent_at(at).unwrap().len).into();
        assert_eq!(lens, [20, 12, 16, 48, 46, 16, 8], "the parent ends inside the second block");
        assert!(disk.read_at(&mut buf, 1).is_err() && disk.extent_at(120).is_err());
    }

    #[test]
    fn data_past_the_end_of_the_file_is_an_error() {
        let (_, disk) = disk(vec![Mapping::Data(250), Mapping::Data(u64::MAX)], 32);
        let mut buf = [0; 6];
        disk.read_at(&mut buf, 0).unwrap();
        let error = disk.read_at(&mut buf, 1).unwrap_err().to_string();
        assert_eq!(error, "m: block at byte 0xfb: 6 bytes wanted, but the file ends at byte 0x100: truncated?");
        assert!(disk.read_at(&mut buf, 16).is_err());
    }
}
