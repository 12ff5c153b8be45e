//! Data with one or two parities: RAID 4, 5 and 6, also where a leg or two are missing.

use std::fmt;
use std::ops::Range;

use images::disk::check_range;
use images::length::in_memory;
use images::{Data, Disk, Error, Extent, Properties, Result, Writer, read_only, unsupported};

use super::rotation::{Rotation, Rotation6, Row};
use super::{Legs, Level, MAX_LEGS_OF_RAID6, by_chunk, by_sector, galois};

/// How many bytes are made anew at once; each needs as many from all other legs.
const REBUILT_AT_ONCE: usize = 64 << 10;

/// How many chunks of each row are parities, and which.
#[derive(Clone, Copy, Debug)]
pub enum Parities {
    One(Rotation),
    Two(Rotation6),
}

/// An array in each of whose rows some chunks are parities.
pub struct Parity {
    legs: Legs,
    /// In bytes.
    chunk: u64,
    parities: Parities,
    /// How many chunks of a row are data.
    data: u64,
    size: u64,
}

impl Parities {
    fn level(self) -> Level {
        match self {
            Self::One(rotation) => Level::Raid5(rotation),
            Self::Two(rotation) => Level::Raid6(rotation),
        }
    }

    /// The roles of so many legs in row `row`.
    fn row(self, legs: usize, row: u64) -> Row {
        match self {
            Self::One(rotation) => rotation.row(legs, row),
            Self::Two(rotation) => rotation.row(legs, row),
        }
    }
}

/// What became of one try to make a chunk anew.
enum Failure {
    /// This leg cannot be read.
    Leg(usize, Error),
    /// Too many cannot.
    TooMany,
}

impl Parity {
    /// Fails if more legs are missing than there are parities.
    pub fn new(legs: Legs, chunk: u64, parities: Parities) -> Result<Self> {
        let (count, most) = match parities {
            Parities::One(_) => (1, usize::MAX),
            Parities::Two(_) => (2, MAX_LEGS_OF_RAID6),
        };
        if legs.len() <= count || legs.len() > most {
            return Err(unsupported!("{}: {} of {} members", legs.name, parities.level(), legs.len()));
        }
        if legs.len() - legs.present() > count {
            return Err(legs.too_few(&parities.level()));
        }
        let data = (legs.len() - count) as u64;
        let size = legs.array_size((legs.size / chunk).checked_mul(data), chunk)?;
        Ok(Self { legs, chunk, parities, data, size })
    }

    /// The row and leg that hold byte `offset` of the array, and where on the leg.
    fn place(&self, offset: u64) -> (Row, usize, u64) {
        let (number, inside) = (offset / self.chunk, offset % self.chunk);
        let (row, index) = (number / self.data, number % self.data);
        let roles = self.parities.row(self.legs.len(), row);
        (roles, roles.data(in_memory(index)), row * self.chunk + inside)
    }

    /// Makes what `wanted` should hold at `at`, and cannot be read there, maybe for this reason, from the other legs. Those
    /// that cannot be read are lost too.
    fn rebuild(&self, buf: &mut [u8], row: &Row, at: u64, wanted: usize, why: Option<Error>) -> Result<()> {
        let mut lost: Vec<usize> = (0..self.legs.len()).filter(|&leg| self.legs.legs[leg].is_none()).collect();
        if !lost.contains(&wanted) {
            lost.push(wanted);
        }
        // Of a leg that is there: that another one is missing is known.
        let mut why = why.filter(|_| self.legs.legs[wanted].is_some());
        loop {
            match self.solve(buf, row, at, wanted, &lost) {
                Ok(()) => return Ok(()),
                Err(Failure::Leg(leg, error)) => {
                    lost.push(leg);
                    why = why.or(Some(error));
                }
                Err(Failure::TooMany) => return Err(why.unwrap_or_else(|| self.legs.too_few(&self.parities.level()))),
            }
        }
    }

    /// Makes what `wanted` should hold from the legs that are not `lost`.
    fn solve(
        &self,
        buf: &mut [u8],
        row: &Row,
        at: u64,
        wanted: usize,
        lost: &[usize],
    ) -> std::result::Result<(), Failure> {
        let is_lost = |leg: usize| lost.contains(&leg);
        let mut others = row.factors().filter(|&(leg, _)| leg != wanted && is_lost(leg));
        let (other, more) = (others.next(), others.next());
        let q = row.q.filter(|&q| !is_lost(q));
        let factor = |exponent: usize| galois::power(exponent);
        let own = row.factors().find(|&(leg, _)| leg == wanted).map(|(_, exponent)| factor(exponent));
        let Some(own) = own.filter(|_| more.is_none()) else { return Err(Failure::TooMany) };
        match (other, is_lost(row.p), q) {
            // P is the sum of the data.
            (None, false, _) => self.sums(buf, None, row, at, lost),
            // Q is the sum of the data, each times its factor.
            (None, true, Some(_)) => {
                let mut weighted = vec![0; buf.len()];
                self.sums(buf, Some(&mut weighted), row, at, lost)?;
                galois::scale(&mut weighted, galois::inverse(own).ok_or(Failure::TooMany)?);
                buf.copy_from_slice(&weighted);
                Ok(())
            }
            // Two equations for two chunks: x + y = p and own * x + theirs * y = q, so that
            // (own + theirs) * x = q + theirs * p.
            (Some((_, exponent)), false, Some(_)) => {
                let theirs = factor(exponent);
                let mut weighted = vec![0; buf.len()];
                self.sums(buf, Some(&mut weighted), row, at, lost)?;
                galois::add_product(&mut weighted, buf, theirs);
                galois::scale(&mut weighted, galois::inverse(own ^ theirs).ok_or(Failure::TooMany)?);
                buf.copy_from_slice(&weighted);
                Ok(())
            }
            _ => Err(Failure::TooMany),
        }
    }

    /// What is missing in the sums of the legs that are not lost: in P, unless that is lost, and if it is wanted in Q.
    fn sums(
        &self,
        plain: &mut [u8],
        mut weighted: Option<&mut [u8]>,
        row: &Row,
        at: u64,
        lost: &[usize],
    ) -> std::result::Result<(), Failure> {
        let mut read = vec![0; plain.len()];
        let read_leg =
            |leg: usize, into: &mut [u8]| self.legs.read(leg, into, at).map_err(|error| Failure::Leg(leg, error));
        if lost.contains(&row.p) {
            plain.fill(0);
        } else {
            read_leg(row.p, plain)?;
        }
        if let (Some(weighted), Some(q)) = (weighted.as_deref_mut(), row.q) {
            read_leg(q, weighted)?;
        }
        for (leg, exponent) in row.factors().filter(|(leg, _)| !lost.contains(leg)) {
            read_leg(leg, &mut read)?;
            galois::add(plain, &read);
            if let Some(weighted) = weighted.as_deref_mut() {
                galois::add_product(weighted, &read, galois::power(exponent));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Parity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.legs.name)
    }
}

impl Disk for Parity {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        by_chunk(self, self.chunk, buf, offset, |part, offset| {
            let (row, leg, at) = self.place(offset);
            let Err(failed) = self.legs.read(leg, part, at) else { return Ok(()) };
            if self.legs.legs[leg].is_some() {
                log::debug!("{self}: {failed}; it is made from the other members");
            }
            let (mut at, mut failed) = (at, Some(failed));
            for part in part.chunks_mut(REBUILT_AT_ONCE) {
                if let Err(error) = self.rebuild(part, &row, at, leg, failed.take()) {
                    by_sector(part, at, error, |part, at| {
                        self.legs.read(leg, part, at).or_else(|error| self.rebuild(part, &row, at, leg, Some(error)))
                    })?;
                }
                at += part.len() as u64;
            }
            Ok(())
        })
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let (_, leg, at) = self.place(offset);
        let (row, inside) = (offset / self.chunk / self.data, offset % self.chunk);
        let left = self.chunk - inside;
        let zeros = |known| self.legs.zeros(row * self.chunk, known);
        let (extent, zeros) = match self.legs.legs[leg] {
            Some(_) => {
                let extent = self.legs.extent(leg, at, left);
                let whole = extent.data.reads_zero() && extent.len >= left;
                let known = (leg, extent.len.saturating_add(inside));
                (extent, if whole { zeros(Some(known)) } else { 0 })
            }
            // The sum of zeros is zero.
            None => match zeros(None) {
                len if len <= inside => (Extent { len: left, data: Data::Opaque }, 0),
                len => (Extent { len: len - inside, data: Data::Hole }, len),
            },
        };
        let end = row.saturating_add(zeros / self.chunk).saturating_mul(self.data).saturating_mul(self.chunk);
        let len = end.min(self.size).saturating_sub(offset).max(extent.len.min(left));
        Ok(Extent { len, ..extent })
    }

    fn properties(&self) -> Properties {
        self.legs.properties
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} is an array: arrays are not written"))
    }
}
