//! The log of a VHDX file: writes of metadata that a crash kept from their places, replayed in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use zerocopy::{FromBytes, IntoBytes};

use super::header::{Header, check_sum};
use super::layout::*;
use crate::disk::{Concat, Overlay, Piece, Replacement, View};
use crate::{Budget, Disk, Result, corrupt, structure, unsupported};

const WHAT: &str = "VHDX log";

/// Our limit of a log that is replayed, in bytes; Hyper-V and QEMU make logs of 1 MiB.
const MAX_LOG: u32 = 16 << 20;
/// Our limit of what replaying looks at, in bytes: entries that overlap could ask for much more than the log has.
const MAX_CHECKED: u64 = 256 << 20;
/// Our limit of the sectors that zero descriptors replace: 64 MiB.
const MAX_ZEROED: u64 = 16384;
/// What is kept of a sector that is replaced, beside its bytes.
const ZEROED_MEMORY: u64 = 64;

/// The file as it is once its log is replayed; `file` itself if there is nothing to replay.
pub fn replay(file: Arc<dyn Disk>, header: &Header, budget: &Budget) -> Result<Arc<dyn Disk>> {
    if header.log_guid.is_nil() {
        return Ok(file);
    }
    let (at, length) = (header.log_offset, header.log_length);
    if length == 0 || u64::from(length) % MIB != 0 || at % MIB != 0 || at < MIB {
        return Err(corrupt!(WHAT, at, "{length} bytes long, want multiples of 1 MiB"));
    }
    if length > MAX_LOG {
        return Err(unsupported!(
            "the VHDX file was not closed and has a log of {length} bytes, {MAX_LOG} is the most"
        ));
    }
    // The log itself and, of its entries and of the sectors in them, at most as much again.
    let mut memory =
        budget.take(3 * u64::from(length) + MAX_ZEROED * ZEROED_MEMORY, "replaying the log of a VHDX file")?;
    let mut bytes = vec![0; length as usize];
    structure::fill(&*file, WHAT, &mut bytes, at)?;
    let log = Log { bytes, at, header };
    let Some(sequence) = log.active_sequence()? else {
        // A writer that crashed before its first entry leaves the file as it was.
        log::warn!("{file}: not closed properly, but its log is empty: what is read may not fit together");
        return Ok(file);
    };
    log::info!("{file}: not closed properly, {} entries of its log are replayed in memory", sequence.len());
    let mut sectors = BTreeMap::new();
    let mut end = file.size();
    let mut zeroed = 0;
    for entry in &sequence {
        let (flushed, last) = (entry.header.flushed_file_offset.get(), entry.header.last_file_offset.get());
        if flushed > file.size() {
            return Err(corrupt!(WHAT, at, "the file had {flushed} bytes, and has {}: truncated?", file.size()));
        }
        end = end.max(last);
        log.apply(entry, &mut sectors, &mut zeroed)?;
    }
    let after = sectors.last_key_value().map_or(0, |(sector, _)| sector.saturating_add(1).saturating_mul(LOG_SECTOR));
    let end = end.max(after);
    if end > i64::MAX as u64 {
        return Err(corrupt!(WHAT, at, "makes the file {end} bytes long"));
    }
    let (name, size) = (file.to_string(), file.size());
    let whole: Arc<dyn Disk> = match end - size {
        0 => file,
        more => {
            let view = View::new(name.clone(), file, 0, size)?;
            Arc::new(Concat::new(name, [Piece::View(view), Piece::Hole(more)])?)
        }
    };
    let kept = sectors.len() as u64 * (LOG_SECTOR + ZEROED_MEMORY);
    memory.shrink(memory.bytes().saturating_sub(kept));
    Ok(Arc::new(Overlay::new(whole, LOG_SECTOR_SIZE, sectors).holding(memory)))
}

/// The bytes of a log, a ring of sectors.
struct Log<'a> {
    bytes: Vec<u8>,
    /// Where it lies in the file.
    at: u64,
    header: &'a Header,
}

/// A sound entry.
struct Entry {
    header: LogEntryHeader,
    /// All of it, in one piece.
    bytes: Vec<u8>,
    /// Where it starts in the log, in bytes.
    start: usize,
}

impl Log<'_> {
    /// The entries to replay, oldest first: those from the tail to the head, which is the entry with the highest
    /// sequence number of those whose tail leads to it (2.3.2).
    fn active_sequence(&self) -> Result<Option<Vec<Entry>>> {
        let mut checked = 0;
        let mut heads: Vec<(u64, usize)> = Vec::new();
        for start in (0..self.bytes.len()).step_by(LOG_SECTOR_SIZE as usize) {
            if let Some(entry) = self.entry_at(start, &mut checked)? {
                heads.push((entry.header.sequence_number.get(), start));
            }
        }
        heads.sort_unstable();
        for (_, start) in heads.into_iter().rev() {
            let Some(head) = self.entry_at(start, &mut checked)? else { continue };
            if let Some(sequence) = self.sequence_to(head, &mut checked)? {
                return Ok(Some(sequence));
            }
        }
        Ok(None)
    }

    /// The entries from the tail that `head` names to `head` itself, if they follow each other.
    fn sequence_to(&self, head: Entry, checked: &mut u64) -> Result<Option<Vec<Entry>>> {
        let mut entries = Vec::new();
        let mut start = head.header.tail.get() as usize;
        let mut expected = None;
        let mut total = 0;
        while start != head.start {
            let Some(entry) = self.entry_at(start, checked)? else { return Ok(None) };
            let number = entry.header.sequence_number.get();
            total += entry.bytes.len();
            if expected.is_some_and(|expected| expected != number) || total > self.bytes.len() {
                return Ok(None);
            }
            expected = number.checked_add(1);
            if expected.is_none() {
                return Ok(None);
            }
            start = (start + entry.bytes.len()) % self.bytes.len();
            entries.push(entry);
        }
        if expected.is_some_and(|expected| expected != head.header.sequence_number.get()) {
            return Ok(None);
        }
        entries.push(head);
        Ok(Some(entries))
    }

    /// The entry that starts at `start`, if it is sound. Fails once `checked` bytes are too many.
    fn entry_at(&self, start: usize, checked: &mut u64) -> Result<Option<Entry>> {
        let Some((header, _)) = self.bytes.get(start..).and_then(|rest| LogEntryHeader::read_from_prefix(rest).ok())
        else {
            return Ok(None);
        };
        let length = header.entry_length.get() as usize;
        let sector = LOG_SECTOR_SIZE as usize;
        let descriptors = header.descriptor_count.get() as usize;
        let fits = length >= sector
            && length <= self.bytes.len()
            && length.is_multiple_of(sector)
            && (header.tail.get() as usize).is_multiple_of(sector)
            && (header.tail.get() as usize) < self.bytes.len()
            && header.sequence_number.get() > 0
            && descriptors <= length / size_of::<LogDescriptor>();
        if header.signature != LOG_ENTRY_SIGNATURE
            || header.log_guid != self.header.log_guid.to_bytes_le()
            || !start.is_multiple_of(sector)
            || !fits
        {
            return Ok(None);
        }
        *checked += length as u64;
        if *checked > MAX_CHECKED {
            return Err(unsupported!(
                "the VHDX file was not closed and has a log that is too entangled to be replayed"
            ));
        }
        let first = &self.bytes[start..][..length.min(self.bytes.len() - start)];
        let bytes = [first, &self.bytes[..length - first.len()]].concat();
        if check_sum(&bytes, WHAT, self.at).is_err() {
            return Ok(None);
        }
        let entry = Entry { header, bytes, start };
        Ok(entry.is_whole().then_some(entry))
    }

    /// Adds what an entry writes to `sectors`, by the number of the sector in the file.
    fn apply(&self, entry: &Entry, sectors: &mut BTreeMap<u64, Replacement>, zeroed: &mut u64) -> Result<()> {
        let mut data = entry.data();
        for descriptor in entry.descriptors() {
            let at = descriptor.file_offset.get();
            if at % LOG_SECTOR != 0 {
                return Err(corrupt!(WHAT, self.at, "writes at byte {at:#x}, want a multiple of 4 KiB"));
            }
            let first = at / LOG_SECTOR;
            if descriptor.signature == LOG_DESCRIPTOR_SIGNATURE {
                let sector = data.next().expect("the entry is whole");
                let middle = &sector[8..LOG_SECTOR_SIZE as usize - 4];
                let bytes = [descriptor.leading_bytes.as_bytes(), middle, &descriptor.trailing_bytes].concat();
                sectors.insert(first, Replacement::Bytes(bytes.into()));
                continue;
            }
            let length = descriptor.leading_bytes.get();
            let count = length / LOG_SECTOR;
            *zeroed = zeroed.saturating_add(count);
            if length % LOG_SECTOR != 0 || at.checked_add(length).is_none() {
                return Err(corrupt!(WHAT, self.at, "zeroes {length} bytes at byte {at:#x}, want multiples of 4 KiB"));
            }
            if *zeroed > MAX_ZEROED {
                return Err(unsupported!("the VHDX file was not closed and its log zeroes more than 64 MiB"));
            }
            for sector in first..first + count {
                sectors.insert(sector, Replacement::Zero);
            }
        }
        Ok(())
    }
}

impl Entry {
    /// The descriptors follow the header, in whole sectors.
    fn descriptor_sectors(&self) -> usize {
        let count = self.header.descriptor_count.get() as usize;
        let bytes = size_of::<LogEntryHeader>() + count * size_of::<LogDescriptor>();
        bytes.div_ceil(LOG_SECTOR_SIZE as usize)
    }

    fn descriptors(&self) -> impl Iterator<Item = LogDescriptor> {
        self.bytes[size_of::<LogEntryHeader>()..]
            .chunks_exact(size_of::<LogDescriptor>())
            .take(self.header.descriptor_count.get() as usize)
            .map(|bytes| LogDescriptor::read_from_bytes(bytes).expect("the chunk has the structure's size"))
    }

    /// The sectors of data, one for each data descriptor.
    fn data(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(LOG_SECTOR_SIZE as usize).skip(self.descriptor_sectors())
    }

    /// Whether every descriptor and every sector of data belongs to this entry, and none is missing.
    fn is_whole(&self) -> bool {
        let number = self.header.sequence_number.get();
        let mut wanted = 0;
        for descriptor in self.descriptors() {
            match descriptor.signature {
                LOG_DESCRIPTOR_SIGNATURE => wanted += 1,
                LOG_ZERO_SIGNATURE => {}
                _ => return false,
            }
            if descriptor.sequence_number.get() != number {
                return false;
            }
        }
        let own = |sector: &[u8]| {
            let sector = LogDataSector::ref_from_bytes(sector).expect("the chunk has the structure's size");
            let stamp = u64::from(sector.sequence_high.get()) << 32 | u64::from(sector.sequence_low.get());
            sector.signature == LOG_DATA_SIGNATURE && stamp == number
        };
        self.data().take(wanted).filter(|sector| own(sector)).count() == wanted
    }
}
