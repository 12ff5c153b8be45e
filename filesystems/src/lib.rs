//! A disk becomes a tree of files: the drivers, and the views that make one tree of several.
//!
//! The noun of this crate is [`FileSystem`]. A driver makes one from a [`Disk`]; a view makes one from others.

pub mod ext;
pub mod tree;
pub mod view;

use std::sync::Arc;

use images::{Disk, Result};

pub use tree::{Entry, FileSystem, Info, Kind, NodeId, Stat, Time};

/// A file system, or other contents of a volume that are known by name: a leaf of this crate, one line in [`DRIVERS`].
pub struct Driver {
    /// The field's name for the family: `ext`, `fat`, `swap`.
    pub name: &'static str,
    /// What this disk holds, if it is of this family. Fails only if the disk cannot be read.
    pub probe: fn(&dyn Disk) -> Result<Option<Identity>>,
    /// Opens it. Contents that are recognised and not read are refused by name with `Unsupported`.
    pub open: fn(Arc<dyn Disk>, &Options) -> Result<Arc<dyn FileSystem>>,
}

/// What a volume holds, found without opening it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The type as fstab and blkid call it: `ext4`, `vfat`, `swap`.
    pub kind: String,
    /// The label, if it has one; bytes, because nothing says that it is text.
    pub label: Option<Vec<u8>>,
    /// The UUID or serial number as blkid prints it: what fstab's `UUID=` means.
    pub uuid: Option<String>,
}

/// How a file system is to be opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Replay a journal that needs it, in memory. If not, the tree is what the disk holds.
    pub replay: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { replay: true }
    }
}

/// Every driver. All are asked; two that match are an error.
pub static DRIVERS: &[Driver] = &[ext::DRIVER];
