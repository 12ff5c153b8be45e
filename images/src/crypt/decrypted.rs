//! The disk inside an encrypted volume: sectors are decrypted in the reader's own buffer.

use std::fmt;
use std::sync::Arc;

use super::cipher::Cipher;
use super::sectors::Sectors;
use crate::disk::check_range;
use crate::{Data, Disk, Extent, Result, corrupt, unsupported};

/// A run of the disk inside.
pub(super) struct Segment {
    /// Where its bytes lie in the volume.
    pub(super) at: u64,
    /// How long it is, in bytes: whole sectors.
    pub(super) len: u64,
    /// The number of its first sector for the initialisation vector, in units of 512 bytes.
    pub(super) first: u64,
    /// What encrypts it.
    pub(super) cipher: Cipher,
}

/// The disk inside an encrypted volume.
pub(super) struct Decrypted {
    name: String,
    inner: Arc<dyn Disk>,
    /// Where each segment starts inside, in bytes.
    segments: Vec<(u64, Segment)>,
    size: u64,
}

impl Decrypted {
    /// The disk inside `inner`, made of these segments in their order. Fails if one lies outside of `inner`, is not
    /// made of whole sectors, or if there is none.
    pub(super) fn new(name: &str, inner: Arc<dyn Disk>, segments: Vec<Segment>) -> Result<Self> {
        let mut size = 0u64;
        let mut placed = Vec::with_capacity(segments.len());
        for segment in segments {
            let (at, len, sector) = (segment.at, segment.len, segment.cipher.sector_size() as u64);
            if at.checked_add(len).is_none_or(|end| end > inner.size()) {
                return Err(corrupt!(
                    "encrypted data",
                    at,
                    "{len} bytes long, but {inner} ends at byte {:#x}",
                    inner.size()
                ));
            }
            if len == 0 || len % sector != 0 {
                return Err(corrupt!("encrypted data", at, "{len} bytes long, want sectors of {sector} bytes"));
            }
            placed.push((size, segment));
            size = size.checked_add(len).ok_or_else(|| corrupt!("encrypted data", at, "more than 2^64 bytes"))?;
        }
        if placed.is_empty() {
            return Err(unsupported!("{inner} holds no encrypted data"));
        }
        Ok(Self { name: name.to_owned(), inner, segments: placed, size })
    }
}

impl fmt::Display for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Disk for Decrypted {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        let first = self.segments.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        for (start, segment) in &self.segments[first..] {
            let inside = offset - start;
            let len = buf.len().min(usize::try_from(segment.len - inside).unwrap_or(usize::MAX));
            let (now, rest) = buf.split_at_mut(len);
            let Segment { at, first, ref cipher, .. } = *segment;
            Sectors { disk: &*self.inner, at, first, cipher }.read_at(now, inside)?;
            buf = rest;
            offset += len as u64;
            if buf.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Always opaque: a hole below is ciphertext of zeros, which decrypts to noise.
    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        Ok(Extent { len: self.size - offset, data: Data::Opaque })
    }

    fn sector_size(&self) -> Option<u32> {
        self.inner.sector_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    fn segment(at: u64, len: u64, first: u64, sector_size: usize) -> Segment {
        Segment {
            at,
            len,
            first,
            cipher: Cipher::new("aes-xts-plain64", &[[1; 32], [2; 32]].concat(), sector_size).unwrap(),
        }
    }

    #[test]
    fn any_range_reads_as_the_whole_does() {
        let bytes: Vec<u8> = (0..40u32 * 1024).map(|n| (n * 7 / 3) as u8).collect();
        let inner: Arc<dyn Disk> = Arc::new(Memory::new("m", bytes.clone()));
        let segments = vec![segment(20_480, 8192, 0, 4096), segment(512, 5 * 512, 16, 512)];
        let disk = Decrypted::new("inside", inner, segments).unwrap();
        let mut want = bytes[20_480..][..8192].to_vec();
        segment(0, 1, 0, 4096).cipher.decrypt(&mut want, 0);
        let mut second = bytes[512..][..5 * 512].to_vec();
        for (number, sector) in (16..).zip(second.chunks_mut(512)) {
            segment(0, 1, 0, 512).cipher.decrypt(sector, number);
        }
        want.extend(second);
        assert_eq!(disk.size(), want.len() as u64);
        for start in (0..want.len()).step_by(61) {
            for len in [1, 16, 511, 512, 513, 4096, 5000, 10_000] {
                let len = len.min(want.len() - start);
                let mut buf = vec![0; len];
                disk.read_at(&mut buf, start as u64).unwrap();
                assert!(buf == want[start..][..len], "{len} bytes at {start}");
            }
        }
        assert!(disk.read_at(&mut [0; 2], disk.size() - 1).is_err());
    }

    #[test]
    fn segments_must_be_whole_and_inside() {
        let inner: Arc<dyn Disk> = Arc::new(Memory::new("m", vec![0; 8192]));
        for bad in
            [segment(0, 0, 0, 512), segment(0, 100, 0, 512), segment(512, 8192, 0, 512), segment(u64::MAX, 512, 0, 512)]
        {
            assert!(Decrypted::new("inside", inner.clone(), vec![bad]).is_err());
        }
        assert!(Decrypted::new("inside", inner, Vec::new()).is_err());
    }
}
