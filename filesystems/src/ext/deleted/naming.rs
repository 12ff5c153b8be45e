//! Under which name and in which directory a deleted node was.

use std::collections::{BTreeMap, HashMap};

use super::candidates::Identity;
use super::names::{Name, Owner};
use super::search::Search;
use crate::forensics::Parent;
use crate::node::NodeId;

/// How many names of one inode are listed (ours).
const MAX_NAMES: usize = 64;

/// What tells whose directory a name was in.
pub(super) struct Naming<'s> {
    search: &'s Search<'s>,
    /// Who had the blocks whose owner is found by their place.
    places: HashMap<u64, Vec<u32>>,
    /// The directories by the seed of their blocks' checksums.
    seeds: HashMap<u32, Identity>,
    /// For each number the deleted inodes that had it, with the transactions in which each was seen first and last.
    spans: BTreeMap<u32, Vec<(u32, Option<i64>, Option<i64>)>>,
    /// The newest version of each node, by its index in the list: for the directories under which others are.
    indexes: BTreeMap<Identity, u64>,
}

impl<'s> Naming<'s> {
    /// For a search whose names are complete; `places` are the owners of blocks.
    pub(super) fn new(search: &'s Search<'s>, places: HashMap<u64, Vec<u32>>) -> Self {
        let mut indexes = BTreeMap::new();
        let mut next = 0;
        for (identity, node) in &search.candidates.nodes {
            indexes.insert(*identity, next);
            next += node.versions.len().max(1) as u64;
        }
        Self { search, places, seeds: search.directory_seeds(), spans: search.spans(), indexes }
    }

    /// Whether no other inode had this number.
    pub(super) fn is_alone(&self, (number, generation): Identity) -> bool {
        self.spans.get(&number).is_some_and(|spans| spans.len() == 1)
            && self.search.inodes.get(number).is_none_or(|current| current.generation == generation)
    }

    /// The directory of a name, as far as its number and, if known, its generation.
    fn directory(&self, name: &Name) -> Option<(u32, Option<u32>)> {
        match name.owner {
            Owner::Inode(number) => Some((number, None)),
            Owner::Seed(seed) => self.seeds.get(&seed).map(|(number, generation)| (*number, Some(*generation))),
            // A place that two directories had says nothing.
            Owner::Block(block) => match self.places.get(&block).map(Vec::as_slice) {
                Some([number]) => Some((*number, None)),
                _ => None,
            },
        }
    }

    /// The names of a deleted inode, the best first: as many as it had links.
    pub(super) fn names_of(&self, (number, generation): Identity) -> Vec<&'s Name> {
        let search = self.search;
        let Some(node) = search.candidates.nodes.get(&(number, generation)) else { return Vec::new() };
        let inode = node.versions.first().map(|version| &version.inode).or(node.remains.as_ref());
        let spans = self.spans.get(&number).map(Vec::as_slice).unwrap_or_default();
        let own = spans.iter().find(|span| span.0 == generation);
        let (Some(inode), Some(own)) = (inode, own) else { return Vec::new() };
        let (mut from, mut to) = (None, search.live_since.get(&number).copied());
        for other in spans.iter().filter(|span| span.0 != generation) {
            match (other.2, own.1, own.2, other.1) {
                (Some(last), Some(first), ..) if last < first => from = from.max(Some(last)),
                (.., Some(last), Some(first)) if first > last => {
                    to = Some(to.map_or(first, |to| to.min(first)));
                }
                _ => {}
            }
        }
        // What a directory's links count are the entries `..` below it.
        let most = if node.is_directory() { 1 } else { usize::from(node.links).clamp(1, MAX_NAMES) };
        search.names.best(number, inode.mode, (from, to), most, &|name| self.directory(name).map(|found| found.0))
    }

    /// The directory of a name. A deleted one is named by its index in the list.
    pub(super) fn parent(&self, name: &Name) -> Parent {
        let search = self.search;
        let Some((number, generation)) = self.directory(name) else { return Parent::Unknown };
        let living = Parent::Live(NodeId(number.into()));
        if let Some(generation) = generation {
            return match self.indexes.get(&(number, generation)) {
                Some(index) => Parent::Deleted(NodeId(*index)),
                None if search.inodes.lives(number, generation) => living,
                None => Parent::Unknown,
            };
        }
        let is_directory = |identity| search.candidates.nodes.get(identity).is_some_and(|node| node.is_directory());
        let deleted =
            self.indexes.range((number, 0)..=(number, u32::MAX)).filter(|(identity, _)| is_directory(identity));
        let deleted: Vec<_> = deleted.map(|(_, index)| Parent::Deleted(NodeId(*index))).collect();
        let is_alive = search.inodes.get(number).is_some_and(|inode| inode.live && inode.directory);
        let since = search.live_since.get(&number).copied();
        match (&deleted[..], is_alive) {
            ([], true) => living,
            ([deleted], false) => *deleted,
            // The number was used again for another directory: the time decides.
            ([deleted], true) => match (name.last, since) {
                (Some(last), Some(since)) if last >= since => living,
                (Some(_), Some(_)) => *deleted,
                _ => Parent::Unknown,
            },
            _ => Parent::Unknown,
        }
    }
}
