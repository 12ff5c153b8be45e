//! The first noun: a disk is bytes that any thread can read at any offset.

mod cached;
mod concat;
mod counting;
mod faulty;
mod fill;
mod host;
mod memory;
mod overlay;
mod view;

use std::fmt::Display;
use std::fs::File;

pub(crate) use cached::next_number;
pub use cached::{Cached, Page, Pages};
pub use concat::{Concat, Piece};
pub use counting::Counting;
pub use faulty::Faulty;
pub use fill::Fill;
pub use host::HostFile;
pub(crate) use host::{cannot_open, check_kind, printable, reopen};
pub use memory::Memory;
pub use overlay::{Overlay, Replacement};
pub use view::View;

use crate::{Error, Result, corrupt};

/// Bytes that any thread can read at any offset.
///
/// `Display` names the disk in messages: `vm.qcow2`, `partition 1 of vm.qcow2`.
pub trait Disk: Display + Send + Sync {
    /// The size in bytes. Does not change while the disk is open.
    fn size(&self) -> u64;

    /// Fills all of `buf` from `offset` (bytes) or fails; reading past the end is an error.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()>;

    /// What lies at `offset` (bytes) and how far the same answer holds.
    ///
    /// The extent starts at `offset`, is never empty and never reaches past the end; the answer is a hint for speed
    /// and sparseness, so two neighbouring extents may have the same answer. `offset` must lie inside the disk.
    fn extent_at(&self, offset: u64) -> Result<Extent<'_>>;

    /// The logical sector size in bytes, where the image or the user forces one; otherwise it is for the reader of
    /// the partition table to detect.
    fn sector_size(&self) -> Option<u32> {
        None
    }

    /// How many reads of images a read of a few bytes of this disk may take: 1, unless it is made of other disks. Then it
    /// is what one of them takes, or what several do where these stand in for each other.
    fn amplification(&self) -> u64 {
        1
    }

    /// The write half, or the reason why there is none.
    fn writer(&self) -> Result<&dyn DiskMut> {
        Err(Error::ReadOnly(format!("{self} is open for reading only")))
    }
}

/// The write half of a [`Disk`]. Offsets and lengths are in bytes and must lie inside the disk.
pub trait DiskMut {
    /// Writes all of `data` at `offset` or fails.
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()>;
    /// Makes `len` bytes at `offset` read as zeros, and keeps the space allocated where that has a meaning.
    fn zero_at(&self, offset: u64, len: u64) -> Result<()>;
    /// Gives `len` bytes at `offset` back: they read as zeros or as before.
    fn discard_at(&self, offset: u64, len: u64) -> Result<()>;
    /// Everything written so far is durable when this returns.
    fn flush(&self) -> Result<()>;
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
