//! What a scheme is: the type that leaves are made of.

use std::sync::Arc;

use images::{Budget, Disk, Result};

#[cfg(doc)]
use crate::volume::Name;
use crate::volume::{Group, Volume};

/// A partition table, a volume manager or a kind of array: a leaf of this crate, one line in [`SCHEMES`](crate::SCHEMES).
///
/// What not every scheme has is an optional field, which [`Scheme::new`] leaves out.
#[derive(Clone, Copy)]
pub struct Scheme {
    /// The field's name for it: `mbr`, `gpt`, `lvm`.
    pub name: &'static str,
    /// Whether this disk is a member: has this partition table, is a physical volume. Fails only if the disk cannot
    /// be read. It need not look for other schemes: see `precedence`.
    pub probe: Probe,
    /// The volumes of these members, in the scheme's order. A volume that cannot be used is an entry with its reason. What
    /// is made for longer than the call and is not told by [`Volume::bytes`] is taken from the budget.
    pub volumes: Volumes,
    /// Which of several partition tables of one disk counts: the one of the highest. Two of the same are an error.
    pub precedence: u8,
    /// What there is to know of its members, for a scheme whose volumes may span several. Without that it is a partition
    /// table, and `volumes` is called with one member at a time.
    pub members: Option<Members>,
}

/// What there is to know of the members of a scheme whose volumes may span several.
#[derive(Clone, Copy)]
pub struct Members {
    /// What blkid and guestmount call one: `LVM2_member`.
    pub name: &'static str,
    /// What a listing says of one that none of its scheme's volumes lies on, if that is worth a word.
    pub idle: Option<&'static str>,
    /// What Linux's names for arrays begin with, for a scheme that makes arrays ([`Name::Array`]): `md` of `/dev/md0`,
    /// `/dev/md/root` and `md-uuid-…`.
    pub arrays: Option<&'static str>,
    /// For members that are nobody else's, whatever else they look like, as half a mirror begins like the whole: whether a
    /// disk that has a superblock of this scheme is a member although it has a table of these partitions too.
    pub hides: Option<fn(&dyn Disk, &[Volume]) -> bool>,
    /// The members that belong together, for listings.
    pub groups: Option<fn(&[Arc<dyn Disk>], &Budget) -> Vec<Group>>,
}

/// Whether a disk is a member.
pub type Probe = fn(&dyn Disk) -> Result<bool>;
/// Cuts members into volumes.
pub type Volumes = fn(&[Arc<dyn Disk>], &Budget) -> Result<Vec<Volume>>;

impl Scheme {
    /// A partition table.
    pub const fn new(name: &'static str, probe: Probe, volumes: Volumes) -> Self {
        Self { name, probe, volumes, precedence: 0, members: None }
    }

    /// Whether its volumes may span several members.
    pub fn shares(&self) -> bool {
        self.members.is_some()
    }

    /// Whether what its members look like is part of what its volumes hold.
    pub fn hides(&self) -> bool {
        self.members.is_some_and(|members| members.hides.is_some())
    }
}

impl Members {
    /// Members that blkid calls so.
    pub const fn new(name: &'static str) -> Self {
        Self { name, idle: None, arrays: None, hides: None, groups: None }
    }
}
