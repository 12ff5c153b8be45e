//! The list of deleted nodes: versions judged, named, and put under their directories.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use super::candidates::{Candidate, Identity, Node};
use super::discarded;
use super::found::{FOUND, Found};
use super::mapping::{Mapping, physical};
use super::maps::{self, Maps};
use super::names::Name;
use super::naming::Naming;
use super::search::Search;
use super::verdict::{Phantoms, Ranges, Verdict};
use super::version::Version;
use crate::ext::inode::Inode;
use crate::ext::run::State;
use crate::forensics::{Deleted, Evidence, Parent};
use crate::node::{NodeId, Time};
use crate::room::Room;

/// How many directories one in the other are followed (ours): the kernel's longest path has fewer.
const MAX_DEPTH: usize = 4096;

/// Puts everything together. `own` are the blocks of the living inode whose versions are looked for.
///
/// The list ends where `room` holds no more.
pub(super) fn list(search: &mut Search<'_>, own: &[(u64, u64)], room: &Room) -> Vec<Found> {
    let mut maps = maps::find(search);
    let places = search.directories.read(search.geometry.volume, &mut search.names);
    search.names.complete();
    let places = maps::deleted_places(search, &maps, places);
    let (naming, phantoms) = (Naming::new(search, places), Phantoms::new(search));
    let mut listing = Listing { search, naming, phantoms, own, room, found: Vec::new() };
    for (identity, node) in &search.candidates.nodes {
        if !listing.add(*identity, node, &mut maps) {
            break;
        }
    }
    let mut found = listing.found;
    break_loops(&mut found);
    discarded::doubt(search.geometry.volume, &mut found);
    found
}

/// The list while it is made.
struct Listing<'s> {
    search: &'s Search<'s>,
    naming: Naming<'s>,
    phantoms: Phantoms,
    own: &'s [(u64, u64)],
    room: &'s Room,
    found: Vec<Found>,
}

/// A version that was judged: its inode, its map, the verdict, and where the inode was found.
struct Judged {
    inode: Arc<Inode>,
    mapping: Mapping,
    verdict: Verdict,
    evidence: Evidence,
}

impl Listing<'_> {
    /// Adds all versions of a node. Returns whether there was room for them.
    fn add(&mut self, identity: Identity, node: &Node, maps: &mut Maps) -> bool {
        let names = self.naming.names_of(identity);
        let home = names.first().map_or(Parent::Unknown, |name| self.naming.parent(name));
        let judged = self.judge(node, maps.remove(&identity).unwrap_or_default());
        for (version, judged) in (0u32..).zip(judged) {
            let found = self.found(identity, node, version, judged, home, &names);
            let evidence = found.deleted.evidence.len() * size_of::<Evidence>();
            let each = FOUND + evidence + names.first().map_or(0, |name| name.name.len());
            let runs = size_of_val(&*found.version.runs);
            if !self.room.take(each + runs + found.links.len() * each) {
                return false;
            }
            self.found.push(found);
        }
        true
    }

    /// Judges the versions of a node; without one, what is left of the inode.
    fn judge(&self, node: &Node, mut maps: Vec<Mapping>) -> Vec<Judged> {
        let mut verdicts = Vec::new();
        // Blocks of newer versions with other content: they may have been written in place.
        let (mut newer, mut same) = (Ranges::default(), Vec::new());
        let mut last = None;
        for (index, (candidate, mapping)) in node.versions.iter().zip(&maps).enumerate() {
            let content = (candidate.inode.modified, candidate.inode.size);
            if last.replace(content).is_some_and(|last| last != content) {
                same.drain(..).for_each(|(start, end)| newer.add(start, end));
            }
            let verdict = self.search.judge(node, index, mapping, &newer, &self.phantoms, self.own);
            verdicts.push(self.within(verdict, candidate.inode.size));
            same.extend(mapping.runs.iter().filter_map(physical));
        }
        let mut all = Vec::new();
        for (index, (candidate, verdict)) in node.versions.iter().zip(verdicts).enumerate() {
            let mapping = maps.get_mut(index).map(std::mem::take).unwrap_or_default();
            all.push(Judged { inode: candidate.inode.clone(), mapping, verdict, evidence: self.evidence(candidate) });
        }
        if let (true, Some(remains)) = (all.is_empty(), &node.remains) {
            all.push(of_remains(self.search, remains, maps.pop().unwrap_or_default()));
        }
        all
    }

    /// Where the inode of a version was found.
    fn evidence(&self, candidate: &Candidate) -> Evidence {
        let is_checked = self.search.geometry.volume.superblock().checksum_seed.is_some();
        Evidence {
            what: "inode",
            offset: candidate.inode.offset,
            transaction: candidate.sequence.map(u64::from),
            in_journal: candidate.order.is_some() || !candidate.placed,
            checksum: is_checked.then_some(true),
        }
    }

    /// A verdict, or where there is no room for it that all may be gone.
    fn within(&self, verdict: Verdict, size: u64) -> Verdict {
        if self.room.take(size_of_val(&*verdict.lost)) {
            return verdict;
        }
        Verdict { state: crate::State::MetadataOnly, lost: std::iter::once(0..size).collect() }
    }

    /// What the list says of a version.
    fn found(
        &self,
        identity: Identity,
        node: &Node,
        version: u32,
        judged: Judged,
        parent: Parent,
        names: &[&Name],
    ) -> Found {
        let (search, name) = (self.search, names.first());
        let Judged { mut inode, mapping, verdict, evidence } = judged;
        if inode.file_acl != 0 && !search.geometry.is_free(inode.file_acl) {
            // Attributes in a block that is in use may be others'.
            Arc::make_mut(&mut inode).file_acl = 0;
        }
        let mut list = vec![evidence];
        // Who of several inodes with this number was in the orphan file, nothing tells.
        let is_known = node.orphan || self.naming.is_alone(identity);
        list.extend(search.orphans.evidence(identity.0, !node.orphan).filter(|_| is_known));
        list.extend(name.map(|name| name.evidence()));
        list.extend(mapping.evidence);
        list.shrink_to_fit();
        let lost: Arc<[Range<u64>]> = verdict.lost.into();
        let deleted = Deleted {
            node: NodeId(self.found.len() as u64),
            parent,
            name: name.map(|name| name.name.clone()),
            number: identity.0.into(),
            generation: Some(identity.1),
            version,
            deleted: node.deleted.map(|seconds| Time { seconds: seconds.into(), nanoseconds: 0 }),
            state: verdict.state,
            lost: lost.clone(),
            evidence: list,
        };
        // Older versions have the newest one's best name.
        let more = if version == 0 { names.get(1..).unwrap_or_default() } else { &[] };
        let links = more.iter().map(|name| (self.naming.parent(name), name.name.clone(), name.evidence())).collect();
        Found { version: Version { inode, runs: mapping.runs.into(), lost }, deleted, links }
    }
}

/// What is left of an inode without a version: its attributes, and the blocks of its leaves, if there are some.
fn of_remains(search: &Search<'_>, remains: &Inode, mapping: Mapping) -> Judged {
    let mut inode = remains.clone();
    let evidence = Evidence {
        what: "inode",
        offset: inode.offset,
        transaction: None,
        in_journal: false,
        checksum: search.geometry.volume.superblock().checksum_seed.map(|_| true),
    };
    let block_size = search.geometry.volume.block_size();
    let Some(end) = mapping.runs.last().map(|run| run.end()) else {
        let verdict = Verdict { state: crate::State::MetadataOnly, lost: Vec::new() };
        return Judged { inode: Arc::new(inode), mapping, verdict, evidence };
    };
    // The size itself is gone: up to the end of the last block.
    inode.size = end.saturating_mul(block_size).min(i64::MAX as u64);
    let mut lost: Vec<Range<u64>> = Vec::new();
    let mut is_left = false;
    let mut next = 0;
    for run in &mapping.runs {
        // What is between the leaves' extents may be a hole, or in a leaf that is gone.
        let gone = (run.logical > next).then(|| next * block_size..run.logical * block_size);
        lost.extend(gone);
        if let State::Written(at) = run.state {
            for index in 0..run.len {
                let start = (run.logical + index) * block_size;
                let block = at + index;
                if search.geometry.is_free(block) || search.geometry.reserved_in(block, block + 1).next().is_some() {
                    is_left = true;
                } else {
                    lost.push(start..start + block_size);
                }
            }
        }
        next = run.end();
    }
    lost.dedup_by(|next, last| {
        let joins = next.start <= last.end;
        if joins {
            last.end = last.end.max(next.end);
        }
        joins
    });
    let state = if is_left { crate::State::Partial } else { crate::State::Overwritten };
    Judged { inode: Arc::new(inode), mapping, verdict: Verdict { state, lost }, evidence }
}

/// Takes nodes out of directories that are, by way of others, in themselves.
fn break_loops(found: &mut [Found]) {
    let parent_of = |found: &[Found], index: usize| match found.get(index).map(|found| found.deleted.parent) {
        Some(Parent::Deleted(node)) => usize::try_from(node.0).ok(),
        _ => None,
    };
    // Each node is walked through once: from those that are known to end, nothing is followed.
    let mut ends = vec![false; found.len()];
    for start in 0..found.len() {
        let (mut path, mut at) = (Vec::new(), Some(start));
        let mut on_path = HashSet::new();
        while let Some(index) = at.filter(|index| !ends.get(*index).copied().unwrap_or(true)) {
            if !on_path.insert(index) || path.len() > MAX_DEPTH {
                if let Some(found) = found.get_mut(index) {
                    found.deleted.parent = Parent::Unknown;
                }
                break;
            }
            path.push(index);
            at = parent_of(found, index);
        }
        for index in path {
            ends[index] = true;
        }
    }
}
