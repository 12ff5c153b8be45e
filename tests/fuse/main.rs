//! What a mount shows and how it ends, on a tree that is made up in memory (`examples/synthetic.rs`).
//!
//! Everything is done by the user who runs the tests; if that is root, the second half also as nobody. Needs
//! /dev/fuse and fusermount3 (`apt install fuse3`).

// The functions that the tests share are tests too, which clippy cannot see.
#![allow(clippy::unwrap_used)]

mod command;
mod options;
mod place;
mod requests;
mod tree;
mod unmount;
mod write;
