//! A disk becomes smaller disks, or several become one: partition tables, volume managers and arrays.
//!
//! A [`Scheme`] cuts its members into [`Volume`]s. It knows nothing of what is stored in them.
//!
//! ```
//! use std::path::Path;
//!
//! # fn main() -> images::Result<()> {
//! # let image = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/demo/guest.qcow2");
//! let options = images::Options::default();
//! let disks = [images::open(Path::new(image), &options)?];
//! let tables = partition::discover(&disks, false, &options.budget);
//! let volumes = tables.found.into_iter().next().expect("there is a table").volumes?;
//! assert_eq!(volumes[0].kind, "EFI System");
//! assert_eq!(volumes[0].size, 8 << 20);
//! # Ok(())
//! # }
//! ```

// What a disk says is never cut to fit: `images::length`, `try_from`, or a type that holds it.
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

mod amplification;
mod apple;
mod bsd;
mod discover;
mod gpt;
pub mod lvm;
mod mbr;
mod md;
mod raid;
mod scheme;
mod schemes;
mod volume;

pub use discover::{Claim, Discovery, Found, claim, discover, divide};
pub use scheme::{Members, Scheme};
pub use schemes::SCHEMES;
pub use volume::{Built, Group, Member, Name, Volume};
