//! A disk that lies in turns on several others: a striped segment of a logical volume.

use std::fmt;
use std::ops::Range;

use images::disk::{View, check_range};
use images::{Disk, Extent, Properties, Result, Writer, read_only};

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
        let (turn, inside) = (offset / self.stripe_size, offset % self.stripe_size);
        let count = self.stripes.len() as u64;
        let stripe = &self.stripes[(turn % count) as usize];
        (stripe, turn / count * self.stripe_size + inside, self.stripe_size - inside)
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

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} is striped: striped volumes cannot be written yet"))
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
}
