//! The streams of a file, read from the end to the start: the index of each lies behind its blocks.

use std::sync::Arc;

use zerocopy::FromBytes;

use super::super::warn_of_garbage;
use super::layout::{FOOTER_MAGIC, INDEX_INDICATOR, MAX_INTEGER, STREAM_END, StreamFooter, StreamHeader, UNIT, WORD};
use super::{Check, Index, crc32, is_sound};
use crate::compressed::input::Input;
use crate::length::{in_memory, remainder};
use crate::{Budget, Disk, Reservation, Result, corrupt, unsupported};

/// How far from the end of the file the last stream's footer is looked for, in bytes; ours.
const MAX_GARBAGE: u64 = 1 << 20;
/// How many footers without a sound stream before them are looked at on the way; ours. Each may have a long index.
const MAX_TRIES: u32 = 8;
/// Our limit of the streams of one file.
const MAX_STREAMS: usize = 1 << 16;
/// Our limit of the blocks of one file, with those that are empty.
const MAX_BLOCKS: u64 = 1 << 19;
/// How much padding is read at a time, in bytes.
const PADDING: usize = 64 << 10;

/// Where the blocks are, and what checks they have.
pub struct Streams {
    pub index: Index,
    /// Where each stream begins, and the check of its blocks.
    pub checks: Vec<(u64, Check)>,
    /// What these take.
    pub memory: Reservation,
}

/// One stream.
struct Stream {
    start: u64,
    check: Check,
    /// The unpadded and the uncompressed size of each block.
    records: Vec<(u64, u64)>,
}

impl Streams {
    /// The streams of `file`. Nothing is decompressed.
    pub fn of(file: &Arc<dyn Disk>, budget: &Budget) -> Result<Self> {
        const WHAT: &str = "the index of an xz file";
        let (mut memory, mut records) = (budget.empty(), budget.empty());
        let mut end = end_of_last(file, &mut records)?;
        let (mut streams, mut blocks) = (Vec::new(), 0);
        loop {
            let stream = Stream::ending_at(file, end, MAX_BLOCKS - blocks, &mut records)?;
            end = stream.start;
            blocks += stream.records.len() as u64;
            // A list that grows takes up to twice what it holds.
            memory.grow(2 * size_of::<(u64, Check)>() as u64, WHAT)?;
            records.grow(2 * size_of::<Stream>() as u64, WHAT)?;
            streams.push(stream);
            if end == 0 {
                break;
            }
            if streams.len() == MAX_STREAMS {
                return Err(unsupported!("it has more than {MAX_STREAMS} streams"));
            }
            end = skip_padding(file, end)?;
        }
        let (mut index, mut checks) = (Index::of_single_parts(budget), Vec::new());
        for stream in streams.iter().rev() {
            checks.push((stream.start, stream.check));
            let mut at = stream.start + STREAM_END;
            for (unpadded, len) in &stream.records {
                // Checked when the stream was read: all of them lie before its index.
                index.push(at, at + unpadded.next_multiple_of(UNIT), *len)?;
                at += unpadded.next_multiple_of(UNIT);
            }
        }
        Ok(Self { index, checks, memory })
    }
}

/// The end of the last stream: of the file, without padding and what does not belong to it.
fn end_of_last(file: &Arc<dyn Disk>, memory: &mut Reservation) -> Result<u64> {
    let size = file.size();
    let end = skip_padding(file, size - size % UNIT)?;
    if size.is_multiple_of(UNIT) && footer(file, end)?.is_some() {
        return Ok(end);
    }
    // Streams are multiples of four bytes long.
    let last = size - size % UNIT;
    let first = last.saturating_sub(MAX_GARBAGE);
    let mut bytes = vec![0; in_memory(last - first)];
    file.read_at(&mut bytes, first)?;
    let mut tries = 0;
    for at in (0..=bytes.len().saturating_sub(size_of::<StreamFooter>())).rev().step_by(WORD) {
        let found = bytes.get(at..at + size_of::<StreamFooter>()).is_some_and(|bytes| sound_footer(bytes).is_some());
        let end = first + at as u64 + STREAM_END;
        if !found {
            continue;
        }
        if Stream::ending_at(file, end, MAX_BLOCKS, memory).is_ok() {
            warn_of_garbage(&**file, end);
            return Ok(end);
        }
        tries += 1;
        if tries == MAX_TRIES {
            break;
        }
    }
    Err(corrupt!("stream footer", end.saturating_sub(STREAM_END), "there is none at the end of the file: truncated?"))
}

/// The footer that ends at `end`, if one does.
fn footer(file: &Arc<dyn Disk>, end: u64) -> Result<Option<StreamFooter>> {
    let Some(at) = end.checked_sub(STREAM_END) else { return Ok(None) };
    let mut bytes = [0; size_of::<StreamFooter>()];
    file.read_at(&mut bytes, at)?;
    Ok(sound_footer(&bytes))
}

fn sound_footer(bytes: &[u8]) -> Option<StreamFooter> {
    let footer = StreamFooter::read_from_bytes(bytes).ok()?;
    (footer.magic == FOOTER_MAGIC && crc32(&bytes[4..10]) == footer.crc32.get()).then_some(footer)
}

/// The end of the stream whose padding ends at `end`: section 2.2.
fn skip_padding(file: &Arc<dyn Disk>, mut end: u64) -> Result<u64> {
    let mut bytes = [0; PADDING];
    while end > 0 {
        let len = match remainder(end, PADDING) {
            0 => PADDING,
            rest => rest,
        };
        let bytes = &mut bytes[..len];
        let len = len as u64;
        file.read_at(bytes, end - len)?;
        let used = bytes.chunks(WORD).rposition(|word| word.iter().any(|byte| *byte != 0));
        match used {
            Some(word) => return Ok(end - len + (word as u64 + 1) * UNIT),
            None => end -= len,
        }
    }
    Ok(0)
}

impl Stream {
    /// The stream whose footer ends at `end`, if it has at most `most` blocks; `memory` grows by what its records take.
    fn ending_at(file: &Arc<dyn Disk>, end: u64, most: u64, memory: &mut Reservation) -> Result<Self> {
        let footer_at = end.saturating_sub(STREAM_END);
        let Some(footer) = footer(file, end)? else {
            return Err(corrupt!("stream footer", footer_at, "magic number or checksum is wrong"));
        };
        let index_len = (u64::from(footer.backward_size.get()) + 1) * UNIT;
        let Some(index_at) = footer_at.checked_sub(index_len) else {
            return Err(corrupt!("stream footer", footer_at, "an index of {index_len} bytes does not fit before it"));
        };
        let records = read_index(&mut Input::new(file, index_at, footer_at), most, memory)?;
        let len = records
            .iter()
            .try_fold(STREAM_END, |sum: u64, (unpadded, _)| sum.checked_add(unpadded.checked_next_multiple_of(UNIT)?));
        let Some(start) = len.and_then(|len| index_at.checked_sub(len)) else {
            return Err(corrupt!("index", index_at, "its blocks do not fit before it"));
        };
        let header: [u8; size_of::<StreamHeader>()] = Input::new(file, start, end).take("stream header")?;
        let header = StreamHeader::read_from_bytes(&header).ok().filter(is_sound);
        match header {
            Some(header) if header.flags == footer.flags => {
                Ok(Self { start, check: Check::of(header.flags, start)?, records })
            }
            _ => Err(corrupt!("stream header", start, "it is not there, or differs from its footer")),
        }
    }
}

/// The records of an index, which `input` holds: section 4.
fn read_index(input: &mut Input, most: u64, memory: &mut Reservation) -> Result<Vec<(u64, u64)>> {
    let start = input.position();
    let mut summed = Summed { input, crc: flate2::Crc::new() };
    let [indicator] = summed.take()?;
    if indicator != INDEX_INDICATOR {
        return Err(corrupt!("index", start, "starts with {indicator:#x}, want 0"));
    }
    let count = summed.integer()?;
    // A record takes two bytes, at least.
    if count > summed.input.left() / 2 {
        return Err(corrupt!("index", start, "{count} records do not fit into it"));
    }
    if count > most {
        return Err(unsupported!("it has more than {MAX_BLOCKS} blocks"));
    }
    memory.grow(count * size_of::<(u64, u64)>() as u64, "the index of an xz file")?;
    let mut records = Vec::with_capacity(in_memory(count));
    for _ in 0..count {
        let at = summed.input.position();
        let record = (summed.integer()?, summed.integer()?);
        if record.0 == 0 {
            return Err(corrupt!("index", at, "a block of no bytes"));
        }
        records.push(record);
    }
    while !(summed.input.position() - start).is_multiple_of(UNIT) {
        let at = summed.input.position();
        if summed.take()? != [0] {
            return Err(corrupt!("index", at, "its padding is not zero"));
        }
    }
    let found = summed.crc.sum();
    let want = input.take("index").map(u32::from_le_bytes)?;
    if found != want || input.left() > 0 {
        let why = if found == want { "it is shorter than the footer says" } else { "its checksum is wrong" };
        return Err(corrupt!("index", start, "{why}"));
    }
    Ok(records)
}

/// Takes bytes and sums them up.
struct Summed<'a> {
    input: &'a mut Input,
    crc: flate2::Crc,
}

impl Summed<'_> {
    fn take(&mut self) -> Result<[u8; 1]> {
        let byte = self.input.take("index")?;
        self.crc.update(&byte);
        Ok(byte)
    }

    /// A multibyte integer: section 1.2.
    fn integer(&mut self) -> Result<u64> {
        let at = self.input.position();
        let mut bytes = [0; MAX_INTEGER];
        for byte in &mut bytes {
            [*byte] = self.take()?;
            if *byte & 0x80 == 0 {
                break;
            }
        }
        match integer(&mut &bytes[..]) {
            Some(number) => Ok(number),
            None => Err(corrupt!("index", at, "a number is longer than it needs to be, or than nine bytes")),
        }
    }
}

/// Takes a multibyte integer from the start of `bytes`: section 1.2. `None` if there is none.
pub fn integer(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..MAX_INTEGER {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            // A last byte of zero would be one of several ways to write the number.
            return (place == 0 || *byte != 0).then_some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_form_and_nine_bytes_at_most() {
        let of = |mut bytes: &[u8]| integer(&mut bytes);
        assert_eq!(of(&[0]), Some(0));
        assert_eq!(of(&[0x7f, 9]), Some(0x7f));
        assert_eq!(of(&[0x80, 1]), Some(0x80));
        assert_eq!(of(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]), Some(i64::MAX as u64));
        for bad in
            [&[][..], &[0x80], &[0x80, 0], &[0xff; 9], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]]
        {
            assert_eq!(of(bad), None, "{bad:?}");
        }
    }
}
