//! Encrypted sectors of a disk: decrypted in the reader's own buffer, encrypted in one of the writer.

use std::sync::{Arc, PoisonError, RwLock};

use super::cipher::{Cipher, IV_UNIT};
use super::mode::MAX_SECTOR;
use crate::length::{at_most, in_memory, remainder};
use crate::{Disk, DiskMut, Result, Writer, read_only};

/// How much is encrypted at a time, in bytes: a multiple of every sector.
const BATCH: usize = 256 << 10;

/// Consecutive sectors of a disk with one cipher.
pub(super) struct Sectors<'a> {
    /// Where they lie.
    pub(super) disk: &'a dyn Disk,
    /// The first byte of the first of them.
    pub(super) at: u64,
    /// Its number for the initialisation vector, in units of 512 bytes.
    pub(super) first: u64,
    /// What encrypts them.
    pub(super) cipher: &'a Cipher,
}

impl Sectors<'_> {
    /// Fills `buf` from the byte `inside`, counted from the start of the first sector. The sectors in which that range
    /// begins and ends must lie on the disk as a whole: only so can they be decrypted.
    pub(super) fn read_at(&self, mut buf: &mut [u8], mut inside: u64) -> Result<()> {
        let sector = self.cipher.sector_size();
        while !buf.is_empty() {
            let skip = remainder(inside, sector);
            let whole = buf.len() / sector * sector;
            let now;
            if skip == 0 && whole > 0 {
                (now, buf) = buf.split_at_mut(whole);
                self.read_whole(now, inside)?;
            } else {
                (now, buf) = buf.split_at_mut(buf.len().min(sector - skip));
                self.read_part(now, inside - skip as u64, skip)?;
            }
            inside += now.len() as u64;
        }
        Ok(())
    }

    /// Reads a part of the sector at `inside`, from its byte `skip`.
    fn read_part(&self, buf: &mut [u8], inside: u64, skip: usize) -> Result<()> {
        let mut whole = [0; MAX_SECTOR];
        let sector = &mut whole[..self.cipher.sector_size()];
        self.read_whole(sector, inside)?;
        buf.copy_from_slice(&sector[skip..][..buf.len()]);
        Ok(())
    }

    fn read_whole(&self, buf: &mut [u8], inside: u64) -> Result<()> {
        self.disk.read_at(buf, self.at + inside)?;
        self.cipher.decrypt(buf, self.first.wrapping_add(inside / IV_UNIT));
        Ok(())
    }
}

/// Writes encrypted sectors of a disk. Offsets count from the first sector.
pub(super) struct SectorWriter {
    /// Where they lie: what a sector has that is written in part.
    pub(super) disk: Arc<dyn Disk>,
    /// As [`Sectors`] has them.
    pub(super) at: u64,
    pub(super) first: u64,
    pub(super) cipher: Arc<Cipher>,
    /// Of all sectors that are written, as a whole.
    pub(super) writer: Writer,
    /// Held alone for a part of a sector.
    pub(super) edges: Arc<RwLock<()>>,
}

impl SectorWriter {
    /// Encrypts whole sectors, `len` bytes of them, of which `fill` makes each part from the byte that it is given.
    fn write_whole(&self, inside: u64, len: u64, fill: impl Fn(&mut [u8], u64)) -> Result<()> {
        let mut batch = vec![0; at_most(len, BATCH)];
        let mut done = 0;
        while done < len {
            let now = at_most(len - done, BATCH);
            let batch = &mut batch[..now];
            fill(batch, done);
            self.cipher.encrypt(batch, self.first.wrapping_add((inside + done) / IV_UNIT));
            self.writer.write_at(batch, self.at + inside + done)?;
            done += now as u64;
        }
        Ok(())
    }

    /// Writes `len` bytes at `inside`, which `fill` makes.
    fn write(&self, inside: u64, len: u64, fill: impl Fn(&mut [u8], u64)) -> Result<()> {
        let sector = self.cipher.sector_size() as u64;
        let mut done = 0;
        while done < len {
            let (at, left) = (inside + done, len - done);
            let skip = at % sector;
            let now = if skip == 0 && left >= sector {
                let _shared = self.edges.read().unwrap_or_else(PoisonError::into_inner);
                let whole = left - left % sector;
                self.write_whole(at, whole, |buf, from| fill(buf, done + from))?;
                whole
            } else {
                let _alone = self.edges.write().unwrap_or_else(PoisonError::into_inner);
                let part = left.min(sector - skip);
                let mut old = vec![0; self.cipher.sector_size()];
                let sectors = Sectors { disk: &*self.disk, at: self.at, first: self.first, cipher: &self.cipher };
                sectors.read_at(&mut old, at - skip)?;
                fill(&mut old[in_memory(skip)..][..in_memory(part)], done);
                self.write_whole(at - skip, sector, |buf, _| buf.copy_from_slice(&old))?;
                part
            };
            done += now;
        }
        Ok(())
    }
}

impl DiskMut for SectorWriter {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        let part = |buf: &mut [u8], from: u64| buf.copy_from_slice(&data[in_memory(from)..][..buf.len()]);
        self.write(offset, data.len() as u64, part)
    }

    /// Zeros are written: what the disk below has in a hole is noise here.
    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.write(offset, len, |buf, _| buf.fill(0))
    }

    /// Nothing: the space below would read as noise.
    fn discard_at(&self, _: u64, _: u64) -> Result<()> {
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.writer.flush()
    }

    fn grow(&self, _: u64) -> Result<()> {
        Err(read_only!("an encrypted volume has the size of what it lies in"))
    }
}
