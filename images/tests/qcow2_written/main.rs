//! qcow2 images that this crate writes, against QEMU's own tools: what is read, what is checked, what others keep.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod failing;
mod hostile;
mod images;
mod model;
mod overlay;
mod power_cut;
#[path = "../tools/mod.rs"]
mod tools;
