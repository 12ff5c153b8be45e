//! The blocks of a file, found by their magic number and decompressed by several threads.
//!
//! Nothing says that bits which look like the start of a block are one, so this is a way to be fast, and no more: when
//! anything is not as it should be, the file is decompressed in order by who knows where blocks end.

use std::fs::File;
use std::sync::Arc;
use std::thread;

use ::bzip2::{Decompress, Status};

use super::super::input::Input;
use super::super::whole::{STEP, Sink};
use super::{BLOCK, MAGIC, MEMORY, STREAM_END, is_stream};
use crate::length::in_memory;
use crate::{Budget, Disk, Result};

/// The most threads.
const MAX_THREADS: usize = 8;
/// How many blocks are handed to a thread at a time.
const BLOCKS_A_THREAD: usize = 2;
/// No block is longer, compressed, in bits: 900,000 bytes that do not compress, and its tables.
const MAX_BITS: u64 = 8 * (1 << 20);
/// What a thread takes: of each of its blocks the compressed bytes twice, a decoder, and what comes out.
const THREAD_MEMORY: u64 = BLOCKS_A_THREAD as u64 * (2 * MAX_BITS / 8 + MEMORY + STEP as u64);
const MAGIC_BITS: u32 = 48;
const CRC_BITS: u32 = 32;
const MASK: u64 = (1 << MAGIC_BITS) - 1;

/// All of the content of `file`; `None` if it must be decompressed in order.
pub fn whole(file: &Arc<dyn Disk>, budget: &Budget) -> Result<Option<File>> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    // As many as there is memory for.
    let memory = budget.share(threads as u64 * THREAD_MEMORY);
    let threads = threads.min((memory.bytes() / THREAD_MEMORY) as usize);
    if threads <= 1 {
        return Ok(None);
    }
    let mut sink = Sink::new(&**file, budget)?;
    let mut scan = Scan::new(file);
    // The checksum of a stream, from those of its blocks.
    let mut sum = 0_u32;
    let mut found = Vec::new();
    loop {
        while found.len() < threads * BLOCKS_A_THREAD {
            match scan.next()? {
                Some(Found::Nothing) => return Ok(None),
                Some(next) => found.push(next),
                None => break,
            }
        }
        if found.is_empty() {
            return sink.finish().map(Some);
        }
        let mut begun: Vec<Option<Begun>> = found.iter().map(|_| None).collect();
        thread::scope(|scope| {
            let each = found.len().div_ceil(threads);
            for (found, begun) in found.chunks(each).zip(begun.chunks_mut(each)) {
                scope.spawn(move || {
                    for (found, begun) in found.iter().zip(begun) {
                        if let Found::Block(block) = found {
                            *begun = block.begin();
                        }
                    }
                });
            }
        });
        for (found, begun) in found.drain(..).zip(begun) {
            match (found, begun) {
                (Found::Block(block), Some(begun)) => {
                    sum = sum.rotate_left(1) ^ block.crc;
                    if !begun.finish(&mut sink, block.position)? {
                        return Ok(None);
                    }
                }
                (Found::End(want), _) if want == sum => sum = 0,
                _ => return Ok(None),
            }
        }
    }
}

/// What was found in the bits of a file.
enum Found {
    Block(Block),
    /// The end of a stream, and the checksum of its content.
    End(u32),
    /// Something that needs another look.
    Nothing,
}

/// A block as a stream of its own.
struct Block {
    bytes: Vec<u8>,
    crc: u32,
    /// Where it ends in the file, in bytes.
    position: u64,
}

/// A block of which the first bytes are decompressed.
struct Begun {
    bytes: Vec<u8>,
    state: Decompress,
    out: Vec<u8>,
    is_end: bool,
}

impl Block {
    /// Decompresses the first bytes: all of them, but for blocks of long runs, which hold up to 46 MB.
    fn begin(&self) -> Option<Begun> {
        let mut begun =
            Begun { bytes: self.bytes.clone(), state: Decompress::new(false), out: vec![0; STEP], is_end: false };
        begun.advance().then_some(begun)
    }
}

impl Begun {
    /// Fills `out` again. Whether that went well.
    fn advance(&mut self) -> bool {
        let (read, written) = (in_memory(self.state.total_in()), self.state.total_out());
        self.out.resize(STEP, 0);
        let status = self.state.decompress(&self.bytes[read..], &mut self.out);
        let written = in_memory(self.state.total_out() - written);
        self.out.truncate(written);
        self.is_end = matches!(status, Ok(Status::StreamEnd));
        status.is_ok() && (self.is_end || written > 0)
    }

    /// Hands on all that comes out. Whether that went well; what was handed on before is lost if not.
    fn finish(mut self, sink: &mut Sink, position: u64) -> Result<bool> {
        loop {
            sink.write(&self.out, position)?;
            if self.is_end {
                return Ok(true);
            }
            if !self.advance() {
                return Ok(false);
            }
        }
    }
}

/// Looks through the bits of a file.
struct Scan {
    input: Input,
    state: State,
}

enum State {
    /// At the start of a stream, or behind the last one.
    Stream,
    /// Behind a magic number, in the bits of the last byte that follow it.
    Inside { magic: u64, bits: Bits },
}

/// The bits of the last bytes.
#[derive(Clone, Copy)]
struct Bits {
    /// The last ones, the newest at the low end.
    last: u64,
    /// How many of the newest are not used.
    unused: u32,
}

impl Scan {
    fn new(file: &Arc<dyn Disk>) -> Self {
        Self { input: Input::new(file, 0, file.size()), state: State::Stream }
    }

    /// What comes next; `None` at the end.
    fn next(&mut self) -> Result<Option<Found>> {
        let (magic, bits) = match self.state {
            State::Inside { magic, bits } => (magic, bits),
            State::Stream => {
                if !is_stream(&mut self.input)? {
                    return Ok(None);
                }
                let [_, _, _, _] = self.input.take(TAKEN)?;
                match self.take_bits(Bits { last: 0, unused: 0 }, MAGIC_BITS)? {
                    Some(taken) => taken,
                    None => return Ok(Some(Found::Nothing)),
                }
            }
        };
        let found = match magic {
            BLOCK => self.block(bits)?,
            STREAM_END => {
                let Some((crc, _)) = self.take_crc(bits)? else { return Ok(Some(Found::Nothing)) };
                // What is left of the last byte is padding.
                self.state = State::Stream;
                Found::End(crc)
            }
            _ => Found::Nothing,
        };
        Ok(Some(found))
    }

    /// The next `count` bits, 48 at most, after those of `bits` that are used.
    fn take_bits(&mut self, mut bits: Bits, count: u32) -> Result<Option<(u64, Bits)>> {
        while bits.unused < count {
            if self.input.left() == 0 {
                return Ok(None);
            }
            let [byte] = self.input.take(TAKEN)?;
            bits = Bits { last: bits.last << 8 | u64::from(byte), unused: bits.unused + 8 };
        }
        bits.unused -= count;
        Ok(Some((bits.last >> bits.unused & ((1 << count) - 1), bits)))
    }

    /// A checksum in the same way.
    fn take_crc(&mut self, bits: Bits) -> Result<Option<(u32, Bits)>> {
        let taken = self.take_bits(bits, CRC_BITS)?;
        Ok(taken.map(|(crc, bits)| (u32::try_from(crc).expect("so many bits were taken"), bits)))
    }

    /// The block whose magic number came before `bits`, up to the next magic number.
    fn block(&mut self, bits: Bits) -> Result<Found> {
        let Some((crc, mut bits)) = self.take_crc(bits)? else { return Ok(Found::Nothing) };
        let mut out = Writer::default();
        out.bytes.extend([MAGIC[0], MAGIC[1], MAGIC[2], b'9']);
        out.push(BLOCK, MAGIC_BITS);
        out.push(crc.into(), CRC_BITS);
        // Bits that were read and are not yet known to belong to the block: up to 48, which may be a magic number.
        let mut held = bits.unused;
        let mut window = bits.last & ((1 << bits.unused) - 1);
        for _ in 0..MAX_BITS / 8 {
            let byte = match self.input.fill()?.first() {
                Some(byte) => *byte,
                None => return Ok(Found::Nothing),
            };
            self.input.consume(1);
            bits.last = bits.last << 8 | u64::from(byte);
            window = window << 8 | u64::from(byte);
            held += 8;
            if held < MAGIC_BITS {
                continue;
            }
            // `held` is at most 55: each place where 48 bits end in this byte.
            if let Some(after) = (0..=(held - MAGIC_BITS).min(7)).rev().find(|after| {
                let magic = window >> after & MASK;
                magic == BLOCK || magic == STREAM_END
            }) {
                let before = held - MAGIC_BITS - after;
                out.push(window >> (MAGIC_BITS + after), before);
                let magic = window >> after & MASK;
                self.state = State::Inside { magic, bits: Bits { last: bits.last, unused: after } };
                return Ok(Found::Block(Block { bytes: out.ended(crc), crc, position: self.input.position() }));
            }
            // 47 bits may be the start of one that ends in the next byte.
            let sure = held - (MAGIC_BITS - 1);
            out.push(window >> (held - sure), sure);
            held -= sure;
            window &= (1 << held) - 1;
        }
        Ok(Found::Nothing)
    }
}

/// What is taken only where there is something left.
const TAKEN: &str = "bzip2 stream";

/// Puts bits into bytes.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    /// Bits that do not make a byte yet, at the low end.
    rest: u64,
    count: u32,
}

impl Writer {
    /// Adds the low `count` bits of `bits`, 48 at most.
    fn push(&mut self, bits: u64, count: u32) {
        self.rest = self.rest << count | bits & ((1 << count) - 1);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            self.bytes.push((self.rest >> self.count).to_le_bytes()[0]);
        }
        self.rest &= (1 << self.count) - 1;
    }

    /// The bytes as a stream of one block, whose checksum is the block's.
    fn ended(mut self, crc: u32) -> Vec<u8> {
        self.push(STREAM_END, MAGIC_BITS);
        self.push(crc.into(), CRC_BITS);
        self.push(0, (8 - self.count) % 8);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_become_bytes() {
        let mut writer = Writer::default();
        writer.push(0b101, 3);
        writer.push(0xabcd_ef01_2345, 48);
        writer.push(0b1_1111, 5);
        assert_eq!(writer.bytes, [0xb5, 0x79, 0xbd, 0xe0, 0x24, 0x68, 0xbf]);
    }
}
