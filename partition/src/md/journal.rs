//! Whether the journal of a RAID 4, 5 or 6 holds writes that have not reached the array.

use images::{Disk, Result};
use zerocopy::FromBytes;

use super::layout::{JOURNAL_BLOCK_SIZE, JOURNAL_HEADER_SIZE, JOURNAL_MAGIC, JournalBlock, SECTOR_SIZE};

/// The kinds of what a block describes: data and parities, which follow the block, and a list of what is done.
const DATA: u16 = 0;
const PARITY: u16 = 1;
const FLUSH: u16 = 2;

/// Whether the journal goes on behind the block at its tail, `tail` bytes from the start of `journal`.
///
/// The tail of an array that was stopped is at the last block that was written, and what that describes has reached the
/// array. In any other, further blocks follow with ascending numbers.
pub fn is_dirty(journal: &dyn Disk, tail: u64) -> Result<bool> {
    let Some((head, payload)) = read_block(journal, tail)? else { return Ok(false) };
    // An offset out of step with the blocks cannot be followed, and is no reason to trust the array.
    let Some(blocks) = blocks_of(&payload) else { return Ok(true) };
    let block_size = JOURNAL_BLOCK_SIZE as u64;
    let whole = journal.size() / block_size * block_size;
    let next = blocks.checked_mul(block_size).and_then(|len| tail.checked_add(len)).unwrap_or(u64::MAX);
    let next = if next >= whole { next.saturating_sub(whole) } else { next };
    Ok(read_block(journal, next)?.is_some_and(|(other, _)| other.seq.get() == head.seq.get().wrapping_add(1)))
}

/// The head of the block at `at`, and what it describes. `None` if there is no block.
fn read_block(journal: &dyn Disk, at: u64) -> Result<Option<(JournalBlock, Vec<u8>)>> {
    if at.checked_add(JOURNAL_BLOCK_SIZE as u64).is_none_or(|end| end > journal.size()) {
        return Ok(None);
    }
    let mut bytes = [0; JOURNAL_BLOCK_SIZE];
    journal.read_at(&mut bytes, at)?;
    let (head, rest) = JournalBlock::read_from_prefix(&bytes).expect("a block is longer than its head");
    let size = (head.meta_size.get() as usize).checked_sub(JOURNAL_HEADER_SIZE);
    let is_one = head.magic.get() == JOURNAL_MAGIC && head.version == 1 && head.position.get() == at / SECTOR_SIZE;
    Ok(size.and_then(|size| rest.get(..size)).filter(|_| is_one).map(|rest| (head.clone(), rest.to_vec())))
}

/// How many blocks of the journal a block and the data that it describes take.
fn blocks_of(mut payload: &[u8]) -> Option<u64> {
    let mut blocks = 1u64;
    while let Some((head, rest)) = payload.split_at_checked(8) {
        let kind = u16::from_le_bytes([head[0], head[1]]);
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        // Data: sectors, then where they go, and a checksum for each block. Flush: bytes of what follows.
        let described = match kind {
            DATA | PARITY => {
                let count = u64::from(size) / (JOURNAL_BLOCK_SIZE as u64 / SECTOR_SIZE);
                blocks = blocks.checked_add(count)?;
                8 + 4 * count
            }
            FLUSH => size.into(),
            _ => return None,
        };
        payload = rest.get(usize::try_from(described).ok()?..)?;
    }
    Some(blocks)
}
