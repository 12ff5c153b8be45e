//! The kernel's requests, answered from a file system. Where it is not written, it never changes.

mod change;
mod directory;
mod requests;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use filesystems::{FileSystem, NodeId, Stat};
use fuser::{Errno, Generation, ReplyEntry, ReplyXattr};

use super::Event;
use super::attributes::{Numbers, Owner, attributes};
use super::errors::Reports;
use super::options::Options;
use super::privileges::Capabilities;
use super::written::Written;
use super::xattrs::Unused;

/// The largest request in bytes: bounds the buffer that each thread keeps. The kernel's default limit is the same.
const MAX_REQUEST: u32 = 1 << 20;

thread_local! {
    /// Where this thread reads to: made once, so that no read pays for zeroing it.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A [`FileSystem`] as the kernel sees it.
pub struct Front {
    fs: Arc<dyn FileSystem>,
    numbers: Numbers,
    owner: Owner,
    options: Options,
    reports: Reports,
    /// Nodes are held: what the kernel forgets is passed on. What it has open it does not forget.
    holds: bool,
    /// Something in the tree is written.
    writes: bool,
    /// The guest's permissions hold: the kernel checks them, for everybody.
    checks: bool,
    /// The file systems in the tree that are written.
    written: Arc<Written>,
    /// The end of the pipe on which it is said what came of the last writes.
    report: Option<i32>,
    /// The kernel understands that files need not be opened.
    no_open: bool,
    /// The same for directories.
    no_opendir: bool,
    /// The kernel keeps ACLs and checks permissions by them.
    kernel_acls: bool,
    /// Extended attributes that no node has.
    unused: Unused,
    capabilities: Capabilities,
    /// Told when no more requests come.
    events: Sender<Event>,
}

impl Front {
    pub fn new(
        fs: Arc<dyn FileSystem>,
        written: Arc<Written>,
        report: Option<i32>,
        options: &Options,
        events: Sender<Event>,
    ) -> Self {
        Self {
            writes: !written.is_empty(),
            checks: options.checks_permissions(),
            written,
            report,
            numbers: Numbers::new(fs.root()),
            owner: Owner { uid: options.uid, gid: options.gid, umask: options.umask },
            options: options.clone(),
            reports: Reports::default(),
            holds: fs.holds().is_some(),
            no_open: false,
            no_opendir: false,
            kernel_acls: false,
            unused: Unused::default(),
            capabilities: Capabilities::default(),
            events,
            fs,
        }
    }

    /// Takes back that a node is held; of a tree whose nodes are valid for ever, nothing.
    fn let_go(&self, node: NodeId, times: u64) {
        if self.holds
            && let Some(holds) = self.fs.holds()
        {
            holds.forget(node, times);
        }
    }

    /// Whether the kernel may remember that a name is not in this directory.
    fn keeps_negative(&self, dir: NodeId) -> bool {
        !self.options.negative_timeout.is_zero() && !self.fs.properties(dir).case_insensitive
    }

    /// How long the kernel may answer from its caches what is in this directory.
    ///
    /// With `allow_root` the kernel lets everybody in, and this process turns away who is neither root nor the user who
    /// mounts. So it must be asked: of every path, the name in the root directory is never kept. What lies below is
    /// reached through such a name only, and may be kept.
    fn kept_in(&self, dir: NodeId, timeout: Duration) -> Duration {
        let asks = self.options.shuts_out_others() && dir == self.fs.root();
        // Of a name that is gone the kernel forgets the spelling that was used, and no other.
        let spellings = self.writes && self.fs.properties(dir).case_insensitive;
        if asks || spellings { Duration::ZERO } else { timeout }
    }

    /// A node under a name in this directory, as the kernel takes it.
    fn reply_entry(&self, dir: NodeId, found: Result<(NodeId, Stat), Errno>, reply: ReplyEntry) {
        match found {
            Err(errno) => reply.error(errno),
            Ok((node, stat)) => {
                let attr = attributes(self.numbers.inode(node), &stat, self.owner);
                let timeout = self.kept_in(dir, self.options.entry_timeout);
                reply.entry_with_ttls(&self.options.attr_timeout, &timeout, &attr, Generation(stat.generation));
            }
        }
    }

    fn reply_xattr(answer: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
        match answer {
            Err(errno) => reply.error(errno),
            Ok(value) => match u32::try_from(value.len()) {
                Ok(len) if size == 0 => reply.size(len),
                Ok(len) if len <= size => reply.data(&value),
                _ => reply.error(Errno::ERANGE),
            },
        }
    }
}
