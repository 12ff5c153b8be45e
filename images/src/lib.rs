//! Files become disks: every image format is read through one trait, [`Disk`].
//!
//! A [`Disk`] is bytes that any thread can read at any offset. Host files, image formats, caches, views and overlays
//! are all disks, most of them made from another disk. Nothing in this crate knows what is stored in those bytes.
//!
//! ```
//! use std::path::Path;
//!
//! # fn main() -> images::Result<()> {
//! # let image = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/demo/guest.qcow2");
//! let disk = images::open(Path::new(image), &images::Options::default())?;
//! let mut sector = [0; 512];
//! disk.read_at(&mut sector, 0)?;
//! assert_eq!(sector[510..], [0x55, 0xaa], "a partition table");
//! # Ok(())
//! # }
//! ```

// What a disk says is never cut to fit: `length`, `try_from`, or a type that holds it.
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

mod address;
#[allow(clippy::cast_possible_truncation)]
mod block_map;
pub mod budget;
mod cache;
pub mod compressed;
pub mod crypt;
pub mod description;
#[allow(clippy::cast_possible_truncation)]
pub mod disk;
pub mod error;
mod ewf;
pub mod format;
mod formats;
mod gate;
mod image;
mod inflate;
pub mod info;
pub mod length;
mod location;
#[allow(clippy::cast_possible_truncation)]
mod lock;
mod name;
mod origin;
pub mod overlay;
mod ovf;
mod parallels;
mod parent;
pub mod progress;
mod qcow1;
#[allow(clippy::cast_possible_truncation)]
mod qcow2;
mod qed;
mod source;
mod sources;
mod split;
mod storage;
mod stored;
mod structure;
mod turns;
mod unpacked;
mod vdi;
pub mod verify;
mod vhd;
mod vhdx;
mod vmdk;
pub mod xml;

pub use address::Address;
pub use budget::{Budget, Reservation};
pub use disk::{Access, Data, Disk, DiskMut, Extent, Properties, Writer};
pub use error::{Error, Result, ResultExt};
pub use format::{Format, Opener, Request};
pub use formats::FORMATS;
pub use gate::Backing;
pub use image::{Options, open, open_all};
pub use info::info;
pub use location::Location;
pub use overlay::{open_overlay, open_overlays};
pub use source::Source;
pub use sources::SOURCES;
pub use storage::Storage;
