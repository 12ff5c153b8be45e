//! What a file system still has of what it held before: deleted nodes, earlier versions, free space.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use images::{Disk, Result};

use crate::{NodeId, Time};

/// The search for what a file system held before. Not every driver can look for it: [`FileSystem::forensics`] gives this
/// or says why not.
///
/// [`FileSystem::forensics`]: crate::FileSystem::forensics
pub trait Forensics: Send + Sync {
    /// Every deleted node that can be found, all versions of each, as far as the budget of memory holds them. They are
    /// looked for once; the list is shared, not copied.
    fn deleted(&self) -> Result<Arc<[Deleted]>>;

    /// Calls `each` for the earlier versions of a node, as far as the disk remembers them, the newest first, until it
    /// returns false. A file system that overwrites what it changes has none.
    fn versions(&self, node: NodeId, each: &mut dyn FnMut(&Deleted) -> bool) -> Result<()>;

    /// The space that no file uses, as a disk of the volume's size in which everything else is a hole.
    fn unallocated(&self) -> Result<Arc<dyn Disk>>;
}

/// One version of a node that no directory names any more.
///
/// Its `node` is a node like any other: `stat`, `read_at`, `read_link`, `extent_at` and `xattrs` answer for it, as of the
/// moment before the delete. Bytes that are gone are an I/O error, never zeros. A node that had several names at a time is
/// listed once for each, with the same `node`.
#[derive(Clone, Debug)]
pub struct Deleted {
    /// The node, valid as long as the file system is open.
    pub node: NodeId,
    /// The directory in which it was.
    pub parent: Parent,
    /// Its name there, without `/` and NUL, if one was found; versions share it.
    pub name: Option<Arc<[u8]>>,
    /// Its number, as the file system counts: the inode on ext, the first cluster on FAT.
    pub number: u64,
    /// The generation of the inode, where there is such a thing.
    pub generation: Option<u32>,
    /// 0 for the newest version before the delete, counting up to the oldest.
    pub version: u32,
    /// When it was deleted, if that is recorded.
    pub deleted: Option<Time>,
    /// How much of the content is left.
    pub state: State,
    /// The ranges of the content that are gone, in bytes, ascending and apart.
    pub lost: Arc<[Range<u64>]>,
    /// Why all this is believed, the most important first.
    pub evidence: Vec<Evidence>,
}

/// The directory in which a deleted node was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// A directory that is still there.
    Live(NodeId),
    /// One that is deleted too, and is in the same list.
    Deleted(NodeId),
    /// Nothing tells.
    Unknown,
}

/// How much of a deleted node's content is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Every byte that had reached the disk: its blocks are free and proved to be its own. A promise.
    Intact,
    /// Every byte can be read from where it most likely was, and that is free; but nothing proves that it is its own.
    /// The best that a format without checksums or surviving block pointers, such as FAT, can say of content.
    Unproven,
    /// Some ranges are gone or cannot be proved: [`Deleted::lost`].
    Partial,
    /// All of it was used again.
    Overwritten,
    /// Only that it existed, and its attributes.
    MetadataOnly,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Intact => "intact",
            Self::Unproven => "unproven",
            Self::Partial => "partial",
            Self::Overwritten => "overwritten",
            Self::MetadataOnly => "metadata only",
        })
    }
}

/// One reason for what is said of a deleted node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What was found, in the specification's term: `inode`, `extent block`, `directory entry`.
    pub what: &'static str,
    /// Where it lies, in bytes from the start of the volume.
    pub offset: u64,
    /// The journal's transaction that it is a copy from, where it is one and its number is known.
    pub transaction: Option<u64>,
    /// Whether it lies in the journal.
    pub in_journal: bool,
    /// Whether a checksum proves whose it is; `None` where the format has none.
    pub checksum: Option<bool>,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {:#x}", self.what, self.offset)?;
        match self.transaction {
            Some(transaction) => write!(f, " of the journal, transaction {transaction}")?,
            None if self.in_journal => f.write_str(" of the journal")?,
            None => {}
        }
        match self.checksum {
            Some(true) => f.write_str(", checksum verified"),
            Some(false) => f.write_str(", checksum wrong"),
            None => Ok(()),
        }
    }
}
