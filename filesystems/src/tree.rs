//! The second noun: a file system is a tree of nodes that any thread can read.

use std::sync::Arc;

use images::{Extent, Result, unsupported};

use crate::node::{Entry, NodeId, Stat};
use crate::{FileSystemMut, Forensics, Identity};

/// A tree of nodes that any thread can read.
///
/// Names are bytes. An id that `lookup` or `read_dir` gave stays valid as long as the file system is open, or, where
/// there are [`Holds`], until it is given back.
pub trait FileSystem: Send + Sync {
    /// What the file system that holds `node` is; a view holds several. A node that is none has the view's own.
    fn properties(&self, node: NodeId) -> &Properties;

    /// How much space there is in the file system that holds `node`.
    fn space(&self, node: NodeId) -> Result<Space>;

    /// The root directory.
    fn root(&self) -> NodeId;

    /// The attributes of a node.
    fn stat(&self, node: NodeId) -> Result<Stat>;

    /// The node called `name` in a directory, or `NotFound`. Never called with `.` or `..`.
    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId>;

    /// Calls `each` for the entries of a directory, without `.` and `..`, until it returns false.
    ///
    /// `from` is 0 for the start, or the `next` of an entry to go on after it. Entries are in the order of the disk.
    /// `each` may call back into the file system, `stat` of the entry above all: hold no lock while it runs.
    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()>;

    /// Reads a file from `offset` (bytes) and returns how many bytes; fewer than asked for only at its end.
    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize>;

    /// The target of a symbolic link; `Invalid` for other nodes.
    fn read_link(&self, link: NodeId) -> Result<Vec<u8>>;

    /// What lies at `offset` (bytes, inside the file) and how far the same answer holds: the file system's mapping,
    /// and where that maps to the disk, the disk's own answer.
    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>>;

    /// The extended attributes with their full names (`user.x`, `security.selinux`), in the order of the disk.
    fn xattrs(&self, _node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(Vec::new())
    }

    /// Whether any node of the tree may have the extended attribute `name`; `true` also where it would cost too much to
    /// find out. The first call may read up to some ten MiB, as the driver bounds it.
    ///
    /// For fronts whose clients ask every node for the same attribute, as `ls -l` does. A driver that does not say
    /// `false` only pays with speed.
    fn may_have_xattr(&self, _name: &[u8]) -> bool {
        true
    }

    /// How nodes are held, where their ids are not valid for ever. `None`: nobody need give one back.
    fn holds(&self) -> Option<&dyn Holds> {
        None
    }

    /// The trees of a file system that has several, as subvolumes are, or the reason why there are no others.
    fn trees(&self) -> Result<&dyn Trees> {
        Err(unsupported!("there is only one tree in {}", self.properties(self.root()).identity.kind))
    }

    /// The search for what was there before, or the reason why this file system cannot look for it.
    fn forensics(&self) -> Result<&dyn Forensics>;

    /// The write half of the file system that holds `node`, or, as `ReadOnly`, the reason why there is none: what `--rw`
    /// prints.
    fn writer(&self, node: NodeId) -> Result<&dyn FileSystemMut>;
}

/// How the nodes of a file system are held whose ids end when nobody needs them any more.
///
/// Each time that `lookup` or `read_dir` gives a node, it is held once more. Who needs it no longer forgets it as often;
/// who does not, holds it until the file system is closed. The root is always valid, and need not be forgotten.
pub trait Holds: Send + Sync {
    /// Holds a node once more, as an open file does: it stays what it is, also when its last name is gone. Fails with
    /// `NotFound` if nobody held it.
    fn hold(&self, node: NodeId) -> Result<()>;

    /// Takes back that a node is held, `times` times. With the last its id ends.
    fn forget(&self, node: NodeId, times: u64);
}

/// The trees of a file system that has several. Each is a file system of its own, and all share what is read.
pub trait Trees: Send + Sync {
    /// Calls `each` with the name of every tree, as mount options name it, until it returns false. The tree that is opened
    /// where none is named comes first.
    fn names(&self, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<()>;

    /// The tree of this name, or `NotFound`.
    fn open(&self, name: &[u8]) -> Result<Arc<dyn FileSystem>>;
}

/// What a file system is from the moment it is opened: nothing of this changes.
#[derive(Clone, Debug, Default)]
pub struct Properties {
    /// Type, label and UUID.
    pub identity: Identity,
    /// The longest name in bytes; 0 where nothing limits it.
    pub name_max: u32,
    /// Whether a name that was looked up in one case may be found in another.
    pub case_insensitive: bool,
    /// What the user should know: `journal replayed in memory: 12 transactions`. One line each.
    pub notes: Vec<String>,
}

/// The space of a file system, as its superblock counts it: what statfs(2) asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// The unit of the block counts, in bytes.
    pub block_size: u32,
    /// All blocks that can hold data.
    pub blocks: u64,
    /// Blocks that are free; 0 where that cannot be known, which the log says.
    pub blocks_free: u64,
    /// Blocks that are free for other users than root.
    pub blocks_available: u64,
    /// All nodes that can exist; 0 where there is no such limit.
    pub files: u64,
    /// Nodes that are free.
    pub files_free: u64,
}
