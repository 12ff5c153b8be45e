//! The maps of all versions: put together from what survived, and what they say of each other's blocks.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};

use super::blocks::BlockCopy;
use super::candidates::Identity;
use super::claims::{Claim, Purpose};
use super::mapping::{Mapper, Mapping, physical};
use super::search::{Search, verifies};
use crate::ext::layout::{inode_flags, mode};
use crate::ext::run::State;
use crate::forensics::Evidence;

/// By inode, the map of each of its versions.
pub(super) type Maps = BTreeMap<Identity, Vec<Mapping>>;

/// How many blocks of one run of a directory are looked at (ours).
const MAX_DIRECTORY_RUN: usize = 1 << 16;

/// Finds the maps of all versions. What they tell of blocks and of names goes into the search.
pub(super) fn find(search: &mut Search<'_>) -> Maps {
    let mut maps = Maps::new();
    resolve(search, &mut maps);
    let seeds = unresolved(search, &maps);
    if !seeds.is_empty() {
        search.free_space(&seeds);
        maps.retain(|_, maps| maps.iter().all(|map| map.missing.is_empty()));
        resolve(search, &mut maps);
    }
    leaves_alone(search, &mut maps);
    claim(search, &maps);
    directory_names(search, &maps);
    maps
}

/// The maps of all versions, but of the nodes that have them already.
fn resolve(search: &Search<'_>, maps: &mut Maps) {
    let mapper = Mapper { geometry: search.geometry, blocks: &search.blocks, spent: Cell::new(0) };
    for (identity, node) in &search.candidates.nodes {
        let of_versions = || node.versions.iter().map(|version| mapper.resolve(version)).collect();
        maps.entry(*identity).or_insert_with(of_versions);
    }
}

/// The seeds of the inodes whose maps have gaps, or of which no version was found.
fn unresolved(search: &Search<'_>, all: &Maps) -> HashSet<u32> {
    let mut seeds = HashSet::new();
    if search.geometry.volume.superblock().checksum_seed.is_none() {
        return seeds;
    }
    for (identity, node) in &search.candidates.nodes {
        let incomplete = all.get(identity).is_some_and(|maps| maps.iter().any(|map| !map.missing.is_empty()));
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
fn leaves_alone(search: &Search<'_>, maps: &mut Maps) {
    let volume = search.geometry.volume;
    for (identity, node) in &search.candidates.nodes {
        let Some(remains) = node.remains.as_ref().filter(|_| node.versions.is_empty()) else { continue };
        let Some(loose) = search.blocks.by_seed.get(&remains.seed).filter(|_| remains.seed != 0) else { continue };
        let mut leaves = Vec::new();
        for loose in loose.iter().filter(|loose| loose.depth == 0) {
            let evidence = Evidence {
                what: "extent block",
                offset: loose.copy.at,
                transaction: loose.copy.sequence.map(u64::from),
                in_journal: loose.copy.in_journal,
                checksum: Some(true),
            };
            let bytes = search.blocks.contents.read(&**volume.disk(), loose.copy.at, volume.block_size());
            leaves.extend(bytes.map(|bytes| (evidence, bytes)));
        }
        maps.insert(*identity, vec![Mapping::of_leaves(&leaves, volume.superblock().blocks)]);
    }
}

/// Every version's own blocks are claims on those of others.
fn claim(search: &mut Search<'_>, all: &Maps) {
    for (identity, node) in &search.candidates.nodes {
        let Some(maps) = all.get(identity) else { continue };
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
fn directory_names(search: &mut Search<'_>, all: &Maps) {
    let volume = search.geometry.volume;
    let superblock = volume.superblock();
    for (identity, node) in &search.candidates.nodes {
        let Some(maps) = all.get(identity).filter(|_| node.is_directory()) else { continue };
        let mut seen = HashSet::new();
        for (version, mapping) in node.versions.iter().zip(maps) {
            for (start, end) in mapping.runs.iter().filter_map(physical) {
                for block in (start..end).take(MAX_DIRECTORY_RUN) {
                    if !search.geometry.is_free(block) || !seen.insert(block) {
                        continue;
                    }
                    let at = block.saturating_mul(volume.block_size());
                    let Some(bytes) = search.blocks.contents.read(&**volume.disk(), at, volume.block_size()) else {
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
pub(super) fn deleted_places(
    search: &Search<'_>,
    all: &Maps,
    mut places: HashMap<u64, Vec<u32>>,
) -> HashMap<u64, Vec<u32>> {
    for (identity, node) in search.candidates.nodes.iter().filter(|(_, node)| node.is_directory()) {
        for mapping in all.get(identity).into_iter().flatten().take(node.versions.len()) {
            for (start, end) in mapping.runs.iter().filter_map(physical) {
                for block in (start..end).take(MAX_DIRECTORY_RUN).filter(|block| search.names.places.contains(block)) {
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
