//! Directories that no entry leads to: in free space and in lost chains.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::super::clusters::{Cluster, join};
use super::super::name::{is_directory_cluster, read_what_is_readable};
use super::super::{evidence, node_at};
use super::{FOUND, FOUND_MAX, Found, HEAD, Head, Scan};
use crate::Parent;
use crate::fat::ROOT;
use crate::stored::Stored;

/// How deep directories without a name may lie in each other, ours.
const ORPHAN_DEPTH: u32 = 64;
/// How much free space is read at once to look for directories, in bytes, and the size from which on only the head of
/// each cluster is.
const CHUNK: u32 = 1 << 16;
const HEADS_ONLY: u32 = 8192;
/// What a cluster of a directory in free space takes in memory, in bytes, about.
const CLUSTER: usize = 2 * size_of::<Head>() + 2 * size_of::<Cluster>() + 64;

impl Scan<'_> {
    /// Finds directories in free space and in lost chains, that no entry leads to, and reads them.
    pub(super) fn walk_orphans(&mut self, fragments: Vec<u32>, next: &mut usize) {
        let mut heads = self.heads.clone();
        heads.retain(|first, _| !self.directory_clusters.contains_key(first));
        let lost: Vec<u32> = self.lost_chains.keys().copied().collect();
        for first in lost {
            if let Some(head) = self.head(first).filter(|_| !self.deleted.contains_key(&first)) {
                heads.insert(first, head);
            }
        }
        // Those in known directories first, then those in these; what is left has no parent, or is in a loop.
        for depth in 0..=ORPHAN_DEPTH {
            let is_last = depth == ORPHAN_DEPTH;
            let waiting: Vec<(u32, Parent)> =
                heads.iter().map(|(first, head)| (*first, self.parent(head.parent))).collect();
            let is_waiting_for = |parent: u32| heads.contains_key(&parent);
            let mut ready: Vec<(u32, Parent)> = waiting
                .into_iter()
                .filter(|(first, parent)| {
                    is_last
                        || *parent != Parent::Unknown
                        || !is_waiting_for(heads[first].parent)
                        || self.deleted.contains_key(first)
                })
                .collect();
            // A loop: one of it has to be the first.
            if ready.is_empty() {
                ready.extend(heads.keys().next().map(|first| (*first, Parent::Unknown)));
            }
            for (first, parent) in ready {
                let Some(head) = heads.remove(&first) else { continue };
                if !self.directory_clusters.contains_key(&first) {
                    self.add_orphan(first, head, parent);
                    self.walk_deleted(next);
                }
            }
            if heads.is_empty() {
                break;
            }
        }
        for cluster in fragments {
            if let Entry::Vacant(vacant) = self.directory_clusters.entry(cluster) {
                vacant.insert(0);
                self.read_entries(&self.pieces(&[(cluster, 1)]), Parent::Unknown, u32::MAX);
                self.walk_deleted(next);
            }
        }
        let deleted = &self.deleted;
        self.lost_chains.retain(|first, _| !deleted.contains_key(first));
    }

    fn parent(&self, first: u32) -> Parent {
        if self.is_root(first) {
            return Parent::Live(ROOT);
        }
        match (self.live.get(&first), self.deleted.get(&first)) {
            (Some(live), _) => Parent::Live(*live),
            (None, Some(deleted)) => Parent::Deleted(*deleted),
            (None, None) => Parent::Unknown,
        }
    }

    /// A directory without a name: the entry `.` stands for the one that is gone.
    fn add_orphan(&mut self, first: u32, head: Head, parent: Parent) {
        if self.found.len() >= FOUND_MAX || !self.room.take(FOUND) {
            return;
        }
        let at = self.geometry.offset_of(first);
        let evidence = vec![evidence("entry '.' that leads to its own cluster", at)];
        let clusters = self.directory_clusters_from(first);
        self.deleted.insert(first, node_at(at));
        let (entry, parent_first) = (head.entry, head.parent);
        self.found.push(Found { at, entry, name: None, parent, parent_first, first, clusters, evidence });
    }

    /// Finds the free clusters that begin directories, and those that go on with them. What goes on with none that is
    /// known is returned.
    pub(super) fn search_free_space(&mut self) -> Vec<u32> {
        let (mut heads, mut firsts, mut others) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let cluster_size = self.geometry.cluster_size;
        let per_read = if cluster_size >= HEADS_ONLY { 1 } else { CHUNK / cluster_size };
        let (mut buf, mut stored) = (Vec::new(), Stored::new(self.disk));
        for (start, count) in self.map.free() {
            let (mut cluster, end) = (start, start + count);
            while cluster < end {
                let at = self.geometry.offset_of(cluster);
                let on_disk = self.disk.size().saturating_sub(at) / u64::from(cluster_size);
                if on_disk == 0 {
                    break;
                }
                let mut together = u32::MAX;
                if let Ok(extent) = self.disk.extent_at(at) {
                    let skip = extent.len / u64::from(cluster_size);
                    together = u32::try_from(skip).unwrap_or(u32::MAX).max(1);
                    if extent.data.reads_zero() && skip > 0 {
                        cluster = end.min(cluster.saturating_add(u32::try_from(skip).unwrap_or(u32::MAX)));
                        continue;
                    }
                }
                let mut now = per_read.min(end - cluster).min(u32::try_from(on_disk).unwrap_or(u32::MAX));
                now = now.min(together);
                // What an image shows in many places was read in the first.
                let bytes = u64::from(now) * u64::from(cluster_size);
                if stored.count(at, bytes) < bytes {
                    cluster += now;
                    continue;
                }
                buf.resize(if per_read == 1 { HEAD } else { (now * cluster_size) as usize }, 0);
                // What cannot be read is like no directory.
                let _ = read_what_is_readable(self.disk, &mut buf, at);
                for (bytes, cluster) in buf.chunks((cluster_size as usize).min(buf.len())).zip(cluster..) {
                    let head = self.parse_head(bytes).filter(|head| head.own == cluster);
                    if head.is_none() && !is_directory_cluster(self.geometry, bytes) {
                        continue;
                    }
                    if !self.room.take(CLUSTER) {
                        continue;
                    }
                    let whole = if per_read > 1 { Some(bytes.to_vec()) } else { self.cluster(cluster) };
                    let Some(whole) = whole else { continue };
                    let summary = Cluster::read(self.geometry, &whole);
                    if let Some(head) = head {
                        heads.insert(cluster, head);
                        firsts.insert(cluster, (head.parent, summary));
                    } else if is_directory_cluster(self.geometry, &whole) {
                        others.insert(cluster, summary);
                    }
                }
                cluster += now;
            }
        }
        let (chains, fragments) = join(&firsts, &others);
        (self.heads, self.chains) = (heads, chains);
        fragments
    }
}
