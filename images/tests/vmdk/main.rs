//! VMDK as QEMU's own tools write it and as VMware's specification has it, against what they and imago read, and
//! damaged on purpose.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod built;
mod content;
mod delta;
mod extents;
mod hostile;
mod refused;
mod speed;
mod tools;
