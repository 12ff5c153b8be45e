//! The commands, one file each: the words of the command line in, a page or records out.

pub mod deleted;
pub mod filesystems;
pub mod history;
pub mod info;
pub mod inspect;
pub mod mount;
pub mod recover;
pub mod timeline;
