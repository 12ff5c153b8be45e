//! A block: a header that names its filters, LZMA2, and a check.

use std::io::{ErrorKind, Read};

use crc64fast::Digest;
use lzma_rust2::Lzma2Reader;
use lzma_rust2::filter::bcj::BcjReader;
use lzma_rust2::filter::delta::DeltaReader;
use sha2::{Digest as _, Sha256};

use super::layout::*;
use super::streams::integer;
use super::{Check, crc32};
use crate::compressed::Decoder;
use crate::compressed::input::{Input, truncated};
use crate::{Budget, Error, Reservation, Result, corrupt, unsupported};

/// The largest dictionary that is read, in bytes: four times what `xz -9` takes.
const MAX_DICTIONARY: u32 = 256 << 20;
/// What a decoder takes beside its dictionary: its probabilities, a chunk, a piece of the file.
const MEMORY: u64 = 256 << 10;
/// The smallest dictionary, in bytes: section 5.3.1.
const MIN_DICTIONARY: u64 = 4096;

/// A filter with its properties.
#[derive(Clone, Copy)]
enum Filter {
    /// The distance in bytes.
    Delta(usize),
    /// Its number, and the offset that it begins with.
    Branches(u64, usize),
    /// The size of the dictionary in bytes.
    Lzma2(u32),
}

/// A chain of filters that ends in a file.
enum Chain {
    Source(Input),
    Lzma2(Box<Lzma2Reader<Chain>>),
    Delta(Box<DeltaReader<Chain>>),
    Branches(Box<BcjReader<Chain>>),
}

impl Chain {
    fn input(&self) -> &Input {
        match self {
            Self::Source(input) => input,
            Self::Lzma2(reader) => reader.inner().input(),
            Self::Delta(reader) => reader.inner().input(),
            Self::Branches(reader) => reader.inner().input(),
        }
    }

    fn input_mut(&mut self) -> &mut Input {
        match self {
            Self::Source(input) => input,
            Self::Lzma2(reader) => reader.inner_mut().input_mut(),
            Self::Delta(reader) => reader.inner_mut().input_mut(),
            Self::Branches(reader) => reader.inner_mut().input_mut(),
        }
    }

    /// What `filter` makes of what comes out of this chain.
    fn then(self, filter: Filter) -> Result<Self> {
        Ok(match filter {
            Filter::Delta(distance) => Self::Delta(Box::new(DeltaReader::new(self, distance))),
            Filter::Lzma2(dictionary) => Self::Lzma2(Box::new(Lzma2Reader::new(self, dictionary, None))),
            Filter::Branches(number, start) => Self::Branches(Box::new(match number {
                X86 => BcjReader::new_x86(self, start),
                POWERPC => BcjReader::new_ppc(self, start),
                IA64 => BcjReader::new_ia64(self, start),
                ARM => BcjReader::new_arm(self, start),
                ARM_THUMB => BcjReader::new_arm_thumb(self, start),
                SPARC => BcjReader::new_sparc(self, start),
                ARM64 => BcjReader::new_arm64(self, start),
                RISCV => BcjReader::new_riscv(self, start),
                _ => return Err(unsupported!("it is compressed with the filter {number:#x}, which is not known")),
            })),
        })
    }
}

impl Read for Chain {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Source(input) => input.read(out),
            Self::Lzma2(reader) => reader.read(out),
            Self::Delta(reader) => reader.read(out),
            Self::Branches(reader) => reader.read(out),
        }
    }
}

/// The check of what came out so far.
enum Sum {
    None(usize),
    Crc32(flate2::Crc),
    Crc64(Digest),
    Sha256(Sha256),
}

/// A block that is being decompressed.
pub struct Block {
    start: u64,
    /// Where its compressed bytes begin.
    data: u64,
    /// How many compressed bytes its header says.
    packed: Option<u64>,
    chain: Chain,
    sum: Option<Sum>,
    _memory: Reservation,
}

impl Block {
    /// Begins with the block at the start of `input`, whose content has `len` bytes.
    pub fn begin(mut input: Input, check: Check, len: u64, budget: &Budget) -> Result<Self> {
        let start = input.position();
        let header = header(&mut input)?;
        if let Some(found) = header.content.filter(|found| *found != len) {
            return Err(corrupt!("block header", start, "{found} bytes of content, but the index says {len}"));
        }
        let data = input.position();
        let mut chain = Chain::Source(input);
        let mut memory = budget.take_decoder(MEMORY, "decompressing xz")?;
        for filter in header.filters.into_iter().rev() {
            // A dictionary longer than the content is never filled.
            let filter = match filter {
                Filter::Lzma2(size) => {
                    let most = len.max(MIN_DICTIONARY).checked_next_multiple_of(16);
                    let size = most.and_then(|most| u32::try_from(most).ok()).map_or(size, |most| size.min(most));
                    budget.grow_decoder(&mut memory, size.into(), "the dictionary to decompress xz")?;
                    Filter::Lzma2(size)
                }
                filter => filter,
            };
            chain = chain.then(filter)?;
        }
        let sum = match check {
            Check::None => Sum::None(0),
            Check::Unknown(len) => Sum::None(len.into()),
            Check::Crc32 => Sum::Crc32(flate2::Crc::new()),
            Check::Crc64 => Sum::Crc64(Digest::new()),
            Check::Sha256 => Sum::Sha256(Sha256::new()),
        };
        Ok(Self { start, data, packed: header.packed, chain, sum: Some(sum), _memory: memory })
    }

    /// What follows the compressed bytes: padding and check. Section 3.3 and 3.4.
    fn check_end(&mut self) -> Result<()> {
        let Some(sum) = self.sum.take() else { return Ok(()) };
        let data = self.data;
        let input = self.chain.input_mut();
        let packed = input.position() - data;
        if let Some(want) = self.packed.filter(|want| *want != packed) {
            return Err(corrupt!("block header", self.start, "{want} compressed bytes, but there are {packed}"));
        }
        while !(input.position() - data).is_multiple_of(UNIT) {
            let at = input.position();
            if input.take("block padding")? != [0] {
                return Err(corrupt!("block padding", at, "it is not zero"));
            }
        }
        let at = input.position();
        let (is_right, name) = match sum {
            Sum::None(len) => {
                input.skip(len as u64);
                return Ok(());
            }
            Sum::Crc32(crc) => (input.take("CRC-32")? == crc.sum().to_le_bytes(), "CRC-32"),
            Sum::Crc64(crc) => (input.take("CRC-64")? == crc.sum64().to_le_bytes(), "CRC-64"),
            Sum::Sha256(hash) => (input.take("SHA-256")? == <[u8; 32]>::from(hash.finalize()), "SHA-256"),
        };
        match is_right {
            true => Ok(()),
            false => Err(corrupt!(name, at, "is not that of the content of the block at byte {:#x}", self.start)),
        }
    }

    fn failed(&self, error: std::io::Error) -> Error {
        let kind = error.kind();
        match error.downcast::<Error>() {
            Ok(error) => error,
            Err(_) if kind == ErrorKind::UnexpectedEof => truncated("block", self.start),
            Err(error) => {
                let at = self.chain.input().position();
                let error = error.to_string();
                let error = error.escape_debug();
                corrupt!("block", self.start, "{error}, near byte {at:#x}")
            }
        }
    }
}

impl Decoder for Block {
    fn decode(&mut self, out: &mut [u8]) -> Result<usize> {
        let len = self.chain.read(out).map_err(|error| self.failed(error))?;
        if len == 0 {
            self.check_end()?;
        }
        match &mut self.sum {
            Some(Sum::Crc32(crc)) => crc.update(&out[..len]),
            Some(Sum::Crc64(crc)) => crc.write(&out[..len]),
            Some(Sum::Sha256(hash)) => hash.update(&out[..len]),
            Some(Sum::None(_)) | None => (),
        }
        Ok(len)
    }

    fn position(&self) -> u64 {
        self.chain.input().position()
    }
}

/// What the header of a block says.
struct Header {
    packed: Option<u64>,
    content: Option<u64>,
    /// In the order of compression; LZMA2 is the last.
    filters: Vec<Filter>,
}

/// The header at the start of `input`: section 3.1.
fn header(input: &mut Input) -> Result<Header> {
    let at = input.position();
    let len = match input.peek(1)? {
        [0] => return Err(corrupt!("block header", at, "it is an index")),
        [size] => (usize::from(*size) + 1) * WORD,
        _ => return Err(truncated("block header", at)),
    };
    let bytes = input.peek(len)?;
    let (fields, crc) = match bytes.split_last_chunk() {
        Some((fields, crc)) if bytes.len() == len => (fields, u32::from_le_bytes(*crc)),
        _ => return Err(truncated("block header", at)),
    };
    let found = crc32(fields);
    if found != crc {
        return Err(corrupt!("block header", at, "checksum {found:#010x}, want {crc:#010x}"));
    }
    let short = || corrupt!("block header", at, "its fields do not fit into it");
    let flags = fields[1];
    if flags & RESERVED_FLAGS != 0 {
        return Err(unsupported!("block flags {flags:#x} at byte {at:#x}"));
    }
    let mut rest = &fields[2..];
    let mut size = |flag| match flags & flag {
        0 => Ok(None),
        _ => integer(&mut rest).map(Some).ok_or_else(short),
    };
    let (packed, content) = (size(HAS_COMPRESSED_SIZE)?, size(HAS_UNCOMPRESSED_SIZE)?);
    let mut filters = Vec::new();
    for last in (0..=flags & FILTER_COUNT).rev() {
        let number = integer(&mut rest).ok_or_else(short)?;
        let len = integer(&mut rest).and_then(|len| usize::try_from(len).ok()).ok_or_else(short)?;
        let (properties, after) = rest.split_at_checked(len).ok_or_else(short)?;
        rest = after;
        let filter = filter(number, properties, at)?;
        if matches!(filter, Filter::Lzma2(_)) != (last == 0) {
            return Err(corrupt!("block header", at, "LZMA2 is not the last filter, and the only one of its kind"));
        }
        filters.push(filter);
    }
    if rest.iter().any(|byte| *byte != 0) {
        return Err(unsupported!("a field after the filters of the block at byte {at:#x}"));
    }
    input.consume(len);
    Ok(Header { packed, content, filters })
}

/// The filter of this number: section 5.3.
fn filter(number: u64, properties: &[u8], at: u64) -> Result<Filter> {
    match (number, properties) {
        (LZMA2, [bits @ 0..=40]) => {
            let size = match bits {
                40 => u32::MAX,
                bits => (2 | u32::from(bits & 1)) << (bits / 2 + 11),
            };
            if size > MAX_DICTIONARY {
                return Err(unsupported!("it takes a dictionary of {size} bytes, and {MAX_DICTIONARY} are the most"));
            }
            Ok(Filter::Lzma2(size))
        }
        (DELTA, [distance]) => Ok(Filter::Delta(usize::from(*distance) + 1)),
        (X86..=RISCV, []) => Ok(Filter::Branches(number, 0)),
        (X86..=RISCV, [a, b, c, d]) => Ok(Filter::Branches(number, u32::from_le_bytes([*a, *b, *c, *d]) as usize)),
        (LZMA2 | DELTA..=RISCV, _) => {
            Err(corrupt!("block header", at, "filter {number:#x} has {} bytes of properties", properties.len()))
        }
        _ => Err(unsupported!("it is compressed with the filter {number:#x}, which is not known")),
    }
}
