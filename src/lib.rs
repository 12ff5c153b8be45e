//! The program as a library: from images to a tree, and the commands beside it.
//!
//! A [`session`] opens images, [`stack`] is every device in them, [`place`] is where in them something is, [`inspect`] finds the
//! guest, [`fuse`] serves a tree. The [`commands`] are one file each, and do nothing but this:
//!
//! ```
//! use filesystems::path;
//! use imgmount::place::Selection;
//! use imgmount::session::Session;
//!
//! # fn main() -> images::Result<()> {
//! # let image = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/demo/guest.qcow2");
//! let stack = Session::of([image]).open()?;
//! let (tree, _) = Selection::guest().tree(&stack)?;
//! let file = path::resolve(&tree, b"/etc/hostname", true)?;
//! assert_eq!(path::read_file(&tree, file, 4096)?, b"demo-guest\n");
//! # Ok(())
//! # }
//! ```

#![warn(clippy::disallowed_methods)]

pub mod background;
pub mod blocks;
pub mod cli;
pub mod commands;
pub mod copy;
pub mod deleted;
pub mod device_name;
pub mod domain;
pub mod fuse;
pub mod inspect;
pub mod keys;
pub mod mounts;
pub mod place;
pub mod progress;
pub mod prompt;
pub mod recover;
pub mod session;
pub mod stack;
pub mod terminal;
pub mod unmount;
pub mod walk;
pub mod words;
