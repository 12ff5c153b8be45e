//! VDI, VHD, VHDX, QED, Parallels, qcow and split images, as QEMU writes them and as their specifications say.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod check;
mod hostile;
mod older;
mod split;
#[path = "../tools/mod.rs"]
mod tools;
mod vdi;
mod vhd;
mod vhdx;
