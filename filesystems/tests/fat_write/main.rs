//! The FAT driver's write half against a model, fsck.fat, mtools and the fatfs crate.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod behaviour;
mod checked;
mod checker;
mod faults;
mod hostile;
#[path = "../model/mod.rs"]
mod model;
mod power_cut;
mod sequences;
mod tools;

use std::sync::Arc;

use filesystems::{FileSystem, New, NewContent, Options};
use images::disk::{Access, Memory};
use images::{Disk, Error, Result};

fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Arc<dyn FileSystem>> {
    filesystems::open(disk, options)
}

fn open_to_write(disk: Arc<dyn Disk>) -> Arc<dyn FileSystem> {
    let mut options = Options::default();
    options.access = Access::ReadWrite;
    open(disk, &options).unwrap()
}

fn new(content: NewContent<'_>) -> New<'_> {
    New { content, permissions: 0o755, umask: 0, owner: 0, group: 0, xattrs: &[] }
}

/// The bytes of a volume of so many KiB that mkfs.fat makes.
fn volume(kilobytes: u64, args: &[&str]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(kilobytes << 10).unwrap();
    let path = file.path().to_str().unwrap();
    toolbox::run(toolbox::command("mkfs.fat").args([args, &[path]].concat()));
    std::fs::read(path).unwrap()
}

#[test]
fn what_is_opened_for_reading_has_no_writer() {
    let disk = Arc::new(Memory::new("m", volume(1440, &["-F", "12"])));
    let fs = open(disk, &Options::default()).unwrap();
    assert!(matches!(fs.writer(fs.root()), Err(Error::ReadOnly(_))));
}
