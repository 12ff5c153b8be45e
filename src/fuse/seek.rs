//! `SEEK_DATA` and `SEEK_HOLE`, answered from a file's extents.

use filesystems::{FileSystem, NodeId};
use images::Result;

/// How many extents one call looks at. A longer search stops where it is and gives the answer that is always
/// allowed: that there is data. Ours; a million extents of 4 KiB are 4 GiB.
const MOST_EXTENTS: usize = 1 << 16;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whence {
    Data,
    Hole,
}

/// The first byte at or after `offset` that is data, or that is a hole; the end of the file counts as a hole.
/// `None` means ENXIO: `offset` is not inside the file, or there is no more data.
pub fn seek(fs: &dyn FileSystem, file: NodeId, offset: u64, whence: Whence) -> Result<Option<u64>> {
    let size = fs.stat(file)?.size;
    if offset >= size {
        return Ok(None);
    }
    let mut at = offset;
    for _ in 0..MOST_EXTENTS {
        let extent = fs.extent_at(file, at)?;
        let found = match whence {
            Whence::Data => !extent.data.reads_zero(),
            Whence::Hole => extent.data.reads_zero(),
        };
        if found {
            return Ok(Some(at));
        }
        at = at.saturating_add(extent.len.max(1));
        if at >= size {
            return Ok(match whence {
                Whence::Data => None,
                Whence::Hole => Some(size),
            });
        }
    }
    Ok(Some(match whence {
        Whence::Data => at,
        Whence::Hole => size,
    }))
}
