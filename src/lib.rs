//! The program: from images on the command line to a tree under a directory, and the commands beside it.
//!
//! [`stack`] finds every device in the images, [`inspect`] finds the guest in them, [`fuse`] serves a tree. The rest is
//! one file a command.

#![warn(clippy::disallowed_methods)]

pub mod background;
pub mod blocks;
pub mod cli;
pub mod deleted;
pub mod deleted_command;
pub mod domain;
pub mod filesystems_command;
pub mod fuse;
pub mod history_command;
pub mod info_command;
pub mod inspect;
pub mod inspect_command;
pub mod keys;
pub mod mount_command;
pub mod mounts;
pub mod progress;
pub mod prompt;
pub mod recover;
pub mod recover_command;
pub mod stack;
pub mod terminal;
pub mod timeline_command;
pub mod unmount;
pub mod words;
