//! The sections of all segments, read in order: what the image is, where its tables lie, and the hashes it stores.

use std::ops::Range;

use zerocopy::{FromBytes, IntoBytes};

use super::layout::*;
use super::table::Table;
use crate::length::at_most;
use crate::{Disk, Reservation, Result, corrupt, structure, unsupported};

/// Our limit of the sections of an image: three for each table.
const MAX_SECTIONS: usize = 1 << 20;
/// Our limit of the tables of an image: of the smallest that EnCase wrote, 16375 chunks of 32 KiB, for 128 TiB.
const MAX_TABLES: usize = 1 << 18;
/// What is kept of a table.
const TABLE_MEMORY: u64 = 2 * size_of::<Table>() as u64 + 256;
/// Our limit of a chunk, in bytes: 32768 sectors of 512 bytes, the most that libewf writes.
const MAX_CHUNK: u64 = 16 << 20;
/// Our limit of the ranges of unreadable sectors that are looked at.
const MAX_ERRORS: u32 = 1 << 16;

/// The shape of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The size of the disk in bytes; less than 2^63.
    pub size: u64,
    /// The size of a chunk in bytes, at most [`MAX_CHUNK`]; not 0.
    pub chunk: u64,
    /// The size of a sector in bytes.
    pub sector: u32,
}

/// What ends a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The image has another segment.
    Next,
    /// The image is complete.
    Done,
}

/// What the sections say, those of the segments that were read so far.
#[derive(Default)]
pub struct Sections {
    pub geometry: Option<Geometry>,
    pub tables: Vec<Table>,
    /// The MD5 of the disk as the section `hash` has it, and as the section `digest` has it.
    pub md5: [Option<[u8; 16]>; 2],
    pub sha1: Option<[u8; 20]>,
    /// How many sectors could not be read when the image was made, and in how many ranges.
    pub unreadable: (u64, u64),
    count: usize,
    /// How many chunks the tables have.
    chunks: u64,
    /// The section `sectors` that stands last in this segment: its offsets in the segment.
    data: Option<Range<u64>>,
    /// What is wrong with the last table, if its copy may still save it.
    damaged: Option<crate::Error>,
    /// Whether the last section was a table that has no copy yet.
    lacks_copy: bool,
}

/// A section: the offsets of its data in its segment.
struct Section<'a> {
    file: &'a dyn Disk,
    data: Range<u64>,
    /// The bytes after the descriptor, as far as they were read with it.
    start: &'a [u8],
}

impl Section<'_> {
    fn len(&self) -> u64 {
        self.data.end - self.data.start
    }

    /// Fills `buf` from the start of the data.
    fn read(&self, what: &str, buf: &mut [u8]) -> Result<()> {
        if buf.len() as u64 > self.len() {
            let (len, want) = (self.len(), buf.len());
            return Err(corrupt!(what, self.data.start, "{len} bytes long, want at least {want}"));
        }
        self.file.read_at(buf, self.data.start)
    }

    /// Reads a structure whose last four bytes are the checksum of the others.
    fn checked<T: FromBytes + IntoBytes>(&self, what: &str) -> Result<T> {
        let mut value = T::new_zeroed();
        self.read(what, value.as_mut_bytes())?;
        check_sum(what, value.as_mut_bytes(), self.data.start)?;
        Ok(value)
    }
}

/// Fails unless the last four bytes are the Adler-32 of those before.
pub fn check_sum(what: &str, bytes: &[u8], at: u64) -> Result<()> {
    let Some((content, stored)) = bytes.split_last_chunk() else { return Ok(()) };
    let (found, want) = (adler2::adler32_slice(content), u32::from_le_bytes(*stored));
    if found != want {
        return Err(corrupt!(what, at, "checksum {want:#010x}, computed is {found:#010x}"));
    }
    Ok(())
}

impl Sections {
    /// Reads the sections of the segment in `file`, which is number `segment` from 1, and starts at byte `start` of
    /// all segments put together. Each section must lie behind the one before, so this ends. `memory` grows by what the
    /// tables take.
    pub fn read(&mut self, file: &dyn Disk, segment: u32, start: u64, memory: &mut Reservation) -> Result<End> {
        const WHAT: &str = "EWF section";
        (self.data, self.lacks_copy) = (None, false);
        let mut at = size_of::<FileHeader>() as u64;
        loop {
            // With what most often follows: the header of a table.
            let mut bytes = [0; size_of::<SectionDescriptor>() + size_of::<TableHeader>()];
            let there = at_most(file.size().saturating_sub(at), bytes.len());
            let bytes = &mut bytes[..there.max(size_of::<SectionDescriptor>())];
            structure::fill(file, WHAT, bytes, at)?;
            let (descriptor, rest) = bytes.split_at(size_of::<SectionDescriptor>());
            check_sum(WHAT, descriptor, at)?;
            let Ok(descriptor) = SectionDescriptor::read_from_bytes(descriptor) else {
                return Err(corrupt!(WHAT, at, "no descriptor"));
            };
            let len = descriptor.kind.iter().position(|byte| *byte == 0).unwrap_or(descriptor.kind.len());
            let kind = &descriptor.kind[..len];
            match kind {
                b"next" => return self.finish(End::Next),
                b"done" => return self.finish(End::Done),
                _ => {}
            }
            self.count += 1;
            if self.count > MAX_SECTIONS {
                return Err(unsupported!("more than {MAX_SECTIONS} sections, which is our limit"));
            }
            let next = descriptor.next_offset.get();
            let data = at + size_of::<SectionDescriptor>() as u64;
            if next < data || next > file.size() {
                let size = file.size();
                let kind = kind.escape_ascii();
                return Err(corrupt!(
                    WHAT,
                    at,
                    "{kind}, the next one is at {next:#x}, but the file has {size:#x} bytes: truncated?"
                ));
            }
            let section = Section { file, data: data..next, start: &rest[..at_most(next - data, rest.len())] };
            let before = self.tables.len();
            self.take(kind, &section, segment, start)?;
            // A list that grows takes up to twice what it holds; a table that is damaged keeps its error.
            memory.grow((self.tables.len() - before) as u64 * TABLE_MEMORY, "the tables of an EWF image")?;
            at = next;
        }
    }

    fn take(&mut self, kind: &[u8], section: &Section<'_>, segment: u32, start: u64) -> Result<()> {
        if kind != b"table2" {
            self.give_up()?;
        }
        match kind {
            b"volume" | b"disk" => self.geometry = Some(volume(section)?),
            b"sectors" => self.data = Some(section.data.clone()),
            b"table" => match self.table(section, segment, start) {
                Ok(table) => {
                    self.lacks_copy = table.is_some();
                    self.add(table)?;
                }
                Err(error) => self.damaged = Some(error),
            },
            b"table2" => self.copy(section, segment, start)?,
            b"error2" => self.errors(section)?,
            b"hash" => {
                let hash: Hash = section.checked("EWF hash")?;
                self.md5[0] = Some(hash.md5).filter(|md5| *md5 != [0; 16]);
            }
            b"digest" => {
                let digest: Digest = section.checked("EWF digest")?;
                self.md5[1] = Some(digest.md5).filter(|md5| *md5 != [0; 16]);
                self.sha1 = Some(digest.sha1).filter(|sha1| *sha1 != [0; 20]);
            }
            b"ltree" | b"ltypes" => return Err(logical()),
            b"incomplete" => {
                return Err(unsupported!("the image was not made to its end: it has an incomplete section"));
            }
            // Who made the image, when and of what; the geometry once more; the tracks of a CD.
            b"header" | b"header2" | b"xheader" | b"xhash" | b"data" | b"session" => {}
            other => log::debug!("EWF section {} is not known", other.escape_ascii()),
        }
        Ok(())
    }

    /// The table in a section, if it has entries.
    fn table(&self, section: &Section<'_>, segment: u32, start: u64) -> Result<Option<Table>> {
        const WHAT: &str = "EWF table";
        let Ok((header, _)) = TableHeader::read_from_prefix(section.start) else {
            return Err(corrupt!(WHAT, section.data.start, "{} bytes long, too short", section.len()));
        };
        check_sum(WHAT, header.as_bytes(), section.data.start)?;
        let count = header.number_of_entries.get();
        let entries = section.data.start + size_of::<TableHeader>() as u64;
        let end = match entries.checked_add(u64::from(count) * ENTRY_SIZE) {
            Some(end) if end <= section.data.end => end,
            _ => return Err(corrupt!(WHAT, section.data.start, "{count} entries in {} bytes", section.len())),
        };
        let base = header.base_offset.get();
        if base > section.file.size() {
            return Err(corrupt!(WHAT, section.data.start + 8, "it counts from {base:#x}, past the end of the file"));
        }
        // Without a section of their own the chunks follow the entries.
        let data = self.data.clone().unwrap_or(end..section.data.end);
        let data = start + data.start..start + data.end;
        let table = Table::new(segment, start, self.chunks, count, entries, base, data)
            .with_checksum(section.data.end - end >= CHECKSUM_SIZE);
        Ok(Some(table).filter(|_| count > 0))
    }

    fn add(&mut self, table: Option<Table>) -> Result<()> {
        let Some(table) = table else { return Ok(()) };
        if self.tables.len() == MAX_TABLES {
            return Err(unsupported!("more than {MAX_TABLES} tables, which is our limit"));
        }
        self.chunks += u64::from(table.count());
        self.tables.push(table);
        Ok(())
    }

    /// The copy of the table that stands before it: takes its place if that is damaged.
    fn copy(&mut self, section: &Section<'_>, segment: u32, start: u64) -> Result<()> {
        let table = self.table(section, segment, start);
        match (self.damaged.take(), table) {
            (Some(damaged), Ok(table)) => {
                log::warn!("segment {segment}: {damaged}; its copy is used");
                self.add(table)?;
            }
            (Some(damaged), Err(_)) => return Err(damaged),
            (None, Ok(Some(copy))) if self.lacks_copy => {
                if let Some(table) = self.tables.last_mut() {
                    table.set_copy(&copy);
                }
            }
            (None, Ok(_)) => {}
            (None, Err(error)) => log::warn!("segment {segment}: the copy of a table is damaged: {error}"),
        }
        self.lacks_copy = false;
        Ok(())
    }

    /// A damaged table without a copy behind it is an error.
    fn give_up(&mut self) -> Result<()> {
        self.damaged.take().map_or(Ok(()), Err)
    }

    fn finish(&mut self, end: End) -> Result<End> {
        self.give_up()?;
        Ok(end)
    }

    fn errors(&mut self, section: &Section<'_>) -> Result<()> {
        const WHAT: &str = "EWF error2";
        let header: ErrorHeader = section.checked(WHAT)?;
        let count = header.number_of_entries.get();
        let len = u64::from(count) * size_of::<ErrorEntry>() as u64;
        let at = section.data.start + size_of::<ErrorHeader>() as u64;
        if len > section.data.end.saturating_sub(at) {
            return Err(corrupt!(WHAT, section.data.start, "{count} entries in {} bytes", section.len()));
        }
        let mut sectors = 0;
        for index in 0..count.min(MAX_ERRORS) {
            let entry: ErrorEntry = structure::read(section.file, WHAT, at + u64::from(index) * 8)?;
            sectors += u64::from(entry.number_of_sectors.get());
        }
        self.unreadable = (sectors, count.into());
        Ok(())
    }

    /// How many chunks all tables have.
    pub fn chunks(&self) -> u64 {
        self.chunks
    }
}

/// The geometry in a section `volume` or `disk`, of the short or the long form.
fn volume(section: &Section<'_>) -> Result<Geometry> {
    const WHAT: &str = "EWF volume";
    let short = section.len() < LONG_VOLUME_SIZE as u64;
    let mut bytes = vec![0; if short { SHORT_VOLUME_SIZE } else { LONG_VOLUME_SIZE }];
    section.read(WHAT, &mut bytes)?;
    let at = section.data.start;
    check_sum(WHAT, &bytes, at)?;
    let Ok((raw, _)) = Volume::read_from_prefix(&bytes) else { return Err(corrupt!(WHAT, at, "too short")) };
    if raw.media_type == LOGICAL_EVIDENCE && !short {
        return Err(logical());
    }
    let sectors = match raw.number_of_sectors.get() {
        sectors if short => sectors & u64::from(u32::MAX),
        sectors => sectors,
    };
    let sector = raw.bytes_per_sector.get();
    let chunk = u64::from(raw.sectors_per_chunk.get()) * u64::from(sector);
    if chunk == 0 || !sector.is_power_of_two() {
        let per_chunk = raw.sectors_per_chunk;
        return Err(corrupt!(WHAT, at + 8, "chunks of {per_chunk} sectors of {sector} bytes"));
    }
    if chunk > MAX_CHUNK {
        return Err(unsupported!("chunks of {chunk} bytes, {MAX_CHUNK} is our limit"));
    }
    match sectors.checked_mul(sector.into()) {
        Some(size) if size <= i64::MAX as u64 => Ok(Geometry { size, chunk, sector }),
        _ => Err(corrupt!(WHAT, at + 16, "a disk of {sectors} sectors of {sector} bytes")),
    }
}

fn logical() -> crate::Error {
    unsupported!("it is a logical evidence file (files and no disk), which is not read")
}
