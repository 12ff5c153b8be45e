//! Blocks that are in use and that nobody has written since: they hold what was there before.
//!
//! Space that is reserved for a file lies in unwritten extents. With bigalloc a file has whole clusters, and maps only the
//! blocks of them that it wrote.

use zerocopy::FromBytes;

use crate::ext::inode::Inode;
use crate::ext::layout::{self, EXTENT_INIT_MAX_LEN, Extent, ExtentHeader, inode_flags, mode};
use crate::ext::run::State;
use crate::ext::volume::Volume;
use crate::room::Room;

/// How many stretches of such blocks are kept (ours): 16 bytes each.
const MAX_RUNS: usize = 1 << 18;
/// How many runs and holes of all files are looked at (ours), and never more than there are blocks.
const MAX_STEPS: u64 = 1 << 20;

/// Such blocks of the files that live.
pub(super) struct Reserved {
    room: Room,
    runs: Vec<(u64, u64)>,
    steps: u64,
}

impl Reserved {
    /// None yet.
    pub(super) fn new(room: Room) -> Self {
        Self { room, runs: Vec::new(), steps: 0 }
    }

    /// Adds those of an inode that lives: its number, its place (bytes) and its record.
    pub(super) fn add(&mut self, volume: &Volume, number: u32, at: u64, record: &[u8]) {
        let superblock = volume.superblock();
        let cluster = u64::from(superblock.cluster_blocks);
        let Ok((raw, _)) = layout::Inode::ref_from_prefix(record) else { return };
        let is_file = raw.i_mode.get() & mode::TYPE == mode::FILE && raw.i_flags.get() & inode_flags::EXTENTS != 0;
        if !is_file || cluster == 1 && !may_have_unwritten(&raw.i_block) {
            return;
        }
        let Ok(inode) = Inode::parse(superblock, number, at, record) else { return };
        let most = superblock.blocks.min(MAX_STEPS);
        if self.steps >= most {
            return;
        }
        // Where the run before ends on the disk.
        let mut before = 0u64;
        let _ = volume.map(&inode, 0, &mut |run| {
            self.steps += 1;
            let (start, written) = match run.state {
                State::Hole => return self.steps < most,
                State::Unwritten(block) => (block, false),
                State::Written(block) => (block, true),
            };
            let end = start + run.len;
            if cluster > 1 {
                let rest = before.next_multiple_of(cluster);
                if (before..rest).contains(&start) {
                    self.push(before, start);
                } else {
                    self.push(before, rest.min(superblock.blocks));
                    self.push(start - start % cluster, start);
                }
            }
            if !written {
                self.push(start, end);
            }
            before = end;
            self.steps < most && self.runs.len() < MAX_RUNS
        });
        if cluster > 1 {
            self.push(before, before.next_multiple_of(cluster).min(superblock.blocks));
        }
    }

    fn push(&mut self, start: u64, end: u64) {
        if start < end && self.runs.len() < MAX_RUNS && self.room.take(2 * size_of::<(u64, u64)>()) {
            self.runs.push((start, end));
        }
    }

    /// All of them, ascending and apart: start and end.
    pub(super) fn into_runs(mut self) -> Vec<(u64, u64)> {
        self.runs.sort_unstable();
        self.runs.dedup_by(|next, last| {
            let joins = next.0 <= last.1;
            if joins {
                last.1 = last.1.max(next.1);
            }
            joins
        });
        self.runs.shrink_to_fit();
        self.runs
    }
}

/// Whether an extent in the inode is unwritten, or extents lie outside of it.
fn may_have_unwritten(root: &[u8]) -> bool {
    let Ok((header, extents)) = ExtentHeader::ref_from_prefix(root) else { return false };
    let mut extents = extents.chunks_exact(size_of::<Extent>()).take(header.eh_entries.get().into());
    let is_unwritten =
        |extent: &[u8]| Extent::ref_from_bytes(extent).is_ok_and(|extent| extent.ee_len.get() > EXTENT_INIT_MAX_LEN);
    header.eh_depth.get() > 0 || extents.any(is_unwritten)
}
