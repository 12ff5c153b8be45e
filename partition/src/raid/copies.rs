//! Stripes of which there are one or more copies: RAID 0, RAID 1 and RAID 10.
//!
//! Where copies lie is MD's: <https://man7.org/linux/man-pages/man4/md.4.html>, section RAID10.

use std::fmt;
use std::ops::Range;

use images::disk::check_range;
use images::length::in_memory;
use images::{Disk, Error, Extent, Properties, Result, Writer, read_only, unsupported};

use super::{Legs, Level, by_chunk, by_sector};

/// Where the copies of a chunk lie.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    /// How many copies follow one another.
    near: u64,
    /// How many copies of these there are.
    far: u64,
    /// Whether each row of chunks is followed by its far copies.
    offset: bool,
    /// How many legs the far copies stay within; 0 for all.
    far_set: u64,
}

impl Pattern {
    pub const STRIPED: Self = Self { near: 1, far: 1, offset: false, far_set: 0 };

    /// Fails if there are not as many legs as copies.
    pub fn new(legs: &Legs, near: u32, far: u32, offset: bool, far_set: Option<u32>) -> Result<Self> {
        let count = legs.len() as u64;
        let copies = u64::from(near) * u64::from(far);
        let far_set = u64::from(far_set.unwrap_or(0));
        if copies == 0 || copies > count || far_set > count {
            let name = &legs.name;
            return Err(unsupported!(
                "{name}: RAID 10 with {near} near and {far} far copies on {count} members, in sets of {far_set}"
            ));
        }
        Ok(Self { near: near.into(), far: far.into(), offset, far_set })
    }

    /// How many rows of chunks one row takes with the copies that follow it.
    fn depth(&self) -> u64 {
        if self.offset { self.far } else { 1 }
    }

    /// The leg with the far copy `far` of what is on `leg`.
    fn far_leg(&self, legs: u64, leg: u64, far: u64) -> u64 {
        let set_size = if self.far_set == 0 { legs } else { self.far_set };
        // What is over when the legs are dealt out in sets makes the last set larger.
        let last_start = (legs / set_size).saturating_sub(1) * set_size;
        let last_size = legs - last_start;
        (0..far).fold(leg, |leg, _| {
            let set_start = leg / set_size * set_size;
            let moved = leg + self.near;
            if !legs.is_multiple_of(set_size) && moved > last_start {
                last_start + (moved - last_start) % last_size
            } else {
                set_start + moved % set_size
            }
        })
    }
}

/// An array whose chunks are all data.
pub struct Copies {
    legs: Legs,
    /// In bytes; all of a leg for a mirror.
    chunk: u64,
    pattern: Pattern,
    /// How much further down a far copy lies, in bytes.
    stride: u64,
    size: u64,
}

impl Copies {
    /// Legs that are all the same: one row of one chunk, with a copy on each leg.
    pub fn mirror(legs: Legs) -> Result<Self> {
        let pattern = Pattern { near: legs.len() as u64, ..Pattern::STRIPED };
        let (chunk, size) = (legs.size.max(1), legs.size);
        Ok(Self { legs, chunk, pattern, stride: 0, size })
    }

    /// Fails if there is a chunk all of whose copies are missing.
    pub fn new(legs: Legs, chunk: u64, level: Level, pattern: Pattern) -> Result<Self> {
        let (count, rows) = (legs.len() as u64, legs.size / chunk);
        let Pattern { near, far, offset, .. } = pattern;
        let chunks = (rows / far).checked_mul(count).map(|chunks| chunks / near);
        let stride = match (offset, far) {
            (true, _) => chunk,
            (false, 1) => 0,
            (false, _) => {
                let copies = chunks.and_then(|chunks| chunks.checked_mul(near * far));
                legs.array_size(copies.map(|copies| copies.div_ceil(count) / far), chunk)?
            }
        };
        let size = legs.array_size(chunks, chunk)?;
        let copies = Self { legs, chunk, pattern, stride, size };
        // The legs of the copies repeat after as many chunks as there are legs.
        let lost = |number| copies.places(number).all(|(leg, _)| copies.legs.legs[leg].is_none());
        if copies.legs.present() < copies.legs.len() && (0..count).any(lost) {
            return Err(copies.legs.too_few(&level));
        }
        Ok(copies)
    }

    /// The copies of chunk `number`: the leg of each, and where it begins there.
    pub fn places(&self, number: u64) -> impl Iterator<Item = (usize, u64)> {
        let Pattern { near, far, .. } = self.pattern;
        let legs = self.legs.len() as u64;
        (0..far).flat_map(move |far| (0..near).map(move |near| (far, near))).map(move |(far, nth)| {
            let turn = number * near;
            let (row, leg) = (turn / legs, turn % legs + nth);
            // A copy that does not fit in the row goes on in the next.
            let row = row * self.pattern.depth() + leg / legs;
            let leg = self.pattern.far_leg(legs, leg % legs, far);
            (in_memory(leg), row.saturating_mul(self.chunk).saturating_add(far.saturating_mul(self.stride)))
        })
    }

    /// The places that can be read.
    fn present(&self, number: u64) -> impl Iterator<Item = (usize, u64)> {
        self.places(number).filter(|(leg, _)| self.legs.legs[*leg].is_some())
    }

    /// Where the row with chunk `number` and all rows after it that read as zeros on all legs end, as an offset in the
    /// array. Of `leg` it is known that it reads as zeros up to its byte `known`.
    fn zeros_until(&self, number: u64, leg: usize, known: u64) -> u64 {
        let Pattern { near, far, .. } = self.pattern;
        let legs = self.legs.len() as u64;
        let row = number * near / legs;
        let row_size = self.chunk * self.pattern.depth();
        let at = row.saturating_mul(row_size);
        let rows = self.legs.zeros(at, Some((leg, known.saturating_sub(at)))) / row_size;
        let turns = row.saturating_add(rows).saturating_mul(legs);
        let end = if self.legs.present() == self.legs.len() {
            // Only the first copies are asked, which begin in these rows.
            turns.div_ceil(near)
        } else if far == 1 {
            turns / near
        } else {
            0
        };
        end.saturating_mul(self.chunk)
    }
}

impl fmt::Display for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.legs.name)
    }
}

impl Disk for Copies {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        by_chunk(self, self.chunk, buf, offset, |part, offset| {
            let (number, inside) = (offset / self.chunk, offset % self.chunk);
            let read = |part: &mut [u8], inside: u64| {
                let mut why: Option<Error> = None;
                for (leg, start) in self.present(number) {
                    match self.legs.read(leg, part, start + inside) {
                        Ok(()) => return Ok(()),
                        Err(error) => why = why.or(Some(error)),
                    }
                }
                Err(why.unwrap_or_else(|| super::missing(&self.legs.name, &Level::Mirror, 0, self.legs.len())))
            };
            read(part, inside).or_else(|error| by_sector(part, inside, error, read))
        })
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let (number, inside) = (offset / self.chunk, offset % self.chunk);
        let left = (self.chunk - inside).min(self.size - offset);
        let Some((leg, start)) = self.present(number).next() else {
            return Err(super::missing(&self.legs.name, &Level::Mirror, 0, self.legs.len()));
        };
        let extent = self.legs.extent(leg, start + inside, left);
        if extent.data.reads_zero() && extent.len >= left {
            let known = start.saturating_add(inside).saturating_add(extent.len);
            let end = self.zeros_until(number, leg, known).min(self.size);
            return Ok(Extent { len: end.saturating_sub(offset).max(left), ..extent });
        }
        Ok(extent.at_most(left))
    }

    fn properties(&self) -> Properties {
        self.legs.properties
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} is an array: arrays are not written"))
    }
}
