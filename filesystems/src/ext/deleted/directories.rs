//! The directories that live: where their blocks are, and what lies between their entries.

use std::collections::HashMap;

use super::blocks::BlockCopy;
use super::names::Names;
use crate::ext::inode::Inode;
use crate::ext::layout::inode_flags;
use crate::ext::run::State;
use crate::ext::superblock::Superblock;
use crate::ext::volume::Volume;
use crate::length::in_memory;
use crate::room::Room;

/// How much is read at once, in bytes (ours).
const CHUNK: u64 = 1 << 20;
/// How many pieces of living directories are read (ours): 16 bytes each.
const MAX_RUNS: usize = 1 << 20;

/// What a piece takes in the list, which grows to twice its size.
const RUN: usize = 2 * size_of::<(u64, u64, u32)>();

/// Where the directories that live have their entries.
pub(super) struct Directories {
    /// Block, count and inode, in pieces of at most [`CHUNK`] bytes.
    runs: Vec<(u64, u64, u32)>,
    /// How many blocks there can still be: none is in two directories.
    blocks: u64,
    room: Room,
}

impl Directories {
    /// None of a file system yet.
    pub(super) fn new(superblock: &Superblock, room: Room) -> Self {
        Self { runs: Vec::new(), blocks: superblock.blocks, room }
    }

    /// Adds a directory.
    pub(super) fn add(&mut self, volume: &Volume, inode: &Inode) {
        if inode.has(inode_flags::INLINE_DATA) {
            return;
        }
        let blocks = inode.size.div_ceil(volume.block_size()).min(volume.superblock().blocks);
        let most = (CHUNK / volume.block_size()).max(1);
        let _ = volume.map(inode, 0, &mut |run| {
            if let State::Written(start) = run.state {
                let end = start + run.len.min(blocks.saturating_sub(run.logical));
                let mut at = start;
                while at < end && self.runs.len() < MAX_RUNS && self.blocks > 0 && self.room.take(RUN) {
                    let len = (end - at).min(most).min(self.blocks);
                    self.runs.push((at, len, inode.number));
                    self.blocks -= len;
                    at += len;
                }
            }
            run.end() < blocks
        });
    }

    /// Reads the directories, for names in gaps, and for the places of blocks that nothing else attributes. Returns the
    /// owners of such places.
    pub(super) fn read(&mut self, volume: &Volume, names: &mut Names) -> HashMap<u64, Vec<u32>> {
        let (superblock, size) = (volume.superblock(), volume.block_size());
        let mut places: HashMap<u64, Vec<u32>> = HashMap::new();
        let mut buffer = Vec::new();
        let mut directories = std::mem::take(&mut self.runs);
        directories.sort_unstable();
        let mut todo = &directories[..];
        while let [first, ..] = todo {
            // What lies together is read at once.
            let (start, mut end, mut count) = (first.0, first.0, 0);
            for (at, len, _) in todo {
                let next = end.max(at + len);
                if *at > end || count > 0 && (next - start) * size > CHUNK {
                    break;
                }
                (end, count) = (next, count + 1);
            }
            let (now, later) = todo.split_at(count.max(1));
            todo = later;
            buffer.resize(in_memory((end - start) * size), 0);
            let is_read = volume.disk().read_at(&mut buffer, start * size).is_ok();
            for (number, block) in now.iter().flat_map(|(at, len, number)| (*at..at + len).map(|at| (*number, at))) {
                if names.places.contains(&block) {
                    places.entry(block).or_default().push(number);
                }
                let at = block * size;
                let inside = in_memory((block - start) * size);
                let Some(bytes) = buffer.get_mut(inside..inside + in_memory(size)) else { continue };
                // One bad sector hides one block.
                if is_read || volume.disk().read_at(bytes, at).is_ok() {
                    let copy = BlockCopy { at, order: None, sequence: None, in_journal: false };
                    names.add_block(superblock, bytes, &copy, Some(block), (Some(number), None), true);
                }
            }
        }
        places
    }
}
