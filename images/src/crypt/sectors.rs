//! Encrypted sectors of a disk, decrypted in the reader's own buffer.

use super::cipher::{Cipher, IV_UNIT};
use crate::{Disk, Result};

/// The largest sector, in bytes: dm-crypt's.
pub(super) const MAX_SECTOR: usize = 4096;

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
            let skip = (inside % sector as u64) as usize;
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
