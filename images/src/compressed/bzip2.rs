//! bzip2: streams of blocks that say nothing of their length, and begin at any bit.
//!
//! There is no specification but its program, <https://sourceware.org/bzip2/>; its format is described at
//! <https://github.com/dsnet/compress/blob/master/doc/bzip2-format.pdf>.

mod blocks;

use std::sync::Arc;

use ::bzip2::{Decompress, Status};

use super::input::{Input, truncated};
use super::whole::{once, whole};
use super::{Decoder, open_content, warn_of_garbage};
use crate::length::in_memory;
use crate::{Budget, Disk, Error, Request, Reservation, Result, corrupt};

/// What a stream starts with; the number of 100,000 bytes of a block follows as a digit.
const MAGIC: &[u8; 3] = b"BZh";
/// What a block begins with: 48 bits.
const BLOCK: u64 = 0x3141_5926_5359;
/// What follows the last block of a stream: 48 bits.
const STREAM_END: u64 = 0x1772_4538_5090;

/// What a decoder takes: four bytes for each of a block of 900,000, and a piece of the file.
const MEMORY: u64 = 4 << 20;

/// Whether the file starts with a stream and its first block, or its end.
pub fn probe(file: &dyn Disk) -> Result<bool> {
    let mut start = [0; 10];
    if file.size() < start.len() as u64 {
        return Ok(false);
    }
    file.read_at(&mut start, 0)?;
    let [a, b, c, level, magic @ ..] = start;
    let magic = magic.iter().fold(0, |magic, byte| magic << 8 | u64::from(*byte));
    Ok([a, b, c] == *MAGIC && matches!(level, b'1'..=b'9') && matches!(magic, BLOCK | STREAM_END))
}

/// The image in the content of `file`.
pub fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let budget = request.budget;
    let content = once(&*file, budget, || match blocks::whole(&file, budget)? {
        Some(content) => Ok(content),
        // One after the other: what is wrong is found, if anything is.
        None => whole(&*file, budget, Streams::new(Input::new(&file, 0, file.size()), budget)?),
    })?;
    open_content(content, request)
}

/// The content of one stream after the other.
struct Streams {
    input: Input,
    /// Where the stream began that is being decompressed.
    stream: Option<(u64, Decompress)>,
    _memory: Reservation,
}

impl Streams {
    fn new(input: Input, budget: &Budget) -> Result<Self> {
        let memory = budget.take_decoder(MEMORY, "decompressing bzip2")?;
        Ok(Self { input, stream: None, _memory: memory })
    }
}

/// Whether a stream begins where `input` is; if something else does, that is said.
fn is_stream(input: &mut Input) -> Result<bool> {
    let at = input.position();
    let found = matches!(input.peek(4)?, [a, b, c, b'1'..=b'9'] if [*a, *b, *c] == *MAGIC);
    if !found && input.left() > 0 {
        warn_of_garbage(input.file(), at);
    }
    Ok(found)
}

impl Decoder for Streams {
    fn decode(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            let (start, stream) = match &mut self.stream {
                Some(stream) => stream,
                None if is_stream(&mut self.input)? => {
                    self.stream.insert((self.input.position(), Decompress::new(false)))
                }
                None => return Ok(0),
            };
            let (start, at) = (*start, self.input.position());
            let packed = self.input.fill()?;
            let is_end = packed.is_empty();
            let (read, written) = (stream.total_in(), stream.total_out());
            let status = stream.decompress(packed, out).map_err(|error| failed(start, at, error))?;
            let (read, written) = (stream.total_in() - read, in_memory(stream.total_out() - written));
            self.input.consume(in_memory(read));
            if status == Status::StreamEnd {
                self.stream = None;
            } else if written == 0 && is_end {
                return Err(truncated("bzip2 stream", start));
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

fn failed(start: u64, at: u64, error: ::bzip2::Error) -> Error {
    let why = match error {
        ::bzip2::Error::DataMagic => "no stream of bzip2",
        _ => "its bits or its checksum are wrong",
    };
    corrupt!("bzip2 stream", start, "{why}, near byte {at:#x}")
}
