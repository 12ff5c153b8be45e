//! The program: from images on the command line to a tree under a directory, and the commands beside it.
//!
//! [`stack`] finds every device in the images, [`inspect`] finds the guest in them, [`fuse`] serves a tree. The rest is
//! [`commands`], one file each.

#![warn(clippy::disallowed_methods)]

pub mod background;
pub mod blocks;
pub mod cli;
pub mod commands;
pub mod copy;
pub mod deleted;
pub mod domain;
pub mod fuse;
pub mod inspect;
pub mod keys;
pub mod mounts;
pub mod progress;
pub mod prompt;
pub mod recover;
pub mod stack;
pub mod terminal;
pub mod unmount;
pub mod words;
