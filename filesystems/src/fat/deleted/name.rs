//! The names of deleted entries: the first byte of every slot is gone, and the checksum gives that of the short name back.
//!
//! A slot is freed by overwriting its first byte: the first character of the short name, and in a part of the long name
//! its number. The parts keep their order on the disk, and each keeps the checksum of the short name (fatgen103, "Name
//! Checksum"). That sum is one-to-one in the first byte, so one byte fits; it proves that the long name belongs to the
//! entry if it is also the one with which a short name made from that long name begins.

use images::{Disk, Result};
use zerocopy::FromBytes;

use super::super::geometry::Geometry;
use super::super::layout::*;
use super::super::name::{self, LongName};
use crate::length::in_memory;

/// The most parts of a long name.
const PARTS_MAX: usize = LONG_NAME_MAX.div_ceil(LONG_PART);
/// The short name's first character, where nothing tells it.
const LOST_CHARACTER: u8 = b'_';
/// How much of a directory is read at once, in bytes.
const CHUNK: u64 = 1 << 16;
/// How much of it is lost with a bad sector.
const SECTOR: usize = 512;

/// An entry and its name, as found in a directory.
pub struct Named {
    /// Where the entry lies, in bytes.
    pub at: u64,
    pub entry: DirEntry,
    /// Whether the slot is marked as free.
    pub is_free: bool,
    pub name: String,
    /// Where the long name begins, in bytes, if it has one; it is verified.
    pub long_at: Option<u64>,
}

/// What a slot completes.
pub enum Slot {
    /// Nothing: a part of a name, or nothing of use.
    Other,
    /// An entry, in use or free, also `.`, `..` and labels.
    Entry(Box<Named>),
    /// The end of the directory.
    End,
}

/// Takes the slots of a directory in their order.
#[derive(Default)]
pub struct Slots {
    long: LongName,
    long_at: u64,
    /// The free parts of long names that came last, in the order of the disk.
    free_parts: Vec<(u64, LongDirEntry)>,
}

impl Slots {
    /// Forgets what came before, where slots are missing.
    pub fn clear(&mut self) {
        self.long.clear();
        self.free_parts.clear();
    }

    /// The slot at byte `at`.
    pub fn push(&mut self, at: u64, bytes: &[u8; SLOT_SIZE as usize]) -> Slot {
        let entry = DirEntry::read_from_bytes(bytes).expect("as long as an entry");
        let is_long = entry.attr & ATTR_LONG_NAME_MASK == ATTR_LONG_NAME;
        match (entry.name[0], is_long) {
            (FREE_TO_END, _) => return Slot::End,
            (FREE, true) => {
                self.long.clear();
                if self.free_parts.len() == PARTS_MAX {
                    self.free_parts.remove(0);
                }
                let part = LongDirEntry::read_from_bytes(bytes).expect("as long as an entry");
                self.free_parts.push((at, part));
                return Slot::Other;
            }
            (_, true) => {
                self.free_parts.clear();
                let part = LongDirEntry::read_from_bytes(bytes).expect("as long as an entry");
                if part.ord & LAST_LONG_ENTRY != 0 {
                    self.long_at = at;
                }
                self.long.push(&part, 0);
                return Slot::Other;
            }
            (FREE, false) => {
                let named = self.restore(at, entry);
                self.clear();
                return Slot::Entry(Box::new(named));
            }
            _ => {}
        }
        let mut name = String::new();
        let is_long = !name::is_dot(&entry) && self.long.take(&entry, &mut name);
        if !is_long {
            name::push_short(&entry, &mut name);
        }
        self.clear();
        Slot::Entry(Box::new(Named { at, entry, is_free: false, name, long_at: is_long.then_some(self.long_at) }))
    }

    /// A free entry, with its long name if that is proved to be its own.
    fn restore(&self, at: u64, mut entry: DirEntry) -> Named {
        if let Some((long_at, name, first)) = self.long_name(&entry) {
            entry.name[0] = first;
            return Named { at, entry, is_free: true, name, long_at: Some(long_at) };
        }
        entry.name[0] = LOST_CHARACTER;
        let mut name = String::new();
        name::push_short(&entry, &mut name);
        Named { at, entry, is_free: true, name, long_at: None }
    }

    /// Where the long name before a free entry begins, the name, and the first byte of the short name.
    fn long_name(&self, entry: &DirEntry) -> Option<(u64, String, u8)> {
        let sum = self.free_parts.last()?.1.chksum;
        let (mut units, mut long_at) = (Vec::new(), 0);
        for (at, part) in self.free_parts.iter().rev().take_while(|(_, part)| part.chksum == sum) {
            long_at = *at;
            let before = units.len();
            units.extend(part.name1.iter().chain(&part.name2).chain(&part.name3).map(|unit| unit.get()));
            // Only the last part of a name has an end in it.
            if let Some(end) = units[before..].iter().position(|unit| matches!(unit, 0 | 0xffff)) {
                units.truncate(before + end);
                break;
            }
        }
        let first = first_byte(&entry.name, sum)?;
        let name = name::from_units(&units)?;
        begins_with(&name, first).then_some((long_at, name, first))
    }
}

/// The first byte of a short name with this checksum.
fn first_byte(short: &[u8; 11], sum: u8) -> Option<u8> {
    let mut short = *short;
    (0..=u8::MAX).find(|first| {
        short[0] = *first;
        name::checksum(&short) == sum
    })
}

/// Whether a short name that is made from a long one begins with this byte: the first character that is neither a dot
/// nor a space, in upper case, or `_` for what a short name cannot hold (fatgen103, "The Basis-Name Generation
/// Algorithm").
fn begins_with(long: &str, first: u8) -> bool {
    match long.chars().find(|char| !matches!(char, '.' | ' ')) {
        Some(char) if char.is_ascii() => {
            let is_valid = char.is_ascii_alphanumeric() || "$%'-_@~`!(){}^#&".contains(char);
            first == if is_valid { char.to_ascii_uppercase() as u8 } else { b'_' }
        }
        // In a code page that nothing records.
        Some(_) => first == b'_' || first == KANJI_E5 || first >= 0x80,
        None => false,
    }
}

/// Whether what lies in a slot that is not in use can be an entry.
pub fn is_plausible(geometry: &Geometry, entry: &DirEntry) -> bool {
    let is_character = |byte: &u8| *byte >= b' ' && !b"\"*+,./:;<=>?[\\]|\x7f".contains(byte);
    let is_date = |date: u16| date == 0 || (1..=12).contains(&(date >> 5 & 15)) && date & 31 != 0;
    let first = entry.fst_clus_lo.get();
    entry.attr & 0xc0 == 0
        && entry.name[1..].iter().all(is_character)
        && [entry.wrt_date, entry.crt_date, entry.lst_acc_date].iter().all(|date| is_date(date.get()))
        && entry.wrt_time.get() >> 11 < 24
        && (geometry.clusters > u32::from(u16::MAX) || first == 0 || geometry.has(first.into()))
        && (entry.attr & ATTR_DIRECTORY == 0 || entry.file_size.get() == 0)
}

/// Whether a cluster is one of a directory after its first: entries, and then nothing but zeros.
pub fn is_directory_cluster(geometry: &Geometry, bytes: &[u8]) -> bool {
    let mut entries = 0;
    let (slots, _) = bytes.as_chunks::<{ SLOT_SIZE as usize }>();
    for (index, slot) in slots.iter().enumerate() {
        let entry = DirEntry::read_from_bytes(slot).expect("as long as an entry");
        if entry.name[0] == FREE_TO_END {
            return entries > 0 && slots[index..].iter().all(|slot| *slot == [0; SLOT_SIZE as usize]);
        }
        if entry.attr & ATTR_LONG_NAME_MASK == ATTR_LONG_NAME {
            if entry.fst_clus_lo.get() != 0 || entry.nt_res != 0 || entry.attr != ATTR_LONG_NAME {
                return false;
            }
        } else if name::is_dot(&entry) || !is_plausible(geometry, &entry) || entry.wrt_date.get() == 0 {
            return false;
        } else {
            entries += 1;
        }
    }
    entries > 0
}

/// Passes the slots of these pieces (byte and length) of a directory to `each`, until it says that this was the last.
/// What cannot be read is left out. Says whether there was an end.
pub fn each_slot(disk: &dyn Disk, pieces: &[(u64, u64)], each: &mut dyn FnMut(Slot) -> bool) -> bool {
    let mut slots = Slots::default();
    let mut buf = Vec::new();
    for &(start, len) in pieces {
        let mut at = start;
        while at < start + len {
            buf.resize(in_memory((start + len - at).min(CHUNK)), 0);
            if read_what_is_readable(disk, &mut buf, at).is_err() {
                slots.clear();
            }
            for (slot, at) in buf.as_chunks().0.iter().zip((at..).step_by(SLOT_SIZE as usize)) {
                if slot[0] == UNREAD && *slot == [UNREAD; SLOT_SIZE as usize] {
                    slots.clear();
                } else if !each(slots.push(at, slot)) {
                    return true;
                }
            }
            at += buf.len() as u64;
        }
    }
    false
}

/// What stands for bytes that cannot be read: no entry consists of it.
const UNREAD: u8 = 0xff;

/// Fills `buf` with what can be read, and [`UNREAD`] for sectors that cannot; fails if there are any.
pub fn read_what_is_readable(disk: &dyn Disk, buf: &mut [u8], at: u64) -> Result<()> {
    disk.read_at(buf, at).inspect_err(|_| {
        for (sector, at) in buf.chunks_mut(SECTOR).zip((at..).step_by(SECTOR)) {
            if disk.read_at(sector, at).is_err() {
                sector.fill(UNREAD);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_is_solved() {
        for short in [b"LONGNA~1TXT", b"\x05BC        ", b"_HIDDE~1   "] {
            assert_eq!(first_byte(short, name::checksum(short)), Some(short[0]));
        }
    }

    #[test]
    fn the_first_byte_fits_the_long_name() {
        assert!(begins_with("long name", b'L') && begins_with(".hidden", b'H') && begins_with("+x", b'_'));
        assert!(begins_with("Übung", b'_') && begins_with("Übung", 0x9a));
        assert!(!begins_with("long name", b'l') && !begins_with("long", b'_') && !begins_with("...", b'_'));
    }
}
