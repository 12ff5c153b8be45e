//! The blocks of a directory: which of them are its own, and what they hold.

use std::sync::{Arc, OnceLock};

use images::{Result, corrupt};

use super::directory;
use super::inode::Inode;
use super::known_blocks::KnownBlocks;
use super::map::Cursor;
use super::run::State;
use super::volume::{Block, Volume};
use crate::stored::Stored;

/// Directories of so many blocks are not checked for blocks that they have twice (ours): most have fewer.
const FEW_BLOCKS: u64 = 16;

impl Volume {
    /// What is known of a directory's blocks, found out once: how many of them are its own.
    pub(super) fn known(&self, directory: &Inode) -> Result<Arc<KnownBlocks>> {
        self.directories.get_or_insert_with(&directory.number, || {
            let blocks = directory.size / self.block_size();
            let most = self.superblock().blocks.min(self.disk().size() / self.block_size());
            let wrong = |why: String| {
                let what = format!("directory inode {}", directory.number);
                OnceLock::from(Arc::new(corrupt!(what, directory.offset, "{why}")))
            };
            let (mut end, mut damage) = (blocks, OnceLock::new());
            if blocks > most {
                (end, damage) = (most, wrong(format!("{blocks} blocks long, but the disk has {most}")));
            }
            let mut stored = end;
            if end > FEW_BLOCKS {
                let mut seen = Stored::new(&**self.disk());
                stored = 0;
                self.map(directory, 0, &mut |run| {
                    let len = run.len.min(end.saturating_sub(run.logical));
                    if let State::Written(at) = run.state {
                        let new = seen.count(at * self.block_size(), len * self.block_size()) / self.block_size();
                        stored += new;
                        if new < len {
                            end = run.logical + new;
                            damage = wrong(format!("its block {end} lies where another of its blocks does"));
                        }
                    }
                    run.end() < end
                })?;
            }
            Ok(Arc::new(KnownBlocks { end, stored, damage }))
        })
    }

    /// A block of a directory, not verified. Fails if there is none.
    pub(super) fn directory_block(&self, directory: &Inode, block: u64) -> Result<Block> {
        match Cursor::new(self, directory).run_at(block)?.state {
            State::Written(at) if block < directory.size / self.block_size() => self.block(at),
            _ => Err(corrupt!(format!("directory inode {}", directory.number), directory.offset, "no block {block}")),
        }
    }

    /// Verifies the checksum of a directory block, unless it is a node of a hash tree: those have no names in them,
    /// and are verified when they are used.
    pub(super) fn check_leaf(&self, directory: &Inode, block: &Block) -> Result<()> {
        match directory::dx_entries(self.superblock(), directory, block) {
            Some(_) => Ok(()),
            None => directory::check_tail(self.superblock(), directory, block, block.offset()),
        }
    }

    /// Calls `each` with the blocks of a directory from block `from` on and their numbers, without the holes, until it
    /// returns false. Returns whether it did not. Fails where the map is damaged.
    pub(super) fn each_block(
        &self,
        directory: &Inode,
        from: u64,
        end: u64,
        each: &mut dyn FnMut(u64, Result<Block>) -> bool,
    ) -> Result<bool> {
        let mut cursor = Cursor::new(self, directory);
        let mut block = from;
        while block < end {
            let run = cursor.run_at(block)?;
            let State::Written(at) = run.state else {
                block = run.end();
                continue;
            };
            let content = self.block(at).and_then(|content| {
                self.check_leaf(directory, &content)?;
                Ok(content)
            });
            if !each(block, content) {
                return Ok(false);
            }
            block += 1;
        }
        Ok(true)
    }
}
