//! The whole area of the log, also what is checkpointed, wrapped or half overwritten, as copies of blocks.

use images::Result;

use crate::ext::journal::Log;
use crate::ext::journal::layout::JBD2_MAGIC_NUMBER;
use crate::ext::journal::log::{Content, Tag};

/// A copy of a block in the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copy {
    /// Where it lies, in bytes.
    pub(super) at: u64,
    /// The block that it is a copy of; `None` if the descriptor block is overwritten.
    pub(super) block: Option<u64>,
    /// The transaction.
    pub(super) sequence: Option<u32>,
}

/// A transaction that lies in the log from its first block to its commit block.
#[derive(Clone, Copy, Debug)]
struct Span {
    sequence: u32,
    first: u32,
    last: u32,
}

/// Which transactions are in the log.
pub(super) struct Transactions {
    reference: u32,
    /// The whole ones, ascending.
    whole: Vec<Span>,
    ring_first: u32,
    /// The positions after their last blocks are of no use without the ring's length.
    ring_last: u32,
    /// From which transaction on all are there; `None` if not even the last.
    unbroken_from: Option<i64>,
    /// When the newest transaction was committed, in seconds since 1970.
    pub(super) last_commit: u64,
}

impl Transactions {
    /// A number that grows with time, for the sequence numbers wrap.
    pub(super) fn order(&self, sequence: u32) -> i64 {
        i64::from(sequence.wrapping_sub(self.reference) as i32)
    }

    /// Whether this transaction and all after it are in the log, whole.
    pub(super) fn unbroken_since(&self, order: i64) -> bool {
        self.unbroken_from.is_some_and(|from| from <= order)
    }

    /// Whether the transaction is in the log with its commit block.
    pub(super) fn is_whole(&self, sequence: u32) -> bool {
        let order = self.order(sequence);
        self.whole.binary_search_by_key(&order, |span| self.order(span.sequence)).is_ok()
    }

    fn next(&self, position: u32) -> u32 {
        if position + 1 >= self.ring_last { self.ring_first } else { position + 1 }
    }

    /// Whether no transaction can have been between two that follow each other in the log.
    ///
    /// Numbers are skipped at every unmount. The next transaction begins behind the one before, or, with older kernels
    /// after a mount, at the start of the log; then what lies behind the one before must be older.
    fn adjacent(&self, before: &Span, after: &Span) -> bool {
        let behind = self.next(before.last);
        if after.first == behind {
            return true;
        }
        let covered_by_newer = self.whole.iter().any(|span| {
            self.order(span.sequence) > self.order(before.sequence)
                && if span.first <= span.last {
                    (span.first..=span.last).contains(&behind)
                } else {
                    behind >= span.first || behind <= span.last
                }
        });
        after.first == self.ring_first && !covered_by_newer
    }

    fn finish(&mut self) {
        let reference = self.reference;
        self.whole.sort_by_key(|span| span.sequence.wrapping_sub(reference) as i32);
        let mut from = self.whole.last().copied();
        for pair in self.whole.windows(2).rev() {
            if !self.adjacent(&pair[0], &pair[1]) {
                break;
            }
            from = Some(pair[0]);
        }
        self.unbroken_from = from.map(|span| self.order(span.sequence));
    }
}

/// Calls `each` with every copy in the log and its bytes. Blocks that cannot be read are passed over.
///
/// One transaction after the other around the ring, beginning behind the first commit block, so that a transaction
/// that wraps is seen in one piece. Copies without a descriptor belong to the record that follows them:
/// only what comes after them in their transaction is left.
pub(super) fn walk(log: &Log, each: &mut dyn FnMut(&Copy, &[u8])) -> Result<Transactions> {
    let superblock = &log.superblock;
    let (first, last) = (superblock.first, superblock.last);
    let mut transactions = Transactions {
        reference: superblock.sequence,
        whole: Vec::new(),
        ring_first: first,
        ring_last: last,
        unbroken_from: None,
        last_commit: 0,
    };
    let mut buffer = Vec::new();
    let is_commit = |position: u32, buffer: &mut Vec<u8>| {
        let is_commit = |content| matches!(content, Content::Commit(_));
        log.read(position, buffer).is_ok()
            && log.record(buffer).is_some_and(|record| record.sound && is_commit(record.content))
    };
    let commit = (first..last).find(|position| is_commit(*position, &mut buffer));
    let start = commit.map_or(first, |position| superblock.after(position, 1));

    // Tags whose copies are still to come, last first, and their transaction.
    let mut pending: Vec<Tag> = Vec::new();
    let mut current: Option<Span> = None;
    let mut orphans: Vec<u32> = Vec::new();
    let mut after_commit = commit.is_some();
    let mut newest = i64::MIN;
    let give_orphans = |orphans: &mut Vec<u32>, sequence, each: &mut dyn FnMut(&Copy, &[u8])| {
        let mut buffer = Vec::new();
        for position in orphans.drain(..) {
            if let (Ok(at), Ok(())) = (log.offset(position), log.read(position, &mut buffer)) {
                each(&Copy { at, block: None, sequence }, &buffer);
            }
        }
    };
    for position in (start..last).chain(first..start) {
        if log.read(position, &mut buffer).is_err() {
            (current, after_commit) = (None, false);
            pending.clear();
            continue;
        }
        let record = log.record(&buffer).filter(|record| record.sound);
        let Some(record) = record else {
            match (pending.pop(), &current) {
                (Some(tag), Some(span)) => {
                    let sound = log.copy_is_sound(tag.checksum, span.sequence, &buffer);
                    let mut sequence = Some(span.sequence);
                    let mut block = Some(tag.block);
                    if !sound {
                        // Something else lies here now.
                        (sequence, block, current, after_commit) = (None, None, None, false);
                        pending.clear();
                    }
                    let copy = Copy { at: log.offset(position)?, block, sequence };
                    if let Some(head) = buffer.first_chunk_mut().filter(|_| tag.escaped && sound) {
                        *head = JBD2_MAGIC_NUMBER.to_be_bytes();
                    }
                    each(&copy, &buffer);
                }
                _ => {
                    orphans.push(position);
                    (current, after_commit) = (None, false);
                }
            }
            continue;
        };
        let sequence = record.sequence;
        give_orphans(&mut orphans, Some(sequence), each);
        if !pending.is_empty() {
            pending.clear();
            current = None;
        }
        let span = match current {
            Some(span) if span.sequence == sequence => Some(Span { last: position, ..span }),
            // A transaction's first block follows a commit block or begins the log.
            _ if after_commit || position == first => Some(Span { sequence, first: position, last: position }),
            _ => None,
        };
        after_commit = false;
        match record.content {
            Content::Descriptor(tags) => {
                pending = tags.collect();
                pending.reverse();
                current = Some(span.unwrap_or(Span { sequence, first: u32::MAX, last: position }));
            }
            Content::Revoke(_) => current = span,
            Content::Commit(commit) => {
                if let Some(span) = span.filter(|span| span.first != u32::MAX) {
                    transactions.whole.push(span);
                }
                let order = transactions.order(sequence);
                if order > newest {
                    (newest, transactions.last_commit) = (order, commit.h_commit_sec.get());
                }
                (current, after_commit) = (None, true);
            }
        }
    }
    give_orphans(&mut orphans, None, each);
    transactions.finish();
    Ok(transactions)
}
