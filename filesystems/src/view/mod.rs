//! Trees made of other trees.

#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

mod deleted;
mod directory;
mod disks;
mod hierarchy;
mod mounts;
#[cfg(test)]
pub(crate) mod sample;
mod unallocated;

pub use deleted::{DeletedFiles, Found};
pub use directory::Directory;
pub use disks::{Disks, Member};
pub use mounts::Mounts;
pub use unallocated::Unallocated;
