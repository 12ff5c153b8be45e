//! Appliances: OVF descriptors with files beside them, and tar archives of them, with disks that qemu-img makes.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod archives;
#[allow(dead_code, reason = "the tests of other formats use more of it")]
#[path = "../disks/check.rs"]
mod check;
mod damaged;
mod folders;
#[allow(dead_code, reason = "the tests of other formats use more of it")]
#[path = "../disks/hostile.rs"]
mod hostile;
mod made;
#[path = "../tools/mod.rs"]
mod tools;
