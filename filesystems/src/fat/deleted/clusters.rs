//! The clusters of directories in free space: which of them go on with which, since their chains are erased.

use std::collections::{BTreeMap, HashMap};

use zerocopy::FromBytes;

use super::super::geometry::Geometry;
use super::super::layout::*;
use super::super::name::is_dot;

/// How many directories before a cluster are asked whether it goes on with them, ours.
const OPEN_MAX: usize = 64;

/// What a cluster of a directory says of what comes before and after it.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// The checksum of the part of a long name that it begins with.
    begins: Option<u8>,
    /// The checksum of the part of a long name that it ends with, whose entry must follow.
    ends: Option<u8>,
    /// Whether the directory ends in it.
    is_last: bool,
    /// The first cluster of a directory in it.
    child: Option<u32>,
    /// The cluster after the last file in it, if that lies in one piece.
    follows: Option<u32>,
}

impl Cluster {
    /// Looks through a whole cluster.
    pub fn read(geometry: &Geometry, bytes: &[u8]) -> Self {
        let mut cluster = Self::default();
        for (index, slot) in bytes.as_chunks::<{ SLOT_SIZE as usize }>().0.iter().enumerate() {
            let entry = DirEntry::read_from_bytes(slot).expect("as long as an entry");
            if entry.name[0] == FREE_TO_END {
                return Self { is_last: true, ends: None, ..cluster };
            }
            if entry.attr & ATTR_LONG_NAME_MASK == ATTR_LONG_NAME {
                let part = LongDirEntry::read_from_bytes(slot).expect("as long as an entry");
                cluster.ends = Some(part.chksum);
                if index == 0 {
                    cluster.begins = Some(part.chksum);
                }
                continue;
            }
            cluster.ends = None;
            let first = u32::from(entry.fst_clus_hi.get()) << 16 | u32::from(entry.fst_clus_lo.get());
            if first == 0 || is_dot(&entry) || index < 2 && entry.attr & ATTR_DIRECTORY != 0 {
                continue;
            }
            if entry.attr & ATTR_DIRECTORY != 0 {
                cluster.child.get_or_insert(first);
                cluster.follows = None;
            } else {
                cluster.follows = first.checked_add(geometry.clusters_for(entry.file_size.get().into()));
            }
        }
        cluster
    }
}

/// Joins the clusters that go on with a directory to its first, in the order of the disk, in which directories grow.
/// `firsts` says how `..` of each names its parent. What joins nothing is left over.
///
/// A cluster goes on with the directory that a directory in it calls its parent; or with the one that ends in the
/// middle of the same long name; or with the one whose last file ends just before it; or else with the one that began
/// last and has no end yet, as a tree that was copied leaves it.
pub fn join(
    firsts: &BTreeMap<u32, (u32, Cluster)>,
    others: &BTreeMap<u32, Cluster>,
) -> (HashMap<u32, Vec<u32>>, Vec<u32>) {
    let mut chains: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut left_over = Vec::new();
    // By the last cluster: the first of the directory, and what the last says.
    let mut open: BTreeMap<u32, (u32, &Cluster)> = BTreeMap::new();
    let mut firsts_left = firsts.iter().peekable();
    for (&number, cluster) in others {
        while let Some((&first, (_, summary))) = firsts_left.next_if(|(first, _)| **first < number) {
            if !summary.is_last {
                open.insert(first, (first, summary));
            }
        }
        let parent = cluster.child.and_then(|child| Some(firsts.get(&child)?.0));
        let score = |(&last, &(first, before)): (&u32, &(u32, &Cluster))| {
            let score = match (parent, before.ends, cluster.begins) {
                (Some(parent), ..) if parent == first => 4,
                (Some(parent), ..) if firsts.contains_key(&parent) => return None,
                (_, Some(ends), Some(begins)) if ends == begins => 3,
                (_, Some(_), Some(_)) => return None,
                _ if before.follows == Some(number) => 2,
                _ => 1,
            };
            Some((score, last, first))
        };
        match open.iter().rev().take(OPEN_MAX).filter_map(score).max() {
            Some((_, last, first)) => {
                open.remove(&last);
                chains.entry(first).or_insert_with(|| vec![first]).push(number);
                if !cluster.is_last {
                    open.insert(number, (first, cluster));
                }
            }
            None => left_over.push(number),
        }
    }
    (chains, left_over)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Cluster {
        Cluster::default()
    }

    fn last() -> Cluster {
        Cluster { is_last: true, ..Cluster::default() }
    }

    #[test]
    fn nested_directories_are_joined_as_they_grew() {
        // 2 holds 5; 5 goes on in 9 and 12 and ends, and then 2 goes on.
        let firsts = BTreeMap::from([(2, (0, open())), (5, (2, open())), (20, (2, last()))]);
        let others = BTreeMap::from([(9, open()), (12, last()), (30, last()), (40, last())]);
        let (chains, left_over) = join(&firsts, &others);
        assert_eq!(chains, HashMap::from([(5, vec![5, 9, 12]), (2, vec![2, 30])]));
        assert_eq!(left_over, [40]);
    }

    #[test]
    fn proof_comes_before_order() {
        let firsts = BTreeMap::from([(2, (0, open())), (5, (2, open())), (8, (2, last()))]);
        let others = BTreeMap::from([(9, Cluster { child: Some(8), ..last() })]);
        assert_eq!(join(&firsts, &others).0, HashMap::from([(2, vec![2, 9])]), "8 says that its parent is 2");

        let ends = |sum| Cluster { ends: Some(sum), ..open() };
        let firsts = BTreeMap::from([(2, (0, ends(7))), (5, (2, ends(8)))]);
        let begins = |sum| Cluster { begins: Some(sum), ..last() };
        let others = BTreeMap::from([(9, begins(7)), (10, begins(9))]);
        let (chains, left_over) = join(&firsts, &others);
        assert_eq!(chains, HashMap::from([(2, vec![2, 9])]), "the same long name");
        assert_eq!(left_over, [10]);

        let firsts = BTreeMap::from([(2, (0, Cluster { follows: Some(9), ..open() })), (5, (2, open()))]);
        let others = BTreeMap::from([(9, last())]);
        assert_eq!(join(&firsts, &others).0, HashMap::from([(2, vec![2, 9])]), "right after its last file");
    }
}
