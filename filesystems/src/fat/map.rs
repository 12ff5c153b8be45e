//! The whole FAT at once, as runs of clusters: which are free, and which are in a chain.

use images::{Disk, Result, unsupported};

use super::geometry::{Geometry, Width};
use super::layout::FIRST_CLUSTER;
use crate::length::in_memory;

/// The most runs, ours: 48 MiB. A volume has as many only if it is large, and all in pieces.
const RUNS_MAX: usize = 1 << 22;
/// How many entries of the FAT are read at once, and are unknown if they cannot be; even, for FAT12.
const STEP: u32 = 4096;

/// What `next` says of a run that leads nowhere; all are above the highest number of a cluster, but for `FREE` and
/// `UNUSABLE`, which are below the lowest.
const FREE: u32 = 0;
const UNUSABLE: u32 = 1;
const END: u32 = u32::MAX;
const BROKEN: u32 = u32::MAX - 1;

/// Clusters up to where the next run begins, that are free, unusable, or lead each to the one that follows.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u32,
    /// Where the last of the run leads.
    next: u32,
    /// Whose it is, as [`Map::own`] was told; 0 is nobody.
    owner: u32,
}

/// What the FAT says of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Free,
    /// Marked as bad, or what the FAT says of it cannot be read.
    Unusable,
    /// In a chain: of this owner, or of nobody if it is 0.
    Chain(u32),
}

/// The FAT, read once.
#[derive(Debug)]
pub struct Map {
    /// Ascending, without gaps, from the first cluster.
    runs: Vec<Run>,
    /// The number after the last cluster.
    end: u32,
}

impl Map {
    /// Reads the FAT in order. Clusters whose entries cannot be read are unusable. Fails with `Unsupported` if it is
    /// in too many pieces.
    pub fn read(disk: &dyn Disk, geometry: &Geometry) -> Result<Self> {
        Self::read_at(disk, geometry, geometry.fat)
    }

    /// The same for the other copy of the FAT, if there is one that can be read and differs from this.
    pub fn other(&self, disk: &dyn Disk, geometry: &Geometry) -> Option<Self> {
        let other = Self::read_at(disk, geometry, geometry.other_fat?).ok()?;
        let same = |(one, other): (&Run, &Run)| one.start == other.start && one.next == other.next;
        let is_same = self.runs.len() == other.runs.len() && self.runs.iter().zip(&other.runs).all(same);
        (!is_same).then_some(other)
    }

    fn read_at(disk: &dyn Disk, geometry: &Geometry, fat: u64) -> Result<Self> {
        let end = geometry.clusters + FIRST_CLUSTER;
        let bits = match geometry.width {
            Width::Fat12 => 12,
            Width::Fat16 => 16,
            Width::Fat32 => 32,
        };
        let mut runs: Vec<Run> = Vec::new();
        let mut buf = Vec::new();
        for start in (0..end).step_by(STEP as usize) {
            let stop = end.min(start.saturating_add(STEP));
            buf.resize(in_memory((u64::from(stop - start) * bits).div_ceil(8)), 0);
            let is_read = disk.read_at(&mut buf, fat + u64::from(start) * bits / 8).is_ok();
            for cluster in start.max(FIRST_CLUSTER)..stop {
                let next = if is_read { link(geometry, &buf, (cluster - start) as usize) } else { UNUSABLE };
                let is_full = runs.len() == RUNS_MAX;
                match runs.last_mut() {
                    Some(run) if run.next == next && next < FIRST_CLUSTER => {}
                    Some(run) if run.next == cluster && next >= FIRST_CLUSTER => run.next = next,
                    _ if is_full => {
                        return Err(unsupported!("{disk}: the FAT is in more than {RUNS_MAX} pieces"));
                    }
                    _ => runs.push(Run { start: cluster, next, owner: 0 }),
                }
            }
        }
        Ok(Self { runs, end })
    }

    /// The memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        self.runs.len() * size_of::<Run>()
    }

    fn index(&self, cluster: u32) -> Option<usize> {
        let is_inside = (FIRST_CLUSTER..self.end).contains(&cluster);
        is_inside.then(|| self.runs.partition_point(|run| run.start <= cluster) - 1)
    }

    fn run_end(&self, index: usize) -> u32 {
        self.runs.get(index + 1).map_or(self.end, |next| next.start)
    }

    /// What the FAT says of a cluster, and the number after the last for which this answer holds; `None` for what is
    /// not the number of a cluster.
    pub fn at(&self, cluster: u32) -> Option<(Use, u32)> {
        let index = self.index(cluster)?;
        let run = self.runs[index];
        let what = match run.next {
            FREE => Use::Free,
            UNUSABLE => Use::Unusable,
            _ => Use::Chain(run.owner),
        };
        Some((what, self.run_end(index)))
    }

    /// Makes the chain from `first` on the property of `owner`, as far as it is nobody's; says whether `first` was.
    pub fn own(&mut self, first: u32, owner: u32) -> bool {
        let mut next = first;
        let mut any = false;
        while let Some(index) = self.index(next) {
            let run = &mut self.runs[index];
            if run.next < FIRST_CLUSTER || run.owner != 0 {
                break;
            }
            run.owner = owner;
            next = run.next;
            any = true;
        }
        any
    }

    /// The chain from `first` on, as runs (cluster, count), as far as it has one owner and for at most `wanted`
    /// clusters.
    pub fn chain(&self, first: u32, wanted: u32) -> Vec<(u32, u32)> {
        let (mut found, mut left, mut next, mut owner) = (Vec::new(), wanted, first, None);
        while let Some(index) = self.index(next).filter(|_| left > 0 && found.len() <= self.runs.len()) {
            let run = self.runs[index];
            if run.next < FIRST_CLUSTER || *owner.get_or_insert(run.owner) != run.owner {
                break;
            }
            let count = left.min(self.run_end(index) - next);
            found.push((next, count));
            left -= count;
            next = run.next;
        }
        found
    }

    /// Where the chains begin that are nobody's, and how many clusters they have. Of a loop the lowest cluster is the
    /// beginning. Ends where `fits` says that no more of them fit.
    pub fn lost_chains(&self, fits: &mut dyn FnMut() -> bool) -> Vec<(u32, u32)> {
        let is_lost = |run: &Run| run.next >= FIRST_CLUSTER && run.owner == 0;
        let mut led_to = vec![false; self.runs.len()];
        for run in self.runs.iter().filter(|run| is_lost(run)) {
            if let Some(index) = self.index(run.next) {
                led_to[index] = true;
            }
        }
        let mut seen = vec![false; self.runs.len()];
        let mut found = Vec::new();
        let heads = (0..led_to.len()).filter(|&index| !led_to[index]);
        for first in heads.chain((0..led_to.len()).filter(|&index| led_to[index])) {
            let (mut clusters, mut at) = (0, Some(first));
            while let Some(index) = at.filter(|&index| !seen[index] && is_lost(&self.runs[index])) {
                seen[index] = true;
                clusters += self.run_end(index) - self.runs[index].start;
                at = self.index(self.runs[index].next);
            }
            if clusters > 0 && !fits() {
                break;
            }
            if clusters > 0 {
                found.push((self.runs[first].start, clusters));
            }
        }
        found
    }

    /// The free clusters in order, as runs (cluster, count).
    pub fn free(&self) -> impl Iterator<Item = (u32, u32)> {
        let free = self.runs.iter().enumerate().filter(|(_, run)| run.next == FREE);
        free.map(|(index, run)| (run.start, self.run_end(index) - run.start))
    }
}

/// Where entry `index` of this piece of the FAT leads.
fn link(geometry: &Geometry, bytes: &[u8], index: usize) -> u32 {
    let byte = |at: usize| u32::from(bytes.get(at).copied().unwrap_or_default());
    let (value, bad) = match geometry.width {
        Width::Fat12 => {
            let at = index + index / 2;
            let pair = byte(at) | byte(at + 1) << 8;
            (if index.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 }, 0xff7)
        }
        Width::Fat16 => (byte(index * 2) | byte(index * 2 + 1) << 8, 0xfff7),
        Width::Fat32 => {
            let at = index * 4;
            let value = byte(at) | byte(at + 1) << 8 | byte(at + 2) << 16 | byte(at + 3) << 24;
            (value & 0x0fff_ffff, 0x0fff_fff7)
        }
    };
    match value {
        0 => FREE,
        _ if geometry.has(value) => value,
        _ if value == bad => UNUSABLE,
        _ if value > bad => END,
        _ => BROKEN,
    }
}

#[cfg(test)]
mod tests {
    use images::disk::{Faulty, Memory};
    use std::sync::Arc;

    use super::super::geometry::Root;
    use super::*;

    const WIDTHS: [Width; 3] = [Width::Fat12, Width::Fat16, Width::Fat32];

    fn geometry(width: Width, clusters: u32) -> Geometry {
        Geometry {
            width,
            cluster_size: 512,
            clusters,
            fat: 512,
            other_fat: None,
            fat_size: 1 << 19,
            kept_fats: vec![512],
            root: Root::Fixed(0, 0),
            data: 1 << 20,
            end: 2 << 20,
            fs_info: None,
            label: None,
            serial: None,
            dirty: false,
            state: None,
        }
    }

    /// A disk whose FAT says this, from cluster 2 on.
    fn fat(width: Width, entries: &[u32]) -> Memory {
        let mut bytes = vec![0; 1 << 20];
        for (cluster, value) in (2..).zip(entries) {
            match width {
                Width::Fat12 => {
                    let (at, shift) = (512 + cluster * 3 / 2, cluster % 2 * 4);
                    let pair = u16::from_le_bytes([bytes[at], bytes[at + 1]]) | ((value & 0xfff) << shift) as u16;
                    bytes[at..at + 2].copy_from_slice(&pair.to_le_bytes());
                }
                Width::Fat16 => {
                    bytes[512 + cluster * 2..][..2].copy_from_slice(&(*value as u16).to_le_bytes());
                }
                Width::Fat32 => bytes[512 + cluster * 4..][..4].copy_from_slice(&value.to_le_bytes()),
            }
        }
        Memory::new("m", bytes)
    }

    #[test]
    fn chains_are_runs() {
        for width in WIDTHS {
            let end = 0x0fff_ffff;
            // 2: a chain 2 3 4 9; 5 and 6 free; 7 bad; 8 leads to 5000; 10 and 11 lead to each other.
            let entries = [3, 4, 9, 0, 0, 0x0fff_fff7, 300, end, 11, 10];
            let mut map = Map::read(&fat(width, &entries), &geometry(width, 10)).unwrap();
            assert_eq!(map.at(3), Some((Use::Chain(0), 5)), "{width:?}");
            assert_eq!(map.at(5), Some((Use::Free, 7)));
            assert_eq!(map.at(7), Some((Use::Unusable, 8)));
            assert_eq!((map.at(1), map.at(12)), (None, None));
            assert_eq!(map.chain(2, 100), [(2, 3), (9, 1)]);
            assert_eq!(map.chain(3, 3), [(3, 2), (9, 1)]);
            assert_eq!(map.chain(8, 100), [(8, 1)]);
            assert_eq!(map.lost_chains(&mut || true), [(2, 4), (8, 1), (10, 2)]);
            assert!(map.own(2, 7) && !map.own(2, 8) && !map.own(5, 7));
            assert_eq!(map.at(9), Some((Use::Chain(7), 10)));
            assert_eq!(map.lost_chains(&mut || true), [(8, 1), (10, 2)]);
            assert_eq!(map.free().collect::<Vec<_>>(), [(5, 2)]);
            assert!(map.chain(10, u32::MAX).len() <= 7, "a loop ends");
        }
    }

    #[test]
    fn what_cannot_be_read_is_unusable() {
        let disk = Arc::new(fat(Width::Fat32, &[]));
        let bad = 512 + 4096 * 4;
        let map =
            Map::read(&Faulty::new(disk, std::iter::once(bad..bad + 1).collect()), &geometry(Width::Fat32, 10_000));
        let map = map.unwrap();
        assert_eq!(map.at(2), Some((Use::Free, 4096)));
        assert_eq!(map.at(5000), Some((Use::Unusable, 8192)));
        assert_eq!(map.at(8192), Some((Use::Free, 10_002)));
    }
}
