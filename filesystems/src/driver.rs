//! What a driver is: the types that leaves are made of.

use std::sync::Arc;

use images::disk::Access;
use images::{Budget, Disk, Result};

use crate::identity::Identity;
use crate::members::Members;
use crate::tree::FileSystem;

/// A file system, or other contents of a volume that are known by name: a leaf of this crate, one line in
/// [`DRIVERS`](crate::DRIVERS).
///
/// What not every driver has is an optional field, which [`Driver::new`] leaves out.
#[derive(Clone, Copy)]
pub struct Driver {
    /// The field's name for the family: `ext`, `fat`, `swap`.
    pub name: &'static str,
    /// What this disk holds, if it is of this family. Fails only if the disk cannot be read.
    pub probe: Probe,
    /// Opens it. Contents that are recognised and not read are refused by name with `Unsupported`.
    pub open: Open,
    /// Which of several drivers that know a disk counts.
    pub precedence: Precedence,
    /// The types of one family, for each of which a user may say any other: `ext2`, `ext3`, `ext4`.
    pub kinds: &'static [&'static str],
    /// The type of a disk that holds nothing but the journal of such a file system, if that may lie on a disk of its own.
    pub journal: Option<&'static str>,
}

/// What a disk holds, if it is of a driver's family.
pub type Probe = fn(&dyn Disk) -> Result<Option<Identity>>;
/// Opens what a driver's probe has recognised.
pub type Open = fn(&Request<'_>) -> Result<Arc<dyn FileSystem>>;

impl Driver {
    /// Of a file system of one type, on which everything lies where its superblock is.
    pub const fn new(name: &'static str, probe: Probe, open: Open) -> Self {
        Self { name, probe, open, precedence: Precedence::Superblock, kinds: &[], journal: None }
    }

    /// Whether a user who says `wanted` may mean what was found to be `kind`.
    pub fn is_called(&self, kind: &str, wanted: &str) -> bool {
        kind == wanted || (self.kinds.contains(&kind) && self.kinds.contains(&wanted))
    }
}

/// Which of several drivers that know a disk counts: the one of the highest. Two of the same are an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precedence {
    /// The probe knows a signature, which some file of the guest may hold too.
    Signature,
    /// The probe has checked a whole superblock.
    Superblock,
    /// What else the disk looks like is a part of what it holds, as with half a mirror.
    Container,
}

/// What a driver is asked to open, where it finds what else belongs to it, and how.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The disk that the driver's probe has recognised.
    pub disk: &'a Arc<dyn Disk>,
    /// The disks on which other parts of the file system may lie.
    pub members: &'a Members,
    /// How it is to be opened.
    pub options: &'a Options,
}

impl<'a> Request<'a> {
    /// For what begins on `disk` and may go on on `members`.
    pub fn new(disk: &'a Arc<dyn Disk>, members: &'a Members, options: &'a Options) -> Self {
        Self { disk, members, options }
    }
}

/// How a file system is to be opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Replay a journal that needs it: in memory, or, with [`Access::ReadWrite`], on the disk. If not, the tree is what
    /// the disk holds, and is not written.
    pub replay: bool,
    /// Whether it is to be written. Then [`FileSystem::writer`] is the write half, or says why it is not written all the same.
    pub access: Access,
    /// What all file systems of the program together may hold; clones of one budget.
    pub budget: Budget,
}

impl Default for Options {
    fn default() -> Self {
        Self { replay: true, access: Access::Read, budget: Budget::default() }
    }
}
