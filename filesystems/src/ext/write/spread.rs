//! In which group a new inode goes: files beside their directory, directories apart as Orlov's allocator has them.

use std::ops::Range;

use images::Result;

use super::operation::Operation;
use super::space::Space;
use crate::ext::layout::{ROOT_INO, inode_flags};

/// The group for a new inode in the directory `parent`, by the hints; `None` if none has a free inode.
pub(super) fn group_for(op: &mut Operation<'_>, parent: u32, is_directory: bool) -> Result<Option<u32>> {
    let superblock = op.superblock();
    let group = (parent.saturating_sub(1) / superblock.inodes_per_group).min(superblock.groups - 1);
    let per_flex = superblock.groups_per_flex();
    let is_top = is_directory && (parent == ROOT_INO || op.volume.inode(parent)?.has(inode_flags::TOPDIR));
    let space = op.space()?;
    // What a group may have less than the average, and more directories, and still be near enough.
    let spare = (superblock.inodes_per_group / 4, superblock.clusters_per_group() / 4);
    let more_directories = u64::from(superblock.inodes_per_group / 16);
    Ok(match (is_top, is_directory) {
        (true, _) => space.top_group(group, per_flex),
        (_, true) => space.near_group(group, per_flex, spare, more_directories),
        (_, false) => space.file_group(group, per_flex),
    })
}

/// What some groups have together.
#[derive(Clone, Copy, Default)]
struct Sum {
    inodes: u64,
    clusters: u64,
    directories: u64,
}

impl Space {
    fn groups(&self) -> u32 {
        u32::try_from(self.free_inodes.len()).expect("there are not more groups than numbers")
    }

    /// The groups that have their tables together with this one.
    fn flex(&self, group: u32, per_flex: u32) -> Range<u32> {
        let start = group / per_flex * per_flex;
        start..start.saturating_add(per_flex).min(self.groups())
    }

    /// The first of some groups that has a free inode, and free blocks if `with_blocks`.
    fn first_of(&self, groups: Range<u32>, with_blocks: bool) -> Option<u32> {
        let fits = |group: &u32| {
            let at = *group as usize;
            self.free_inodes[at] > 0 && (!with_blocks || self.free_clusters[at] > 0)
        };
        groups.into_iter().find(fits)
    }

    /// The group of a file: its directory's, one beside it, the next.
    fn file_group(&self, parent: u32, per_flex: u32) -> Option<u32> {
        let flex = self.flex(parent, per_flex);
        let near = [parent..parent + 1, flex.clone(), flex.end..self.groups(), 0..flex.start];
        let in_them = |with_blocks| near.iter().find_map(|groups| self.first_of(groups.clone(), with_blocks));
        in_them(true).or_else(|| in_them(false))
    }

    fn sum(&self, groups: Range<u32>) -> Sum {
        groups.fold(Sum::default(), |sum, group| {
            let at = group as usize;
            Sum {
                inodes: sum.inodes + u64::from(self.free_inodes[at]),
                clusters: sum.clusters + u64::from(self.free_clusters[at]),
                directories: sum.directories + u64::from(self.directories[at]),
            }
        })
    }

    /// The flexes of groups, from that of `group` on.
    fn flexes(&self, group: u32, per_flex: u32) -> impl Iterator<Item = Range<u32>> {
        let count = self.groups().div_ceil(per_flex);
        let first = group / per_flex;
        (0..count).map(move |at| self.flex((first + at) % count * per_flex, per_flex))
    }

    /// What a flex has on average.
    fn average(&self, per_flex: u32) -> Sum {
        let count = u64::from(self.groups().div_ceil(per_flex));
        let Sum { inodes, clusters, directories } = self.total();
        Sum { inodes: inodes / count, clusters: clusters / count, directories: directories / count }
    }

    fn total(&self) -> Sum {
        let (inodes, clusters, directories) = self.totals;
        Sum { inodes, clusters, directories }
    }

    /// The group of a directory at the top: where there are fewest directories and room above the average.
    fn top_group(&self, parent: u32, per_flex: u32) -> Option<u32> {
        let average = self.average(per_flex);
        let with_sums = self.flexes(parent, per_flex).map(|flex| (self.sum(flex.clone()), flex));
        let roomy = with_sums
            .filter(|(sum, _)| sum.inodes > 0 && sum.inodes >= average.inodes && sum.clusters >= average.clusters);
        let emptiest = roomy.min_by_key(|(sum, _)| sum.directories).and_then(|(_, flex)| self.first_of(flex, false));
        emptiest.or_else(|| self.file_group(parent, per_flex))
    }

    /// The group of a directory in another one: as near to it as there is room not far below the average. `spare` is how many
    /// inodes and clusters a group may have less.
    fn near_group(&self, parent: u32, per_flex: u32, spare: (u32, u32), more_directories: u64) -> Option<u32> {
        let average = self.average(per_flex);
        let per_flex_wide = u64::from(per_flex);
        let least_inodes = average.inodes.saturating_sub(u64::from(spare.0) * per_flex_wide).max(1);
        let least_clusters = average.clusters.saturating_sub(u64::from(spare.1) * per_flex_wide);
        let most_directories = average.directories + more_directories * per_flex_wide;
        let near = self.flexes(parent, per_flex).find_map(|flex| {
            let sum = self.sum(flex.clone());
            let has_room = sum.inodes >= least_inodes
                && sum.clusters >= least_clusters
                && sum.directories < most_directories.max(1);
            has_room.then(|| self.first_of(flex, false)).flatten()
        });
        near.or_else(|| self.file_group(parent, per_flex))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(groups: &[(u32, u32, u32)]) -> Space {
        let mut space = Space::default();
        for (number, (inodes, clusters, directories)) in groups.iter().enumerate() {
            for hints in [&mut space.free_inodes, &mut space.free_clusters, &mut space.directories] {
                hints.push(0);
            }
            space.set_inodes(number as u32, *inodes, *directories);
            space.set_clusters(number as u32, *clusters);
        }
        space
    }

    #[test]
    fn files_are_beside_their_directory() {
        let space = space(&[(5, 5, 0), (0, 9, 0), (0, 9, 0), (7, 0, 0), (1, 1, 0)]);
        assert_eq!(space.file_group(0, 1), Some(0));
        assert_eq!(space.file_group(1, 1), Some(4), "with blocks");
        assert_eq!(space.file_group(1, 2), Some(0), "of the same flex");
        assert_eq!(space.file_group(4, 4), Some(4));
    }

    #[test]
    fn directories_at_the_top_are_apart() {
        let space = space(&[(100, 100, 3), (100, 100, 1), (100, 50, 0), (100, 120, 2)]);
        assert_eq!(space.top_group(0, 1), Some(1), "group 2 has too few blocks");
        assert_eq!(space.near_group(3, 1, (10, 10), 4), Some(3));
        assert_eq!(space.near_group(2, 1, (10, 10), 4), Some(3), "too few blocks");
        assert_eq!(space.near_group(0, 1, (100, 100), 1), Some(1), "too many directories");
    }

    #[test]
    fn a_full_file_system_has_no_group() {
        let space = space(&[(0, 100, 3), (0, 0, 1)]);
        assert_eq!(
            (space.top_group(0, 1), space.near_group(1, 1, (1, 1), 1), space.file_group(1, 1)),
            (None, None, None)
        );
    }
}
