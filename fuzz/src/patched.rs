//! A seed with the fuzzer's changes, as a disk.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use images::disk::check_range;
use images::{Data, Disk, Extent, Properties, Result, Writer, read_only};

/// The granularity in which seeds are looked at for something to change, in bytes.
const CHUNK: usize = 128;
/// How many changes an input can make.
const MOST_CHANGES: usize = 64;

/// The images of one target, in the order of their names.
pub struct Seeds(Vec<Seed>);

struct Seed {
    name: String,
    bytes: Arc<[u8]>,
    /// The chunks that hold more than one value repeated: structures rather than holes and the content of files.
    chunks: Vec<u32>,
}

impl Seeds {
    /// Reads the folder `seeds/NAME` that `seeds.sh` made.
    pub fn load(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
        let list = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}: run seeds.sh", folder.display()));
        let mut paths: Vec<_> = list.map(|entry| entry.expect("the folder is readable").path()).collect();
        paths.sort();
        assert!(!paths.is_empty(), "{} is empty: run seeds.sh", folder.display());
        // The first run loads them, and all further ones keep them: each is counted twice, for it is copied when it is there.
        let size = |path: &std::path::PathBuf| fs::metadata(path).map_or(0, |seed| seed.len());
        crate::bounds::kept(paths.iter().map(|path| 2 * size(path) as usize).sum());
        Self(paths.iter().map(|path| Seed::new(path)).collect())
    }

    /// The seed that `input` chooses, with the changes that follow in it.
    ///
    /// One byte for the seed, one for where it is cut off (0: nowhere), then changes: where (chunk, byte), how (width,
    /// byte order, set or xor or add), and the value.
    pub fn patched(&self, input: &[u8]) -> Option<Patched> {
        let (&[which, cut], mut rest) = input.split_first_chunk()?;
        let seed = &self.0[usize::from(which) % self.0.len()];
        let size = match u64::from(cut) {
            0 => seed.bytes.len() as u64,
            cut => seed.bytes.len() as u64 * cut / 256,
        };
        crate::bounds::stored(seed.bytes.len() as u64);
        let mut patched = Patched { name: seed.name.clone(), bytes: seed.bytes.clone(), size, changes: Vec::new() };
        while let Some((&[low, high, inside, how], tail)) = rest.split_first_chunk()
            && patched.changes.len() < MOST_CHANGES
        {
            let width = 1 << (how & 3);
            let Some((value, tail)) = tail.split_at_checked(width) else { break };
            rest = tail;
            let chunk = seed.chunks[usize::from(u16::from_le_bytes([low, high])) % seed.chunks.len()];
            let at = u64::from(chunk) * CHUNK as u64 + u64::from(inside) % CHUNK as u64;
            let mut new = [0; 8];
            new[..width].copy_from_slice(value);
            if how & 4 != 0 {
                new[..width].reverse();
            }
            patched.change(at, &new[..width], how >> 3 & 3);
        }
        Some(patched)
    }
}

impl Seed {
    fn new(path: &Path) -> Self {
        let bytes: Arc<[u8]> = fs::read(path).expect("a seed is readable").into();
        let differs = |chunk: &[u8]| chunk.iter().any(|byte| *byte != chunk[0]);
        let chunks: Vec<u32> =
            (0..).zip(bytes.chunks(CHUNK)).filter(|(_, chunk)| differs(chunk)).map(|(index, _)| index).collect();
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        assert!(!chunks.is_empty(), "{name} is a seed of nothing");
        Self { name, bytes, chunks }
    }
}

/// A seed with changes.
pub struct Patched {
    name: String,
    bytes: Arc<[u8]>,
    size: u64,
    changes: Vec<(u64, Vec<u8>)>,
}

impl Patched {
    /// The name of the seed.
    pub fn seed(&self) -> &str {
        &self.name
    }

    /// The bytes at `at`, if they lie inside.
    pub fn get(&self, at: u64, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.read_at(&mut bytes, at).ok().map(|()| bytes)
    }

    /// Puts `bytes` at `at`, as far as they lie inside.
    pub fn set(&mut self, at: u64, bytes: &[u8]) {
        self.changes.push((at, bytes.to_vec()));
    }

    /// The whole blocks of `size` bytes that were changed: where each begins, and what it was in the seed.
    pub fn changed_blocks(&self, size: u64) -> Vec<(u64, &[u8])> {
        let mut starts: Vec<u64> = self.changes.iter().map(|(at, _)| at - at % size).collect();
        starts.sort_unstable();
        starts.dedup();
        let whole = |at: u64| self.bytes.get(at as usize..)?.get(..size as usize).map(|block| (at, block));
        starts.into_iter().filter_map(whole).collect()
    }

    fn change(&mut self, at: u64, value: &[u8], how: u8) {
        let Some(old) = self.get(at, value.len()) else { return };
        let new: Vec<u8> = match how {
            2 => old.iter().zip(value).map(|(old, value)| old ^ value).collect(),
            3 => old.iter().zip(value).map(|(old, value)| old.wrapping_add(*value)).collect(),
            _ => value.to_vec(),
        };
        self.set(at, &new);
    }
}

impl fmt::Display for Patched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Disk for Patched {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        crate::bounds::read(buf.len() as u64);
        buf.copy_from_slice(&self.bytes[offset as usize..][..buf.len()]);
        let end = offset + buf.len() as u64;
        for (at, bytes) in &self.changes {
            let (from, to) = (offset.max(*at), end.min(at + bytes.len() as u64));
            if from < to {
                let new = &bytes[(from - at) as usize..(to - at) as usize];
                buf[(from - offset) as usize..(to - offset) as usize].copy_from_slice(new);
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        Ok(Extent { len: self.size - offset, data: Data::Opaque })
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} is a seed"))
    }
}
