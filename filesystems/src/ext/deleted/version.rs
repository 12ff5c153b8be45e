//! One version of a deleted node, and the reading of its blocks.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use images::{Data, Error, Extent, Result};

use crate::ext::inode::Inode;
use crate::ext::run::{Run, State};
use crate::ext::volume::Volume;
use crate::length::in_memory;

/// A version whose place is known.
pub(in crate::ext) struct Version {
    pub(super) inode: Arc<Inode>,
    /// Written and unwritten runs, ascending and apart.
    pub(super) runs: Box<[Run]>,
    /// What is gone, in bytes, ascending and apart.
    pub(super) lost: Arc<[Range<u64>]>,
}

impl Version {
    /// The inode as of this version.
    pub(in crate::ext) fn inode(&self) -> &Inode {
        &self.inode
    }

    /// Whether nothing of its content is known to lie in blocks.
    pub(in crate::ext) fn has_no_blocks(&self) -> bool {
        self.runs.is_empty() && self.lost.is_empty()
    }

    /// Reads content that lies in blocks, from `offset`; short only at the end. Fails where bytes that are gone are asked
    /// for.
    pub(in crate::ext) fn read(&self, volume: &Volume, buf: &mut [u8], offset: u64) -> Result<usize> {
        let left = self.inode.size.saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let (buf, end) = (&mut buf[..len], offset + len as u64);
        let first = self.lost.partition_point(|lost| lost.end <= offset);
        if let Some(lost) = self.lost.get(first).filter(|lost| len > 0 && lost.start < end) {
            let (number, (start, to)) = (self.inode.number, (lost.start, lost.end));
            // The image is sound: EIO, as for a disk that has lost a sector.
            let gone = io::Error::other(format!("its bytes {start} to {to} are gone"));
            return Err(Error::io(format!("deleted inode {number}"), gone));
        }
        buf.fill(0);
        let size = volume.block_size();
        let first = self.runs.partition_point(|run| run.end().saturating_mul(size) <= offset);
        for run in &self.runs[first..] {
            let start = run.logical.saturating_mul(size);
            if start >= end {
                break;
            }
            let State::Written(block) = run.state else { continue };
            let (from, to) = (start.max(offset), run.end().saturating_mul(size).min(end));
            let part = &mut buf[in_memory(from - offset)..in_memory(to - offset)];
            volume.disk().read_at(part, block * size + (from - start))?;
        }
        Ok(len)
    }

    /// What lies at `offset` of content in blocks, inside the file.
    pub(in crate::ext) fn extent_at<'a>(&self, volume: &'a Volume, offset: u64) -> Result<Extent<'a>> {
        let first = self.lost.partition_point(|lost| lost.end <= offset);
        let mut most = self.inode.size.saturating_sub(offset);
        match self.lost.get(first) {
            Some(lost) if lost.start <= offset => return Ok(Extent { len: lost.end - offset, data: Data::Opaque }),
            Some(lost) => most = most.min(lost.start - offset),
            None => {}
        }
        let size = volume.block_size();
        let first = self.runs.partition_point(|run| run.end().saturating_mul(size) <= offset);
        let Some(run) = self.runs.get(first) else { return Ok(Extent { len: most, data: Data::Hole }) };
        let start = run.logical.saturating_mul(size);
        if start > offset {
            return Ok(Extent { len: most.min(start - offset), data: Data::Hole });
        }
        let len = most.min(run.end().saturating_mul(size) - offset);
        match run.state {
            State::Written(block) => Ok(volume.disk().extent_at(block * size + (offset - start))?.at_most(len)),
            _ => Ok(Extent { len, data: Data::Zero }),
        }
    }
}
