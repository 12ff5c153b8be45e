//! gzip: members of deflate, of which only those of BGZF say how long they are.
//!
//! Specifications: RFC 1952 <https://www.rfc-editor.org/rfc/rfc1952>, and for BGZF section 4.1 of
//! <https://samtools.github.io/hts-specs/SAMv1.pdf>.

use std::sync::Arc;

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::index::{Index, Part};
use super::input::{Input, truncated};
use super::parts::Parts;
use super::whole::{once, whole};
use super::{Codec, Decoder, open_content, warn_of_garbage};
use crate::length::{at_most, in_memory};
use crate::{Budget, Disk, Request, Reservation, Result, corrupt};

/// The first bytes of a member: the magic number, and deflate as the method.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const FHCRC: u8 = 1 << 1;
const FEXTRA: u8 = 1 << 2;
const FNAME: u8 = 1 << 3;
const FCOMMENT: u8 = 1 << 4;
const RESERVED: u8 = 0b1110_0000;
/// Magic number, method, flags, time, extra flags and operating system.
const FIXED: usize = 10;
/// CRC-32 and size of the content.
const TRAILER: usize = 8;
/// Our bound of a name or comment in a header, in bytes: the longest path of the host.
const MAX_TEXT: usize = 4096;
/// What a decoder takes: its window, its state, a piece of the file.
const MEMORY: u64 = 192 << 10;
/// How much content the probe wants to see without an error, in bytes.
const PROBED: usize = 4096;

/// Whether the file starts with a member whose header is sound, and whose deflate stream begins well.
pub fn probe(file: &dyn Disk) -> Result<bool> {
    // The longest header, and what can hold a deflate block's code lengths and some content.
    let mut start = vec![0; at_most(file.size(), 192 << 10)];
    file.read_at(&mut start[..at_most(file.size(), MAGIC.len())], 0)?;
    if !start.starts_with(&MAGIC) {
        return Ok(false);
    }
    file.read_at(&mut start, 0)?;
    let start: Arc<dyn Disk> = Arc::new(crate::disk::Memory::new("start", start));
    let mut input = Input::new(&start, 0, start.size());
    if header(&mut input).is_err() {
        return Ok(false);
    }
    let mut inflate = Decompress::new(false);
    let mut out = [0; PROBED];
    while inflate.total_out() < PROBED as u64 {
        let (before, packed) = (inflate.total_in(), input.fill()?);
        if packed.is_empty() {
            break;
        }
        match inflate.decompress(packed, &mut out, FlushDecompress::None) {
            Ok(Status::StreamEnd) => return Ok(true),
            Ok(_) => input.consume(in_memory(inflate.total_in() - before)),
            Err(_) => return Ok(false),
        }
    }
    Ok(inflate.total_out() > 0)
}

/// The image in the content of `file`.
pub fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let budget = request.budget;
    let content: Arc<dyn Disk> = match blocked(&file, budget)? {
        Some(index) => Arc::new(Parts::new(file, Bgzf, index, budget)?),
        None => once(&*file, budget, || {
            whole(&*file, budget, Members::new(Input::new(&file, 0, file.size()), true, budget)?)
        })?,
    };
    open_content(content, request)
}

/// The header of a member, up to where the deflate stream begins: the size of the whole member, if it is one of BGZF.
fn header(input: &mut Input) -> Result<Option<u64>> {
    let at = input.position();
    let fixed: [u8; FIXED] = input.take("gzip header")?;
    let flags = fixed[3];
    if fixed[..3] != MAGIC || flags & RESERVED != 0 {
        return Err(corrupt!("gzip header", at, "starts with {:02x?}: no member of gzip", &fixed[..4]));
    }
    let mut crc = Crc::new();
    crc.update(&fixed);
    let mut size = None;
    if flags & FEXTRA != 0 {
        let len: [u8; 2] = input.take("gzip header")?;
        crc.update(&len);
        let len = usize::from(u16::from_le_bytes(len));
        let extra = input.peek(len)?;
        if extra.len() < len {
            return Err(truncated("gzip header", at));
        }
        crc.update(extra);
        size = member_size(extra);
        input.consume(len);
    }
    for flag in [FNAME, FCOMMENT] {
        if flags & flag != 0 {
            let text = input.peek(MAX_TEXT)?;
            let Some(len) = text.iter().position(|byte| *byte == 0) else {
                return Err(corrupt!("gzip header", at, "a name or comment does not end within {MAX_TEXT} bytes"));
            };
            crc.update(&text[..=len]);
            input.consume(len + 1);
        }
    }
    if flags & FHCRC != 0 {
        let want = input.take("gzip header").map(u16::from_le_bytes)?;
        // The two least significant bytes.
        let [low, high, ..] = crc.sum().to_le_bytes();
        let found = u16::from_le_bytes([low, high]);
        if want != found {
            return Err(corrupt!("gzip header", at, "checksum {found:#x}, want {want:#x}"));
        }
    }
    Ok(size)
}

/// A size modulo 2^32, as the trailer has it.
fn low_half(size: u64) -> u32 {
    let [a, b, c, d, ..] = size.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// What BGZF's subfield of the extra field says: the size of the member in bytes.
fn member_size(mut extra: &[u8]) -> Option<u64> {
    while let Some((&[first, second, low, high], rest)) = extra.split_first_chunk() {
        let (field, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([low, high])))?;
        if [first, second] == *b"BC" {
            return Some(u64::from(u16::from_le_bytes(field.try_into().ok()?)) + 1);
        }
        extra = rest;
    }
    None
}

/// The index of a file that consists of members which say how long they are; `None` of any other.
fn blocked(file: &Arc<dyn Disk>, budget: &Budget) -> Result<Option<Index>> {
    let mut index = Index::of_joined_parts(budget);
    let mut at = 0;
    while at < file.size() {
        // A header of BGZF takes 18 bytes.
        let size = match header(&mut Input::new(file, at, at.saturating_add(64))) {
            Ok(Some(size)) => size,
            _ => return Ok(None),
        };
        let end = at + size;
        if end > file.size() || size < (FIXED + TRAILER) as u64 {
            return Ok(None);
        }
        let mut len = [0; 4];
        file.read_at(&mut len, end - 4)?;
        index.push(at, end, u32::from_le_bytes(len).into())?;
        at = end;
    }
    Ok(Some(index))
}

/// Some members of BGZF.
struct Bgzf;

impl Codec for Bgzf {
    fn begin(&self, file: &Arc<dyn Disk>, part: Part, budget: &Budget) -> Result<Box<dyn Decoder>> {
        Ok(Box::new(Members::new(Input::new(file, part.packed.0, part.packed.1), false, budget)?))
    }
}

/// The content of one member after the other.
struct Members {
    input: Input,
    inflate: Decompress,
    crc: Crc,
    /// Where the member began that is being decompressed.
    member: Option<u64>,
    /// Whether something else may follow the last member.
    may_end_early: bool,
    ended: bool,
    _memory: Reservation,
}

impl Members {
    fn new(input: Input, may_end_early: bool, budget: &Budget) -> Result<Self> {
        let memory = budget.take_decoder(MEMORY, "decompressing gzip")?;
        let inflate = Decompress::new(false);
        Ok(Self { input, inflate, crc: Crc::new(), member: None, may_end_early, ended: false, _memory: memory })
    }

    /// Begins with the next member; `None` if there is none.
    fn next_member(&mut self) -> Result<Option<u64>> {
        let at = self.input.position();
        if self.input.left() == 0 {
            return Ok(None);
        }
        // The first member was there when the file was recognised.
        if at > 0 && self.may_end_early && !self.input.peek(2)?.starts_with(&MAGIC[..2]) {
            self.skip_garbage(at)?;
            return Ok(None);
        }
        header(&mut self.input)?;
        self.inflate.reset(false);
        self.crc.reset();
        Ok(Some(at))
    }

    /// Zeros are what tapes and block devices end with; anything else is worth a word.
    fn skip_garbage(&mut self, end: u64) -> Result<()> {
        while self.input.left() > 0 {
            let bytes = self.input.fill()?;
            if bytes.iter().any(|byte| *byte != 0) {
                warn_of_garbage(self.input.file(), end);
                break;
            }
            let len = bytes.len();
            self.input.consume(len);
        }
        Ok(())
    }

    fn check_trailer(&mut self, member: u64) -> Result<()> {
        let at = self.input.position();
        let trailer: [u8; TRAILER] = self.input.take("gzip trailer")?;
        let [a, b, c, d, size @ ..] = trailer;
        let (want, found) = (u32::from_le_bytes([a, b, c, d]), self.crc.sum());
        if want != found {
            return Err(corrupt!(
                "gzip trailer",
                at,
                "checksum {want:#010x}, but the content of the member at byte {member:#x} has {found:#010x}"
            ));
        }
        let (want, found) = (u32::from_le_bytes(size), low_half(self.inflate.total_out()));
        if want != found {
            return Err(corrupt!("gzip trailer", at, "size {want}, but the content has {found} (modulo 2^32)"));
        }
        Ok(())
    }
}

impl Decoder for Members {
    fn decode(&mut self, out: &mut [u8]) -> Result<usize> {
        while !self.ended {
            let member = match self.member {
                Some(member) => member,
                None => match self.next_member()? {
                    Some(member) => *self.member.insert(member),
                    None => {
                        self.ended = true;
                        break;
                    }
                },
            };
            let at = self.input.position();
            let packed = self.input.fill()?;
            let is_end = packed.is_empty();
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(packed, out, FlushDecompress::None);
            let (read, written) = (self.inflate.total_in() - read, in_memory(self.inflate.total_out() - written));
            let status = status.map_err(|error| corrupt!("deflate stream", at, "{error}, near this byte"))?;
            self.input.consume(in_memory(read));
            self.crc.update(&out[..written]);
            if status == Status::StreamEnd {
                self.check_trailer(member)?;
                self.member = None;
            } else if written == 0 && is_end {
                return Err(truncated("deflate stream", member));
            }
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }

    fn position(&self) -> u64 {
        self.input.position()
    }
}
