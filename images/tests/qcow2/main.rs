//! qcow2 as QEMU's own tools write it, against what they and imago read, and damaged on purpose.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod content;
mod damage;
mod extents;
mod features;
mod hostile;
mod snapshots;
mod tools;
