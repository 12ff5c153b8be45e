//! What the tools here do not write: sectors that could not be read, offsets of 32 bits, very many chunks.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use images::disk::{Counting, check_range};
use images::{Data, Disk, Extent, Properties, Result, Writer, read_only};

use crate::check::*;
use crate::made::*;
use crate::tools::*;

/// An image that is put together from sections.
struct Builder(Vec<u8>);

impl Builder {
    fn new() -> Self {
        Self(b"EVF\x09\x0d\x0a\xff\0\x01\x01\0\0\0".to_vec())
    }

    /// A section with this data, and `hole` more bytes that are not in memory.
    fn section(&mut self, kind: &str, data: &[u8], hole: u64) {
        let start = self.0.len();
        let next = if kind == "done" { start as u64 } else { start as u64 + 76 + data.len() as u64 + hole };
        let mut descriptor = vec![0; 72];
        descriptor[..kind.len()].copy_from_slice(kind.as_bytes());
        descriptor[16..24].copy_from_slice(&next.to_le_bytes());
        self.0.extend(&descriptor);
        self.0.extend(adler32(&descriptor).to_le_bytes());
        self.0.extend(data);
    }

    fn volume(&mut self, chunks: u64, sectors_per_chunk: u32, sectors: u64) {
        let mut data = vec![1, 0, 0, 0];
        data.extend((chunks as u32).to_le_bytes());
        data.extend(sectors_per_chunk.to_le_bytes());
        data.extend(512u32.to_le_bytes());
        data.extend(sectors.to_le_bytes());
        data.resize(1048, 0);
        data.extend(adler32(&data).to_le_bytes());
        self.section("volume", &data, 0);
    }
}

fn table(entries: &[u32], base: u64) -> Vec<u8> {
    let mut data = (entries.len() as u32).to_le_bytes().to_vec();
    data.extend([0; 4]);
    data.extend(base.to_le_bytes());
    data.extend([0; 4]);
    data.extend(adler32(&data).to_le_bytes());
    let entries: Vec<u8> = entries.iter().flat_map(|entry| entry.to_le_bytes()).collect();
    let sum = adler32(&entries);
    data.extend(entries);
    data.extend(sum.to_le_bytes());
    data
}

/// The bytes of `before`, a hole, the bytes of `after`; the hole has `pattern` at each of these places.
struct Sparse {
    before: Vec<u8>,
    hole: u64,
    places: Vec<(u64, Vec<u8>)>,
    after: Vec<u8>,
}

impl fmt::Display for Sparse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sparse")
    }
}

impl Disk for Sparse {
    fn size(&self) -> u64 {
        self.before.len() as u64 + self.hole + self.after.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        buf.fill(0);
        let parts = [(0, &self.before), (self.before.len() as u64 + self.hole, &self.after)];
        let places = self.places.iter().map(|(at, bytes)| (*at, bytes));
        for (at, bytes) in parts.into_iter().chain(places) {
            let (from, to) = (offset.max(at), (offset + buf.len() as u64).min(at + bytes.len() as u64));
            if from < to {
                let part = &bytes[(from - at) as usize..(to - at) as usize];
                buf[(from - offset) as usize..][..part.len()].copy_from_slice(part);
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        Ok(Extent { len: self.size() - offset, data: Data::Opaque })
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} is made up"))
    }
}

/// EnCase 6.7 wrote sections of more than 2 GiB whose entries use the topmost bit for the offset.
#[test]
fn offsets_that_pass_two_gibibytes() {
    const CHUNK: u64 = 16 << 20;
    const CHUNKS: u64 = 200;
    let mut image = Builder::new();
    image.volume(CHUNKS, 32768, CHUNKS * 32768);
    let data = image.0.len() as u64 + 76;
    let hole = CHUNKS * (CHUNK + 4);
    image.section("sectors", &[], hole);
    let offsets: Vec<u64> = (0..CHUNKS).map(|index| data + index * (CHUNK + 4)).collect();
    // Each chunk is zeros but for its number at its end.
    let mut places = Vec::new();
    let mut chunk = vec![0; CHUNK as usize];
    for index in [0, 1, 126, 127, 128, 129, 198, 199] {
        chunk[CHUNK as usize - 8..].copy_from_slice(&(index as u64).to_le_bytes());
        let end = [&chunk[CHUNK as usize - 8..], &adler32(&chunk).to_le_bytes()].concat();
        places.push((offsets[index] + CHUNK - 8, end));
    }
    let before = std::mem::take(&mut image.0);
    let entries: Vec<u32> = offsets.iter().map(|offset| *offset as u32).collect();
    // What follows is built at its place.
    let mut after = Builder(Vec::new());
    let start = before.len() as u64 + hole;
    for kind in ["table", "table2", "done"] {
        let data = if kind == "done" { Vec::new() } else { table(&entries, 0) };
        let at = start + after.0.len() as u64;
        let mut descriptor = vec![0; 72];
        descriptor[..kind.len()].copy_from_slice(kind.as_bytes());
        descriptor[16..24].copy_from_slice(&(at + 76 + data.len() as u64).to_le_bytes());
        after.0.extend(&descriptor);
        after.0.extend(adler32(&descriptor).to_le_bytes());
        after.0.extend(data);
    }
    let file = Arc::new(Sparse { before, hole, places, after: after.0 });
    assert!(file.size() > 3 << 30);
    let disk = opened("ewf", file).unwrap();
    assert_eq!(disk.size(), CHUNKS * CHUNK);
    for index in [0u64, 1, 126, 127, 128, 129, 198, 199] {
        let found = read(&*disk, (index + 1) * CHUNK - 8, 8);
        assert_eq!(u64::from_le_bytes(found.try_into().unwrap()), index, "chunk {index}");
    }
}

/// EnCase 1 put the chunks behind the entries of the table and their checksum; the last one may be filled up.
#[test]
fn chunks_in_the_section_of_the_table() {
    let want = patterned(62, (32 << 10) + 512 * 9);
    for filled in [false, true] {
        let mut image = Builder::new();
        image.volume(2, 64, 64 + 9);
        let start = image.0.len() as u32 + 76 + 24 + 2 * 4 + 4;
        let mut data = table(&[start, start + (32 << 10) + 4], 0);
        for chunk in want.chunks(32 << 10) {
            let mut chunk = chunk.to_vec();
            chunk.resize(if filled { 32 << 10 } else { chunk.len() }, 0);
            data.extend(&chunk);
            data.extend(adler32(&chunk).to_le_bytes());
        }
        image.section("table", &data, 0);
        image.section("done", &[], 0);
        let open = |image: &[u8]| opened("ewf", Arc::new(images::disk::Memory::new("m", image.to_vec()))).unwrap();
        reads(&open(&image.0), &want);
        // The checksum behind the entries is compared too.
        image.0[start as usize - 1] ^= 1;
        let error = open(&image.0).read_at(&mut [0], 0).unwrap_err().to_string();
        assert!(error.contains("checksum of its entries"), "{error}");
    }
}

/// Opening reads no entries, and a read those of one table.
#[test]
fn tables_are_read_when_they_are_needed() {
    const CHUNK: u64 = 32 << 10;
    const PER_TABLE: u64 = 65_536;
    let mut zeros = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut zeros, &[0; CHUNK as usize]).unwrap();
    let zeros = zeros.finish().unwrap();
    let mut image = Builder::new();
    image.volume(4 * PER_TABLE, 64, 4 * PER_TABLE * 64);
    let at = image.0.len() as u32 + 76;
    image.section("sectors", &zeros, 0);
    let entries = table(&vec![at | 1 << 31; PER_TABLE as usize], 0);
    for _ in 0..4 {
        image.section("table", &entries, 0);
        image.section("table2", &entries, 0);
    }
    image.section("done", &[], 0);
    let file = Arc::new(Counting::new(Arc::new(images::disk::Memory::new("m", image.0))));
    let disk = opened("ewf", file.clone()).unwrap();
    let (reads, bytes) = file.take();
    assert!(reads <= 16 && bytes < 8192, "{reads} reads of {bytes} bytes to open");
    assert_eq!(read(&*disk, disk.size() - 100, 100), [0; 100]);
    let (_, bytes) = file.take();
    assert!(bytes < 300 << 10, "{bytes} bytes for a table and a chunk");
    assert_eq!(read(&*disk, disk.size() - 40_000, 100), [0; 100]);
    assert!(file.take().1 < 40 << 10);
}

#[test]
fn sectors_that_could_not_be_read_are_counted() {
    let want = patterned(61, 200 << 10);
    let folder = acquire(&want, "-c fast");
    let image = folder.read("image.E01");
    let (done, _) = section(&image, "done");
    let mut built = Builder(image[..done].to_vec());
    let mut data = 2u32.to_le_bytes().to_vec();
    data.resize(516, 0);
    data.extend(adler32(&data).to_le_bytes());
    let entries: Vec<u8> = [3u32, 5, 100, 2].iter().flat_map(|number| number.to_le_bytes()).collect();
    data.extend(&entries);
    data.extend(adler32(&entries).to_le_bytes());
    built.section("error2", &data, 0);
    built.section("done", &[], 0);
    folder.write("image.E01", &built.0);
    // As the writer left them: the MD5 is of those bytes.
    reads(&folder.open("image.E01"), &want);
    let layers = images::info(&folder.path("image.E01"), &images::Options::default()).unwrap();
    assert_eq!(layers[0].description.specific["unreadable-sectors"], 7);
    let mut wrong = built.0;
    let (error2, _) = section(&wrong, "error2");
    wrong[error2 + 76..error2 + 80].copy_from_slice(&[0xff; 4]);
    repair(&mut wrong);
    folder.write("image.E01", &wrong);
    let error = folder.try_open("image.E01", None).err().unwrap().to_string();
    assert!(error.contains("EWF error2") && error.contains("4294967295 entries in"), "{error}");
}
