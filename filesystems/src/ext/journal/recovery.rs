//! Recovery: which blocks read differently once the complete transactions of the log are replayed.
//!
//! The rules for what is complete are the kernel's (`jbd2_journal_recover`): a transaction counts up to the first block
//! that is not of the next one. Other than the kernel, only the copies that are used are checked: an older or a
//! revoked copy that is damaged changes nothing.
//!
//! Memory: at most [`BYTES_PER_BLOCK`] for every block of the log, whatever its content; the copies stay in the journal.

use std::collections::BTreeMap;

use images::disk::Replacement;
use images::{Budget, Reservation, Result, corrupt};

use super::crc32::crc32_be;
use super::layout::*;
use super::log::{Content, Log};
use super::superblock::Checksum;

/// A generous bound of the memory that recovery takes for a block of the log, in bytes: 32 MiB for a journal of 1 GiB
/// that is full, with blocks of 4 KiB.
pub const BYTES_PER_BLOCK: usize = 128;
const _: () = assert!(2 * (size_of::<(u64, Copy)>() + size_of::<(u64, Replacement)>()) <= BYTES_PER_BLOCK);

/// What replaying the log gives.
pub struct Recovered {
    /// The blocks that read differently, by their number in the file system.
    pub blocks: BTreeMap<u64, Replacement>,
    /// How many transactions are complete.
    pub transactions: u32,
    /// The transaction after the last complete one: the one that fast commits belong to.
    pub next: u32,
    /// The memory that the blocks take.
    pub held: Reservation,
}

/// The newest copy of a block.
struct Copy {
    at: u32,
    sequence: u32,
    checksum: u32,
    escaped: bool,
}

/// Replays the log; `blocks` is the number of whole blocks on the disk. Fails with `Memory` if the budget does not hold
/// what is to be remembered of the copies.
pub fn recover(log: &Log, blocks: u64, budget: &Budget) -> Result<Recovered> {
    let mut held = budget.empty();
    let Some(start) = log.superblock.start else {
        return Ok(Recovered { blocks: BTreeMap::new(), transactions: 0, next: log.superblock.sequence, held });
    };
    let transactions = complete_transactions(log, start)?;
    let copies = newest_copies(log, start, transactions, &mut held)?;
    let mut buffer = Vec::new();
    let mut replacements = BTreeMap::new();
    for (block, copy) in copies {
        let at = log.offset(copy.at)?;
        if block >= blocks {
            return Err(corrupt!("journal", at, "a copy of block {block}, but the disk has {blocks}"));
        }
        if log.superblock.seed().is_some() {
            log.read(copy.at, &mut buffer)?;
            if !log.copy_is_sound(copy.checksum, copy.sequence, &buffer) {
                return Err(corrupt!("journal", at, "wrong checksum of the copy of block {block}"));
            }
        }
        let head = JBD2_MAGIC_NUMBER.to_be_bytes();
        let replacement = if copy.escaped { Replacement::Patched { at, head } } else { Replacement::At(at) };
        replacements.insert(block, replacement);
    }
    let next = log.superblock.sequence.wrapping_add(transactions);
    Ok(Recovered { blocks: replacements, transactions, next, held })
}

/// How many transactions are complete.
pub fn transactions(log: &Log) -> Result<u32> {
    log.superblock.start.map_or(Ok(0), |start| complete_transactions(log, start))
}

/// Counts the transactions from `start` that are complete.
///
/// A transaction without a commit block was interrupted, and ends the log. A wrong checksum is damage, with two
/// exceptions: a commit time before that of the previous transaction means that these are leftovers of an older use of
/// the journal, and with asynchronous commits the last commit block may have been on the disk before its transaction.
fn complete_transactions(log: &Log, start: u32) -> Result<u32> {
    let (superblock, mut block) = (&log.superblock, Vec::new());
    let (mut at, mut used, mut count) = (start, 0u32, 0u32);
    let (mut doubtful, mut last_time, mut crc) = (false, 0, !0);
    let mut interrupted = None;
    // No transaction is longer than the ring, and each block of the ring is looked at once.
    while used < superblock.ring() {
        let sequence = superblock.sequence.wrapping_add(count);
        log.read(at, &mut block)?;
        let Some(record) = log.record(&block).filter(|record| record.sequence == sequence) else { break };
        let here = at;
        (at, used) = (superblock.after(at, 1), used + 1);
        match record.content {
            Content::Descriptor(tags) => {
                doubtful |= !record.sound;
                // At most one tag for every 8 bytes of a block.
                let copies = u32::try_from(tags.count()).unwrap_or(u32::MAX);
                if copies > superblock.ring() - used {
                    break;
                }
                if superblock.checksum == Checksum::Transaction && interrupted.is_none() {
                    crc = crc32_be(crc, &block);
                    for i in 0..copies {
                        log.read(superblock.after(at, i), &mut block)?;
                        crc = crc32_be(crc, &block);
                    }
                }
                (at, used) = (superblock.after(at, copies), used + copies);
            }
            Content::Revoke(_) => doubtful |= !record.sound,
            Content::Commit(commit) => {
                let time = commit.h_commit_sec.get();
                let sound = match superblock.checksum {
                    Checksum::Transaction => commit_matches(commit, crc),
                    _ => record.sound,
                };
                crc = !0;
                let wrong = || Ok(corrupt!("journal", log.offset(here)?, "wrong checksum in transaction {sequence}"));
                if interrupted.is_some() && superblock.checksum == Checksum::Transaction {
                    // A later transaction was committed: the earlier one was not merely interrupted.
                    return Err(wrong()?);
                }
                match (sound, doubtful) {
                    (true, false) => {}
                    _ if time < last_time => break,
                    (_, true) => return Err(wrong()?),
                    (false, false) if superblock.async_commit => interrupted = interrupted.or(Some(count)),
                    (false, false) => return Err(wrong()?),
                }
                (last_time, count) = (time, count + 1);
            }
        }
    }
    Ok(interrupted.unwrap_or(count))
}

/// Whether a commit block holds `crc`, or nothing.
fn commit_matches(commit: &CommitHeader, crc: u32) -> bool {
    let [found, ..] = commit.h_chksum;
    match (commit.h_chksum_type, commit.h_chksum_size) {
        (JBD2_CRC32_CHKSUM, JBD2_CRC32_CHKSUM_SIZE) => found.get() == crc,
        (0, 0) => found.get() == 0,
        _ => false,
    }
}

/// The newest copy of every block in the `transactions` from `start`, without those that are revoked.
///
/// A revoke holds for the copies in its own and in all earlier transactions.
fn newest_copies(log: &Log, start: u32, transactions: u32, held: &mut Reservation) -> Result<BTreeMap<u64, Copy>> {
    let (superblock, mut block) = (&log.superblock, Vec::new());
    let (mut at, mut count) = (start, 0);
    let mut copies = BTreeMap::new();
    let mut revokes = Vec::new();
    // The first pass went the same way and has counted that these end inside the ring.
    while count < transactions {
        let sequence = superblock.sequence.wrapping_add(count);
        log.read(at, &mut block)?;
        let Some(record) = log.record(&block).filter(|record| record.sequence == sequence) else {
            return Err(corrupt!("journal", log.offset(at)?, "it changes while it is read"));
        };
        let here = at;
        at = superblock.after(at, 1);
        match record.content {
            Content::Descriptor(tags) => {
                for tag in tags {
                    let copy = Copy { at, sequence, checksum: tag.checksum, escaped: tag.escaped };
                    if copies.insert(tag.block, copy).is_none() {
                        held.grow(BYTES_PER_BLOCK as u64, "the list of the copies in the journal")?;
                    }
                    at = superblock.after(at, 1);
                }
            }
            Content::Revoke(_) => revokes.push(here),
            Content::Commit(_) => {
                for revoke in revokes.drain(..) {
                    log.read(revoke, &mut block)?;
                    if let Some(Content::Revoke(numbers)) = log.record(&block).map(|record| record.content) {
                        for number in numbers {
                            copies.remove(&number);
                        }
                    }
                }
                count += 1;
            }
        }
    }
    Ok(copies)
}
