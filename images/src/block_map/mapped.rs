//! The engine: a disk of blocks that a format's map finds.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::{Map, Mapping, Run};
use crate::crypt::ImageKey;
use crate::disk::check_range;
use crate::{Data, Disk, Extent, Properties, Result, ResultExt, Writer, corrupt, read_only};

/// The unit in which formats encrypt, in bytes.
const SECTOR: u64 = 512;

/// A disk of blocks: a format's map, the file that the blocks lie in, and the disk below.
pub struct Mapped<M> {
    /// What messages call it.
    pub name: String,
    /// Where the blocks lie.
    pub file: Arc<dyn Disk>,
    /// The disk that has what this one has not; it may be shorter.
    pub parent: Option<Arc<dyn Disk>>,
    /// How blocks that are not compressed are encrypted.
    pub encryption: Option<Encryption>,
    /// The size of the guest's disk in bytes.
    pub size: u64,
    /// The logical sector size in bytes, where the format records one.
    pub sector_size: Option<u32>,
    /// Where which block lies.
    pub map: M,
}

/// How blocks are encrypted.
pub struct Encryption {
    /// What decrypts them.
    pub key: ImageKey,
    /// Whether sectors are numbered by their place in the file with the blocks; otherwise by their place on the guest's
    /// disk.
    pub by_host: bool,
}

impl<M: Map> Mapped<M> {
    /// The disk of `size` bytes whose blocks lie in `file` where `map` says, under the file's name: without a parent, not
    /// encrypted, with sectors of unknown size.
    pub fn new(file: Arc<dyn Disk>, size: u64, map: M) -> Self {
        Self { name: file.to_string(), file, parent: None, encryption: None, size, sector_size: None, map }
    }

    /// The mapping at `offset` and how far it holds: at most `want` bytes.
    fn run_at(&self, offset: u64, want: u64) -> Result<Run<M::Packed>> {
        let want = want.min(self.size - offset);
        let run = self.map.run_at(offset, want).within(self)?;
        // A damaged entry is an error of the bytes behind it, not of those before.
        Ok(run.joined(want, M::STEPS, |done| self.map.run_at(offset + done, want - done).ok()))
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

    /// Reads what lies at byte `at` of the file, and at `offset` of the guest's disk.
    fn read_data(&self, buf: &mut [u8], at: u64, offset: u64) -> Result<()> {
        let len = buf.len() as u64;
        let Some(Encryption { key, by_host }) = &self.encryption else {
            self.check_inside(at, len)?;
            return self.file.read_at(buf, at);
        };
        let numbered = if *by_host { at } else { offset };
        // Only whole sectors can be decrypted.
        let inside = numbered % SECTOR;
        self.check_inside(at.saturating_sub(inside), (inside + len).next_multiple_of(SECTOR))?;
        key.read_at(&*self.file, buf, at, numbered)
    }

    /// Fails unless `len` bytes at `at` lie inside the file.
    ///
    /// QEMU reads bytes past the end of the file as zeros (`bdrv_aligned_preadv` in block/io.c), which turns a truncated
    /// image into silent zeros. The specifications know no short blocks, and `qemu-img` (10.0: convert, create with any
    /// preallocation, resize, subclusters) may end a file inside its last cluster but never before the last byte that the
    /// guest's disk has there. So a byte that is needed and is not there is an error.
    fn check_inside(&self, at: u64, len: u64) -> Result<()> {
        let (file, size) = (&self.file, self.file.size());
        match at.checked_add(len) {
            Some(end) if end <= size => Ok(()),
            _ => Err(corrupt!(M::BLOCK, at, "{len} bytes wanted, but {file} ends at byte {size:#x}: truncated?"))
                .within(self),
        }
    }
}

impl<M> fmt::Display for Mapped<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<M: Map> Disk for Mapped<M> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        while !buf.is_empty() {
            let run = self.run_at(offset, buf.len() as u64)?;
            // At most what is left of `buf`.
            let (now, rest) = buf.split_at_mut(run.len as usize);
            match run.mapping {
                Mapping::Parent => self.read_parent(now, offset)?,
                Mapping::Zero => now.fill(0),
                Mapping::Data(at) => self.read_data(now, at, offset)?,
                Mapping::Packed(packed) => self.map.unpack(packed, now, offset).within(self)?,
            }
            buf = rest;
            offset += run.len;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let run = self.run_at(offset, u64::MAX)?;
        let whole = |data| Extent { len: run.len, data };
        let extent = match run.mapping {
            Mapping::Parent => match &self.parent {
                Some(parent) if offset < parent.size() => parent.extent_at(offset)?,
                _ => whole(Data::Hole),
            },
            Mapping::Zero => whole(Data::Zero),
            Mapping::Data(at) => {
                self.check_inside(at, 1)?;
                match self.encryption {
                    None => self.file.extent_at(at)?,
                    // A hole below is ciphertext of zeros, which decrypts to noise.
                    Some(_) => whole(Data::Opaque),
                }
            }
            Mapping::Packed(_) => whole(Data::Opaque),
        };
        Ok(extent.at_most(run.len))
    }

    fn properties(&self) -> Properties {
        Properties { sector_size: self.sector_size, ..Properties::default() }
    }

    /// None: the reason of the file, if that cannot be written either.
    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        drop(self.file.writer(0..0)?);
        Err(read_only!("{self}: {} images are not written; --overlay leaves it as it is", M::FORMAT))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::disk::{Counting, Memory};

    /// Blocks of 16 bytes.
    struct Fixed(Vec<Mapping>);

    impl Map for Fixed {
        const FORMAT: &'static str = "fixed";
        const BLOCK: &'static str = "block";
        type Packed = Infallible;

        fn run_at(&self, offset: u64, _: u64) -> Result<Run> {
            let inside = offset % 16;
            let mapping = match self.0[(offset / 16) as usize] {
                Mapping::Data(at) => Mapping::Data(at.wrapping_add(inside)),
                other => other,
            };
            Ok(Run { len: 16 - inside, mapping })
        }

        fn unpack(&self, packed: Infallible, _: &mut [u8], _: u64) -> Result<()> {
            match packed {}
        }
    }

    fn disk(map: Vec<Mapping>, size: u64) -> (Arc<Counting>, Mapped<Fixed>) {
        let file = Arc::new(Counting::new(Arc::new(Memory::new("m", (0..=255).collect()))));
        let parent: Arc<dyn Disk> = Arc::new(Memory::new("p", vec![7; 20]));
        let disk = Mapped { parent: Some(parent), ..Mapped::new(file.clone(), size, Fixed(map)) };
        (file, disk)
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
        assert_eq!(error, "m: block at byte 0xfb: 6 bytes wanted, but m ends at byte 0x100: truncated?");
        assert!(disk.read_at(&mut buf, 16).is_err());
    }

    /// The sectors of an encrypted block are numbered by their place in the file, or on the guest's disk.
    #[test]
    fn encrypted_blocks_are_read_by_the_number_of_their_sectors() {
        let file: Arc<dyn Disk> = Arc::new(Memory::new("m", (0..4096).map(|at| (at * 7 / 3) as u8).collect()));
        let key = || ImageKey::legacy_aes(b"secret").unwrap();
        for by_host in [false, true] {
            // A block of 16 bytes at byte 1040 of the file, and at byte 16 of the disk.
            let disk = Mapped {
                encryption: Some(Encryption { key: key(), by_host }),
                ..Mapped::new(file.clone(), 32, Fixed(vec![Mapping::Zero, Mapping::Data(1040)]))
            };
            let mut sector = [0; 512];
            key().read_at(&*file, &mut sector, 1024, if by_host { 1024 } else { 0 }).unwrap();
            let mut now = [1; 32];
            disk.read_at(&mut now, 0).unwrap();
            assert_eq!(now, [&[0; 16], &sector[16..32]].concat()[..], "{by_host}");
            assert!(matches!(disk.extent_at(16).unwrap().data, Data::Opaque));
            let cut: Arc<dyn Disk> = Arc::new(Memory::new("cut", vec![0; 1100]));
            let cut = Mapped { file: cut, ..disk };
            assert!(cut.read_at(&mut now, 0).is_err(), "the sector is not whole");
        }
    }
}
