//! The chunks: compressed ones and others, each with its checksum, unpacked when they are read.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Decompress, FlushDecompress, Status};

use super::Image;
use super::layout::CHECKSUM_SIZE;
use super::sections::Geometry;
use super::table::{Place, Table};
use crate::block_map::{Map, Mapping, Run};
use crate::cache::TABLE_PAGE;
use crate::disk::{Cached, next_number};
use crate::length::{at_most, in_memory};
use crate::unpacked::{KEPT_BUFFER, Unit, Units};
use crate::{Budget, Disk, Reservation, Result, ResultExt, corrupt};

thread_local! {
    // The state of the decoder is tens of kilobytes, as large as a chunk: every thread keeps one, and a buffer.
    static INFLATE: RefCell<Decompress> = RefCell::new(Decompress::new(true));
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// All chunks of an image.
pub struct Chunks {
    /// All segments, one after the other.
    file: Arc<dyn Disk>,
    /// The same, for the tables.
    cached: Cached,
    /// The names of the segments.
    names: Vec<String>,
    tables: Vec<Table>,
    geometry: Geometry,
    number: u64,
    units: Arc<Units>,
    budget: Budget,
    /// What the names and the tables take.
    _memory: Reservation,
    /// The chunk that was read last, if the cache that all images share has no room for one of this size.
    large: Option<Mutex<Option<(u64, Unit)>>>,
}

impl Chunks {
    /// The chunks of `image`. Its tables have as many as the disk needs.
    pub fn new(image: Image, budget: &Budget) -> Self {
        let Image { file, names, geometry, sections, memory, .. } = image;
        let (units, cached) = (budget.units(), budget.tables(file.clone(), TABLE_PAGE));
        let large = (!units.keeps(geometry.chunk)).then(Mutex::default);
        let (number, budget, tables) = (next_number(), budget.clone(), sections.tables);
        Self { file, cached, names, tables, geometry, number, units, budget, _memory: memory, large }
    }

    /// How many bytes of the disk chunk `index` has.
    fn needed(&self, index: u64) -> usize {
        in_memory((self.geometry.size - index * self.geometry.chunk).min(self.geometry.chunk))
    }

    /// The most bytes that a chunk takes when it is stored: zlib makes incompressible bytes longer by five in 16 KiB,
    /// and by its header and checksum.
    fn most(&self) -> u64 {
        self.geometry.chunk + self.geometry.chunk / 1024 + 64
    }

    /// The chunk `index`, whole, from a cache.
    fn chunk(&self, index: u64) -> Result<Unit> {
        let make = || {
            let mut chunk = vec![0; in_memory(self.geometry.chunk)];
            self.unpack_to(&mut chunk, index)?;
            Ok(chunk)
        };
        let Some(large) = &self.large else {
            return self.units.get_or_make((self.number, index, 0), make);
        };
        let kept = large.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match kept {
            Some((kept, chunk)) if kept == index => Ok(chunk),
            _ => {
                // The one that is kept, and this one with its compressed bytes.
                let _memory = self.budget.take(3 * self.geometry.chunk, "a chunk of an EWF image")?;
                let chunk = Arc::new(make()?);
                *large.lock().unwrap_or_else(PoisonError::into_inner) = Some((index, chunk.clone()));
                Ok(chunk)
            }
        }
    }

    /// Fills `out`, which is as long as a chunk, with chunk `index`; the last chunk of the disk may be shorter.
    fn unpack_to(&self, out: &mut [u8], index: u64) -> Result<()> {
        let needed = self.needed(index);
        let at = self.tables.partition_point(|table| table.first() <= index);
        let Some(table) = at.checked_sub(1).and_then(|at| self.tables.get(at)) else {
            return Err(corrupt!("EWF table", 0u64, "no table has chunk {index}"));
        };
        let mut unpack = || {
            let inside = u32::try_from(index - table.first()).ok().filter(|inside| *inside < table.count());
            let Some(inside) = inside else {
                return Err(corrupt!("EWF table", 0u64, "no table has chunk {index}"));
            };
            let place = table.place(&*self.file, &self.cached, inside, self.most())?;
            let done = if place.compressed { self.inflate(out, &place) } else { self.copy(out, &place, needed) };
            match done? {
                Ok(len) if len >= needed => Ok(()),
                Ok(len) => Err(corrupt!("EWF chunk", place.at - table.start(), "{len} bytes, want {needed}")),
                Err(why) => Err(corrupt!("EWF chunk", place.at - table.start(), "{why}")),
            }
        };
        let segment = table.segment() as usize - 1;
        unpack().within(self.names.get(segment).map_or("segment", String::as_str))
    }

    /// How many bytes a compressed chunk has, or what is wrong with it. The checksum is part of the stream.
    fn inflate(&self, out: &mut [u8], place: &Place) -> Result<std::result::Result<usize, String>> {
        // Taken, not borrowed: a large one is not kept.
        let mut packed = PACKED.take();
        let done = self.inflate_with(&mut packed, out, place);
        packed.shrink_to(KEPT_BUFFER);
        PACKED.set(packed);
        done
    }

    fn inflate_with(
        &self,
        packed: &mut Vec<u8>,
        out: &mut [u8],
        place: &Place,
    ) -> Result<std::result::Result<usize, String>> {
        packed.resize(in_memory(place.room.min(self.most())), 0);
        self.file.read_at(packed, place.at)?;
        Ok(INFLATE.with_borrow_mut(|state| {
            state.reset(true);
            match state.decompress(packed, out, FlushDecompress::Finish) {
                Ok(Status::StreamEnd) => Ok(in_memory(state.total_out())),
                Ok(_) if state.total_out() == out.len() as u64 => Err("longer than a chunk".to_owned()),
                Ok(_) => Err("the compressed bytes end too early".to_owned()),
                Err(error) => Err(format!("zlib: {error}")),
            }
        }))
    }

    /// The same of a chunk that is not compressed, with its checksum behind it. The last one of the disk, of which
    /// `needed` bytes are wanted, is stored as long as it is, or filled up to a whole chunk.
    fn copy(&self, out: &mut [u8], place: &Place, needed: usize) -> Result<std::result::Result<usize, String>> {
        let room = at_most(place.room.saturating_sub(CHECKSUM_SIZE), out.len());
        if room < needed {
            return Ok(Ok(room));
        }
        self.file.read_at(&mut out[..room], place.at)?;
        let mut wrong = String::new();
        for len in [room, needed] {
            let mut stored = [0; size_of::<u32>()];
            self.file.read_at(&mut stored, place.at + len as u64)?;
            let (stored, computed) = (u32::from_le_bytes(stored), adler2::adler32_slice(&out[..len]));
            if stored == computed {
                return Ok(Ok(len));
            }
            wrong = format!("checksum {stored:#010x}, computed is {computed:#010x}");
            if room == needed {
                break;
            }
        }
        Ok(Err(wrong))
    }
}

impl Map for Chunks {
    const FORMAT: &'static str = "EWF";
    const BLOCK: &'static str = "chunk";

    type Packed = ();

    fn run_at(&self, offset: u64, _: u64) -> Result<Run<()>> {
        // What is in a chunk is known only when it is unpacked.
        Ok(Run { len: self.geometry.size - offset, mapping: Mapping::Packed(()) })
    }

    fn unpack(&self, (): (), mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        while !buf.is_empty() {
            let (index, inside) = (offset / self.geometry.chunk, offset % self.geometry.chunk);
            let len = at_most(self.geometry.chunk - inside, buf.len());
            let (now, rest) = buf.split_at_mut(len);
            if now.len() as u64 == self.geometry.chunk {
                match self.units.get(&(self.number, index, 0)) {
                    Some(chunk) => now.copy_from_slice(&chunk),
                    None => self.unpack_to(now, index)?,
                }
            } else {
                now.copy_from_slice(&self.chunk(index)?[in_memory(inside)..][..len]);
            }
            buf = rest;
            offset += len as u64;
        }
        Ok(())
    }
}
