//! What is in files: written, cut off, made longer; and what else their entries say.

use std::ops::Range;
use std::sync::Arc;

use images::{Error, Result, corrupt, unsupported};

use super::super::chain::Chain;
use super::super::file_system::{Fat, entry_at};
use super::super::layout::*;
use super::super::writing::Writing;
use super::super::{ROOT, time};
use super::now;
use crate::{Allocation, Changes, NodeId};

/// The longest file in bytes: its length has 32 bits.
const SIZE_MAX: u64 = u32::MAX as u64;

/// A file that is to be changed.
struct File {
    node: NodeId,
    entry: DirEntry,
    size: u64,
    first: u32,
    /// How many clusters it has, those behind its end among them.
    clusters: u32,
}

impl Fat {
    fn file_to_change(&self, node: NodeId) -> Result<File> {
        if node == ROOT {
            return Err(Error::IsDirectory);
        }
        let entry = self.entry(self.key(node)?)?;
        if entry.attr & ATTR_DIRECTORY != 0 {
            return Err(Error::IsDirectory);
        }
        let (size, first) = (u64::from(entry.file_size.get()), self.first_cluster(&entry));
        let clusters = self.whole_chain(first).clusters();
        if clusters < self.geometry.clusters_for(size) {
            let at = entry_at(self.key(node)?);
            return Err(corrupt!("cluster chain", at, "ends after {clusters} clusters, the file has {size} bytes"));
        }
        Ok(File { node, entry, size, first, clusters })
    }

    /// The chain that begins with this cluster; 0 is that of an empty file.
    fn whole_chain(&self, first: u32) -> Arc<Chain> {
        if first == 0 { Arc::default() } else { self.chain(0, first, self.geometry.clusters) }
    }

    /// Calls `each` with the places on the disk of these bytes, which the chain has: where, and how many.
    fn places(&self, chain: &Chain, bytes: Range<u64>, mut each: impl FnMut(u64, u64) -> Result<()>) -> Result<()> {
        let cluster_size = u64::from(self.geometry.cluster_size);
        let mut at = bytes.start;
        while at < bytes.end {
            let index = u32::try_from(at / cluster_size).map_err(|_| Error::TooLarge)?;
            let (cluster, count) = chain.find(index)?.ok_or(Error::NoSpace)?;
            let inside = at % cluster_size;
            let len = (u64::from(count) * cluster_size - inside).min(bytes.end - at);
            each(self.geometry.offset_of(cluster) + inside, len)?;
            at += len;
        }
        Ok(())
    }

    /// Makes a file have the clusters for so many bytes, calls `fill` with its chain, and takes them back if that fails.
    fn reserve(
        &self,
        writing: &mut Writing,
        file: &mut File,
        end: u64,
        fill: impl FnOnce(&mut Writing, &Chain) -> Result<()>,
    ) -> Result<()> {
        let (had, wanted) = (file.clusters, self.geometry.clusters_for(end));
        if wanted > had {
            file.first = self.extend(writing, file.first, wanted - had)?;
            file.clusters = wanted;
        }
        let chain = self.whole_chain(file.first);
        let done = fill(writing, &chain);
        drop(chain);
        if done.is_err() && wanted > had {
            self.cut(writing, file.first, had)?;
        }
        done
    }

    pub(super) fn write_file(&self, writing: &mut Writing, node: NodeId, data: &[u8], offset: u64) -> Result<()> {
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= SIZE_MAX).ok_or(Error::TooLarge)?;
        let mut file = self.file_to_change(node)?;
        if data.is_empty() {
            return Ok(());
        }
        let size = file.size;
        self.reserve(writing, &mut file, end, |writing, chain| {
            self.places(chain, size..offset, |at, len| self.zero(writing, at, len))?;
            let mut rest = data;
            self.places(chain, offset..end, |at, len| {
                let (now, later) = rest.split_at(len as usize);
                rest = later;
                self.put(writing, now, at)
            })
        })?;
        self.set_size(writing, &mut file, end.max(size));
        file.entry.attr |= ATTR_ARCHIVE;
        self.store_modified(file)
    }

    fn set_size(&self, writing: &mut Writing, file: &mut File, size: u64) {
        writing.is_essential |= size != file.size || file.first != self.first_cluster(&file.entry);
        file.entry.file_size = u32::try_from(size).expect("it was compared with the most").into();
        self.set_first_cluster(&mut file.entry, file.first);
    }

    fn store_modified(&self, mut file: File) -> Result<()> {
        let (date, of_day, _) = time::encode(now());
        (file.entry.wrt_date, file.entry.wrt_time) = (date.into(), of_day.into());
        self.store(file.node, &file.entry)
    }

    pub(super) fn resize(&self, writing: &mut Writing, node: NodeId, size: u64) -> Result<()> {
        let mut file = self.file_to_change(node)?;
        if size > SIZE_MAX {
            return Err(Error::TooLarge);
        }
        let before = file.size;
        if size >= before {
            self.reserve(writing, &mut file, size, |writing, chain| {
                self.places(chain, before..size, |at, len| self.zero(writing, at, len))
            })?;
            self.set_size(writing, &mut file, size);
            return self.store_modified(file);
        }
        let (first, keep) = (file.first, self.geometry.clusters_for(size));
        if keep == 0 {
            file.first = 0;
        }
        self.set_size(writing, &mut file, size);
        self.store_modified(file)?;
        self.cut(writing, first, keep)
    }

    pub(super) fn reserve_bytes(
        &self,
        writing: &mut Writing,
        node: NodeId,
        bytes: Range<u64>,
        how: Allocation,
    ) -> Result<()> {
        match how {
            Allocation::Extend | Allocation::KeepSize => {}
            _ => return Err(unsupported!("FAT has no holes: space can only be added to a file")),
        }
        let mut file = self.file_to_change(node)?;
        if bytes.is_empty() {
            return Err(Error::Invalid);
        }
        if bytes.end > SIZE_MAX {
            return Err(Error::TooLarge);
        }
        if how == Allocation::Extend {
            return if bytes.end > file.size { self.resize(writing, node, bytes.end) } else { Ok(()) };
        }
        let size = file.size;
        self.reserve(writing, &mut file, bytes.end, |_, _| Ok(()))?;
        writing.preallocated.insert(node);
        self.set_size(writing, &mut file, size);
        self.store(file.node, &file.entry)
    }

    /// Gives back the clusters behind the end of a file.
    pub(super) fn trim(&self, writing: &mut Writing, node: NodeId) -> Result<()> {
        let mut file = self.file_to_change(node)?;
        let (first, keep) = (file.first, self.geometry.clusters_for(file.size));
        if keep == 0 && first != 0 {
            file.first = 0;
            let size = file.size;
            self.set_size(writing, &mut file, size);
            self.store(node, &file.entry)?;
        }
        self.cut(writing, first, keep)
    }

    pub(super) fn change(&self, writing: &mut Writing, node: NodeId, changes: &Changes) -> Result<()> {
        // All nodes belong to root, and nothing else can be said.
        if changes.owner.is_some_and(|owner| owner != 0) || changes.group.is_some_and(|group| group != 0) {
            return Err(Error::NotPermitted);
        }
        if let Some(size) = changes.size {
            self.resize(writing, node, size)?;
        }
        if node == ROOT {
            return Ok(()); // It has no entry.
        }
        let mut entry = self.entry(self.key(node)?)?;
        if let Some(permissions) = changes.permissions.filter(|_| entry.attr & ATTR_DIRECTORY == 0) {
            // As in Linux one bit stands for who may write; what else was wanted is passed over.
            let read_only = if permissions & 0o222 == 0 { ATTR_READ_ONLY } else { 0 };
            entry.attr = entry.attr & !ATTR_READ_ONLY | read_only;
            writing.is_essential = true;
        }
        if let Some(modified) = changes.modified {
            let (date, of_day, _) = time::encode(modified);
            (entry.wrt_date, entry.wrt_time) = (date.into(), of_day.into());
        }
        if let Some(accessed) = changes.accessed {
            entry.lst_acc_date = time::encode(accessed).0.into();
        }
        self.store(node, &entry)
    }
}
