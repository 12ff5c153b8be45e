//! Directories as the kernel reads them, page by page.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use filesystems::{Kind, NodeId};
use fuser::{Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use images::Result;

use super::Front;
use crate::fuse::attributes::{attributes, file_type, placeholder};

/// The number under which `..` is listed: nobody can know it here, and the kernel does not ask. As libfuse does.
const PARENT: INodeNo = INodeNo(0xffff_ffff);

/// The offset behind `.`; the entries of the file system follow those two, their cookies moved up by two.
const SELF_COOKIE: u64 = 1;

/// The offset behind `..`.
const PARENT_COOKIE: u64 = 2;

impl Front {
    /// Puts names from `offset` on into `reply`, as many as it takes.
    pub(super) fn list(&self, dir: NodeId, offset: u64, reply: &mut ReplyDirectory) -> Result<()> {
        let directory = file_type(Kind::Directory);
        if offset < SELF_COOKIE && reply.add(self.numbers.shown(dir), SELF_COOKIE, directory, ".") {
            return Ok(());
        }
        if offset < PARENT_COOKIE && reply.add(PARENT, PARENT_COOKIE, directory, "..") {
            return Ok(());
        }
        let mut listed = offset < PARENT_COOKIE;
        let read = self.fs.read_dir(dir, cookie(offset), &mut |entry| {
            listed = true;
            // Where the directory does not say what a name is, its node does.
            let kind = entry.kind.or_else(|| self.fs.stat(entry.node).ok().map(|stat| stat.kind));
            let kind = file_type(kind.unwrap_or(Kind::File));
            let name = OsStr::from_bytes(entry.name);
            let full = reply.add(self.numbers.inode(entry.node), offset_after(entry.next), kind, name);
            // The kernel takes the name and the number, not the node.
            self.let_go(entry.node, 1);
            !full
        });
        self.after_entries(dir, listed, read)
    }

    /// The same with the attributes of each.
    pub(super) fn list_with_attributes(&self, dir: NodeId, offset: u64, reply: &mut ReplyDirectoryPlus) -> Result<()> {
        let timeout = self.kept_in(dir, self.options.attr_timeout.min(self.options.entry_timeout));
        let none = &Duration::ZERO;
        let mut add = |inode, offset, name: &OsStr, timeout: &Duration, attr: &fuser::FileAttr, generation| {
            reply.add(inode, offset, name, timeout, attr, Generation(generation))
        };
        // The kernel takes only number and kind from these two.
        let own = placeholder(self.numbers.shown(dir), Some(Kind::Directory));
        if offset < SELF_COOKIE && add(own.ino, SELF_COOKIE, OsStr::new("."), none, &own, 0) {
            return Ok(());
        }
        let parent = placeholder(PARENT, Some(Kind::Directory));
        if offset < PARENT_COOKIE && add(PARENT, PARENT_COOKIE, OsStr::new(".."), none, &parent, 0) {
            return Ok(());
        }
        let mut listed = offset < PARENT_COOKIE;
        let read = self.fs.read_dir(dir, cookie(offset), &mut |entry| {
            listed = true;
            let inode = self.numbers.inode(entry.node);
            let name = OsStr::from_bytes(entry.name);
            let next = offset_after(entry.next);
            let full = match self.fs.stat(entry.node) {
                Ok(stat) => {
                    let attr = attributes(inode, &stat, self.owner);
                    add(inode, next, name, &timeout, &attr, stat.generation)
                }
                // The name is listed all the same; whoever asks for more than the name gets the error.
                Err(error) => {
                    self.reports.report("stat", entry.node, &error);
                    add(inode, next, name, none, &placeholder(inode, entry.kind), 0)
                }
            };
            if full {
                // It comes again in the next request.
                self.let_go(entry.node, 1);
            }
            !full
        });
        self.after_entries(dir, listed, read)
    }

    /// What reading a directory came to: an error after entries is for the next request, which has nothing but it.
    fn after_entries(&self, dir: NodeId, listed: bool, read: Result<()>) -> Result<()> {
        match read {
            Err(error) if listed => {
                self.reports.report("readdir", dir, &error);
                Ok(())
            }
            read => read,
        }
    }
}

/// The cookie behind which a directory is to be read on, for the offset of a request that is past `.` and `..`.
fn cookie(offset: u64) -> u64 {
    offset.saturating_sub(PARENT_COOKIE)
}

/// The offset that the kernel gives back to go on behind an entry.
fn offset_after(next: u64) -> u64 {
    next.saturating_add(PARENT_COOKIE)
}
