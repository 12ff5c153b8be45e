//! The list of deleted nodes: versions judged, named, and put under their directories.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::blocks::BlockCopy;
use super::candidates::Identity;
use super::claims::{Claim, Purpose};
use super::discarded;
use super::mapping::{Mapper, Mapping, physical};
use super::names::{self, Name, Owner};
use super::search::{Search, verifies};
use super::verdict::{Phantoms, Ranges, Verdict};
use super::version::Version;
use crate::deleted::{Deleted, Evidence, Parent};
use crate::ext::inode::Inode;
use crate::ext::layout::{inode_flags, mode};
use crate::ext::map::State;
use crate::room::Room;
use crate::tree::{NodeId, Time};

/// How many directories one in the other are followed (ours): the kernel's longest path has fewer.
const MAX_DEPTH: usize = 4096;

/// A deleted node and what is read for it.
pub(super) struct Found {
    pub(super) version: Version,
    pub(super) deleted: Deleted,
    /// Its other names, if it had several at a time: directory, name, and where that was found.
    links: Vec<(Parent, Vec<u8>, Evidence)>,
}

impl Found {
    /// What is to be read, and the list's entries for it: one for each name.
    pub(super) fn into_entries(self) -> (Version, Vec<Deleted>) {
        let mut entries = vec![self.deleted];
        for (parent, name, evidence) in self.links {
            let mut entry = Deleted { parent, name: Some(name), ..entries[0].clone() };
            let own = entry.evidence.iter_mut().find(|evidence| names::is_of_name(evidence));
            own.into_iter().for_each(|own| *own = evidence.clone());
            entries.push(entry);
        }
        (self.version, entries)
    }
}

/// What a node takes in the list, in bytes, about, beside its inode, its evidence, its name and its places.
const FOUND: usize = 2 * size_of::<Found>() + size_of::<Version>() + size_of::<Deleted>() + 64;

/// How many names of one inode are listed (ours).
const MAX_NAMES: usize = 64;

type Spans = BTreeMap<u32, Vec<(u32, Option<i64>, Option<i64>)>>;

/// Puts everything together. `own` are the blocks of the living inode whose versions are looked for; the nodes get the
/// ids from `first` on.
///
/// The list ends where `room` holds no more.
pub(super) fn list(search: &mut Search<'_>, own: &[(u64, u64)], first: u64, room: &Room) -> Vec<Found> {
    let mut mappings = BTreeMap::new();
    resolve(search, &mut mappings);
    let scan = unresolved(search, &mappings);
    if !scan.is_empty() {
        search.free_space(&scan);
        mappings.retain(|_, maps: &mut Vec<Mapping>| maps.iter().all(|map| map.missing.is_empty()));
        resolve(search, &mut mappings);
    }
    leaves_alone(search, &mut mappings);
    claim(search, &mappings);
    directory_names(search, &mappings);

    let places = search.living_directories();
    search.names.complete();
    let places = deleted_places(search, &mappings, places);
    let seeds = search.directory_seeds();
    let spans = search.spans();
    let phantoms = Phantoms::new(search);

    // The newest version of each node, for the directories under which others are.
    let mut ids: BTreeMap<Identity, u64> = BTreeMap::new();
    let mut next = first;
    for (identity, node) in &search.candidates.nodes {
        ids.insert(*identity, next);
        next += node.versions.len().max(1) as u64;
    }
    let mut found = Vec::new();
    'all: for (identity, node) in &search.candidates.nodes {
        let mut maps = mappings.remove(identity).unwrap_or_default();
        let names = names_of(search, *identity, &spans, &seeds, &places);
        let name = names.first().copied();
        let parent = |name: &Name| parent(search, name, &seeds, &places, &ids);
        let (home, more) = (name.map_or(Parent::Unknown, parent), names.get(1..).unwrap_or_default());
        // Who of several inodes with this number was in the orphan file, nothing tells.
        let alone = spans.get(&identity.0).is_some_and(|spans| spans.len() == 1)
            && search.inodes.get(identity.0).is_none_or(|current| current.generation == identity.1);
        let mut verdicts = Vec::new();
        // Blocks of newer versions with other content: they may have been written in place.
        let (mut newer, mut same) = (Ranges::default(), Vec::new());
        let mut last = None;
        for (index, (candidate, mapping)) in node.versions.iter().zip(&maps).enumerate() {
            let content = (candidate.inode.modified, candidate.inode.size);
            if last.replace(content).is_some_and(|last| last != content) {
                same.drain(..).for_each(|(start, end)| newer.add(start, end));
            }
            let verdict = search.judge(node, index, mapping, &newer, &phantoms, own);
            verdicts.push(within(verdict, candidate.inode.size, room));
            same.extend(mapping.runs.iter().filter_map(physical));
        }
        let mut all: Vec<(Arc<Inode>, Mapping, Verdict, Evidence)> = Vec::new();
        for (index, (candidate, verdict)) in node.versions.iter().zip(verdicts).enumerate() {
            let inode = candidate.inode.clone();
            let checked = search.geometry.volume.superblock().checksum_seed.is_some();
            let evidence = Evidence {
                what: "inode",
                offset: inode.offset,
                transaction: candidate.sequence,
                in_journal: candidate.order.is_some() || !candidate.placed,
                checksum: checked.then_some(true),
            };
            let mapping = maps.get_mut(index).map(std::mem::take).unwrap_or_default();
            all.push((inode, mapping, verdict, evidence));
        }
        if let (true, Some(remains)) = (all.is_empty(), &node.remains) {
            all.push(of_remains(search, remains, maps.pop()));
        }
        for (version, (mut inode, mapping, verdict, evidence)) in (0u32..).zip(all) {
            if inode.file_acl != 0 && !search.geometry.is_free(inode.file_acl) {
                // Attributes in a block that is in use may be others'.
                Arc::make_mut(&mut inode).file_acl = 0;
            }
            let mut list = vec![evidence];
            list.extend(search.orphans.evidence(identity.0, !node.orphan).filter(|_| node.orphan || alone));
            list.extend(name.map(Name::evidence));
            list.extend(mapping.evidence);
            list.shrink_to_fit();
            let deleted = Deleted {
                node: NodeId(first + found.len() as u64),
                parent: home,
                name: name.map(|name| name.name.to_vec()),
                number: identity.0.into(),
                generation: Some(identity.1),
                version,
                deleted: node.deleted.map(|seconds| Time { seconds: seconds.into(), nanoseconds: 0 }),
                state: verdict.state,
                lost: verdict.lost.clone(),
                evidence: list,
            };
            let version = Version { inode, runs: mapping.runs.into(), lost: verdict.lost.into_boxed_slice() };
            // Older versions have the newest one's best name.
            let link = |name: &&Name| (parent(name), name.name.to_vec(), name.evidence());
            let links: Vec<_> = if deleted.version == 0 { more.iter().map(link).collect() } else { Vec::new() };
            let each = FOUND + deleted.evidence.len() * size_of::<Evidence>() + name.map_or(0, |name| name.name.len());
            let lost = version.lost.len() * size_of::<std::ops::Range<u64>>();
            if !room.take(each + size_of_val(&*version.runs) + links.len() * (each + lost)) {
                break 'all;
            }
            found.push(Found { version, deleted, links });
        }
    }
    break_loops(&mut found, first);
    discarded::doubt(search.geometry.volume, &mut found);
    found
}

/// A verdict, or where there is no room for it that all may be gone.
fn within(verdict: Verdict, size: u64, room: &Room) -> Verdict {
    // Twice: for who reads, and for who is told.
    match room.take(2 * size_of_val(&*verdict.lost)) {
        true => verdict,
        false => Verdict { state: crate::State::MetadataOnly, lost: std::iter::once(0..size).collect() },
    }
}

/// The maps of all versions, but of the nodes that have them already.
fn resolve(search: &Search<'_>, mappings: &mut BTreeMap<Identity, Vec<Mapping>>) {
    let mapper = Mapper { geometry: search.geometry, blocks: &search.blocks, spent: Cell::new(0) };
    for (identity, node) in &search.candidates.nodes {
        let maps = || node.versions.iter().map(|version| mapper.resolve(version)).collect();
        mappings.entry(*identity).or_insert_with(maps);
    }
}

/// The seeds of the inodes whose maps have gaps, or of which no version was found.
fn unresolved(search: &Search<'_>, mappings: &BTreeMap<Identity, Vec<Mapping>>) -> HashSet<u32> {
    let mut seeds = HashSet::new();
    if search.geometry.volume.superblock().checksum_seed.is_none() {
        return seeds;
    }
    for (identity, node) in &search.candidates.nodes {
        let incomplete = mappings.get(identity).is_some_and(|maps| maps.iter().any(|map| !map.missing.is_empty()));
        let inode = node.versions.first().map(|version| &version.inode).or(node.remains.as_ref());
        let Some(inode) = inode.filter(|inode| inode.has(inode_flags::EXTENTS)) else { continue };
        let file = inode.mode & mode::TYPE == mode::FILE;
        if incomplete || node.versions.is_empty() && file {
            seeds.insert(inode.seed);
        }
    }
    seeds
}

/// Gives files of which no version was found the leaves that verify for them.
fn leaves_alone(search: &Search<'_>, mappings: &mut BTreeMap<Identity, Vec<Mapping>>) {
    let volume = search.geometry.volume;
    for (identity, node) in &search.candidates.nodes {
        let Some(remains) = node.remains.as_ref().filter(|_| node.versions.is_empty()) else { continue };
        let Some(loose) = search.blocks.by_seed.get(&remains.seed).filter(|_| remains.seed != 0) else { continue };
        let mut leaves = Vec::new();
        for loose in loose.iter().filter(|loose| loose.depth == 0) {
            let evidence = Evidence {
                what: "extent block",
                offset: loose.copy.at,
                transaction: loose.copy.sequence,
                in_journal: loose.copy.in_journal,
                checksum: Some(true),
            };
            let bytes = search.blocks.kept.read(&**volume.disk(), loose.copy.at, volume.block_size());
            leaves.extend(bytes.map(|bytes| (evidence, bytes)));
        }
        mappings.insert(*identity, vec![Mapping::of_leaves(&leaves, volume.superblock().blocks)]);
    }
}

/// What is left of an inode without a version: its attributes, and the blocks of its leaves, if there are some.
fn of_remains(
    search: &Search<'_>,
    remains: &Inode,
    mapping: Option<Mapping>,
) -> (Arc<Inode>, Mapping, Verdict, Evidence) {
    let mut inode = remains.clone();
    let evidence = Evidence {
        what: "inode",
        offset: inode.offset,
        transaction: None,
        in_journal: false,
        checksum: search.geometry.volume.superblock().checksum_seed.map(|_| true),
    };
    let mapping = mapping.unwrap_or_default();
    let block_size = search.geometry.volume.block_size();
    let Some(end) = mapping.runs.last().map(|run| run.end()) else {
        let verdict = Verdict { state: crate::State::MetadataOnly, lost: Vec::new() };
        return (Arc::new(inode), mapping, verdict, evidence);
    };
    // The size itself is gone: up to the end of the last block.
    inode.size = end.saturating_mul(block_size).min(i64::MAX as u64);
    let mut lost: Vec<std::ops::Range<u64>> = Vec::new();
    let mut left = false;
    let mut next = 0;
    for run in &mapping.runs {
        // What is between the leaves' extents may be a hole, or in a leaf that is gone.
        let gone = (run.logical > next).then(|| next * block_size..run.logical * block_size);
        lost.extend(gone);
        if let State::Written(at) = run.state {
            for index in 0..run.len {
                let start = (run.logical + index) * block_size;
                let block = at + index;
                match search.geometry.is_free(block) || search.geometry.reserved_in(block, block + 1).next().is_some() {
                    true => left = true,
                    false => lost.push(start..start + block_size),
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
    let state = if left { crate::State::Partial } else { crate::State::Overwritten };
    (Arc::new(inode), mapping, Verdict { state, lost }, evidence)
}

/// Every version's own blocks are claims on those of others.
fn claim(search: &mut Search<'_>, mappings: &BTreeMap<Identity, Vec<Mapping>>) {
    for (identity, node) in &search.candidates.nodes {
        let Some(maps) = mappings.get(identity) else { continue };
        for (version, mapping) in node.versions.iter().zip(maps) {
            for run in &mapping.runs {
                let Some((start, end)) = physical(run) else { continue };
                let is_written = matches!(run.state, State::Written(_));
                let purpose = if is_written { Purpose::Written } else { Purpose::Reserved };
                let claim = Claim { start, end, order: version.order, owner: *identity };
                search.claims.add_for(search.geometry, claim, purpose);
            }
        }
    }
    search.claims.sort();
}

/// Reads what is left of deleted directories' own blocks.
fn directory_names(search: &mut Search<'_>, mappings: &BTreeMap<Identity, Vec<Mapping>>) {
    let volume = search.geometry.volume;
    let superblock = volume.superblock();
    for (identity, node) in &search.candidates.nodes {
        let Some(maps) = mappings.get(identity).filter(|_| node.is_directory()) else { continue };
        let mut seen = HashSet::new();
        for (version, mapping) in node.versions.iter().zip(maps) {
            for (start, end) in mapping.runs.iter().filter_map(physical) {
                for block in (start..end).take(1 << 16) {
                    if !search.geometry.is_free(block) || !seen.insert(block) {
                        continue;
                    }
                    let at = block.saturating_mul(volume.block_size());
                    let Some(bytes) = search.blocks.kept.read(&**volume.disk(), at, volume.block_size()) else {
                        continue;
                    };
                    let seed = version.inode.seed;
                    if superblock.checksum_seed.is_some() && !verifies(&bytes, seed) {
                        continue;
                    }
                    let copy = BlockCopy { at, order: None, sequence: None, in_journal: false };
                    let owner = (Some(identity.0), None);
                    search.names.add_block(superblock, &bytes, &copy, Some(block), owner, false);
                }
            }
        }
    }
}

/// Adds deleted directories to the owners of places.
fn deleted_places(
    search: &Search<'_>,
    mappings: &BTreeMap<Identity, Vec<Mapping>>,
    mut places: HashMap<u64, Vec<u32>>,
) -> HashMap<u64, Vec<u32>> {
    for (identity, node) in search.candidates.nodes.iter().filter(|(_, node)| node.is_directory()) {
        for mapping in mappings.get(identity).into_iter().flatten().take(node.versions.len()) {
            for (start, end) in mapping.runs.iter().filter_map(physical) {
                for block in (start..end).take(1 << 16).filter(|block| search.names.places.contains(block)) {
                    let owners = places.entry(block).or_default();
                    if !owners.contains(&identity.0) {
                        owners.push(identity.0);
                    }
                }
            }
        }
    }
    places
}

/// The directory of a name, as far as its number and, if known, its generation.
fn directory(
    name: &Name,
    seeds: &HashMap<u32, Identity>,
    places: &HashMap<u64, Vec<u32>>,
) -> Option<(u32, Option<u32>)> {
    match name.owner {
        Owner::Inode(number) => Some((number, None)),
        Owner::Seed(seed) => seeds.get(&seed).map(|(number, generation)| (*number, Some(*generation))),
        // A place that two directories had says nothing.
        Owner::Block(block) => match places.get(&block).map(Vec::as_slice) {
            Some([number]) => Some((*number, None)),
            _ => None,
        },
    }
}

/// The names of a deleted inode, the best first: as many as it had links.
fn names_of<'s>(
    search: &'s Search<'_>,
    (number, generation): Identity,
    spans: &Spans,
    seeds: &HashMap<u32, Identity>,
    places: &HashMap<u64, Vec<u32>>,
) -> Vec<&'s Name> {
    let Some(node) = search.candidates.nodes.get(&(number, generation)) else { return Vec::new() };
    let inode = node.versions.first().map(|version| &version.inode).or(node.remains.as_ref());
    let spans = spans.get(&number).map(Vec::as_slice).unwrap_or_default();
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
    search.names.best(number, inode.mode, (from, to), most, &|name| directory(name, seeds, places).map(|found| found.0))
}

fn parent(
    search: &Search<'_>,
    name: &Name,
    seeds: &HashMap<u32, Identity>,
    places: &HashMap<u64, Vec<u32>>,
    ids: &BTreeMap<Identity, u64>,
) -> Parent {
    let Some((number, generation)) = directory(name, seeds, places) else { return Parent::Unknown };
    if let Some(generation) = generation {
        return match ids.get(&(number, generation)) {
            Some(id) => Parent::Deleted(NodeId(*id)),
            None if search.inodes.lives(number, generation) => Parent::Live(NodeId(number.into())),
            None => Parent::Unknown,
        };
    }
    let deleted = ids
        .range((number, 0)..=(number, u32::MAX))
        .filter(|(identity, _)| search.candidates.nodes.get(identity).is_some_and(|node| node.is_directory()));
    let deleted: Vec<_> = deleted.collect();
    let alive = search.inodes.get(number).is_some_and(|inode| inode.live && inode.directory);
    let since = search.live_since.get(&number).copied();
    match (&deleted[..], alive) {
        ([], true) => Parent::Live(NodeId(number.into())),
        ([(_, id)], false) => Parent::Deleted(NodeId(**id)),
        // The number was used again for another directory: the time decides.
        ([(_, id)], true) => match (name.last, since) {
            (Some(last), Some(since)) if last >= since => Parent::Live(NodeId(number.into())),
            (Some(_), Some(_)) => Parent::Deleted(NodeId(**id)),
            _ => Parent::Unknown,
        },
        _ => Parent::Unknown,
    }
}

/// Takes nodes out of directories that are, by way of others, in themselves.
fn break_loops(found: &mut [Found], first: u64) {
    let parent_of = |found: &[Found], index: usize| match found.get(index).map(|found| found.deleted.parent) {
        Some(Parent::Deleted(node)) => usize::try_from(node.0.checked_sub(first)?).ok(),
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
