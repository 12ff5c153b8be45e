//! Deleted files of FAT: their entries stay, all but the first byte; their chains do not.
//!
//! Nothing on the disk says whose a cluster was, so no content is [`State::Intact`] but that of empty files.

#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

mod clusters;
mod content;
mod name;
mod scan;
mod wanted;

use std::collections::{HashMap, HashSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use images::{Budget, Disk, Error, Reservation, Result};
use zerocopy::little_endian::U16;

use self::content::{Content, Finder, Piece, gone};
use self::scan::{Found, Scan};
use self::wanted::Wanted;
use super::geometry::Geometry;
use super::layout::*;
use super::map::Use;
use crate::room::Room;
use crate::{Deleted, Evidence, NodeId, Parent, State};

/// The bit that marks the node of a lost chain, whose first cluster is in the bits below. Entries lie below byte 2^45,
/// so their nodes are below 2^40.
const LOST_CHAIN: u64 = 1 << 48;

/// What a chain or a cluster of a deleted directory belongs to.
struct Owner {
    /// Where its entry lies, in bytes.
    at: u64,
    first: u32,
    created: u32,
    is_directory: bool,
}

/// A deleted node, as far as `stat` and `read_at` need it.
pub struct Node {
    /// Its entry; a lost chain has none.
    pub entry: Option<DirEntry>,
    /// The size in bytes.
    pub size: u64,
    pieces: Box<[Piece]>,
}

/// What lies at a place of a deleted file.
pub enum Place {
    /// It begins at this byte of the disk, and so many bytes follow.
    Disk(u64, u64),
    /// It is gone, and so are all of so many bytes.
    Gone(u64),
}

impl Node {
    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        self.entry.is_some_and(|entry| entry.attr & ATTR_DIRECTORY != 0)
    }

    /// Where byte `offset` lies, which is inside the file.
    pub fn place(&self, geometry: &Geometry, offset: u64) -> Place {
        let cluster_size = u64::from(geometry.cluster_size);
        let index = u32::try_from(offset / cluster_size).unwrap_or(u32::MAX);
        let after = self.pieces.partition_point(|piece| piece.index <= index);
        let left = self.size - offset;
        let Some(piece) = after.checked_sub(1).and_then(|last| self.pieces.get(last)) else { return Place::Gone(left) };
        let inside = offset - u64::from(piece.index) * cluster_size;
        let Some(follow) = (u64::from(piece.count) * cluster_size).checked_sub(inside).filter(|follow| *follow > 0)
        else {
            return Place::Gone(left);
        };
        match piece.cluster {
            0 => Place::Gone(left.min(follow)),
            cluster => Place::Disk(geometry.offset_of(cluster) + inside, left.min(follow)),
        }
    }
}

/// The error of reading bytes that are gone.
pub fn lost(offset: u64) -> Error {
    let what = format!("cannot read the deleted file at byte {offset:#x}");
    Error::io(what, io::Error::other("its clusters are used again, or not known"))
}

/// A date and time as one number, 0 if there is none; in units of 2 s within a day.
fn seconds(date: U16, time: U16) -> u32 {
    match date.get() {
        0 => 0,
        date => u32::from(date) << 16 | u32::from(time.get()),
    }
}

fn node_at(at: u64) -> NodeId {
    NodeId(at / SLOT)
}

fn evidence(what: &'static str, offset: u64) -> Evidence {
    Evidence { what, offset, transaction: None, in_journal: false, checksum: None }
}

/// What was found.
pub struct All {
    pub list: Arc<[Deleted]>,
    pub nodes: HashMap<NodeId, Node>,
    /// The memory that it takes.
    _held: Reservation,
}

/// What a deleted node takes in memory, in bytes, about, beside its name, its pieces and its evidence.
const NODE: usize = 2 * size_of::<Deleted>() + 2 * size_of::<(NodeId, Node)>() + 64;

/// Looks for everything that is deleted, as far as the budget holds it.
pub fn search(disk: &dyn Disk, geometry: &Geometry, budget: &Budget) -> Result<All> {
    // Half for the search, and of the rest two thirds for what it finds: others need some, too.
    let room = Room::of(budget, 6);
    let mut scan = Scan::run(disk, geometry, room.clone())?;
    let results = Room::of(budget, 8);
    let found = std::mem::take(&mut scan.found);
    let mut wanted: Vec<Wanted> =
        found.iter().filter(|found| !found.is_directory()).map(|f| want(geometry, f)).collect();
    let claimed: Vec<u32> = {
        wanted.sort_unstable_by_key(|file| (file.first, file.at));
        wanted.iter().map(|file| file.first).collect()
    };
    let mut finder = Finder::new(disk, geometry, &scan, &wanted);
    let (mut all, mut nodes) = (Vec::new(), HashMap::new());
    let mut add = |deleted: Deleted, node: Node| {
        let name = deleted.name.as_ref().map_or(0, |name| name.len());
        let (lost, evidence) = (size_of_val(&*deleted.lost), size_of_val(&*deleted.evidence));
        let fits = results.take(NODE + name + lost + evidence + size_of_val(&*node.pieces));
        if fits {
            nodes.insert(deleted.node, node);
            all.push(deleted);
        }
        fits
    };
    // Damaged chains may lead through one directory twice.
    let mut seen = HashSet::with_capacity(found.len());
    for found in found {
        if !seen.insert(found.node()) {
            continue;
        }
        let (deleted, node) = if found.is_directory() {
            directory(geometry, &scan, found)
        } else {
            let content = content_of(&mut finder, &want(geometry, &found), &found);
            file(geometry, found, content)
        };
        if !add(deleted, node) {
            break;
        }
    }
    for (&first, &clusters) in &scan.lost_chains {
        if claimed.binary_search(&first).is_err() {
            let (deleted, node) = lost_chain(geometry, &scan, first, clusters);
            if !add(deleted, node) {
                break;
            }
        }
    }
    if room.is_full() || results.is_full() {
        log::warn!("{disk}: memory holds not all that is left of deleted files; --memory gives the program more");
    }
    Ok(All { list: all.into(), nodes, _held: results.into_held() })
}

fn want(geometry: &Geometry, found: &Found) -> Wanted {
    let Found { at, entry, first, .. } = found;
    let created = seconds(entry.crt_date, entry.crt_time);
    let last = created.max(seconds(entry.wrt_date, entry.wrt_time));
    Wanted { at: *at, first: *first, clusters: geometry.clusters_for(entry.file_size.get().into()), created, last }
}

fn content_of(finder: &mut Finder<'_>, file: &Wanted, found: &Found) -> Content {
    match (found.entry.file_size.get(), file.first) {
        (0, 0) => Content { pieces: Vec::new(), state: State::Intact, evidence: Vec::new() },
        // Clusters, and a size that was not written any more.
        (0, _) => Content { pieces: Vec::new(), state: State::MetadataOnly, evidence: Vec::new() },
        (_, 0) => gone(file, State::MetadataOnly, Vec::new()),
        _ => finder.find(file),
    }
}

fn file(geometry: &Geometry, found: Found, content: Content) -> (Deleted, Node) {
    let size = u64::from(found.entry.file_size.get());
    let lost = lost_ranges(geometry, &content.pieces, size);
    let node = Node { entry: Some(found.entry), size, pieces: content.pieces.into() };
    let Found { evidence, .. } = &found;
    let evidence = evidence.iter().cloned().chain(content.evidence).collect();
    (deleted(found, content.state, lost, evidence), node)
}

fn directory(geometry: &Geometry, scan: &Scan<'_>, found: Found) -> (Deleted, Node) {
    let mut evidence = found.evidence.clone();
    let clusters: u32 = found.clusters.iter().map(|(_, count)| *count).sum();
    let state = match scan.map.at(found.first) {
        _ if clusters > 0 => State::Unproven,
        None => State::MetadataOnly,
        Some((Use::Chain(owner), _)) => {
            let owner = (owner as usize).checked_sub(1).and_then(|owner| scan.owners.get(owner));
            match owner.filter(|owner| owner.first == found.first && owner.is_directory) {
                Some(owner) => {
                    evidence.push(self::evidence("directory entry in use with the same first cluster", owner.at));
                    State::MetadataOnly
                }
                None => State::Overwritten,
            }
        }
        Some(_) => State::Overwritten,
    };
    let size = u64::from(clusters) * u64::from(geometry.cluster_size);
    let node = Node { entry: Some(found.entry), size, pieces: Box::default() };
    (deleted(found, state, Vec::new(), evidence), node)
}

fn deleted(found: Found, state: State, lost: Vec<Range<u64>>, evidence: Vec<Evidence>) -> Deleted {
    Deleted {
        node: found.node(),
        parent: found.parent,
        name: found.name.map(|name| name.into_bytes().into()),
        number: found.first.into(),
        generation: None,
        version: 0,
        deleted: None,
        state,
        lost: lost.into(),
        evidence,
    }
}

/// A chain that no entry names. Its size is that of its clusters, since nothing says where in the last one it ends.
fn lost_chain(geometry: &Geometry, scan: &Scan<'_>, first: u32, clusters: u32) -> (Deleted, Node) {
    let mut pieces: Vec<Piece> = Vec::new();
    for (cluster, count) in scan.map.chain(first, clusters) {
        let index = pieces.last().map_or(0, |last| last.index + last.count);
        pieces.push(Piece { index, cluster, count });
    }
    let size = u64::from(clusters) * u64::from(geometry.cluster_size);
    let deleted = Deleted {
        node: NodeId(LOST_CHAIN | u64::from(first)),
        parent: Parent::Unknown,
        name: None,
        number: first.into(),
        generation: None,
        version: 0,
        deleted: None,
        state: State::Unproven,
        lost: lost_ranges(geometry, &pieces, size).into(),
        evidence: vec![evidence("cluster chain that no directory entry names", geometry.offset_of(first))],
    };
    (deleted, Node { entry: None, size, pieces: pieces.into() })
}

/// What is gone, in bytes: ascending and apart.
fn lost_ranges(geometry: &Geometry, pieces: &[Piece], size: u64) -> Vec<Range<u64>> {
    let mut lost: Vec<Range<u64>> = Vec::new();
    for piece in pieces.iter().filter(|piece| piece.cluster == 0) {
        let start = u64::from(piece.index) * u64::from(geometry.cluster_size);
        let end = size.min(start + u64::from(piece.count) * u64::from(geometry.cluster_size));
        match lost.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ if start < end => lost.push(start..end),
            _ => {}
        }
    }
    lost
}
