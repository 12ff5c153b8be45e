//! The disk inside an encrypted volume: sectors are decrypted in the reader's own buffer.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use super::cipher::Cipher;
use super::sectors::{SectorWriter, Sectors};
use crate::disk::{Parts, Run, Runs, check_claimed, check_range};
use crate::{Data, Disk, Extent, Properties, Result, Writer, corrupt, read_only, unsupported};

/// A run of the disk inside.
pub(super) struct Segment {
    /// How long it is, in bytes: whole sectors.
    pub(super) len: u64,
    /// What it holds.
    pub(super) content: Content,
}

/// What a segment holds.
pub(super) enum Content {
    /// Zeros: what lies there is the container's own.
    Zeros,
    /// Encrypted sectors.
    Sectors {
        /// Where they lie in the volume, in bytes.
        at: u64,
        /// The number of the first for the initialisation vector, in units of 512 bytes.
        first: u64,
        /// What encrypts them.
        cipher: Arc<Cipher>,
    },
}

/// The disk inside an encrypted volume.
pub(super) struct Decrypted {
    name: String,
    inner: Arc<dyn Disk>,
    /// Where each segment starts inside, in bytes.
    segments: Vec<(u64, Segment)>,
    size: u64,
    /// Held by whoever writes a part of a sector, which changes the rest of it, too; by all others it is shared.
    edges: Arc<RwLock<()>>,
}

impl Decrypted {
    /// The disk inside `inner`, made of these segments in their order. Fails if one lies outside of `inner`, is not
    /// made of whole sectors, or if there is none.
    pub(super) fn new(name: &str, inner: Arc<dyn Disk>, segments: Vec<Segment>) -> Result<Self> {
        let mut size = 0u64;
        let mut placed = Vec::with_capacity(segments.len());
        for segment in segments {
            let len = segment.len;
            let (at, sector) = match &segment.content {
                Content::Zeros => (0, 1),
                Content::Sectors { at, cipher, .. } => (*at, cipher.sector_size() as u64),
            };
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
        Ok(Self { name: name.to_owned(), inner, segments: placed, size, edges: Arc::default() })
    }

    /// The segment that the byte at `offset` lies in.
    fn segment_at(&self, offset: u64) -> usize {
        self.segments.partition_point(|(start, _)| *start <= offset).saturating_sub(1)
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
        let _whole = self.edges.read().unwrap_or_else(PoisonError::into_inner);
        let first = self.segment_at(offset);
        for (start, segment) in &self.segments[first..] {
            let inside = offset - start;
            let len = buf.len().min(usize::try_from(segment.len - inside).unwrap_or(usize::MAX));
            let (now, rest) = buf.split_at_mut(len);
            match segment.content {
                Content::Zeros => now.fill(0),
                Content::Sectors { at, first, ref cipher } => {
                    Sectors { disk: &*self.inner, at, first, cipher }.read_at(now, inside)?;
                }
            }
            buf = rest;
            offset += len as u64;
            if buf.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Opaque where it is encrypted: a hole below is ciphertext of zeros, which decrypts to noise.
    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let (start, segment) = &self.segments[self.segment_at(offset)];
        let data = match segment.content {
            Content::Zeros => Data::Zero,
            Content::Sectors { .. } => Data::Opaque,
        };
        Ok(Extent { len: segment.len - (offset - start), data })
    }

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    /// Whole sectors of the volume belong to the writer.
    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        check_claimed(self, &bytes)?;
        let (mut runs, mut writers) = (Vec::new(), Vec::new());
        let first = self.segment_at(bytes.start);
        for (start, Segment { len, content }) in &self.segments[first..] {
            let run = bytes.start.max(*start)..bytes.end.min(start + len);
            if run.is_empty() && (run.start > run.end || !writers.is_empty()) {
                break;
            }
            let Content::Sectors { at, first, cipher } = content else {
                let at = run.start;
                return Err(read_only!(
                    "{self} cannot be written at byte {at:#x}: what lies there is the container's own"
                ));
            };
            let (inside, sector) = (run.start - start, cipher.sector_size() as u64);
            let claimed = inside - inside % sector..(run.end - start).next_multiple_of(sector);
            let writer = self.inner.writer(at + claimed.start..at + claimed.end)?;
            writers.push(Box::new(SectorWriter {
                disk: self.inner.clone(),
                at: *at,
                first: *first,
                cipher: cipher.clone(),
                writer,
                edges: self.edges.clone(),
            }) as Writer);
            runs.push(Run { start: run.start, end: run.end, inside });
        }
        Ok(Box::new(Parts { name: self.name.clone(), size: self.size, bytes, layout: Runs(runs), writers }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    fn segment(at: u64, len: u64, first: u64, sector_size: usize) -> Segment {
        let cipher = cipher(sector_size);
        Segment { len, content: Content::Sectors { at, first, cipher } }
    }

    fn cipher(sector_size: usize) -> Arc<Cipher> {
        Arc::new(Cipher::new("aes-xts-plain64", &[[1; 32], [2; 32]].concat(), sector_size).unwrap())
    }

    #[test]
    fn any_range_reads_as_the_whole_does() {
        let bytes: Vec<u8> = (0..40u32 * 1024).map(|n| (n * 7 / 3) as u8).collect();
        let inner: Arc<dyn Disk> = Arc::new(Memory::new("m", bytes.clone()));
        let zeros = Segment { len: 100, content: Content::Zeros };
        let segments = vec![segment(20_480, 8192, 0, 4096), zeros, segment(512, 5 * 512, 16, 512)];
        let disk = Decrypted::new("inside", inner, segments).unwrap();
        let mut want = bytes[20_480..][..8192].to_vec();
        cipher(4096).decrypt(&mut want, 0);
        let mut second = bytes[512..][..5 * 512].to_vec();
        for (number, sector) in (16..).zip(second.chunks_mut(512)) {
            cipher(512).decrypt(sector, number);
        }
        want.resize(want.len() + 100, 0);
        want.extend(second);
        let lens: Vec<u64> = [5, 8192, 8200].map(|at| disk.extent_at(at).unwrap().len).into();
        assert_eq!(lens, [8187, 100, 92]);
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
    fn any_range_that_is_written_is_read_and_leaves_the_rest() {
        for sector in [512, 4096] {
            let inner: Arc<dyn Disk> = Arc::new(Memory::new("m", (0..64u32 << 10).map(|at| at as u8).collect()));
            let segments = vec![segment(8192, 8192, 0, sector), segment(20_480, 4 * 4096, 16, sector)];
            let disk = Decrypted::new("inside", inner.clone(), segments).unwrap();
            let mut model = vec![0; disk.size() as usize];
            disk.read_at(&mut model, 0).unwrap();
            let mut outside = vec![0; 64 << 10];
            inner.read_at(&mut outside, 0).unwrap();
            let writer = disk.writer(100..disk.size() - 100).unwrap();
            for (round, at) in (100..20_000).step_by(977).enumerate() {
                let len = [1, 511, 512, 5000, 4096, 9000][round % 6].min(model.len() - 100 - at);
                let data: Vec<u8> = (0..len).map(|at| (at * 31 + round) as u8).collect();
                match round % 4 {
                    0 => {
                        writer.zero_at(at as u64, len as u64).unwrap();
                        model[at..at + len].fill(0);
                    }
                    1 => writer.discard_at(at as u64, len as u64).unwrap(),
                    _ => {
                        writer.write_at(&data, at as u64).unwrap();
                        model[at..at + len].copy_from_slice(&data);
                    }
                }
                let mut now = vec![0; model.len()];
                disk.read_at(&mut now, 0).unwrap();
                assert!(now == model, "{sector}, {round}");
            }
            writer.flush().unwrap();
            assert!(writer.write_at(&[0], 99).is_err() && writer.grow(disk.size() + 1).is_err());
            assert!(disk.writer(0..200).is_err(), "sectors have one writer");
            let mut now = vec![0; 64 << 10];
            inner.read_at(&mut now, 0).unwrap();
            for kept in [0..8192, 16_384..20_480, 36_864..65_536] {
                assert!(now[kept.clone()] == outside[kept], "not of the volume");
            }
        }
    }

    /// A sector that is written in part is read, changed and written: nobody's bytes are lost.
    #[test]
    fn threads_share_a_sector() {
        let inner: Arc<dyn Disk> = Arc::new(Memory::new("m", vec![0; 8192]));
        let disk = Decrypted::new("inside", inner, vec![segment(0, 8192, 0, 4096)]).unwrap();
        let writer = disk.writer(0..8192).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (disk, writer) = (&disk, &writer);
                scope.spawn(move || {
                    for round in 0..200u8 {
                        writer.write_at(&[round; 1000], 100 + thread * 1000).unwrap();
                        let mut now = [0; 1000];
                        disk.read_at(&mut now, 100 + thread * 1000).unwrap();
                        assert_eq!(now, [round; 1000]);
                    }
                });
            }
        });
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
