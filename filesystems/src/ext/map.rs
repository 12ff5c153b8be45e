//! Which blocks of the disk hold a file's content, and the reading of it.

use std::sync::Arc;

use images::{Data, Extent, Result};

use super::inode::Inode;
use super::layout::{DIRECT_BLOCKS, inode_flags};
use super::run::{Run, State, Step, Window};
use super::volume::Volume;
use super::{block_map, extents};

/// Blocks in a window: what of a large file's map is resolved and kept at once (ours).
const WINDOW_BLOCKS: u64 = 16384;
/// How many neighbouring runs of the same answer [`Volume::extent_at`] joins at most (ours); more are given in pieces.
const MAX_JOINED: u32 = 4096;

/// A place in a file's map that stays near the last block asked for.
pub(super) struct Cursor<'a> {
    volume: &'a Volume,
    inode: &'a Inode,
    window: Option<(u32, Arc<Window>)>,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(volume: &'a Volume, inode: &'a Inode) -> Self {
        Self { volume, inode, window: None }
    }

    /// The run that holds `block`, from `block` on.
    pub(super) fn run_at(&mut self, block: u64) -> Result<Run> {
        if self.volume.fits_in_inode(self.inode) {
            let mut found = Run { logical: block, len: 1, state: State::Hole };
            self.volume.map(self.inode, block, &mut |run| {
                found = run;
                false
            })?;
            return Ok(found);
        }
        let Ok(index) = u32::try_from(block / WINDOW_BLOCKS) else {
            return Ok(Run { logical: block, len: u64::MAX - block, state: State::Hole });
        };
        let window = match &self.window {
            Some((at, window)) if *at == index => window,
            _ => &self.window.insert((index, self.volume.window(self.inode, index)?)).1,
        };
        let at = window.runs.partition_point(|run| run.end() <= block);
        match window.runs.get(at) {
            Some(run) => Ok(run.cut(block, u64::MAX)),
            None => Ok(Run { logical: block, len: 1, state: State::Hole }),
        }
    }
}

impl Volume {
    /// Calls `each` with the runs of a file from block `from` on, ascending and without gaps, until it returns false.
    ///
    /// After the last block that can be mapped comes one endless hole. Fails with `Corrupt` where the map is damaged.
    pub fn map(&self, inode: &Inode, from: u64, each: &mut dyn FnMut(Run) -> bool) -> Result<()> {
        let extents = inode.has(inode_flags::EXTENTS);
        let limit = if extents { extents::MAX_BLOCKS } else { block_map::max_blocks(self.block_size()) };
        let mut block = from;
        while block < limit {
            let step = if extents {
                extents::step(self, inode, block, each)?
            } else {
                block_map::step(self, inode, block, each)?
            };
            match step {
                Step::Stop => return Ok(()),
                Step::On(next) => block = next,
            }
        }
        if block < u64::MAX {
            each(Run { logical: block, len: u64::MAX - block, state: State::Hole });
        }
        Ok(())
    }

    /// Whether the whole map is in the inode, so that nothing need be read or kept.
    fn fits_in_inode(&self, inode: &Inode) -> bool {
        if inode.has(inode_flags::EXTENTS) {
            extents::root_is_leaf(inode)
        } else {
            inode.size <= DIRECT_BLOCKS * self.block_size()
        }
    }

    fn window(&self, inode: &Inode, index: u32) -> Result<Arc<Window>> {
        self.windows.get_or_insert_with(&(inode.number, index, inode.version), || {
            let start = u64::from(index) * WINDOW_BLOCKS;
            let end = start + WINDOW_BLOCKS;
            let mut runs: Vec<Run> = Vec::new();
            self.map(inode, start, &mut |run| {
                let run = run.cut(run.logical, end);
                match runs.last_mut() {
                    Some(last) if last.continues_with(&run) => last.len += run.len,
                    _ => runs.push(run),
                }
                run.end() < end
            })?;
            Ok(Arc::new(Window { runs: runs.into() }))
        })
    }

    /// Reads a file's content by its map, from `offset` (bytes). Short only at the end of the file.
    ///
    /// Runs that lie together on the disk are one read of the disk.
    pub fn read(&self, inode: &Inode, buf: &mut [u8], offset: u64) -> Result<usize> {
        let left = inode.size.saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let mut cursor = Cursor::new(self, inode);
        // The part of `buf` that is still to be read from one place of the disk: start, end, bytes on the disk.
        let mut wanted: Option<(usize, usize, u64)> = None;
        let mut done = 0;
        while done < len {
            let position = offset + done as u64;
            let inside = position % self.block_size();
            let run = cursor.run_at(position / self.block_size())?;
            let run_bytes = run.len.saturating_mul(self.block_size()) - inside;
            let now = usize::try_from(run_bytes).unwrap_or(usize::MAX).min(len - done);
            if let State::Written(block) = run.state {
                let at = block * self.block_size() + inside;
                match &mut wanted {
                    Some((start, end, from)) if *end == done && *from + (*end - *start) as u64 == at => *end += now,
                    _ => {
                        self.read_part(buf, wanted.take())?;
                        wanted = Some((done, done + now, at));
                    }
                }
            } else {
                buf[done..done + now].fill(0);
            }
            done += now;
        }
        self.read_part(buf, wanted)?;
        Ok(len)
    }

    /// Reads bytes `start..end` of `buf` from `from` on the disk, if any are wanted.
    fn read_part(&self, buf: &mut [u8], part: Option<(usize, usize, u64)>) -> Result<()> {
        match part {
            Some((start, end, from)) => self.disk().read_at(&mut buf[start..end], from),
            None => Ok(()),
        }
    }

    /// What lies at `offset` (bytes) of a file, and how far: the map's answer, and where that is the disk's, the disk's.
    /// `offset` must lie inside the file.
    pub fn extent_at(&self, inode: &Inode, offset: u64) -> Result<Extent<'_>> {
        let mut joined: Option<Run> = None;
        let mut steps = 0;
        self.map(inode, offset / self.block_size(), &mut |run| {
            steps += 1;
            match &mut joined {
                None => joined = Some(run),
                Some(last) if last.continues_with(&run) => last.len += run.len,
                Some(_) => return false,
            }
            run.end().saturating_mul(self.block_size()) < inode.size && steps < MAX_JOINED
        })?;
        let inside = offset % self.block_size();
        let to_end = inode.size - offset;
        let Some(run) = joined else { return Ok(Extent { len: to_end, data: Data::Hole }) };
        let len = (run.len.saturating_mul(self.block_size()) - inside).min(to_end);
        Ok(match run.state {
            State::Hole => Extent { len, data: Data::Hole },
            State::Unwritten(_) => Extent { len, data: Data::Zero },
            State::Written(block) => self.disk().extent_at(block * self.block_size() + inside)?.at_most(len),
        })
    }
}
