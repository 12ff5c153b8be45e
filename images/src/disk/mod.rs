//! The first noun: a disk is bytes that any thread can read at any offset.

mod cached;
mod claim;
mod concat;
mod counting;
mod faulty;
mod fill;
mod host;
mod memory;
mod overlay;
mod parts;
mod power_cut;
mod read_only;
mod view;

use std::fmt::Display;
use std::fs::File;
use std::ops::Range;

pub(crate) use cached::next_number;
pub use cached::{Cached, Page, Pages};
pub(crate) use claim::{Claim, Claims, check_claimed};
pub use concat::{Concat, Piece};
pub use counting::{Counting, Written};
pub use faulty::Faulty;
pub use fill::Fill;
pub use host::HostFile;
pub(crate) use host::{cannot_open, check_kind, printable, reopen};
pub use memory::Memory;
pub use overlay::{Overlay, Replacement};
pub use parts::{Layout, Parts};
pub(crate) use parts::{Run, Runs};
pub use power_cut::{Cut, PowerCut};
pub use read_only::ReadOnly;
pub use view::View;

use crate::{Result, corrupt};

/// Bytes that any thread can read at any offset.
///
/// `Display` names the disk in messages: `vm.qcow2`, `partition 1 of vm.qcow2`.
pub trait Disk: Display + Send + Sync {
    /// The size in bytes. Changes only by [`DiskMut::grow`], of whoever has the writer of its end: for all others it is what
    /// it was when the disk was opened, or more.
    fn size(&self) -> u64;

    /// Fills all of `buf` from `offset` (bytes) or fails; reading past the end is an error.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()>;

    /// What lies at `offset` (bytes) and how far the same answer holds.
    ///
    /// The extent starts at `offset`, is never empty and never reaches past the end; the answer is a hint for speed
    /// and sparseness, so two neighbouring extents may have the same answer. `offset` must lie inside the disk.
    fn extent_at(&self, offset: u64) -> Result<Extent<'_>>;

    /// What is the same for all disks of a stack unless one of them changes it. Whoever makes a disk of another one
    /// passes that one's on.
    fn properties(&self) -> Properties;

    /// The writer of `bytes` of this disk, or the reason why there is none.
    ///
    /// Whoever has it owns it, and is the only one: bytes that have a writer get no second one until the first is
    /// dropped. What is written is read from this disk, and from all that are made of it, when the call that wrote it
    /// has returned; so a stack is written at its top. A disk that was opened for reading only has none.
    fn writer(&self, bytes: Range<u64>) -> Result<Writer>;

    /// The logical sector size: that of the [`Properties`].
    fn sector_size(&self) -> Option<u32> {
        self.properties().sector_size
    }

    /// How many reads of images a read of a few bytes may take: that of the [`Properties`].
    fn amplification(&self) -> u64 {
        self.properties().amplification
    }
}

/// What a disk has of those that it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties {
    /// The logical sector size in bytes, where the image or the user forces one; otherwise it is for the reader of
    /// the partition table to detect.
    pub sector_size: Option<u32>,
    /// How many reads of images a read of a few bytes of the disk may take: 1, unless it is made of other disks. Then it
    /// is what one of them takes, or what several do where these stand in for each other.
    pub amplification: u64,
}

impl Default for Properties {
    /// Those of a disk that is made of no other one, or of an image: its sector size is not known.
    fn default() -> Self {
        Self { sector_size: None, amplification: 1 }
    }
}

impl Properties {
    /// Those of a disk each byte of which lies on one of several. The largest sectors hold for all, as Linux's device
    /// mapper has it: smaller ones could not be written everywhere.
    pub fn of_parts(parts: impl IntoIterator<Item = Self>) -> Self {
        parts.into_iter().fold(Self::default(), |all, part| Self {
            sector_size: all.sector_size.max(part.sector_size),
            amplification: all.amplification.max(part.amplification),
        })
    }
}

/// How something is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// For reading. It is never written.
    #[default]
    Read,
    /// For reading, and for whoever takes its [`Disk::writer`].
    ReadWrite,
}

/// The one writer of some bytes of a disk.
pub type Writer = Box<dyn DiskMut>;

/// The write half of a [`Disk`]. Offsets and lengths are in bytes of that disk, and must lie inside of what the writer
/// was asked for.
///
/// Several threads may write at the same time. A call begins after all that have returned; of two that overlap in time
/// and place either may win, or a part of each. Nothing is durable before [`flush`](Self::flush) says so: until then what
/// was written may reach the medium in any order, in parts, or never. Dropping a writer flushes nothing.
pub trait DiskMut: Send + Sync {
    /// Writes all of `data` at `offset` or fails. After a failure what is there is old, new, or in part both.
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()>;
    /// Makes `len` bytes at `offset` read as zeros, in the cheapest way: their space may be given back.
    fn zero_at(&self, offset: u64, len: u64) -> Result<()>;
    /// Gives `len` bytes at `offset` back, where that is possible: they read as zeros or as before.
    fn discard_at(&self, offset: u64, len: u64) -> Result<()>;
    /// All calls that returned before this one began are durable when it returns. If it fails, it is not known what is;
    /// a later one succeeds only if all of that is durable then.
    fn flush(&self) -> Result<()>;
    /// Makes the disk `size` bytes long, unless it is that long already; what is new reads as zeros, and belongs to the
    /// writer. Fails if the size is given from outside, as a partition's is, or if the writer does not have the end.
    fn grow(&self, size: u64) -> Result<()>;
}

/// A run of bytes that share one answer to [`Disk::extent_at`].
#[derive(Clone, Copy, Debug)]
pub struct Extent<'a> {
    /// The length in bytes, at least 1.
    pub len: u64,
    /// What lies there.
    pub data: Data<'a>,
}

/// What lies in an extent.
#[derive(Clone, Copy, Debug)]
pub enum Data<'a> {
    /// Nothing is allocated; reads as zeros.
    Hole,
    /// Allocated or marked, and known to read as zeros.
    Zero,
    /// The bytes lie as they are in this host file at this offset (bytes).
    Host(&'a File, u64),
    /// There are bytes, but not in one piece of a host file: compressed, decrypted, cached or remote.
    Opaque,
}

impl Data<'_> {
    /// Whether the extent is known to read as zeros.
    pub fn reads_zero(&self) -> bool {
        matches!(self, Self::Hole | Self::Zero)
    }
}

impl<'a> Extent<'a> {
    /// The same extent, cut to at most `len` bytes.
    pub fn at_most(self, len: u64) -> Self {
        Self { len: self.len.min(len), ..self }
    }
}

/// Fails unless `len` bytes at `offset` lie inside `disk`: the check that every [`Disk::read_at`] starts with.
pub fn check_range(disk: &(impl Disk + ?Sized), len: usize, offset: u64) -> Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= disk.size() => Ok(()),
        _ => Err(corrupt!(disk.to_string(), offset, "{len} bytes wanted, but it ends at byte {:#x}", disk.size())),
    }
}

#[cfg(test)]
mod tests;
