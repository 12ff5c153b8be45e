//! Several pieces of disks in a row: what a linear logical volume or a split image is.

use std::fmt;
use std::io;
use std::ops::Range;

use super::claim::check_claimed;
use super::{Data, Disk, Extent, Parts, Properties, Run, Runs, View, Writer, check_range};
use crate::{Error, Reservation, Result, read_only};

/// What a [`Concat`] is made of.
pub enum Piece {
    /// Bytes of another disk.
    View(View),
    /// So many bytes that read as zeros and are allocated nowhere.
    Hole(u64),
    /// So many bytes that cannot be read, and why: a missing physical volume.
    Missing(u64, String),
}

impl Piece {
    fn size(&self) -> u64 {
        match self {
            Self::View(view) => view.size(),
            Self::Hole(size) | Self::Missing(size, _) => *size,
        }
    }
}

/// Pieces one after the other, as one disk.
pub struct Concat {
    name: String,
    /// Where each piece ends, in bytes; as long as `pieces`.
    ends: Vec<u64>,
    pieces: Vec<Piece>,
    /// What the pieces take.
    _memory: Option<Reservation>,
}

impl Concat {
    /// The pieces in this order. Empty pieces are left out. Fails if the sizes do not add up in 64 bits.
    pub fn new(name: impl Into<String>, pieces: impl IntoIterator<Item = Piece>) -> Result<Self> {
        let mut concat = Self { name: name.into(), ends: Vec::new(), pieces: Vec::new(), _memory: None };
        for piece in pieces {
            let Some(end) = concat.size().checked_add(piece.size()) else {
                return Err(Error::Unsupported(format!("{}: larger than 2^64 bytes", concat.name)));
            };
            if piece.size() > 0 {
                concat.ends.push(end);
                concat.pieces.push(piece);
            }
        }
        Ok(concat)
    }

    /// The same, which owns what its pieces take of the budget.
    pub fn holding(self, memory: Reservation) -> Self {
        Self { _memory: Some(memory), ..self }
    }

    /// The piece at `offset`, the offset in it, and how many bytes of it follow.
    fn piece_at(&self, offset: u64) -> (&Piece, u64, u64) {
        let index = self.ends.partition_point(|end| *end <= offset);
        let piece = &self.pieces[index];
        let left = self.ends[index] - offset;
        (piece, piece.size() - left, left)
    }
}

impl fmt::Display for Concat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Disk for Concat {
    fn size(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        while !buf.is_empty() {
            let (piece, inside, left) = self.piece_at(offset);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
            let (now, rest) = buf.split_at_mut(len);
            match piece {
                Piece::View(view) => view.read_at(now, inside)?,
                Piece::Hole(_) => now.fill(0),
                Piece::Missing(_, why) => {
                    let source = io::Error::other(why.clone());
                    return Err(Error::io(format!("cannot read {} at byte {offset:#x}", self.name), source));
                }
            }
            buf = rest;
            offset += len as u64;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let (piece, inside, left) = self.piece_at(offset);
        match piece {
            Piece::View(view) => view.extent_at(inside),
            Piece::Hole(_) => Ok(Extent { len: left, data: Data::Hole }),
            Piece::Missing(..) => Ok(Extent { len: left, data: Data::Opaque }),
        }
    }

    fn properties(&self) -> Properties {
        Properties::of_parts(self.pieces.iter().filter_map(|piece| match piece {
            Piece::View(view) => Some(view.properties()),
            Piece::Hole(_) | Piece::Missing(..) => None,
        }))
    }

    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        check_claimed(self, &bytes)?;
        let name = self.name.clone();
        let (mut runs, mut writers) = (Vec::new(), Vec::new());
        let mut at = bytes.start;
        while at < bytes.end {
            let (piece, inside, left) = self.piece_at(at);
            let len = left.min(bytes.end - at);
            writers.push(match piece {
                Piece::View(view) => view.writer(inside..inside + len)?,
                Piece::Hole(_) => return Err(read_only!("{name} cannot be written: byte {at:#x} lies on no disk")),
                Piece::Missing(_, why) => return Err(read_only!("{name} cannot be written at byte {at:#x}: {why}")),
            });
            runs.push(Run { start: at, end: at + len, inside });
            at += len;
        }
        Ok(Box::new(Parts { name, size: self.size(), bytes, layout: Runs(runs), writers }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::Memory;

    #[test]
    fn reads_cross_pieces() {
        let disk: Arc<dyn Disk> = Arc::new(Memory::new("m", (0..100).collect::<Vec<u8>>()));
        let view = |start, size| Piece::View(View::new("v", disk.clone(), start, size).unwrap());
        let pieces = [view(50, 3), Piece::Hole(2), view(0, 0), view(10, 2), Piece::Missing(4, "gone".into())];
        let concat = Concat::new("c", pieces).unwrap();
        assert_eq!(concat.size(), 11);
        let mut buf = [9; 7];
        concat.read_at(&mut buf, 0).unwrap();
        assert_eq!(buf, [50, 51, 52, 0, 0, 10, 11]);
        let error = concat.read_at(&mut buf, 1).unwrap_err();
        assert_eq!(error.to_string(), "cannot read c at byte 0x7: gone");
        let extent = concat.extent_at(4).unwrap();
        assert!(extent.len == 1 && matches!(extent.data, Data::Hole));
        assert!(concat.extent_at(11).is_err());
        assert!(Concat::new("c", [Piece::Hole(u64::MAX), Piece::Hole(1)]).is_err());
    }

    #[test]
    fn the_largest_sectors_hold_for_all() {
        let memory: Arc<dyn Disk> = Arc::new(Memory::new("m", vec![0; 8192]));
        let piece = |size: Option<u32>| {
            let disk = size.map_or(memory.clone(), |size| Arc::new(View::with_sector_size(memory.clone(), size)));
            Piece::View(View::new("v", disk, 0, 4096).unwrap())
        };
        let of = |pieces: Vec<Piece>| Concat::new("c", pieces).unwrap().properties().sector_size;
        assert_eq!(of(vec![piece(None), Piece::Hole(1)]), None);
        assert_eq!(of(vec![piece(None), Piece::Hole(1), piece(Some(512))]), Some(512));
        assert_eq!(of(vec![piece(Some(512)), piece(Some(4096)), piece(None)]), Some(4096));
        assert_eq!(of(vec![]), None);
    }
}
