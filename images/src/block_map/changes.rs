//! What a format's tables must be able to do so that its disks can be written.

use std::ops::Range;
use std::sync::Arc;

use super::Map;
use crate::{Disk, DiskMut, Result};

/// A format's tables that can be changed. [`Writable`](super::Writable) is the disk that it makes.
///
/// All that takes `changes` is called by one thread at a time; what only asks may be called meanwhile. What was changed is
/// what [`Map::run_at`] answers from then on, and is durable after [`Self::flush`].
pub trait MapMut: Map {
    /// What is known of an image while it is written.
    type Changes: Send;

    /// Takes the writers of the image's files, or says why the image cannot be written. Nothing is written yet. `data` is
    /// the file that the blocks lie in.
    fn begin(&self, data: &Arc<dyn Disk>) -> Result<Begun<Self::Changes>>;

    /// Called once before anything else is written: makes the image one that was written.
    fn start(&self, changes: &mut Self::Changes) -> Result<()>;

    /// What is allocated at least, in bytes: writes of less need what lies around them.
    fn block_size(&self) -> u64;

    /// Where the bytes from `offset` lie that nobody else has, so that they are overwritten where they are: the byte in the
    /// file, and how many follow, at most `want`.
    fn in_place(&self, offset: u64, want: u64) -> Result<Option<(u64, u64)>>;

    /// A place for blocks from that at `offset` on, for some of `len` bytes. Nobody sees it before [`Self::link`].
    fn allocate(&self, changes: &mut Self::Changes, offset: u64, len: u64) -> Result<Allocation>;

    /// Makes what was written to an allocation the content of its blocks.
    fn link(&self, changes: &mut Self::Changes, new: &Allocation) -> Result<()>;

    /// Gives an allocation back that was not linked.
    fn release(&self, changes: &mut Self::Changes, new: &Allocation);

    /// Takes the content of whole blocks away, from `offset` up to `len` bytes; says what became of the first of them.
    fn clear(&self, changes: &mut Self::Changes, offset: u64, len: u64, how: Clear) -> Result<Cleared>;

    /// Whether so much has changed that it must be flushed before more is.
    fn is_full(&self, changes: &Self::Changes) -> bool;

    /// Makes everything durable, in an order in which a cut of the power does no harm. `settle` waits until nobody uses
    /// blocks any more that were found before it was called; only then those are given back that have no content any more.
    fn flush(&self, changes: &mut Self::Changes, settle: &dyn Fn()) -> Result<()>;
}

/// What writes an image.
pub struct Begun<C> {
    /// What is known of it.
    pub changes: C,
    /// The writer of the file that the blocks lie in.
    pub data: Arc<dyn DiskMut>,
}

/// A place for some blocks.
#[derive(Clone, Debug)]
pub struct Allocation {
    /// Where the first of them lies in the file, in bytes.
    pub at: u64,
    /// The bytes of the guest's disk that they hold: all must be written.
    pub blocks: Range<u64>,
    /// Whether nothing was there before: it reads as zeros.
    pub is_fresh: bool,
    /// What of the file is new, in units of the format; empty where it was allocated before.
    pub taken: Range<u64>,
}

/// How content is taken away.
#[derive(Clone, Copy, Debug)]
pub struct Clear {
    /// Whether the blocks may keep what they have, where that is cheaper; otherwise they read as zeros.
    pub may_keep: bool,
    /// Whether a parent has bytes that would be seen.
    pub hides: bool,
}

/// What became of content that was to be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleared {
    /// So many bytes are done.
    Done(u64),
    /// So many bytes cannot be marked: zeros must be written.
    Write(u64),
}
