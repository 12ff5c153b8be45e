//! Deleted files of ext: the kernel deletes them on a loop mount, and they must come back. Needs root.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test panics, and prints its score")]

mod budget;
mod crafted;
#[path = "../ext_image/mod.rs"]
mod ext_image;
mod hostile;
mod links;
mod orphan;
mod promise;
mod sample;
mod score;
mod used;
mod versions;
mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use ext_image::{Image, Mount, is_root, run};
use filesystems::{Deleted, FileSystem, Kind, NodeId, Parent, State};
use images::disk::Memory;
use sample::*;
use score::*;
use sha2::{Digest, Sha256};

/// One loop mount at a time: there are few loop devices.
static LOOP: Mutex<()> = Mutex::new(());

/// A turn at the loop devices; `None` where loop mounts are not possible.
fn turn(test: &str) -> Option<MutexGuard<'static, ()>> {
    is_root(test).then(|| LOOP.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}
