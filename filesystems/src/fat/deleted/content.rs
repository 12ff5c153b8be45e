//! Where the content of a deleted file most likely lies: its chain is erased, and only the first cluster is known.

use images::Disk;

use super::super::geometry::Geometry;
use super::super::layout::FIRST_CLUSTER;
use super::super::map::Use;
use super::scan::Scan;
use super::wanted::Wanted;
use super::{Owner, evidence};
use crate::{Evidence, State};

/// The most pieces of all deleted files together, and the most steps to find them, ours.
const STEPS_MAX: u64 = 1 << 22;

/// A piece of a file that lies in one piece on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which cluster of the file comes first, from 0.
    pub index: u32,
    /// Its number on the disk; 0 if the piece is gone.
    pub cluster: u32,
    /// How many clusters.
    pub count: u32,
}

/// Where content lies, and what that is worth.
pub struct Content {
    pub pieces: Vec<Piece>,
    pub state: State,
    pub evidence: Vec<Evidence>,
}

/// Finds clusters, for one file after the other.
pub struct Finder<'a> {
    geometry: &'a Geometry,
    scan: &'a Scan<'a>,
    /// All files that want clusters, by their first.
    wanted: &'a [Wanted],
    /// The number after the last cluster that the disk has, which may be cut off.
    end: u32,
    steps: u64,
}

impl<'a> Finder<'a> {
    /// `wanted` is sorted by the first cluster.
    pub fn new(disk: &dyn Disk, geometry: &'a Geometry, scan: &'a Scan<'a>, wanted: &'a [Wanted]) -> Self {
        let on_disk = disk.size().saturating_sub(geometry.data) / u64::from(geometry.cluster_size);
        let end = FIRST_CLUSTER + geometry.clusters.min(u32::try_from(on_disk).unwrap_or(u32::MAX));
        Self { geometry, scan, wanted, end, steps: 0 }
    }

    /// The clusters of a file, at least one.
    pub fn find(&mut self, file: &Wanted) -> Content {
        let first = file.first;
        let mut pieces = Pieces::default();
        let evidence_of = |what| vec![evidence(what, self.geometry.offset_of(first))];
        let why = match self.scan.map.at(first) {
            None => return gone(file, State::MetadataOnly, Vec::new()),
            Some((Use::Chain(0), _)) if self.scan.lost_chains.contains_key(&first) => {
                for (cluster, count) in self.scan.map.chain(first, file.clusters) {
                    self.steps += 1;
                    let here = count.min(self.end.saturating_sub(cluster));
                    pieces.push(cluster, here);
                    pieces.lose(count - here);
                }
                evidence_of("cluster chain that is still in the FAT")
            }
            Some((Use::Chain(owner), _)) if self.owner(owner).is_some_and(|owner| owner.first == first) => {
                let owner = self.owner(owner).expect("just found");
                let why = vec![evidence("directory entry in use with the same first cluster", owner.at)];
                return gone(file, State::MetadataOnly, why);
            }
            Some((Use::Free, _)) if self.follow_other_fat(file, &mut pieces) => {
                evidence_of("cluster chain in the other copy of the FAT")
            }
            Some((Use::Free, _)) if !self.scan.directory_clusters.contains_key(&first) => {
                let is_skipping = self.walk(file, true, &mut pieces);
                evidence_of(if is_skipping {
                    "contiguous clusters with the used ones skipped"
                } else {
                    "contiguous clusters"
                })
            }
            // The first is used by another file, so what follows is where it was, or used as well.
            Some(_) => {
                self.walk(file, false, &mut pieces);
                evidence_of("contiguous clusters, the first of them used again")
            }
        };
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return gone(file, State::MetadataOnly, vec![evidence("free space in too many pieces to search", file.at)]);
        }
        let mut content = Content { pieces: pieces.pieces, state: State::Unproven, evidence: why };
        self.take_out_what_is_newer(file, &mut content);
        let found: u32 = content.pieces.iter().map(|piece| piece.count).sum();
        if found < file.clusters {
            content.pieces.push(Piece { index: found, cluster: 0, count: file.clusters - found });
        }
        let lost = content.pieces.iter().filter(|piece| piece.cluster == 0).count();
        content.state = match lost {
            0 => State::Unproven,
            _ if lost == content.pieces.len() => State::Overwritten,
            _ => State::Partial,
        };
        content
    }

    fn owner(&self, owner: u32) -> Option<&Owner> {
        self.scan.owners.get((owner as usize).checked_sub(1)?)
    }

    /// Follows the chain that only the other copy of the FAT has, if it is as long as the file. What the FAT in use says
    /// is used is gone.
    fn follow_other_fat(&mut self, file: &Wanted, pieces: &mut Pieces) -> bool {
        let Some(other) = &self.scan.other_map else { return false };
        // One more than the file has: then it is another file's.
        let chain = other.chain(file.first, file.clusters.saturating_add(1));
        if chain.iter().map(|(_, count)| u64::from(*count)).sum::<u64>() != u64::from(file.clusters) {
            return false;
        }
        for (start, count) in chain {
            let (mut at, end) = (start, start + count);
            while at < end && self.steps <= STEPS_MAX {
                self.steps += 1;
                let Some((used, until)) = self.scan.map.at(at) else { break };
                let directory = self.scan.directory_clusters.range(at..end).next().map(|(cluster, _)| *cluster);
                let until = until.min(end);
                match (used, directory) {
                    (Use::Free, Some(cluster)) if cluster == at => {
                        pieces.lose(1);
                        at += 1;
                    }
                    (Use::Free, directory) => {
                        let until = directory.unwrap_or(until).min(until);
                        let here = until.min(self.end).saturating_sub(at);
                        pieces.push(at, here);
                        pieces.lose(until - at - here);
                        at = until;
                    }
                    _ => {
                        pieces.lose(until - at);
                        at = until;
                    }
                }
            }
        }
        true
    }

    /// Takes the free clusters from the first on. Used ones are skipped where they may have been used before; those
    /// that are used by what is newer than the file, or all if `may_skip` is false, are gone. Says whether any were
    /// skipped.
    fn walk(&mut self, file: &Wanted, may_skip: bool, pieces: &mut Pieces) -> bool {
        let (mut at, mut is_skipping) = (file.first, false);
        while pieces.clusters < file.clusters && self.steps <= STEPS_MAX {
            self.steps += 1;
            let Some((used, end)) = self.scan.map.at(at).filter(|_| at < self.end) else { break };
            let end = end.min(self.end);
            let left = file.clusters - pieces.clusters;
            let directory = self.scan.directory_clusters.range(at..end).next();
            let (created, end) = match (used, directory) {
                (_, Some((&cluster, &created))) if cluster == at => (Some(created), at + 1),
                (Use::Free, directory) => (None, directory.map_or(end, |(cluster, _)| *cluster)),
                (Use::Chain(owner), _) => (Some(self.owner(owner).map_or(0, |owner| owner.created)), end),
                (Use::Unusable, _) => (Some(0), end),
            };
            match created {
                None => pieces.push(at, left.min(end - at)),
                Some(created) if !may_skip || file.last != 0 && created > file.last => pieces.lose(left.min(end - at)),
                Some(_) => is_skipping = true,
            }
            at = end;
        }
        is_skipping
    }

    /// Where another deleted file begins in the middle of this one, its content is there if it came later. If times do
    /// not tell, the evidence does.
    fn take_out_what_is_newer(&mut self, file: &Wanted, content: &mut Content) {
        let mut pieces = Pieces::default();
        for piece in &content.pieces {
            let mut rest = *piece;
            if rest.cluster == 0 {
                pieces.lose(rest.count);
                continue;
            }
            let end = rest.cluster + rest.count;
            let from = self.wanted.partition_point(|other| other.first < rest.cluster);
            for other in self.wanted[from..].iter().take_while(|other| other.first < end) {
                self.steps += 1;
                if self.steps > STEPS_MAX || other.at == file.at {
                    continue;
                }
                let other_end = end.min(other.first.saturating_add(other.clusters));
                if other.created <= file.last || file.last == 0 {
                    let what = "directory entry, also deleted, that leads into the same clusters";
                    if content.evidence.last().is_none_or(|last| last.what != what) {
                        content.evidence.push(evidence(what, other.at));
                    }
                } else if other_end > rest.cluster {
                    let before = other.first.saturating_sub(rest.cluster);
                    pieces.push(rest.cluster, before);
                    let from = other.first.max(rest.cluster);
                    pieces.lose(other_end - from);
                    rest.cluster = other_end;
                }
            }
            pieces.push(rest.cluster, end - rest.cluster);
        }
        content.pieces = pieces.pieces;
    }
}

/// Nothing of the content is left.
pub fn gone(file: &Wanted, state: State, evidence: Vec<Evidence>) -> Content {
    Content { pieces: vec![Piece { index: 0, cluster: 0, count: file.clusters }], state, evidence }
}

/// Pieces in the making: neighbours are one.
#[derive(Default)]
struct Pieces {
    pieces: Vec<Piece>,
    clusters: u32,
}

impl Pieces {
    fn push(&mut self, cluster: u32, count: u32) {
        let index = self.clusters;
        self.clusters = index.saturating_add(count);
        match self.pieces.last_mut() {
            _ if count == 0 => {}
            Some(last) if cluster != 0 && last.cluster != 0 && last.cluster + last.count == cluster => {
                last.count += count
            }
            Some(last) if cluster == 0 && last.cluster == 0 => last.count += count,
            _ => self.pieces.push(Piece { index, cluster, count }),
        }
    }

    fn lose(&mut self, count: u32) {
        self.push(0, count);
    }
}
