//! How much of a version is left, and whether that can be promised.

use std::collections::BTreeMap;
use std::ops::Range;

use super::candidates::{Candidate, Node};
use super::claims::{Claim, METADATA};
use super::mapping::{Mapping, is_pointers};
use super::search::Search;
use crate::Kind;
use crate::ext::layout::{inode_flags, mode};
use crate::ext::run::{self, Run};
use crate::forensics::State;

/// A commit block's time is taken a little after the last change in its transaction, in seconds.
const COMMIT_SLACK: i64 = 1;

/// In this time what was written has left the cache, in seconds: the kernel's 30 for dirty pages to expire and 5 for the
/// next look at them, and 5 for the next commit.
const WRITE_BACK: i64 = 40;

/// What can be said of one version.
pub(super) struct Verdict {
    pub(super) state: State,
    pub(super) lost: Vec<Range<u64>>,
}

/// Blocks of newer versions: stretches that are apart, by their start.
#[derive(Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    /// Adds the blocks `start .. end`.
    pub(super) fn add(&mut self, mut start: u64, mut end: u64) {
        while let Some((from, to)) = self.0.range(..=end).next_back().map(|(from, to)| (*from, *to)) {
            if to < start {
                break;
            }
            if from <= start && end <= to {
                return;
            }
            self.0.remove(&from);
            (start, end) = (start.min(from), end.max(to));
        }
        self.0.insert(start, end);
    }

    fn touches(&self, start: u64, end: u64) -> bool {
        self.0.range(..end).next_back().is_some_and(|(_, to)| *to > start)
    }
}

/// What the deleted inodes of which no version was found say: they may have had any block that is free.
pub(super) struct Phantoms {
    /// The latest time at which one of them can have taken blocks.
    last: i64,
}

impl Phantoms {
    pub(super) fn new(search: &Search<'_>) -> Self {
        let mut last = i64::MIN;
        for node in search.candidates.nodes.values().filter(|node| node.versions.is_empty()) {
            if let Some(remains) = &node.remains {
                // Where there is no time of creation it may have grown until it was deleted, but not in the second of
                // a mass delete.
                let deleted = node.deleted.map_or(remains.changed.seconds, i64::from);
                last = last.max(remains.created.map_or(deleted - 1, |time| time.seconds));
            }
        }
        Self { last }
    }
}

impl Search<'_> {
    /// Judges version `index` of a node.
    pub(super) fn judge(
        &self,
        node: &Node,
        index: usize,
        mapping: &Mapping,
        newer: &Ranges,
        phantoms: &Phantoms,
        own: &[(u64, u64)],
    ) -> Verdict {
        let Some(candidate) = node.versions.get(index) else {
            return Verdict { state: State::MetadataOnly, lost: Vec::new() };
        };
        let inode = &*candidate.inode;
        let block_size = self.geometry.volume.block_size();
        let end = inode.size.div_ceil(block_size);
        let mut proved = self.can_promise(node, candidate, phantoms) && !mapping.doubtful;
        proved &= self.is_settled(node, index);
        let mut gone: Vec<(u64, u64)> = mapping.missing.iter().map(|(start, to)| (*start, (*to).min(end))).collect();
        let mut written = 0;
        for run in mapping.runs.iter().filter(|run| run.logical < end) {
            let run::State::Written(at) = run.state else { continue };
            let run = Run { len: run.len.min(end - run.logical), ..*run };
            written += run.len;
            proved &= self.judge_run(node, candidate, &run, at, newer, own, &mut gone);
        }
        // A hole in a copy from the journal may be content that had not left the kernel's cache: no block tells.
        let from_journal = candidate.order.is_some();
        let by_blocks = inode.kind().is_ok_and(|kind| kind == Kind::File) && !inode.has(inode_flags::INLINE_DATA);
        proved &= !(from_journal && by_blocks) || written >= end;
        // The map's own blocks must not have been somebody else's since.
        for block in &mapping.nodes {
            proved &=
                self.geometry.is_free(*block) && !self.claimed_after(candidate, *block, block + 1, None, |_, _| {});
        }
        gone.retain(|(start, to)| start < to);
        gone.sort_unstable();
        let mut lost: Vec<Range<u64>> = Vec::new();
        for (start, to) in gone {
            let (start, to) = (start.saturating_mul(block_size), to.saturating_mul(block_size).min(inode.size));
            match lost.last_mut() {
                Some(last) if start <= last.end => last.end = last.end.max(to),
                _ => lost.push(start..to),
            }
        }
        lost.retain(|range| range.start < range.end);
        let missing: u64 = mapping.missing.iter().map(|(start, to)| (*to).min(end).saturating_sub(*start)).sum();
        let lost_bytes: u64 = lost.iter().map(|range| range.end - range.start).sum();
        let all = (written + missing).saturating_mul(block_size).min(inode.size);
        let state = if lost.is_empty() {
            if proved { State::Intact } else { State::Unproven }
        } else if lost_bytes < all {
            State::Partial
        } else if written == 0 {
            State::MetadataOnly
        } else {
            State::Overwritten
        };
        Verdict { state, lost }
    }

    /// Adds what is gone of a written run; returns whether the rest is proved.
    #[allow(clippy::too_many_arguments)] // One call, and each is a different thing.
    fn judge_run(
        &self,
        node: &Node,
        candidate: &Candidate,
        run: &Run,
        at: u64,
        newer: &Ranges,
        own: &[(u64, u64)],
        gone: &mut Vec<(u64, u64)>,
    ) -> bool {
        if !self.geometry.afford(run.len) {
            gone.push((run.logical, run.end()));
            return false;
        }
        let mut proved = true;
        let is_own = |block: u64| {
            let after = own.partition_point(|(start, _)| *start <= block);
            after.checked_sub(1).and_then(|at| own.get(at)).is_some_and(|(_, end)| block < *end)
        };
        let mut lose = |start: u64, end: u64| {
            let (start, end) = (run.logical + (start - at), run.logical + (end - at));
            match gone.last_mut() {
                _ if start >= end => {}
                Some(last) if last.1 == start => last.1 = end,
                _ => gone.push((start, end)),
            }
        };
        for (free, blocks) in self.geometry.stretches(at, at + run.len) {
            if !own.is_empty() {
                for block in blocks {
                    if is_own(block) || !free && node.orphan {
                        proved = false;
                    } else if !free {
                        lose(block, block + 1);
                    }
                }
            } else if !free && node.orphan {
                // It is still in use by this very inode, as far as one can tell.
                proved = false;
            } else if !free {
                let mut next = blocks.start;
                for (start, end) in self.geometry.reserved_in(blocks.start, blocks.end) {
                    // Nobody wrote it since, as far as one can tell.
                    proved = false;
                    lose(next, start);
                    next = end;
                }
                lose(next, blocks.end);
            }
        }
        // With data=journal the journal has the content itself, and its place perhaps not: no copy since the file exists.
        let born = node.versions.iter().filter_map(|version| version.oldest).min();
        let born = born.filter(|_| candidate.inode.mode & mode::TYPE == mode::FILE);
        let claimed = self.claimed_after(candidate, at, at + run.len, born, |start, end| {
            let (start, end) = (start.max(at) - at, end.min(at + run.len) - at);
            gone.push((run.logical + start, run.logical + end));
        });
        // A newer version of the same file may have written into the same blocks.
        proved && !claimed && !newer.touches(at, at + run.len)
    }

    /// Whether the content of a version was on the disk, and not only in the kernel's cache, before it was deleted or
    /// changed again: the inode gets its new size and times before the bytes are written.
    ///
    /// Time shows it, or that the file system was mounted in between: what had not been written by then is lost, and
    /// the file was from then on what the disk has.
    fn is_settled(&self, node: &Node, index: usize) -> bool {
        let Some(candidate) = node.versions.get(index) else { return false };
        let inode = &*candidate.inode;
        let newer = index.checked_sub(1).and_then(|newer| node.versions.get(newer));
        if newer.is_some_and(|newer| newer.inode.modified == inode.modified && newer.inode.size != inode.size) {
            return false;
        }
        // Content that is metadata is in the transaction; and what was deleted without the journal was not mounted.
        if inode.mode & mode::TYPE != mode::FILE || candidate.order.is_none() && inode.size > 0 {
            return true;
        }
        let transactions = self.transactions.as_ref();
        let (until, to) = match newer {
            Some(newer) => (Some(newer.inode.changed.seconds.min(newer.inode.modified.seconds)), newer.oldest),
            None => {
                let seen = candidate.order.zip(transactions).and_then(|(order, all)| all.time(order));
                (node.deleted.map(i64::from).or(seen), node.dead_since.or(candidate.order))
            }
        };
        let changed = inode.changed.seconds.max(inode.modified.seconds);
        let by_time = until.is_some_and(|until| until.saturating_sub(changed) >= WRITE_BACK);
        let span = transactions.zip(candidate.oldest.zip(to));
        by_time || span.is_some_and(|(transactions, (from, to))| transactions.mounted_between(from, to))
    }

    /// Whether anybody else had one of the blocks at or after the time of a version; `known` is told which were
    /// taken at a time that is certainly later. For data, copies of the blocks as metadata count from `born` on.
    fn claimed_after(
        &self,
        candidate: &Candidate,
        start: u64,
        end: u64,
        born: Option<i64>,
        mut known: impl FnMut(u64, u64),
    ) -> bool {
        let inode = &*candidate.inode;
        let mut any = false;
        for claim in self.claims.on(start, end) {
            let same_inode =
                claim.owner == (inode.number, inode.generation) || inode.seed != 0 && claim.owner == (inode.seed, 0);
            if same_inode {
                continue;
            }
            match (claim.order, candidate.order) {
                (Some(_), Some(_)) if claim.owner == METADATA && born.is_some_and(|born| claim.order >= Some(born)) => {
                    any = true;
                }
                (Some(claim), Some(own)) if claim < own => continue,
                // Blocks that are freed in a transaction are not given out again in the same one; metadata of the
                // same transaction is the file's own.
                (Some(same), Some(own)) if same == own && claim.is_of_unknown() => continue,
                // The blocks of a directory are metadata themselves.
                _ if claim.is_of_unknown() && inode.mode & mode::TYPE == mode::DIRECTORY => continue,
                (Some(later), Some(own)) if later > own && !claim.is_of_unknown() && claim.owner.1 != 0 => {
                    known(claim.start, claim.end);
                    any = true;
                }
                _ => any = true,
            }
        }
        let others = |claim: &&Claim| {
            let is_own =
                claim.owner == (inode.number, inode.generation) || inode.seed != 0 && claim.owner == (inode.seed, 0);
            !is_own && !matches!((claim.order, candidate.order), (Some(claim), Some(own)) if claim < own)
        };
        // Space that was only reserved destroys nothing, but may have been written later.
        any |= self.claims.reserved_on(start, end).any(|claim| others(&claim));
        // A map that was soon deleted was written to the journal only.
        for claim in self.claims.maps_on(start, end).filter(others) {
            any = true;
            if claim.order > candidate.order && candidate.order.is_some() && self.holds_pointers(claim.start) {
                known(claim.start, claim.end);
            }
        }
        any
    }

    /// Whether a block of the disk may be an indirect block.
    fn holds_pointers(&self, block: u64) -> bool {
        let volume = self.geometry.volume;
        let at = block.saturating_mul(volume.block_size());
        let bytes = self.blocks.contents.read(&**volume.disk(), at, volume.block_size());
        bytes.is_none_or(|bytes| is_pointers(&bytes, volume.superblock().blocks))
    }

    /// Whether nothing can have happened after a version that would have left no trace.
    fn can_promise(&self, node: &Node, candidate: &Candidate, phantoms: &Phantoms) -> bool {
        let superblock = self.geometry.volume.superblock();
        let inode = &*candidate.inode;
        if self.claims.overflow || self.candidates.overflow || self.blocks.overflow || node.orphan {
            return false;
        }
        if inode.has(inode_flags::ENCRYPT | inode_flags::COMPRBLK) {
            return false;
        }
        // What has no content cannot be wrong in it, if the version itself is the last.
        let deleted = node.deleted.map_or(inode.changed.seconds, i64::from);
        if inode.mode & mode::TYPE == mode::FILE && phantoms.last >= deleted {
            return false;
        }
        match (&self.transactions, candidate.order, candidate.sequence) {
            (Some(transactions), Some(order), Some(sequence)) => {
                let checked = superblock.checksum_seed.is_some() || candidate.placed;
                checked
                    && !self.fast_commits
                    && transactions.is_closed
                    && transactions.is_whole(sequence)
                    && transactions.unbroken_since(order)
                    // What a tool writes without the journal leaves no trace in it.
                    && self.inodes.last_change <= transactions.last_commit as i64 + COMMIT_SLACK
            }
            (_, None, None) if candidate.placed => {
                // On the disk with its pointers: nothing was made, changed or mounted since it was deleted.
                node.deleted.is_some()
                    && self.inodes.last_change <= deleted
                    && i64::from(superblock.raw.s_mtime.get()) <= deleted
            }
            _ => false,
        }
    }
}
