//! Writing to a disk whose bytes lie in parts of others, each of which has a writer of its own.

use std::ops::Range;

use super::{DiskMut, Writer};
use crate::{Result, corrupt, read_only};

/// Where the bytes of a disk lie among its parts.
pub trait Layout: Send + Sync {
    /// The part that holds the byte at `offset`, where it lies for the part's writer, and how many bytes of the part
    /// follow, this one included: at least 1. `offset` lies inside of what the writer was asked for.
    fn part_at(&self, offset: u64) -> (usize, u64, u64);
}

/// Runs of the disk, each with a writer of its own: without gaps, in order.
pub(crate) struct Runs(pub Vec<Run>);

/// A run of the disk, or the part of one that is written.
pub(crate) struct Run {
    /// The first byte, and the one behind its last, in the whole.
    pub start: u64,
    pub end: u64,
    /// Where the first byte lies for the writer.
    pub inside: u64,
}

impl Layout for Runs {
    fn part_at(&self, offset: u64) -> (usize, u64, u64) {
        let index = self.0.partition_point(|run| run.end <= offset);
        let run = &self.0[index];
        (index, offset - run.start + run.inside, run.end - offset)
    }
}

/// The writer of a disk that is made of parts.
pub struct Parts<L> {
    /// What messages call the disk.
    pub name: String,
    /// The size of the disk, in bytes: what it cannot grow beyond.
    pub size: u64,
    /// What the writer was asked for.
    pub bytes: Range<u64>,
    /// Where these lie.
    pub layout: L,
    /// One for each part.
    pub writers: Vec<Writer>,
}

impl<L: Layout> Parts<L> {
    /// Calls `each` for the parts of `len` bytes from `offset`: with the writer, the offset in its part, the first byte
    /// counted from `offset`, and how many follow.
    fn split(&self, offset: u64, len: u64, each: impl Fn(&Writer, u64, u64, u64) -> Result<()>) -> Result<()> {
        let end = offset.checked_add(len).filter(|end| offset >= self.bytes.start && *end <= self.bytes.end);
        let Some(end) = end else {
            let name = self.name.as_str();
            return Err(corrupt!(name, offset, "{len} bytes to be written, which the writer does not have"));
        };
        let mut at = offset;
        while at < end {
            let (part, inside, left) = self.layout.part_at(at);
            let len = left.min(end - at);
            each(&self.writers[part], inside, at - offset, len)?;
            at += len;
        }
        Ok(())
    }
}

impl<L: Layout> DiskMut for Parts<L> {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        // What is counted from the start of `data` is at most its length.
        let part = |from: u64, len: u64| &data[from as usize..][..len as usize];
        self.split(offset, data.len() as u64, |writer, at, from, len| writer.write_at(part(from, len), at))
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.split(offset, len, |writer, at, _, len| writer.zero_at(at, len))
    }

    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.split(offset, len, |writer, at, _, len| writer.discard_at(at, len))
    }

    /// All parts, also behind one that fails: what was written there may still be saved. A disk that several lie on does
    /// it once.
    fn flush(&self) -> Result<()> {
        self.writers.iter().map(|writer| writer.flush()).fold(Ok(()), Result::and)
    }

    fn grow(&self, size: u64) -> Result<()> {
        if size <= self.size {
            return Ok(());
        }
        Err(read_only!("{} cannot grow: it is made of parts", self.name))
    }
}
