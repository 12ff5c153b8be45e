//! zstd: frames, of which most say how long their content is.
//!
//! Specifications: RFC 8878 <https://www.rfc-editor.org/rfc/rfc8878>, and for the table of the seekable format
//! <https://github.com/facebook/zstd/blob/dev/contrib/seekable_format/zstd_seekable_compression_format.md>.

use std::sync::Arc;

use zstd::stream::raw::{self, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::DParameter;

use super::index::{Index, Part};
use super::input::{Input, truncated};
use super::parts::Parts;
use super::whole::{once, whole};
use super::{Codec, Decoder, open_content, warn_of_garbage};
use crate::length::at_most;
use crate::{Budget, Disk, Error, Request, Reservation, Result, corrupt, unsupported};

const MAGIC: u32 = 0xfd2f_b528;
/// The first of sixteen magic numbers of skippable frames.
const SKIPPABLE: u32 = 0x184d_2a50;
/// The magic number and the size of a skippable frame.
const SKIPPABLE_HEADER: u64 = 8;
/// The longest window that is read, as a power of two: what `zstd` itself allows without being asked.
const MAX_WINDOW_LOG: u32 = 27;
/// What a decoder takes beside its window: its tables, a block, a piece of the file.
const MEMORY: u64 = 512 << 10;
/// The longest header: magic number, descriptor, window, dictionary, content size.
const MAX_HEADER: usize = 18;
const BLOCK_HEADER: usize = 3;
/// The most content of a block, by the specification, in bytes.
const MAX_BLOCK: u64 = 128 << 10;

/// The magic number at the end of a seek table, and in the skippable frame that holds it.
const SEEKABLE: u32 = 0x8f92_eab1;
const SEEK_TABLE: u32 = 0x184d_2a5e;
/// Number of frames, descriptor, magic number.
const SEEK_FOOTER: u64 = 9;

/// Whether the file starts with a frame whose header is sound, perhaps after skippable ones.
pub fn probe(file: &dyn Disk) -> Result<bool> {
    let mut at = 0;
    // Some writers begin with one skippable frame; more than a few are no image.
    for _ in 0..8 {
        match frame_at(file, at) {
            Ok(Some(Frame::Content(_))) => return Ok(true),
            Ok(Some(Frame::Skippable(len))) => at += len,
            Err(error @ Error::Io { .. }) => return Err(error),
            // What is not read is named when it is opened, and never taken for a raw disk.
            Err(Error::Unsupported(_)) => return Ok(true),
            _ => return Ok(false),
        }
    }
    Ok(false)
}

/// The image in the content of `file`.
pub fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let budget = request.budget;
    let index = match seek_table(&file, budget)? {
        Some(index) => Some(index),
        None => frames(&*file, budget)?,
    };
    let content: Arc<dyn Disk> = match index {
        Some(index) => Arc::new(Parts::new(file, Zstd, index, budget)?),
        None => {
            once(&*file, budget, || whole(&*file, budget, Frames::new(Input::new(&file, 0, file.size()), budget)?))?
        }
    };
    open_content(content, request)
}

/// What lies at a place between frames.
enum Frame {
    Content(Header),
    /// The length of a skippable frame, in bytes.
    Skippable(u64),
}

/// What the header of a frame says.
struct Header {
    /// Its length in bytes.
    len: u64,
    /// The length of the content, if it says so.
    content: Option<u64>,
    has_checksum: bool,
    /// What decompressing it takes, in bytes.
    memory: u64,
}

/// The frame that begins at `at`; `None` if something else does.
fn frame_at(file: &dyn Disk, at: u64) -> Result<Option<Frame>> {
    let mut bytes = [0; MAX_HEADER];
    let len = at_most(file.size().saturating_sub(at), MAX_HEADER);
    file.read_at(&mut bytes[..len], at)?;
    let bytes = &bytes[..len];
    let Some((&[a, b, c, d], rest)) = bytes.split_first_chunk() else { return Ok(None) };
    match u32::from_le_bytes([a, b, c, d]) {
        MAGIC => header(rest, at).map(|header| Some(Frame::Content(header))),
        magic if magic & !0xf == SKIPPABLE => {
            let (len, _) = rest.split_first_chunk().ok_or_else(|| truncated("skippable frame", at))?;
            let len = SKIPPABLE_HEADER + u64::from(u32::from_le_bytes(*len));
            match at.checked_add(len).is_some_and(|end| end <= file.size()) {
                true => Ok(Some(Frame::Skippable(len))),
                false => Err(truncated("skippable frame", at)),
            }
        }
        _ => Ok(None),
    }
}

/// The header of the frame at `at`, of which `bytes` follow the magic number: section 3.1.1.1.
fn header(bytes: &[u8], at: u64) -> Result<Header> {
    let mut rest = bytes;
    let mut number = |len: usize| -> Result<u64> {
        let (now, after) = rest.split_at_checked(len).ok_or_else(|| truncated("frame header", at))?;
        rest = after;
        Ok(now.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let descriptor = number(1)?;
    if descriptor & 1 << 3 != 0 {
        return Err(corrupt!("frame header", at, "the reserved bit is set"));
    }
    let is_single = descriptor & 1 << 5 != 0;
    let window = match is_single {
        true => None,
        false => {
            let byte = number(1)?;
            let base = 1 << (10 + (byte >> 3));
            Some(base + base / 8 * (byte & 7))
        }
    };
    let dictionary = number([0, 1, 2, 4][(descriptor & 3) as usize])?;
    if dictionary != 0 {
        return Err(unsupported!("it is compressed with dictionary {dictionary}, which lies elsewhere"));
    }
    let content = match (descriptor >> 6, is_single) {
        (0, false) => None,
        (0, true) => Some(number(1)?),
        (1, _) => Some(number(2)? + 256),
        (2, _) => Some(number(4)?),
        (_, _) => Some(number(8)?),
    };
    let window: u64 = window.or(content).unwrap_or(0);
    if window > 1 << MAX_WINDOW_LOG {
        let most = 1_u64 << MAX_WINDOW_LOG;
        return Err(unsupported!("it takes a window of {window} bytes to decompress, and {most} are the most"));
    }
    // The decoder keeps a window and two blocks, or all of the content if that is less.
    let memory = MEMORY + content.unwrap_or(u64::MAX).min(window + 2 * MAX_BLOCK);
    let has_checksum = descriptor & 1 << 2 != 0;
    Ok(Header { len: (4 + bytes.len() - rest.len()) as u64, content, has_checksum, memory })
}

/// The frames of the file, found without decompression; `None` if one does not say how long its content is.
fn frames(file: &dyn Disk, budget: &Budget) -> Result<Option<Index>> {
    let mut index = Index::of_joined_parts(budget);
    let mut at = 0;
    while at < file.size() {
        let header = match frame_at(file, at)? {
            Some(Frame::Content(header)) => header,
            Some(Frame::Skippable(len)) => {
                at += len;
                continue;
            }
            None => {
                warn_of_garbage(file, at);
                break;
            }
        };
        let (end, counted) = blocks(file, at, &header)?;
        let Some(len) = header.content.or(counted) else { return Ok(None) };
        index.push(at, end, len)?;
        at = end;
    }
    Ok(Some(index))
}

/// Where the frame at `at` ends, and how long its content is if its blocks say so: section 3.1.1.2.
fn blocks(file: &dyn Disk, at: u64, frame: &Header) -> Result<(u64, Option<u64>)> {
    let mut next = at + frame.len;
    let mut content = Some(0_u64);
    loop {
        let mut bytes = [0; 4];
        if file.size().saturating_sub(next) < BLOCK_HEADER as u64 {
            return Err(truncated("frame", at));
        }
        file.read_at(&mut bytes[..BLOCK_HEADER], next)?;
        let block = u32::from_le_bytes(bytes);
        let size = u64::from(block >> 3);
        if size > MAX_BLOCK {
            return Err(corrupt!("block header", next, "{size} bytes, {MAX_BLOCK} are the most"));
        }
        let packed = match block >> 1 & 3 {
            0 => size,
            1 => 1,
            2 => {
                content = None;
                size
            }
            _ => return Err(corrupt!("block header", next, "the reserved type")),
        };
        // No block is longer than 2^17 bytes, and each takes three of the file.
        content = content.and_then(|content| content.checked_add(size));
        next += BLOCK_HEADER as u64 + packed;
        if block & 1 != 0 {
            break;
        }
    }
    let end = next + if frame.has_checksum { 4 } else { 0 };
    match end <= file.size() {
        true => Ok((end, content)),
        false => Err(truncated("frame", at)),
    }
}

/// The index from the seek table at the end of the file, if there is one that fits the file.
fn seek_table(file: &Arc<dyn Disk>, budget: &Budget) -> Result<Option<Index>> {
    let size = file.size();
    let Some(footer_at) = size.checked_sub(SEEK_FOOTER) else { return Ok(None) };
    let mut footer = Input::new(file, footer_at, size);
    let count = u64::from(footer.take("seek table").map(u32::from_le_bytes)?);
    let [descriptor] = footer.take("seek table")?;
    if footer.take("seek table").map(u32::from_le_bytes)? != SEEKABLE || descriptor & 0x7c != 0 {
        return Ok(None);
    }
    let entry = if descriptor & 0x80 != 0 { 12 } else { 8 };
    let len = count * entry + SEEK_FOOTER;
    let Some(table_at) = size.checked_sub(len + SKIPPABLE_HEADER) else { return Ok(None) };
    let mut table = Input::new(file, table_at, footer_at);
    let magic = table.take("seek table").map(u32::from_le_bytes)?;
    if magic != SEEK_TABLE || u64::from(table.take("seek table").map(u32::from_le_bytes)?) != len {
        return Ok(None);
    }
    let mut index = Index::of_joined_parts(budget);
    let mut at = 0;
    for _ in 0..count {
        let packed = u64::from(table.take("seek table").map(u32::from_le_bytes)?);
        let content = table.take("seek table").map(u32::from_le_bytes)?;
        if entry == 12 {
            // Of the content; the frame has its own.
            let [_, _, _, _] = table.take("seek table")?;
        }
        index.push(at, at + packed, content.into())?;
        at += packed;
    }
    if at != table_at {
        log::warn!("{file}: its seek table is of {at} bytes, but {table_at} lie before it: it is not used");
        return Ok(None);
    }
    Ok(Some(index))
}

/// Some frames.
struct Zstd;

impl Codec for Zstd {
    fn begin(&self, file: &Arc<dyn Disk>, part: Part, budget: &Budget) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(Frames::new(Input::new(file, part.packed.0, part.packed.1), budget)?))
    }
}

/// The content of one frame after the other.
struct Frames {
    input: Input,
    decoder: raw::Decoder<'static>,
    /// Where the frame began that is being decompressed.
    frame: Option<u64>,
    budget: Budget,
    /// What the frame with the longest window took.
    memory: Reservation,
}

impl Frames {
    fn new(input: Input, budget: &Budget) -> Result<Self> {
        let failed = |source| Error::io("cannot begin to decompress", source);
        let mut decoder = raw::Decoder::new().map_err(failed)?;
        decoder.set_parameter(DParameter::WindowLogMax(MAX_WINDOW_LOG)).map_err(failed)?;
        Ok(Self { input, decoder, frame: None, budget: budget.clone(), memory: budget.empty() })
    }

    /// Goes to the next frame; `None` if there is none.
    fn next_frame(&mut self) -> Result<Option<u64>> {
        while self.input.left() > 0 {
            let at = self.input.position();
            match frame_at(self.input.file(), at)? {
                Some(Frame::Content(header)) => {
                    let more = header.memory.saturating_sub(self.memory.bytes());
                    self.budget.grow_decoder(&mut self.memory, more, "the window to decompress zstd")?;
                    return Ok(Some(at));
                }
                Some(Frame::Skippable(len)) => self.input.skip(len),
                None => {
                    warn_of_garbage(self.input.file(), at);
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }
}

impl Decoder for Frames {
    fn decode(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.next_frame()? {
                    Some(frame) => *self.frame.insert(frame),
                    None => return Ok(0),
                },
            };
            let at = self.input.position();
            let packed = self.input.fill()?;
            let is_end = packed.is_empty();
            let (mut from, mut to) = (InBuffer::around(packed), OutBuffer::around(&mut *out));
            let hint = self.decoder.run(&mut from, &mut to);
            let (read, written) = (from.pos(), to.pos());
            let hint = hint.map_err(|error| corrupt!("zstd frame", frame, "{error}, near byte {at:#x}"))?;
            self.input.consume(read);
            if hint == 0 {
                self.frame = None;
            } else if written == 0 && is_end {
                return Err(truncated("zstd frame", frame));
            }
            if written > 0 {
                return Ok(written);
            }
        }
    }

    fn position(&self) -> u64 {
        self.input.position()
    }
}
