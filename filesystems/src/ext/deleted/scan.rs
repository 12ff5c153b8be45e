//! The whole area of the log, also what is checkpointed, wrapped or half overwritten, as copies of blocks.

use std::collections::VecDeque;

use images::Result;

use super::transactions::{Span, Transactions};
use crate::ext::journal::Log;
use crate::ext::journal::layout::JBD2_MAGIC_NUMBER;
use crate::ext::journal::log::{Content, Record, Tag};

/// How much of the log is read at once, in bytes (ours).
const CHUNK: u64 = 1 << 20;
/// How many bytes of copies wait for the record that follows them (ours). No descriptor block announces more than
/// [`TAG_MIN`] allows, so that a longer row of copies without a record belongs to nothing.
const WAITING_BYTES: usize = 8 << 20;
/// The shortest tag of a descriptor block, in bytes.
const TAG_MIN: usize = 8;

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

/// Where a transaction in the log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// At this position.
    At(u32),
    /// If it is that of the end of the ring, there; the blocks at the start of the ring are its copies.
    BeforeRing,
    /// Its first blocks are overwritten.
    Overwritten,
}

/// A transaction whose commit block has not come yet.
#[derive(Clone, Copy, Debug)]
struct Open {
    sequence: u32,
    first: First,
    last: u32,
    time: u64,
}

/// A copy whose transaction is not known yet.
struct Waiting {
    at: u64,
    bytes: Box<[u8]>,
}

/// Calls `each` with every copy in the log and its bytes. Each block is read once, in order; those that cannot be read
/// are passed over.
///
/// A transaction that wraps around the ring is seen in two pieces: the copies before the first record are kept until
/// the end of the ring has been read. Copies without a descriptor belong to the record that follows them: only what
/// comes after them in their transaction is left.
pub(super) fn walk(log: &Log, each: &mut dyn FnMut(&Copy, &[u8])) -> Result<Transactions> {
    let superblock = &log.superblock;
    let block_size = superblock.block_size as usize;
    let mut walk = Walk {
        log,
        each,
        transactions: Transactions::new(superblock),
        pending: Vec::new(),
        current: None,
        after_commit: false,
        waiting: VecDeque::new(),
        waiting_max: (block_size / TAG_MIN).min(WAITING_BYTES / block_size).max(1),
        prefix: Some(Vec::new()),
        head_sequence: None,
        head: None,
    };
    let mut buffer = Vec::new();
    let mut position = superblock.first;
    while position < superblock.last {
        let at = log.offset(position)?;
        let most = u32::try_from(CHUNK / block_size as u64).unwrap_or(u32::MAX).max(1).min(superblock.last - position);
        let together = log.runs().partition_point(|run| run.logical <= position);
        let run = together.checked_sub(1).and_then(|run| log.runs().get(run));
        let count = run.map_or(1, |run| (run.logical.saturating_add(run.len) - position).clamp(1, most));
        buffer.resize(count as usize * block_size, 0);
        let is_read = log.disk.read_at(&mut buffer, at).is_ok();
        for (index, block) in (0u32..).zip(buffer.chunks_exact_mut(block_size)) {
            let (position, at) = (position + index, at + u64::from(index) * block_size as u64);
            // One bad sector hides one block.
            if is_read || log.disk.read_at(block, at).is_ok() {
                walk.block(position, at, block)
            } else {
                walk.unreadable()
            }
        }
        position += count;
    }
    Ok(walk.finish())
}

struct Walk<'a> {
    log: &'a Log,
    each: &'a mut dyn FnMut(&Copy, &[u8]),
    transactions: Transactions,
    /// Tags whose copies are still to come, last first.
    pending: Vec<Tag>,
    /// Their transaction.
    current: Option<Open>,
    after_commit: bool,
    /// Copies without a descriptor.
    waiting: VecDeque<Waiting>,
    waiting_max: usize,
    /// The copies from the start of the ring to the first record, which may be those of a descriptor at its end; `None`
    /// once they cannot be.
    prefix: Option<Vec<Waiting>>,
    /// The transaction of the first record.
    head_sequence: Option<u32>,
    /// The transaction at the start of the ring, if it is complete from there on.
    head: Option<Open>,
}

impl Walk<'_> {
    fn unreadable(&mut self) {
        (self.current, self.after_commit) = (None, false);
        self.pending.clear();
        if self.head_sequence.is_none() {
            self.prefix = None;
        }
    }

    fn block(&mut self, position: u32, at: u64, bytes: &mut [u8]) {
        let log = self.log;
        match log.record(bytes).filter(|record| record.sound) {
            Some(record) => self.record(position, &record),
            None => self.copy(at, bytes),
        }
    }

    fn copy(&mut self, at: u64, bytes: &mut [u8]) {
        let (Some(tag), Some(open)) = (self.pending.pop(), self.current) else {
            (self.current, self.after_commit) = (None, false);
            self.waiting.push_back(Waiting { at, bytes: (&*bytes).into() });
            if self.waiting.len() > self.waiting_max
                && let Some(old) = self.waiting.pop_front()
            {
                (self.each)(&Copy { at: old.at, block: None, sequence: None }, &old.bytes);
                if self.head_sequence.is_none() {
                    self.prefix = None;
                }
            }
            return;
        };
        if !self.log.copy_is_sound(tag.checksum, open.sequence, bytes) {
            // Something else lies here now.
            (self.current, self.after_commit) = (None, false);
            self.pending.clear();
            (self.each)(&Copy { at, block: None, sequence: None }, bytes);
            return;
        }
        if let Some(head) = bytes.first_chunk_mut().filter(|_| tag.escaped) {
            *head = JBD2_MAGIC_NUMBER.to_be_bytes();
        }
        (self.each)(&Copy { at, block: Some(tag.block), sequence: Some(open.sequence) }, bytes);
    }

    fn give_waiting(&mut self, sequence: Option<u32>) {
        for Waiting { at, bytes } in self.waiting.drain(..) {
            (self.each)(&Copy { at, block: None, sequence }, &bytes);
        }
    }

    fn record(&mut self, position: u32, record: &Record<'_>) {
        let sequence = record.sequence;
        let is_first = self.head_sequence.is_none();
        if is_first {
            self.head_sequence = Some(sequence);
            if let Some(prefix) = &mut self.prefix {
                prefix.extend(self.waiting.drain(..));
            }
        }
        self.give_waiting(Some(sequence));
        if !self.pending.is_empty() {
            self.pending.clear();
            self.current = None;
        }
        let first = match self.current {
            Some(open) if open.sequence == sequence => open.first,
            // A transaction's first block follows a commit block or begins the log.
            _ if self.after_commit || position == self.log.superblock.first => First::At(position),
            _ if is_first && self.prefix.is_some() => First::BeforeRing,
            _ => First::Overwritten,
        };
        let mut open = Open { sequence, first, last: position, time: 0 };
        self.after_commit = false;
        match record.content {
            Content::Descriptor(tags) => {
                self.pending = tags.collect();
                self.pending.reverse();
                self.current = Some(open);
            }
            Content::Revoke(_) => self.current = Some(open),
            Content::Commit(commit) => {
                open.time = commit.h_commit_sec.get();
                self.transactions.saw_commit(sequence, open.time);
                match first {
                    First::At(first) if first != self.log.superblock.first => self.complete(first, &open),
                    // What the end of the ring says is still to come.
                    First::At(_) | First::BeforeRing => self.head = Some(open),
                    First::Overwritten => {}
                }
                (self.current, self.after_commit) = (None, true);
            }
        }
    }

    fn complete(&mut self, first: u32, open: &Open) {
        self.transactions.push(Span { sequence: open.sequence, first, last: open.last, time: open.time });
    }

    /// Joins the end of the ring with its start.
    fn finish(mut self) -> Transactions {
        for Waiting { at, mut bytes } in self.prefix.take().unwrap_or_default() {
            self.copy(at, &mut bytes);
        }
        if !self.pending.is_empty() {
            self.current = None;
        }
        self.give_waiting(self.head_sequence);
        match (self.head, self.current) {
            (Some(head), Some(Open { sequence, first: First::At(first), .. })) if sequence == head.sequence => {
                self.complete(first, &head);
            }
            (Some(head), _) if head.first != First::BeforeRing => self.complete(self.log.superblock.first, &head),
            _ => {}
        }
        self.transactions.finish();
        self.transactions
    }
}
