//! The blocks that never belong to a file: superblocks, descriptors, bitmaps, inode tables and the journal.

use std::ops::Range;

use images::{Result, corrupt};

use crate::ext::features::{compat, incompat};
use crate::ext::group::Group;
use crate::ext::layout::SUPERBLOCK_OFFSET;
use crate::ext::run::State;
use crate::ext::superblock::Superblock;
use crate::ext::volume::Volume;

/// In how many pieces a journal may lie (ours): the kernel's is in a handful.
const MOST_JOURNAL_RUNS: usize = 1 << 16;

/// Such blocks, ascending and apart: start and end.
#[derive(Default)]
pub(super) struct Zones(Vec<(u64, u64)>);

impl Zones {
    /// Adds those of a group: what lies at its start, and what its descriptor names, wherever that is.
    pub fn add(&mut self, superblock: &Superblock, number: u32, group: &Group) -> Result<()> {
        let start = superblock.group_start(number);
        let base = base_blocks(superblock, number);
        let end = if number == 0 { SUPERBLOCK_OFFSET / u64::from(superblock.block_size) + base } else { start + base };
        let parts = [(group.block_bitmap, 1), (group.inode_bitmap, 1), (group.inode_table, superblock.table_blocks())];
        for (first, len) in parts {
            let blocks = first..first.saturating_add(len);
            if blocks.start < superblock.first_data_block.into() || blocks.end > superblock.blocks {
                let at = superblock.desc_offset(number)?;
                let why = format!("blocks {}..{} of {}", blocks.start, blocks.end, superblock.blocks);
                return Err(corrupt!(format!("descriptor of group {number}"), at, "{why}"));
            }
            self.push(blocks);
        }
        self.push(start..end.min(superblock.blocks));
        Ok(())
    }

    /// Adds those of the journal, where it lies in the file system.
    pub fn add_journal(&mut self, volume: &Volume) -> Result<()> {
        let superblock = volume.superblock();
        let number = superblock.raw.s_journal_inum.get();
        if !superblock.features.has_compat(compat::HAS_JOURNAL) || number == 0 {
            return Ok(());
        }
        let inode = volume.inode(number)?;
        let mut runs = 0;
        volume.map(&inode, 0, &mut |run| {
            if let State::Written(block) | State::Unwritten(block) = run.state {
                self.push(block..block + run.len);
            }
            runs += 1;
            runs < MOST_JOURNAL_RUNS
        })?;
        if runs < MOST_JOURNAL_RUNS { Ok(()) } else { Err(corrupt!("journal", inode.offset, "{runs} pieces and more")) }
    }

    /// Takes blocks out: they may belong to a file again.
    pub fn remove(&mut self, blocks: &Range<u64>) {
        let apart = |(start, end): (u64, u64)| [(start, end.min(blocks.start)), (start.max(blocks.end), end)];
        let left = std::mem::take(&mut self.0).into_iter().flat_map(apart);
        self.0 = left.filter(|(start, end)| start < end).collect();
    }

    fn push(&mut self, blocks: Range<u64>) {
        match self.0.last_mut() {
            _ if blocks.is_empty() => {}
            Some((_, end)) if *end == blocks.start => *end = blocks.end,
            _ => self.0.push((blocks.start, blocks.end)),
        }
    }

    /// All were added. Fails if a block has two uses.
    pub fn complete(&mut self) -> Result<()> {
        self.0.sort_unstable();
        let mut pairs = self.0.iter().zip(self.0.iter().skip(1));
        if let Some((_, second)) = pairs.find(|(first, second)| first.1 > second.0) {
            return Err(corrupt!("metadata block", 0u64, "block {} has two uses", second.0));
        }
        self.0.dedup_by(|next, last| {
            let joins = next.0 == last.1;
            if joins {
                last.1 = next.1;
            }
            joins
        });
        self.0.shrink_to_fit();
        Ok(())
    }

    /// Those among `blocks`, ascending.
    pub fn among(&self, blocks: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let first = self.0.partition_point(|(_, end)| *end <= blocks.start);
        let among = self.0[first..].iter().take_while(move |(start, _)| *start < blocks.end);
        among.map(move |(start, end)| (*start).max(blocks.start)..(*end).min(blocks.end))
    }

    /// Fails if one of `blocks` can never belong to a file, which `what` says they do, or does not exist.
    pub fn check(&self, superblock: &Superblock, blocks: &Range<u64>, what: &str) -> Result<()> {
        let is_outside = blocks.start < superblock.first_data_block.into() || blocks.end > superblock.blocks;
        if !is_outside && self.among(blocks.clone()).next().is_none() {
            return Ok(());
        }
        let at = blocks.start.saturating_mul(superblock.block_size.into());
        let why = if is_outside { "do not exist" } else { "hold the file system's own tables" };
        Err(corrupt!(what, at, "blocks {}..{} {why}", blocks.start, blocks.end))
    }
}

/// How many blocks at the start of a group hold a superblock, descriptors, and room for more of them.
fn base_blocks(superblock: &Superblock, number: u32) -> u64 {
    let has_backup = superblock.has_backup(number);
    let per_block = superblock.descs_per_block();
    let is_meta = superblock.features.has_incompat(incompat::META_BG);
    let first_meta = superblock.raw.s_first_meta_bg.get();
    if is_meta && number / per_block >= first_meta {
        // The first, second and last group of a meta group have its block of descriptors.
        return u64::from(has_backup) + u64::from([0, 1, per_block - 1].contains(&(number % per_block)));
    }
    if !has_backup {
        return 0;
    }
    let descriptors = if is_meta { first_meta } else { superblock.groups.div_ceil(per_block) };
    1 + u64::from(descriptors) + u64::from(superblock.raw.s_reserved_gdt_blocks.get())
}
