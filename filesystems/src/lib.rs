//! A disk becomes a tree of files: the drivers, and the views that make one tree of several.
//!
//! The noun of this crate is [`FileSystem`]. A driver makes one from a [`Disk`](images::Disk); a view makes one from others.
//!
//! ```
//! use std::path::Path;
//! use std::sync::Arc;
//!
//! use filesystems::FileSystem;
//! use images::disk::View;
//!
//! # fn main() -> images::Result<()> {
//! # let image = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/demo/guest.qcow2");
//! let disk = images::open(Path::new(image), &images::Options::default())?;
//! let partition = Arc::new(View::new("the EFI system partition", disk, 1 << 20, 8 << 20)?);
//! let tree = filesystems::open(partition, &filesystems::Options::default())?;
//! let file = filesystems::resolve(&*tree, b"/EFI/debian/grub.cfg", true)?;
//! let text = filesystems::read_file(&*tree, file, 4096)?;
//! assert_eq!(text.len() as u64, tree.stat(file)?.size);
//! # Ok(())
//! # }
//! ```

pub mod acl;
mod calendar;
mod driver;
mod drivers;
pub mod ext;
mod fat;
mod forensics;
mod identify;
mod identity;
mod interned;
mod known;
mod length;
mod members;
mod memory;
pub mod node;
pub mod path;
mod room;
mod stored;
pub mod tree;
mod tree_mut;
pub mod view;

pub use driver::{Driver, Options, Precedence, Request};
pub use drivers::DRIVERS;
pub use forensics::{Deleted, Evidence, Forensics, Parent, State};
pub use identify::{identify, identify_among, open, open_request};
pub use identity::Identity;
pub use interned::Interned;
pub use members::{Member, Members};
pub use memory::Memory;
pub use node::{Entry, Kind, NodeId, Stat, Time};
pub use path::{read_file, resolve};
pub use tree::{FileSystem, Holds, Properties, Space, Trees};
pub use tree_mut::{Allocation, Changes, FileSystemMut, New, NewContent, Rename, SetXattr};
