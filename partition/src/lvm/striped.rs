//! A disk that lies in turns on several others: a striped segment of a logical volume.

use std::fmt;
use std::ops::Range;

use images::disk::{Layout, Parts, View, check_range};
use images::length::in_memory;
use images::{Disk, Extent, Properties, Result, Writer, corrupt};

/// Stripes of equal size, read in turns.
pub struct Striped {
    name: String,
    stripe_size: u64,
    /// Not empty, all of the same size, which is a multiple of `stripe_size`.
    stripes: Vec<View>,
    size: u64,
}

impl Striped {
    /// The disk whose first `stripe_size` bytes are the first of the first stripe, the next the first of the second,
    /// and so on. `None` unless the stripes are of equal size, a multiple of `stripe_size`, and not empty.
    pub fn new(name: impl Into<String>, stripe_size: u64, stripes: Vec<View>) -> Option<Self> {
        let share = stripes.first()?.size();
        let even = stripes.iter().all(|stripe| stripe.size() == share);
        let whole = stripe_size > 0 && share > 0 && share.is_multiple_of(stripe_size);
        let size = share.checked_mul(stripes.len() as u64)?;
        (even && whole).then(|| Self { name: name.into(), stripe_size, stripes, size })
    }

    /// The stripe that holds byte `offset`, the offset in that, and how many bytes of this turn follow.
    fn turn_at(&self, offset: u64) -> (&View, u64, u64) {
        let turns = Turns { stripe_size: self.stripe_size, count: self.stripes.len() as u64 };
        let (index, at, left) = turns.part_at(offset);
        (&self.stripes[index], at, left)
    }
}

impl fmt::Display for Striped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Disk for Striped {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        while !buf.is_empty() {
            let (stripe, at, left) = self.turn_at(offset);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
            let (now, rest) = buf.split_at_mut(len);
            stripe.read_at(now, at)?;
            buf = rest;
            offset += len as u64;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let (stripe, at, left) = self.turn_at(offset);
        Ok(stripe.extent_at(at)?.at_most(left))
    }

    fn properties(&self) -> Properties {
        Properties::of_parts(self.stripes.iter().map(Disk::properties))
    }

    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        if bytes.start > bytes.end || bytes.end > self.size {
            let (name, size) = (self.name.as_str(), self.size);
            return Err(corrupt!(name, bytes.start, "a writer up to byte {:#x} wanted, of {size:#x}", bytes.end));
        }
        let turns = Turns { stripe_size: self.stripe_size, count: self.stripes.len() as u64 };
        let writer = |(index, stripe): (u64, &View)| {
            stripe.writer(turns.share(index, bytes.start)..turns.share(index, bytes.end))
        };
        let writers = (0..).zip(&self.stripes).map(writer).collect::<Result<_>>()?;
        Ok(Box::new(Parts { name: self.name.clone(), size: self.size, bytes, layout: turns, writers }))
    }
}

/// So many stripes, which have so many bytes in turns.
struct Turns {
    stripe_size: u64,
    count: u64,
}

impl Turns {
    /// How many of the first `bytes` lie on the stripe of this number.
    fn share(&self, index: u64, bytes: u64) -> u64 {
        let (rounds, rest) = (bytes / (self.stripe_size * self.count), bytes % (self.stripe_size * self.count));
        rounds * self.stripe_size + rest.saturating_sub(index * self.stripe_size).min(self.stripe_size)
    }
}

impl Layout for Turns {
    fn part_at(&self, offset: u64) -> (usize, u64, u64) {
        let (turn, inside) = (offset / self.stripe_size, offset % self.stripe_size);
        // Less than the number of stripes, which are in memory.
        (in_memory(turn % self.count), turn / self.count * self.stripe_size + inside, self.stripe_size - inside)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use images::disk::Memory;

    use super::*;

    #[test]
    fn bytes_come_in_turns() {
        let bytes: Vec<u8> = (0..200).collect();
        let disk: Arc<dyn Disk> = Arc::new(Memory::new("m", bytes.clone()));
        let view = |start, size| View::new("stripe", disk.clone(), start, size).unwrap();
        let striped = Striped::new("s", 4, vec![view(100, 12), view(0, 12), view(50, 12)]).unwrap();
        let want: Vec<u8> = [100, 0, 50, 104, 4, 54, 108, 8, 58].iter().flat_map(|at| *at..at + 4).collect();
        for start in 0..36 {
            for end in start..=36 {
                let mut buf = vec![0xff; end - start];
                striped.read_at(&mut buf, start as u64).unwrap();
                assert_eq!(buf, want[start..end]);
            }
        }
        assert!(striped.read_at(&mut [0; 2], 35).is_err());
        assert_eq!(striped.extent_at(5).unwrap().len, 3);
        assert!(Striped::new("s", 5, vec![view(0, 12)]).is_none(), "no multiple");
        assert!(Striped::new("s", 4, vec![view(0, 12), view(0, 8)]).is_none(), "uneven");
        assert!(Striped::new("s", 0, vec![view(0, 12)]).is_none() && Striped::new("s", 4, vec![]).is_none());
    }

    #[test]
    fn bytes_are_written_in_turns() {
        let disk: Arc<dyn Disk> = Arc::new(Memory::new("m", vec![0; 200]));
        let view = |start| View::new("stripe", disk.clone(), start, 12).unwrap();
        let striped = Striped::new("s", 4, vec![view(100), view(0), view(50)]).unwrap();
        let mut want = vec![0; 36];
        for start in 0..36u64 {
            for end in start..=36 {
                let writer = striped.writer(start..end).unwrap();
                assert!(start == end || striped.writer(end - 1..end).is_err(), "one writer");
                let _behind = striped.writer(end..36).unwrap();
                let data: Vec<u8> = (start..end).map(|at| (at * 7 + end) as u8).collect();
                writer.write_at(&data, start).unwrap();
                want[start as usize..end as usize].copy_from_slice(&data);
                let mut now = vec![0; 36];
                striped.read_at(&mut now, 0).unwrap();
                assert_eq!(now, want);
                assert!(writer.write_at(&[0; 2], end.saturating_sub(1)).is_err() && writer.grow(37).is_err());
            }
        }
        let writer = striped.writer(0..36).unwrap();
        writer.zero_at(3, 20).unwrap();
        writer.flush().unwrap();
        want[3..23].fill(0);
        let mut now = vec![0; 36];
        striped.read_at(&mut now, 0).unwrap();
        assert_eq!(now, want);
        assert!(striped.writer(0..37).is_err());
    }
}
