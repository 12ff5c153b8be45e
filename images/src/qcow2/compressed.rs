//! Compressed clusters: how they are unpacked.

use std::cell::RefCell;
use std::sync::Arc;

use zstd::bulk::Decompressor;
use zstd::zstd_safe::find_frame_compressed_size;

use super::header::Compression;
use super::layout::COMPRESSED_SECTOR;
use crate::disk::next_number;
use crate::inflate::{Inflated, Wrapping, inflate};
use crate::unpacked::{KEPT_BUFFER, Units};
use crate::{Budget, Disk, Result, corrupt};

/// How many bytes came out, or what the decoder found wrong.
type Done = std::result::Result<usize, String>;

thread_local! {
    // The state of the decoder is tens of kilobytes, more than many a cluster: every thread keeps one, and a buffer.
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static ZSTD: RefCell<Decompressor<'static>> = RefCell::new(Decompressor::default());
}

/// Where a compressed cluster lies in the image file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// The first byte.
    pub offset: u64,
    /// The length in bytes up to the end of the last sector, of which the cluster need not use all.
    pub len: u64,
}

/// The compressed clusters of an image file.
pub struct Compressed {
    file: Arc<dyn Disk>,
    compression: Compression,
    cluster_size: usize,
    number: u64,
    units: Arc<Units>,
}

impl Compressed {
    /// Those in `file`, for clusters of `cluster_size` bytes.
    pub fn new(file: Arc<dyn Disk>, compression: Compression, cluster_size: usize, budget: &Budget) -> Self {
        Self { file, compression, cluster_size, number: next_number(), units: budget.units() }
    }

    /// Fills `buf` from byte `offset` of the guest's disk, all of it in the cluster at `at`.
    pub fn read_at(&self, at: Descriptor, buf: &mut [u8], offset: u64) -> Result<()> {
        // Less than a cluster.
        let inside = (offset % self.cluster_size as u64) as usize;
        let key = (self.number, at.offset, at.len);
        self.units.read(key, self.cluster_size, buf, inside, |cluster| self.unpack(at, cluster))
    }

    fn unpack(&self, at: Descriptor, cluster: &mut [u8]) -> Result<()> {
        // Taken, not borrowed: the file below may be made of compressed clusters, too.
        let mut packed = PACKED.take();
        let done = read_packed(&*self.file, at, &mut packed).map(|()| match self.compression {
            Compression::Deflate => deflated(&packed, cluster),
            Compression::Zstd => unpack_zstd(&packed, cluster),
        });
        packed.shrink_to(KEPT_BUFFER);
        PACKED.set(packed);
        match done? {
            Ok(len) if len == cluster.len() => Ok(()),
            Ok(len) => Err(corrupt!("compressed cluster", at.offset, "ends after {len} of {} bytes", cluster.len())),
            Err(why) => Err(corrupt!("compressed cluster", at.offset, "{why}")),
        }
    }
}

/// Reads the bytes of the descriptor's sectors: at most twice a cluster, by the width of its size field.
fn read_packed(file: &dyn Disk, at: Descriptor, packed: &mut Vec<u8>) -> Result<()> {
    // The file may end inside the last sector, of which not all need be used: QEMU does not pad it.
    let left = file.size().saturating_sub(at.offset);
    let missing = at.len.saturating_sub(left);
    if left == 0 || missing >= COMPRESSED_SECTOR {
        let (len, size) = (at.len, file.size());
        return Err(corrupt!(
            "compressed cluster",
            at.offset,
            "{len} bytes long, but the file ends at byte {size:#x}: truncated?"
        ));
    }
    packed.resize((at.len - missing) as usize, 0);
    file.read_at(packed, at.offset)
}

/// Raw deflate. A stream that goes on when the cluster is full is as good as one that ends there, as QEMU has it.
fn deflated(packed: &[u8], cluster: &mut [u8]) -> Done {
    Ok(match inflate(Wrapping::Raw, packed, cluster)? {
        Inflated::Ended(len) => len,
        Inflated::Full => cluster.len(),
    })
}

/// One or more zstd frames, until the cluster is full. Frames are unpacked in one go, so that no window of a size that
/// the frame chooses is ever allocated.
fn unpack_zstd(mut packed: &[u8], cluster: &mut [u8]) -> Done {
    ZSTD.with_borrow_mut(|state| {
        let mut done = 0;
        while done < cluster.len() && !packed.is_empty() {
            let len = find_frame_compressed_size(packed)
                .map_err(|code| format!("zstd frame: {}", zstd::zstd_safe::get_error_name(code)))?;
            let (frame, rest) = packed.split_at_checked(len).ok_or("zstd frame: longer than its sectors")?;
            done +=
                state.decompress_to_buffer(frame, &mut cluster[done..]).map_err(|error| format!("zstd: {error}"))?;
            packed = rest;
        }
        Ok(done)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::disk::Memory;

    const SIZE: usize = 4096;

    fn content() -> Vec<u8> {
        (0..SIZE).map(|i| (i / 7) as u8).collect()
    }

    /// Read whole, and in two parts: the same.
    fn unpack(compression: Compression, packed: &[u8]) -> Result<Vec<u8>> {
        let at = Descriptor { offset: 100, len: packed.len() as u64 };
        let file = Arc::new(Memory::new("m", [&[0xff; 100], packed].concat()));
        let (mut whole, mut parts) = (vec![1; SIZE], vec![2; SIZE]);
        let clusters = Compressed::new(file, compression, SIZE, &Budget::default());
        let read = clusters.read_at(at, &mut whole, 0);
        let (first, second) = parts.split_at_mut(SIZE / 3);
        let in_parts = clusters.read_at(at, first, 0).and_then(|()| clusters.read_at(at, second, SIZE as u64 / 3));
        assert_eq!(read.is_ok(), in_parts.is_ok());
        read.map(|()| {
            assert_eq!(whole, parts);
            whole
        })
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 3).unwrap()
    }

    #[test]
    fn what_follows_the_cluster_in_its_last_sector_is_ignored() {
        for (compression, mut packed) in
            [(Compression::Deflate, packed(&content())), (Compression::Zstd, zstd(&content()))]
        {
            packed.extend([0xa5; 300]);
            assert_eq!(unpack(compression, &packed).unwrap(), content());
        }
    }

    #[test]
    fn several_zstd_frames_make_a_cluster() {
        let packed = [zstd(&content()[..1000]), zstd(&[]), zstd(&content()[1000..])].concat();
        assert_eq!(unpack(Compression::Zstd, &packed).unwrap(), content());
    }

    #[test]
    fn too_little_and_too_much_are_errors() {
        let less = &content()[1..];
        let more = [content(), vec![1]].concat();
        assert!(unpack(Compression::Deflate, &packed(less)).is_err());
        assert!(unpack(Compression::Zstd, &zstd(less)).is_err());
        assert!(unpack(Compression::Zstd, &zstd(&more)).is_err());
        assert!(unpack(Compression::Zstd, &packed(&content())).is_err());
        assert!(unpack(Compression::Deflate, &zstd(&content())).is_err());
        assert!(unpack(Compression::Deflate, &[0; 512]).is_err());
        assert!(unpack(Compression::Zstd, &[0; 512]).is_err());
    }

    #[test]
    fn a_file_may_end_inside_the_last_sector_only() {
        let packed = packed(&content());
        let end = packed.len() as u64;
        let file = Arc::new(Memory::new("m", packed));
        let unpack = |offset, len| {
            let mut cluster = vec![0; SIZE];
            let clusters = Compressed::new(file.clone(), Compression::Deflate, SIZE, &Budget::default());
            clusters.read_at(Descriptor { offset, len }, &mut cluster, 0).map(|()| cluster)
        };
        assert_eq!(unpack(0, end + 511).unwrap(), content());
        assert!(unpack(0, end + 512).is_err());
        assert!(unpack(end, 512).is_err());
        assert!(unpack(u64::MAX, 512).is_err());
    }
}
