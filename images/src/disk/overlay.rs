//! A disk with some blocks replaced: a journal that was replayed without writing to the image.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::{Data, Disk, Extent, Properties, Writer, check_range};
use crate::{Reservation, Result, read_only};

/// Where the content of a replaced block comes from.
pub enum Replacement {
    /// It was made up in memory; as long as a block.
    Bytes(Box<[u8]>),
    /// It is all zeros.
    Zero,
    /// It lies in the same disk at this offset (bytes): a copy in the journal.
    At(u64),
    /// As [`At`](Self::At), but begins with these four bytes: a copy that was escaped in the journal.
    Patched {
        /// Where the copy lies, in bytes.
        at: u64,
        /// What its first four bytes are.
        head: [u8; 4],
    },
}

/// Another disk, of which some blocks read differently.
pub struct Overlay {
    inner: Arc<dyn Disk>,
    block_size: u64,
    blocks: BTreeMap<u64, Replacement>,
    /// What the blocks take.
    _memory: Option<Reservation>,
}

impl Overlay {
    /// `inner` with the blocks (of `block_size` bytes, a power of two) at these block numbers replaced.
    pub fn new(inner: Arc<dyn Disk>, block_size: u32, blocks: BTreeMap<u64, Replacement>) -> Self {
        Self { inner, block_size: block_size.into(), blocks, _memory: None }
    }

    /// The same, which owns what its blocks take of the budget.
    pub fn holding(self, memory: Reservation) -> Self {
        Self { _memory: Some(memory), ..self }
    }

    /// Reads from byte `inside` of the copy at `at`.
    fn read_copy(&self, buf: &mut [u8], at: u64, inside: u64) -> Result<()> {
        self.inner.read_at(buf, at.saturating_add(inside))
    }

    /// The first replaced block at or after `block`, and its start in bytes.
    fn next_replaced(&self, block: u64) -> Option<(u64, &Replacement)> {
        self.blocks.range(block..).next().and_then(|(at, new)| Some((at.checked_mul(self.block_size)?, new)))
    }
}

impl fmt::Display for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Disk for Overlay {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        while !buf.is_empty() {
            let (start, new) = match self.next_replaced(offset / self.block_size) {
                Some((start, new)) if start < offset + buf.len() as u64 => (start, new),
                _ => return self.inner.read_at(buf, offset),
            };
            if start > offset {
                let (now, rest) = buf.split_at_mut((start - offset) as usize);
                self.inner.read_at(now, offset)?;
                (buf, offset) = (rest, start);
            }
            let inside = offset - start;
            let len = buf.len().min((self.block_size - inside) as usize);
            let (now, rest) = buf.split_at_mut(len);
            match new {
                Replacement::Bytes(bytes) => now.copy_from_slice(&bytes[inside as usize..][..len]),
                Replacement::Zero => now.fill(0),
                Replacement::At(at) => self.read_copy(now, *at, inside)?,
                Replacement::Patched { at, head } => {
                    self.read_copy(now, *at, inside)?;
                    for (byte, patch) in now.iter_mut().zip(head.iter().skip(inside as usize)) {
                        *byte = *patch;
                    }
                }
            }
            buf = rest;
            offset += len as u64;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        match self.next_replaced(offset / self.block_size) {
            Some((start, new)) if start <= offset => {
                let len = (start + self.block_size).min(self.size()) - offset;
                match new {
                    Replacement::At(at) => Ok(self.inner.extent_at(at.saturating_add(offset - start))?.at_most(len)),
                    Replacement::Zero => Ok(Extent { len, data: Data::Zero }),
                    _ => Ok(Extent { len, data: Data::Opaque }),
                }
            }
            Some((start, _)) => Ok(self.inner.extent_at(offset)?.at_most(start - offset)),
            None => self.inner.extent_at(offset),
        }
    }

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    /// What is written would be hidden by what was replayed, or be replaced by it when the journal is replayed again.
    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!(
            "{self} has a journal that was replayed in memory only: it cannot be written before that is done"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    #[test]
    fn replaced_blocks_are_read_in_place_of_the_old_ones() {
        let mut want: Vec<u8> = (0..=255).collect();
        let disk = Arc::new(Memory::new("m", want.clone()));
        let patched = Replacement::Patched { at: 64, head: [1, 2, 3, 4] };
        let blocks = [(2, Replacement::Bytes([0xee; 16].into())), (3, Replacement::At(0)), (5, patched)];
        let overlay = Overlay::new(disk, 16, blocks.into());
        want[32..48].fill(0xee);
        want.copy_within(0..16, 48);
        want.copy_within(64..80, 80);
        want[80..84].copy_from_slice(&[1, 2, 3, 4]);
        for start in 0..256 {
            for end in start..256 {
                let mut buf = vec![0; end - start];
                overlay.read_at(&mut buf, start as u64).unwrap();
                assert_eq!(buf, want[start..end], "{start}..{end}");
            }
        }
        assert_eq!(overlay.extent_at(0).unwrap().len, 32);
        assert_eq!(overlay.extent_at(33).unwrap().len, 15);
        assert_eq!(overlay.extent_at(50).unwrap().len, 14, "a copy is where it was copied from, for a block");
    }
}
