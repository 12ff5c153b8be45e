//! A node of the tree: what a directory names, or what was deleted. Which of the two is decided once, at the door; whoever
//! reads it need not know.

use std::sync::Arc;

use images::{Data, Disk, Error, Extent, Result, corrupt};

use super::chain::Chain;
use super::deleted::{self, Place, lost};
use super::geometry::Geometry;
use super::layout::*;
use super::time;
use crate::{Kind, NodeId, Stat};

/// A node.
pub(super) enum Node<'a> {
    /// The root directory, which has no entry.
    Root,
    /// What an entry names.
    Live(NodeId, DirEntry),
    /// What none names any more, with what is left of its clusters.
    Deleted(&'a deleted::Node),
}

impl Node<'_> {
    pub(super) fn kind(&self) -> Kind {
        let is_directory = match self {
            Self::Root => true,
            Self::Live(_, entry) => entry.attr & ATTR_DIRECTORY != 0,
            Self::Deleted(deleted) => deleted.is_directory(),
        };
        if is_directory { Kind::Directory } else { Kind::File }
    }

    /// What the entry says of it. The size of a directory that lives, and what is in it, are for the caller to set.
    pub(super) fn stat(&self) -> Stat {
        let (entry, size) = match self {
            Self::Root => (None, 0),
            Self::Live(_, entry) => (Some(entry), entry.file_size.get().into()),
            Self::Deleted(deleted) => (deleted.entry.as_ref(), deleted.size),
        };
        let mut stat = Stat { size, ..Stat::directory() };
        if let Some(entry) = entry {
            stat.modified = time::time(entry.wrt_date.get(), entry.wrt_time.get(), 0);
            stat.changed = stat.modified;
            stat.accessed = match entry.lst_acc_date.get() {
                0 => stat.modified,
                date => time::time(date, 0, 0),
            };
            let created = entry.crt_date.get();
            stat.created = (created != 0).then(|| time::time(created, entry.crt_time.get(), entry.crt_time_tenth));
        }
        if self.kind() == Kind::File {
            let is_read_only = entry.is_some_and(|entry| entry.attr & ATTR_READ_ONLY != 0);
            (stat.kind, stat.links, stat.permissions) = (Kind::File, 1, if is_read_only { 0o555 } else { 0o755 });
        }
        stat
    }
}

/// A file, with the place of its content.
pub(super) enum File<'a> {
    /// Where its entry lies, in bytes; its size; its chain, as far as the size wants it.
    Live(u64, u64, Arc<Chain>),
    /// One that was deleted.
    Deleted(&'a deleted::Node),
}

impl File<'_> {
    fn size(&self) -> u64 {
        match self {
            Self::Live(_, size, _) => *size,
            Self::Deleted(deleted) => deleted.size,
        }
    }

    /// Where byte `offset`, which is inside, lies on the disk, and how many bytes follow it there.
    fn place(&self, geometry: &Geometry, offset: u64) -> Result<Place> {
        let (at, size, chain) = match self {
            Self::Live(at, size, chain) => (*at, *size, chain),
            Self::Deleted(deleted) => return Ok(deleted.place(geometry, offset)),
        };
        let cluster_size = u64::from(geometry.cluster_size);
        let index = u32::try_from(offset / cluster_size).expect("files are below 4 GiB");
        let Some((cluster, count)) = chain.find(index)? else {
            let clusters = chain.clusters();
            return Err(corrupt!("cluster chain", at, "ends after {clusters} clusters, the file has {size} bytes"));
        };
        let inside = offset % cluster_size;
        let len = u64::from(count) * cluster_size - inside;
        Ok(Place::Disk(geometry.offset_of(cluster) + inside, len.min(size - offset)))
    }

    /// Reads content from `offset`; short only at its end. Fails where bytes that are gone are asked for.
    pub(super) fn read(&self, disk: &dyn Disk, geometry: &Geometry, buf: &mut [u8], offset: u64) -> Result<usize> {
        let len = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let (mut rest, mut at) = (&mut buf[..len], offset);
        while !rest.is_empty() {
            let Place::Disk(on_disk, follow) = self.place(geometry, at)? else { return Err(lost(at)) };
            let len = usize::try_from(follow).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            disk.read_at(now, on_disk)?;
            (rest, at) = (later, at + len as u64);
        }
        Ok(len)
    }

    /// What lies at `offset`, which must be inside.
    pub(super) fn extent_at<'d>(&self, disk: &'d dyn Disk, geometry: &Geometry, offset: u64) -> Result<Extent<'d>> {
        if offset >= self.size() {
            return Err(Error::Invalid);
        }
        match self.place(geometry, offset)? {
            Place::Disk(at, len) => Ok(disk.extent_at(at)?.at_most(len)),
            Place::Gone(len) => Ok(Extent { len, data: Data::Opaque }),
        }
    }
}
