//! Inodes that lost their last name while they were open: the orphan file and the orphan list.
//!
//! Specification: <https://docs.kernel.org/filesystems/ext4/orphan.html>. They are deleted nodes like any other; that they
//! are listed here says why they are still in use.

use std::collections::{HashMap, HashSet};

use zerocopy::FromBytes;

use super::blocks::BlockCopy;
use crate::ext::checksum::crc32c;
use crate::ext::inode::Inode;
use crate::ext::layout::{ORPHAN_MAGIC, OrphanBlockTail, SUPERBLOCK_OFFSET, SuperBlock};
use crate::ext::run::State;
use crate::ext::volume::Volume;
use crate::forensics::Evidence;

/// The kernel's limit of the orphan file, in bytes.
const MAX_FILE: u64 = 8 << 20;
/// How many inodes are kept track of (ours): about 100 bytes each.
const MAX_ENTRIES: usize = 1 << 17;

/// Which inodes are listed, and where.
#[derive(Default)]
pub(super) struct Orphans {
    /// By inode: where it is in the orphan file or the orphan list, or was in a copy of the journal.
    entries: HashMap<u32, Evidence>,
    /// The blocks of the orphan file.
    blocks: HashSet<u64>,
    seed: u32,
    /// What the list leads to from an inode without a name, and where that stands, in bytes.
    links: HashMap<u32, (u32, u64)>,
}

impl Orphans {
    /// Takes an inode that is in use without a name: its time of deletion is the next of the list.
    pub(super) fn add_link(&mut self, inode: &Inode) {
        if self.links.len() < MAX_ENTRIES {
            let at = inode.offset + std::mem::offset_of!(crate::ext::layout::Inode, i_dtime) as u64;
            self.links.insert(inode.number, (inode.raw.i_dtime.get(), at));
        }
    }

    /// Follows the list, when all its inodes are known.
    pub(super) fn follow(&mut self, volume: &Volume) {
        let links = std::mem::take(&mut self.links);
        let mut number = volume.superblock().raw.s_last_orphan.get();
        let mut at = SUPERBLOCK_OFFSET + std::mem::offset_of!(SuperBlock, s_last_orphan) as u64;
        while let Some((next, next_at)) = links.get(&number).filter(|_| !self.entries.contains_key(&number)) {
            let (in_journal, checksum) = (false, volume.superblock().checksum_seed.map(|_| true));
            self.entries
                .insert(number, Evidence { what: "orphan list", offset: at, transaction: None, in_journal, checksum });
            (number, at) = (*next, *next_at);
        }
    }

    /// Reads the orphan file, if it is one.
    pub(super) fn read(&mut self, volume: &Volume, inode: &Inode) {
        self.seed = inode.seed;
        let end = inode.size.min(MAX_FILE).div_ceil(volume.block_size());
        let _ = volume.map(inode, 0, &mut |run| {
            if let State::Written(at) = run.state {
                self.blocks.extend(at..at + run.len.min(end.saturating_sub(run.logical)));
            }
            run.end() < end
        });
        let mut blocks: Vec<u64> = self.blocks.iter().copied().collect();
        blocks.sort_unstable();
        for number in blocks {
            if let Ok(block) = volume.block(number) {
                let copy = BlockCopy { at: block.offset(), order: None, sequence: None, in_journal: false };
                self.take(volume, number, &block, &copy);
            }
        }
    }

    /// Takes a block of the orphan file, or a copy of it. Returns whether it is one.
    pub(super) fn take(&mut self, volume: &Volume, number: u64, block: &[u8], copy: &BlockCopy) -> bool {
        if !self.blocks.contains(&number) {
            return false;
        }
        let Some((entries, tail)) = block.split_last_chunk::<{ size_of::<OrphanBlockTail>() }>() else { return true };
        let Ok(tail) = OrphanBlockTail::ref_from_bytes(tail) else { return true };
        let checked = volume.superblock().checksum_seed.map(|_| {
            let crc = crc32c(crc32c(self.seed, &number.to_le_bytes()), entries);
            crc == tail.ob_checksum.get()
        });
        if tail.ob_magic.get() != ORPHAN_MAGIC || checked == Some(false) {
            return true;
        }
        for (at, word) in (copy.at..).step_by(4).zip(entries.chunks_exact(4)) {
            let inode = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            if inode != 0 && self.entries.len() < MAX_ENTRIES {
                // What is on the disk comes first.
                self.entries.entry(inode).or_insert(Evidence {
                    what: "orphan file",
                    offset: at,
                    transaction: copy.sequence.map(u64::from),
                    in_journal: copy.in_journal,
                    checksum: checked,
                });
            }
        }
        true
    }

    /// That an inode is listed, now or only `in_journal`.
    pub(super) fn evidence(&self, inode: u32, in_journal: bool) -> Option<Evidence> {
        self.entries.get(&inode).filter(|evidence| evidence.in_journal == in_journal).cloned()
    }
}
