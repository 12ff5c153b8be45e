//! Chains of clusters: the FAT, followed once and kept as runs.

use images::disk::check_range;
use images::{Disk, Error, Result, corrupt};

use super::geometry::{Geometry, Width};
use super::window::Window;
use crate::length::in_memory;

/// What messages call an element of the FAT.
const ENTRY: &str = "FAT entry";

/// What one element of a cache takes besides its content, roughly, in bytes.
pub const CACHE_OVERHEAD: usize = 128;

/// The clusters of a file or directory in their order.
///
/// A chain takes 8 bytes a run, so at most 64 MiB: for a file of 4 GiB in clusters of 512 bytes with no neighbours.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    runs: Vec<Run>,
    clusters: u32,
    /// Why the chain ends here, if not by its end mark or because no more was asked for.
    broken: Option<Broken>,
}

/// Clusters that lie side by side, up to where the next run begins.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// Which cluster of the file comes first, from 0.
    index: u32,
    /// Its number on the disk.
    cluster: u32,
}

/// The structure that is wrong, where it lies, and how it is wrong.
#[derive(Clone, Debug)]
struct Broken {
    what: &'static str,
    at: u64,
    why: String,
}

impl Chain {
    /// Follows the chain that begins with the cluster `first`, for at most `wanted` clusters. The structure that names
    /// `first` lies at byte `named_at`.
    pub fn read(disk: &dyn Disk, geometry: &Geometry, named_at: u64, first: u32, wanted: u32) -> Self {
        let mut window = Window::new(disk);
        let mut runs: Vec<Run> = Vec::new();
        let mut broken = None;
        let (mut clusters, mut cluster) = (0, first);
        if wanted == 0 {
            return Self { runs: Vec::new(), clusters, broken };
        }
        if !geometry.has(first) {
            let why = format!("the chain begins with cluster {first}, which does not exist");
            let broken = Some(Broken { what: "first cluster", at: named_at, why });
            return Self { runs: Vec::new(), clusters, broken };
        }
        // Brent's algorithm: a loop leads back to the marker, which moves on at every power of two.
        let (mut marker, mut lap, mut power) = (first, 0, 1);
        // A loop within what is wanted shows within three times as many steps. So what is longer is followed as far,
        // and no further.
        for _ in 0..wanted.saturating_mul(4) {
            if clusters < wanted {
                match runs.last() {
                    Some(run) if run.cluster + (clusters - run.index) == cluster => {}
                    _ => runs.push(Run { index: clusters, cluster }),
                }
                clusters += 1;
            }
            match next(&mut window, geometry, cluster) {
                Ok(Some(next)) => cluster = next,
                Ok(None) => break,
                Err(error) => {
                    if clusters < wanted {
                        broken = Some(Broken { what: ENTRY, at: entry_offset(geometry, cluster), why: why(error) });
                    }
                    break;
                }
            }
            lap += 1;
            if cluster == marker {
                clusters = clusters.min(first_repeat(disk, geometry, first, lap));
                runs.truncate(runs.partition_point(|run| run.index < clusters));
                let why = format!("the chain leads back to cluster {cluster}");
                broken = Some(Broken { what: ENTRY, at: entry_offset(geometry, cluster), why });
                break;
            }
            if lap == power {
                (marker, lap, power) = (cluster, 0, power * 2);
            }
        }
        Self { runs, clusters, broken }
    }

    /// How many clusters there are.
    pub fn clusters(&self) -> u32 {
        self.clusters
    }

    /// The place of cluster `index` of the file: its number on the disk, and how many lie side by side from there.
    /// `None` after the last cluster; an error where the chain is broken.
    pub fn find(&self, index: u32) -> Result<Option<(u32, u32)>> {
        if index >= self.clusters {
            return match &self.broken {
                Some(Broken { what, at, why }) => Err(corrupt!(*what, *at, "{why}")),
                None => Ok(None),
            };
        }
        let after = self.runs.partition_point(|run| run.index <= index);
        let run = self.runs[after - 1];
        let end = self.runs.get(after).map_or(self.clusters, |next| next.index);
        Ok(Some((run.cluster + (index - run.index), end - index)))
    }

    /// Fails if the chain does not end as a chain should: then nothing can be put behind it.
    pub fn check_whole(&self) -> Result<()> {
        self.find(self.clusters).map(drop)
    }

    /// The last cluster, if there is any.
    pub fn last(&self) -> Option<u32> {
        self.runs.last().map(|run| run.cluster + (self.clusters - run.index - 1))
    }

    /// Puts one more cluster behind the last.
    pub fn push(&mut self, cluster: u32) {
        match self.runs.last() {
            Some(run) if run.cluster + (self.clusters - run.index) == cluster => {}
            _ => self.runs.push(Run { index: self.clusters, cluster }),
        }
        self.clusters += 1;
    }

    /// Cuts off all but so many clusters, and what is broken behind them.
    pub fn truncate(&mut self, clusters: u32) {
        if clusters < self.clusters {
            self.clusters = clusters;
            self.runs.truncate(self.runs.partition_point(|run| run.index < clusters));
            self.broken = None;
        }
    }

    /// The memory that it takes, in bytes, with what a cache and the allocator add.
    pub fn weight(&self) -> u64 {
        (CACHE_OVERHEAD + size_of::<Self>() + self.runs.capacity() * size_of::<Run>()) as u64
    }
}

/// The cluster that follows in the chain, which exists, or `None` at its end.
fn next(window: &mut Window<'_>, geometry: &Geometry, cluster: u32) -> Result<Option<u32>> {
    let at = entry_offset(geometry, cluster);
    let (value, bad) = match geometry.width {
        Width::Fat12 => {
            let pair = u16::from_le_bytes(window.get(at)?);
            (u32::from(if cluster.is_multiple_of(2) { pair & 0xfff } else { pair >> 4 }), 0xff7)
        }
        Width::Fat16 => (u16::from_le_bytes(window.get(at)?).into(), 0xfff7),
        Width::Fat32 => (u32::from_le_bytes(window.get(at)?) & 0x0fff_ffff, 0x0fff_fff7),
    };
    match value {
        _ if geometry.has(value) => Ok(Some(value)),
        _ if value > bad => Ok(None),
        0 => Err(corrupt!(ENTRY, at, "cluster {cluster} is in a chain, and free")),
        _ if value == bad => Err(corrupt!(ENTRY, at, "cluster {cluster} is in a chain, and marked as bad")),
        _ => Err(corrupt!(ENTRY, at, "cluster {cluster} leads to {value}, which does not exist")),
    }
}

/// Where the FAT entry of a cluster begins, in bytes; in FAT12 it may begin in the middle of that byte.
pub fn entry_offset(geometry: &Geometry, cluster: u32) -> u64 {
    let cluster = u64::from(cluster);
    geometry.fat
        + match geometry.width {
            Width::Fat12 => cluster + cluster / 2,
            Width::Fat16 => cluster * 2,
            Width::Fat32 => cluster * 4,
        }
}

fn why(error: Error) -> String {
    match error {
        Error::Corrupt { why, .. } => why,
        other => other.to_string(),
    }
}

/// How many clusters come before the first that comes again, in a chain that ends in a loop of `lap` clusters.
fn first_repeat(disk: &dyn Disk, geometry: &Geometry, first: u32, lap: u32) -> u32 {
    let (mut behind, mut ahead) = ((Window::new(disk), first), (Window::new(disk), first));
    let step = |(window, cluster): &mut (Window<'_>, u32)| match next(window, geometry, *cluster) {
        Ok(Some(next)) => {
            *cluster = next;
            true
        }
        _ => false,
    };
    for _ in 0..lap {
        if !step(&mut ahead) {
            return 0;
        }
    }
    let mut before = 0;
    while behind.1 != ahead.1 && step(&mut behind) && step(&mut ahead) {
        before += 1;
    }
    before + lap
}

/// How many clusters the FAT says are free.
pub fn count_free(disk: &dyn Disk, geometry: &Geometry) -> Result<u64> {
    /// In bytes; entries of 16 and 32 bits do not cross it.
    const CHUNK: u64 = 1 << 18;
    let (start, end) = (entry_offset(geometry, 2), entry_offset(geometry, geometry.clusters + 2));
    check_range(disk, 0, end)?;
    if geometry.width == Width::Fat12 {
        let mut window = Window::new(disk);
        let mut free = 0;
        for cluster in 2..geometry.clusters + 2 {
            let pair = u16::from_le_bytes(window.get(entry_offset(geometry, cluster))?);
            free += u64::from(if cluster % 2 == 0 { pair & 0xfff == 0 } else { pair >> 4 == 0 });
        }
        return Ok(free);
    }
    let mut buf = vec![0; in_memory((end - start).min(CHUNK))];
    let (mut at, mut free) = (start, 0);
    while at < end {
        let chunk = &mut buf[..in_memory((end - at).min(CHUNK))];
        disk.read_at(chunk, at)?;
        free += match geometry.width {
            Width::Fat32 => chunk.chunks_exact(4).filter(|e| e[..3] == [0; 3] && e[3] & 0x0f == 0).count(),
            _ => chunk.chunks_exact(2).filter(|entry| *entry == [0; 2]).count(),
        } as u64;
        at += chunk.len() as u64;
    }
    Ok(free)
}
