//! How much an inspection may read: bounded by what is asked, not by what the images claim.
//!
//! A file system of some sectors can have a directory of millions of names, links that lead through it again and again,
//! and twenty thousand volumes that all show it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use filesystems::{Entry, FileSystem, FileSystemMut, Forensics, Holds, NodeId, Properties, Space, Stat};
use images::{Error, Extent, Result};

/// What one inspection may read to find out what each file system is for, and then to find out about the systems, in
/// bytes each; ours. A file system takes less than 1 MiB, a system some; an image with five hundred of them is read whole.
const LIMIT: u64 = 512 << 20;
/// What opening a file system counts for, and a lookup at least; ours.
const OPENING: u64 = 64 << 10;
const LOOKUP: u64 = 4096;

/// What is left of it.
pub struct Effort {
    what: &'static str,
    left: AtomicU64,
    refusals: AtomicU64,
}

impl Effort {
    /// All of it, for finding out `what`.
    pub fn new(what: &'static str) -> Self {
        Self { what, left: AtomicU64::new(LIMIT), refusals: AtomicU64::new(0) }
    }

    /// Counts a file system that is opened. False if there is nothing left for it, which is said once.
    pub fn opens(&self) -> bool {
        self.takes(OPENING).is_ok()
    }

    /// How often something was refused.
    pub fn refusals(&self) -> u64 {
        self.refusals.load(Relaxed)
    }

    /// Takes some of it. What is too much is refused, and does not count: one damaged directory of petabytes must not hide
    /// what other file systems hold.
    fn takes(&self, bytes: u64) -> Result<()> {
        if self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_ok() {
            return Ok(());
        }
        if self.refusals.fetch_add(1, Relaxed) == 0 {
            let limit = LIMIT >> 20;
            log::warn!("{}: more than {limit} MiB would have to be read; what that would tell is left out", self.what);
        }
        Err(Error::NotFound)
    }
}

/// A file system that counts what it is asked for. When the effort is used up, nothing more is found in it.
pub struct Counted<'a> {
    pub fs: &'a dyn FileSystem,
    pub effort: &'a Effort,
}

impl FileSystem for Counted<'_> {
    fn properties(&self, node: NodeId) -> &Properties {
        self.fs.properties(node)
    }

    fn space(&self, node: NodeId) -> Result<Space> {
        self.fs.space(node)
    }

    fn root(&self) -> NodeId {
        self.fs.root()
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        self.fs.stat(node)
    }

    /// Counts the whole directory: without an index all of it may have to be read.
    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        self.effort.takes(self.fs.stat(dir)?.size.max(LOOKUP))?;
        self.fs.lookup(dir, name)
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        self.effort.takes(self.fs.stat(dir)?.size.max(LOOKUP))?;
        self.fs.read_dir(dir, from, each)
    }

    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.effort.takes(buf.len() as u64)?;
        self.fs.read_at(file, buf, offset)
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        self.effort.takes(LOOKUP)?;
        self.fs.read_link(link)
    }

    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        self.fs.extent_at(file, offset)
    }

    fn holds(&self) -> Option<&dyn Holds> {
        self.fs.holds()
    }

    fn forensics(&self) -> Result<&dyn Forensics> {
        self.fs.forensics()
    }

    fn writer(&self, node: NodeId) -> Result<&dyn FileSystemMut> {
        self.fs.writer(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_refused_and_the_rest_is_not() {
        let effort = Effort::new("test");
        assert!(effort.takes(LIMIT + 1).is_err() && effort.takes(u64::MAX).is_err());
        assert_eq!(effort.refusals(), 2);
        let opened = (0..).take_while(|_| effort.opens()).count() as u64;
        assert_eq!(opened, LIMIT / OPENING);
        assert_eq!(effort.refusals(), 3);
    }
}
