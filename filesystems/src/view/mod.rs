//! Trees made of other trees.

mod directory;
mod mounts;
#[cfg(test)]
pub(crate) mod sample;

pub use directory::Directory;
pub use mounts::Mounts;
