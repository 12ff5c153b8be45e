//! xz: streams of blocks, whose index at the end of each stream says how long they are.

mod block;
mod layout;
mod streams;

use std::sync::Arc;

use zerocopy::FromBytes;

use super::index::{Index, Part};
use super::input::Input;
use super::parts::Parts;
use super::{Codec, Decoder, open_content};
use crate::{Budget, Disk, Request, Reservation, Result, corrupt, unsupported};
use block::Block;
use layout::{HEADER_MAGIC, StreamHeader};
use streams::Streams;

/// Whether the file starts with the header of a stream, and its checksum is right.
pub fn probe(file: &dyn Disk) -> Result<bool> {
    let mut bytes = [0; size_of::<StreamHeader>()];
    if file.size() < bytes.len() as u64 {
        return Ok(false);
    }
    file.read_at(&mut bytes, 0)?;
    Ok(StreamHeader::read_from_bytes(&bytes).is_ok_and(|header| is_sound(&header)))
}

/// Whether magic number and checksum are right.
fn is_sound(header: &StreamHeader) -> bool {
    header.magic == HEADER_MAGIC && crc32(&header.flags) == header.crc32.get()
}

/// The image in the content of `file`.
pub fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let Streams { index, checks, memory } = Streams::of(&file, request.budget)?;
    open_content(Arc::new(Parts::new(file, Xz { checks, _memory: memory }, index, request.budget)?), request)
}

/// The checksum of headers, footers and indexes.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// What each block ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    None,
    Crc32,
    Crc64,
    Sha256,
    /// One that is not known, of so many bytes.
    Unknown(u8),
}

impl Check {
    /// What the flags of the stream at `at` say: section 2.1.1.2.
    fn of(flags: [u8; 2], at: u64) -> Result<Self> {
        match flags {
            [0, 0x00] => Ok(Self::None),
            [0, 0x01] => Ok(Self::Crc32),
            [0, 0x04] => Ok(Self::Crc64),
            [0, 0x0a] => Ok(Self::Sha256),
            [0, id @ ..=0x0f] => {
                log::warn!("a check of the unknown kind {id:#x} is not verified, in the stream at byte {at:#x}");
                Ok(Self::Unknown([4, 8, 16, 32, 64][usize::from((id - 1) / 3)]))
            }
            _ => Err(unsupported!("stream flags {:#04x}{:02x} at byte {at:#x}", flags[0], flags[1])),
        }
    }
}

/// Blocks, one by one.
struct Xz {
    /// The check that holds from this byte of the file on.
    checks: Vec<(u64, Check)>,
    /// What they take.
    _memory: Reservation,
}

impl Codec for Xz {
    fn begin(&self, file: &Arc<dyn Disk>, part: Part, budget: &Budget) -> Result<Box<dyn Decoder>> {
        let (at, end) = part.packed;
        let stream = self.checks.partition_point(|(start, _)| *start <= at).checked_sub(1);
        let Some((_, check)) = stream.map(|stream| self.checks[stream]) else {
            return Err(corrupt!("block", at, "it lies in no stream"));
        };
        Ok(Box::new(Block::begin(Input::new(file, at, end), check, part.len, budget)?))
    }
}
