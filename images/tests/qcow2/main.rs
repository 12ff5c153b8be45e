//! qcow2 as QEMU's own tools write it, against what they and imago read, and damaged on purpose.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod content;
mod damage;
mod extents;
mod features;
mod hostile;
mod snapshots;
#[path = "../tools/mod.rs"]
mod tools;

use std::sync::Arc;

use images::{Disk, Request, Result};

/// Opens a disk as this format, by its probe.
fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    tools::open_as("qcow2", file, request)
}
