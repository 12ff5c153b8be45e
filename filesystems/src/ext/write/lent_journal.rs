//! The journal that a file system without one has while it is written.
//!
//! It is made of free blocks before the first operation, and given back when all is done: a file system is never written without
//! an order, and after a crash it is one with a journal, which every kernel and e2fsck replay. While the journal comes and goes the
//! superblock says that the file system is to be checked; what a crash leaves then are bits in bitmaps, which e2fsck sets right
//! without asking.

use std::ops::Range;

use images::{DiskMut, Error, Result};
use zerocopy::little_endian::U32;
use zerocopy::{FromZeros, IntoBytes};

use super::operation::Operation;
use super::record::Record;
use super::{blocks, marks};
use crate::ext::features::{compat, incompat, ro_compat};
use crate::ext::journal::layout::{JBD2_MAGIC_NUMBER, JBD2_MIN_JOURNAL_BLOCKS, JBD2_SUPERBLOCK_V2, JournalSuperblock};
use crate::ext::layout::{SuperBlock, mode};
use crate::ext::volume::Volume;

/// `s_journal_inum` of all journals that are files.
pub(super) const JOURNAL_INO: u32 = 8;
/// `s_uuid` of a journal that is lent: one that a crash left behind is known by it.
const MARK: [u8; 16] = *b"imgmount journal";
/// Blocks of a journal, from how many blocks of the file system on (ours): about what mke2fs makes.
const LENGTHS: [(u64, u32); 3] = [(1 << 18, 8192), (1 << 15, 4096), (0, JBD2_MIN_JOURNAL_BLOCKS)];
/// The journal takes no more than this part of what is free (ours).
const PART_OF_FREE: u64 = 4;
/// Blocks that an inode names itself.
const DIRECT: usize = 12;
/// `s_jnl_backup_type`: `s_jnl_blocks` has the map and the size of the journal.
const BACKUP_OF_BLOCKS: u8 = 1;

/// How many blocks it would have; `None` if the file system cannot have a journal, or has no room for one.
pub(super) fn length(volume: &Volume) -> Result<Option<u32>> {
    let superblock = volume.superblock();
    let raw = volume.superblock_now()?;
    let free = u64::from(raw.s_free_blocks_count_lo.get());
    // Features came with revision 1, extents are needed where clusters are, and a block map has 32 bits.
    let is_possible = raw.s_rev_level.get() > 0
        && !superblock.features.has_ro_compat(ro_compat::BIGALLOC)
        && superblock.blocks <= u64::from(u32::MAX);
    let fits = |length: &u32| u64::from(*length) <= free / PART_OF_FREE;
    let lengths = LENGTHS.iter().filter(|(from, _)| superblock.blocks >= *from).map(|(_, length)| *length);
    Ok(lengths.filter(|_| is_possible).find(fits))
}

/// Whether a journal is one that was lent.
pub(super) fn is_lent(raw: &JournalSuperblock) -> bool {
    raw.s_uuid == MARK
}

/// Makes the journal: its content at once, the inode and the superblock in the operation.
pub(super) fn make(op: &mut Operation<'_>, length: u32, state: u16) -> Result<()> {
    let in_block = op.superblock().block_size as usize / 4;
    let mut taken = Vec::new();
    let length = length as usize;
    let wanted = length + map_blocks(length, in_block);
    while taken.len() < wanted {
        let goal = taken.last().map_or(op.superblock().blocks / 2, |last| last + 1);
        taken.extend(blocks::allocate(op, goal, (wanted - taken.len()) as u64)?);
    }
    let (map, content) = taken.split_at(wanted - length);
    write_empty(op, content)?;
    let number = JOURNAL_INO;
    let mut record = Record::new(op.superblock(), number, op.volume.inode_offset(number)?, 0);
    let now = op.now();
    record.set_accessed(now);
    record.set_modified(now);
    record.set_changed(now);
    record.set_created(now);
    record.set_size(length as u64 * op.volume.block_size());
    record.set_blocks(op.superblock(), wanted as u64 * op.volume.block_size() / 512);
    let raw = record.raw_mut();
    (raw.i_mode, raw.i_links_count) = ((mode::FILE | 0o600).into(), 1.into());
    let words = write_map(op, content, map, in_block)?;
    record.raw_mut().i_block.copy_from_slice(words.as_bytes());
    op.put(&mut record)?;
    op.change_superblock(|raw| {
        raw.s_feature_compat = (raw.s_feature_compat.get() | compat::HAS_JOURNAL).into();
        raw.s_journal_inum = number.into();
        raw.s_jnl_backup_type = BACKUP_OF_BLOCKS;
        raw.s_jnl_blocks[..words.len()].copy_from_slice(&words);
        raw.s_jnl_blocks[words.len()] = record.raw().i_size_high;
        raw.s_jnl_blocks[words.len() + 1] = record.raw().i_size_lo;
        raw.s_state = state.into();
        Ok(())
    })
}

/// Says on the disk that there is no journal any more. It must be empty.
pub(super) fn forget(volume: &Volume, writer: &dyn DiskMut) -> Result<()> {
    marks::write(volume, writer, |raw| {
        remove_from(raw);
        marks::set_dirty(raw);
    })?;
    writer.flush()
}

fn remove_from(raw: &mut SuperBlock) {
    raw.s_feature_compat = (raw.s_feature_compat.get() & !compat::HAS_JOURNAL).into();
    raw.s_feature_incompat = (raw.s_feature_incompat.get() & !incompat::RECOVER).into();
    raw.s_journal_inum = 0.into();
    raw.s_jnl_backup_type = 0;
    raw.s_jnl_blocks.fill(0.into());
}

/// Gives its blocks back, those with its map too.
pub(super) fn give_back(op: &mut Operation<'_>, journal: &[Range<u64>]) -> Result<()> {
    let in_block = op.superblock().block_size as usize / 4;
    let record = op.record(JOURNAL_INO)?;
    let words: Vec<u32> = record.raw().i_block.chunks_exact(4).map(word).collect();
    let mut map = vec![words[DIRECT], words[DIRECT + 1]];
    if words[DIRECT + 1] != 0 {
        let block = op.block(words[DIRECT + 1].into())?;
        map.extend(block.chunks_exact(4).take(in_block).map(word));
    }
    for block in map.into_iter().filter(|block| *block != 0).map(u64::from) {
        blocks::free(op, block..block + 1, false)?;
    }
    for run in journal {
        // It was found there when the file system was opened, if a crash had left it.
        op.space()?.zones.remove(run);
        blocks::free(op, run.clone(), false)?;
    }
    let (block_size, size) = (op.volume.block_size(), record.bytes().len());
    op.change(record.offset / block_size, |block| {
        block[(record.offset % block_size) as usize..][..size].fill(0);
        Ok(())
    })?;
    op.volume.forget(JOURNAL_INO);
    Ok(())
}

/// Writes zeros, and the superblock of an empty journal, at once: nothing must be there that looks like a transaction.
fn write_empty(op: &Operation<'_>, content: &[u64]) -> Result<()> {
    let block_size = op.volume.block_size();
    for run in content.chunk_by(|a, b| a + 1 == *b) {
        op.writer.zero_at(op.superblock().block_offset(run[0])?, run.len() as u64 * block_size)?;
    }
    let mut raw = JournalSuperblock::new_zeroed();
    raw.s_header.h_magic = JBD2_MAGIC_NUMBER.into();
    raw.s_header.h_blocktype = JBD2_SUPERBLOCK_V2.into();
    raw.s_blocksize = op.superblock().block_size.into();
    raw.s_maxlen = u32::try_from(content.len()).map_err(|_| Error::NoSpace)?.into();
    (raw.s_first, raw.s_sequence, raw.s_nr_users) = (1.into(), 1.into(), 1.into());
    raw.s_uuid = MARK;
    op.writer.write_at(raw.as_bytes(), op.superblock().block_offset(content[0])?)
}

/// How many blocks of numbers the map of `length` blocks takes.
fn map_blocks(length: usize, in_block: usize) -> usize {
    match length.saturating_sub(DIRECT) {
        0 => 0,
        rest if rest <= in_block => 1,
        rest => 2 + (rest - in_block).div_ceil(in_block),
    }
}

/// Writes the map of a file of these blocks into the blocks `map`, at once. Gives what belongs into the inode.
fn write_map(op: &Operation<'_>, content: &[u64], map: &[u64], in_block: usize) -> Result<[U32; 15]> {
    let number = |block: &u64| U32::new(u32::try_from(*block).expect("the file system has less than 2^32 blocks"));
    let write = |at: u64, numbers: &[u64]| {
        let mut block: Vec<U32> = numbers.iter().map(number).collect();
        block.resize(in_block, 0.into());
        op.writer.write_at(block.as_bytes(), op.superblock().block_offset(at)?)
    };
    let mut words = [U32::ZERO; 15];
    let (direct, rest) = content.split_at(content.len().min(DIRECT));
    for (word, block) in words.iter_mut().zip(direct) {
        *word = number(block);
    }
    let (first, rest) = rest.split_at(rest.len().min(in_block));
    if let [single, more @ ..] = map {
        write(*single, first)?;
        words[DIRECT] = number(single);
        if let [double, singles @ ..] = more {
            for (at, numbers) in singles.iter().zip(rest.chunks(in_block)) {
                write(*at, numbers)?;
            }
            write(*double, singles)?;
            words[DIRECT + 1] = number(double);
        }
    }
    Ok(words)
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |word| u32::from_le_bytes(*word))
}
