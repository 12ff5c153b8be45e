//! Which transactions are in the log, whole and without a gap, and when the file system was mounted between them.
//!
//! The numbers of transactions tell: each is one more than the one before; a clean unmount and the next mount skip two,
//! the kernel's recovery from a crash skips one. Recovery by e2fsck looks like a clean unmount.

use crate::ext::journal::superblock::Superblock;

/// What the number grows by from a transaction to the next.
const NEXT: u32 = 1;
/// What it grows by from the last transaction before a clean unmount to the first after the next mount.
const NEXT_MOUNT: u32 = 3;

/// A transaction that lies in the log from its first block to its commit block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) sequence: u32,
    pub(super) first: u32,
    pub(super) last: u32,
    /// When it was committed, in seconds since 1970.
    pub(super) time: u64,
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
    newest: i64,
    is_empty: bool,
    /// When the newest transaction was committed, in seconds since 1970.
    pub(super) last_commit: u64,
    /// Whether nothing can have been written after the newest one: the log was emptied behind it, by an unmount or to
    /// freeze the file system. In an image of one in use, what the running transaction will be may lie on the disk.
    pub(super) is_closed: bool,
}

impl Transactions {
    /// Of a log of which nothing is read yet.
    pub(super) fn new(superblock: &Superblock) -> Self {
        Self {
            reference: superblock.sequence,
            whole: Vec::new(),
            ring_first: superblock.first,
            ring_last: superblock.last,
            unbroken_from: None,
            newest: i64::MIN,
            is_empty: superblock.start.is_none(),
            last_commit: 0,
            is_closed: false,
        }
    }

    /// Takes any commit block.
    pub(super) fn saw_commit(&mut self, sequence: u32, time: u64) {
        let order = self.order(sequence);
        if order > self.newest {
            (self.newest, self.last_commit) = (order, time);
        }
    }

    /// Takes a whole transaction.
    pub(super) fn push(&mut self, span: Span) {
        self.whole.push(span);
    }

    /// A number that grows with time, for the sequence numbers wrap.
    pub(super) fn order(&self, sequence: u32) -> i64 {
        i64::from(sequence.wrapping_sub(self.reference) as i32)
    }

    /// Whether this transaction and all after it are in the log, whole.
    pub(super) fn unbroken_since(&self, order: i64) -> bool {
        self.unbroken_from.is_some_and(|from| from <= order)
    }

    /// The transaction, if it is in the log with its commit block.
    fn whole(&self, order: i64) -> Option<&Span> {
        let at = self.whole.binary_search_by_key(&order, |span| self.order(span.sequence)).ok()?;
        self.whole.get(at)
    }

    /// Whether the transaction is in the log with its commit block.
    pub(super) fn is_whole(&self, sequence: u32) -> bool {
        self.whole(self.order(sequence)).is_some()
    }

    /// When a whole transaction was committed, in seconds since 1970.
    pub(super) fn time(&self, order: i64) -> Option<i64> {
        i64::try_from(self.whole(order)?.time).ok()
    }

    /// Whether the file system was mounted after transaction `from` and before transaction `to`, so that what had not
    /// been written by then is in no file.
    pub(super) fn mounted_between(&self, from: i64, to: i64) -> bool {
        let inside = |span: &Span| (from..=to).contains(&self.order(span.sequence));
        self.unbroken_since(from)
            && self.whole.windows(2).any(|pair| {
                inside(&pair[0]) && inside(&pair[1]) && pair[1].sequence.wrapping_sub(pair[0].sequence) != NEXT
            })
    }

    fn next(&self, position: u32) -> u32 {
        if position + 1 >= self.ring_last { self.ring_first } else { position + 1 }
    }

    /// Whether no transaction, and no crash, can have been between two that follow each other in the log.
    ///
    /// The next transaction begins behind the one before, or, with older kernels after a mount, at the start of the
    /// log; then what lies behind the one before must be older.
    fn adjacent(&self, before: &Span, after: &Span) -> bool {
        if !matches!(after.sequence.wrapping_sub(before.sequence), NEXT | NEXT_MOUNT) {
            return false;
        }
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

    /// Puts all that was taken into order.
    pub(super) fn finish(&mut self) {
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
        // An emptied log names the transaction that comes next, or after an unmount one more.
        let left = self.whole.last().map(|last| reference.wrapping_sub(last.sequence));
        self.is_closed = self.is_empty && matches!(left, Some(1 | 2));
    }
}
