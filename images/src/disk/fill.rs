//! How much of a disk is data, and how much is known to be zero.

use super::{Data, Disk};
use crate::Result;

/// What the extents of a disk add up to, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Bytes that must be read to know them.
    pub data: u64,
    /// Bytes that are allocated or marked, and known to read as zeros.
    pub zero: u64,
    /// Bytes that are not allocated.
    pub hole: u64,
    /// Bytes that were not looked at, because there were too many extents before them.
    pub rest: u64,
    /// How many runs of one kind there are.
    pub runs: u64,
}

impl Fill {
    /// Adds the extents of `disk` up, asking it at most `most` times.
    pub fn of(disk: &dyn Disk, most: usize) -> Result<Self> {
        let (size, mut at) = (disk.size(), 0);
        let (mut fill, mut last) = (Self::default(), None);
        for _ in 0..most {
            if at >= size {
                break;
            }
            let extent = disk.extent_at(at)?;
            let len = extent.len.clamp(1, size - at);
            let (kind, sum) = match extent.data {
                Data::Hole => (0, &mut fill.hole),
                Data::Zero => (1, &mut fill.zero),
                Data::Host(..) | Data::Opaque => (2, &mut fill.data),
            };
            // The sum of parts of a disk is at most its size.
            *sum += len;
            fill.runs += u64::from(last.replace(kind) != Some(kind));
            at += len;
        }
        fill.rest = size - at;
        Ok(fill)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::{Concat, Memory, Piece, View};

    #[test]
    fn the_parts_add_up_and_the_work_is_bounded() {
        let memory: Arc<dyn Disk> = Arc::new(Memory::new("m", vec![1; 10]));
        let piece = |size| Piece::View(View::new("piece", memory.clone(), 0, size).unwrap());
        let pieces = vec![piece(10), piece(5), Piece::Hole(85), piece(1)];
        let disk = Concat::new("all", pieces).unwrap();
        let fill = Fill::of(&disk, 100).unwrap();
        assert_eq!(fill, Fill { data: 16, hole: 85, runs: 3, ..Fill::default() });
        let fill = Fill::of(&disk, 3).unwrap();
        assert_eq!(fill, Fill { data: 15, hole: 85, rest: 1, runs: 2, ..Fill::default() });
        assert_eq!(Fill::of(&Memory::new("empty", Vec::new()), 3).unwrap(), Fill::default());
    }
}
