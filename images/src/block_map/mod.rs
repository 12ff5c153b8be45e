//! Disks whose bytes lie in blocks anywhere in a file: a format says where, and one engine reads.
//!
//! A [`Map`] is a format's tables, and answers one question: where does this byte of the guest's disk lie? [`Mapped`] is
//! the disk that it makes: it joins the answers, reads the blocks, decrypts them, and asks the parent for what is not there.
//! A [`MapMut`] also gives blocks a place, and [`Writable`] is the disk of that.

mod changes;
mod content;
mod mapped;
mod writable;

use std::convert::Infallible;

pub use changes::{Allocation, Begun, Clear, Cleared, MapMut};
pub use mapped::{Encryption, Mapped};
pub use writable::Writable;

use crate::Result;

/// What a format's tables say about a byte of the guest's disk. `P` is what a compressed block is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping<P = Infallible> {
    /// Nothing: the parent's byte, else zero.
    Parent,
    /// Zero, whatever the parent has.
    Zero,
    /// The byte at this offset of the file with the blocks.
    Data(u64),
    /// A byte that only [`Map::unpack`] can make.
    Packed(P),
}

/// Consecutive bytes of the guest's disk with one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run<P = Infallible> {
    /// The length in bytes, at least 1; may reach past the end of the disk.
    pub len: u64,
    /// What its first byte is mapped to; for `Data` the others follow.
    pub mapping: Mapping<P>,
}

impl<P> Run<P> {
    /// This run with what `next` says of the bytes behind it, asked at most `most` times, while that continues it and until
    /// it is `want` bytes long. `next` gets the length so far.
    pub fn joined(mut self, want: u64, most: usize, mut next: impl FnMut(u64) -> Option<Self>) -> Self {
        for _ in 0..most {
            if self.len >= want || matches!(self.mapping, Mapping::Packed(_)) {
                break;
            }
            match next(self.len) {
                Some(next) if self.continues(&next) => self.len += next.len,
                _ => break,
            }
        }
        self.len = self.len.min(want);
        self
    }

    /// Whether `next`, of the bytes behind this run, is a part of it.
    fn continues(&self, next: &Self) -> bool {
        let follows = match (&self.mapping, &next.mapping) {
            (Mapping::Parent, Mapping::Parent) | (Mapping::Zero, Mapping::Zero) => true,
            (Mapping::Data(at), Mapping::Data(next)) => at.checked_add(self.len) == Some(*next),
            _ => false,
        };
        follows && self.len.checked_add(next.len).is_some()
    }
}

/// A format's tables.
pub trait Map: Send + Sync {
    /// What messages call the format.
    const FORMAT: &'static str;
    /// What the format calls a block.
    const BLOCK: &'static str;
    /// How often [`Self::run_at`] is asked while a run grows: our limit of the work of one call of `extent_at`.
    const STEPS: usize = 4096;

    /// What a compressed block is found by; [`Infallible`] where there are none.
    type Packed: Copy + Send;

    /// The mapping at `offset` (bytes), which lies inside the disk, and how far it surely holds: to the end of the block,
    /// or as far as costs nothing more. More than `want` bytes are of no use. The engine joins neighbours.
    fn run_at(&self, offset: u64, want: u64) -> Result<Run<Self::Packed>>;

    /// Fills `buf` from `offset` (bytes), all of it in the block that is found by `packed`.
    fn unpack(&self, packed: Self::Packed, buf: &mut [u8], offset: u64) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_continues_a_run_joins_it() {
        let run = |mapping| Run { len: 512, mapping };
        let joined = |first, next| run(first).joined(1024, 1, |_| Some(run(next))).len;
        assert_eq!(joined(Mapping::Data(1024), Mapping::Data(1536)), 1024);
        assert_eq!(joined(Mapping::Data(1024), Mapping::Data(1024)), 512);
        assert_eq!(joined(Mapping::Data(1024), Mapping::Zero), 512);
        assert_eq!(joined(Mapping::Zero, Mapping::Zero), 1024);
        assert_eq!(joined(Mapping::Zero, Mapping::Parent), 512);
        assert_eq!(joined(Mapping::Data(u64::MAX - 1), Mapping::Data(510)), 512);
        assert_eq!(joined(Mapping::Packed(0), Mapping::Packed(0)), 512);
    }

    #[test]
    fn a_run_ends_where_nobody_wants_more() {
        let run = |len| Run::<()> { len, mapping: Mapping::Zero };
        let mut asked = 0;
        let mut next = |_| {
            asked += 1;
            Some(run(10))
        };
        assert_eq!((run(10).joined(45, 100, &mut next).len, run(10).joined(45, 2, &mut next).len), (45, 30));
        assert_eq!(
            (run(50).joined(45, 9, &mut next).len, run(u64::MAX).joined(u64::MAX, 1, &mut next).len),
            (45, u64::MAX)
        );
        assert_eq!(asked, 4 + 2);
        assert_eq!(run(10).joined(45, 9, |_| None).len, 10);
    }
}
