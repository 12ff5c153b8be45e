//! EWF images as ewf-tools writes them, and damaged ones.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod built;
#[allow(dead_code, reason = "the tests of other formats use more of it")]
#[path = "../disks/check.rs"]
mod check;
mod damaged;
mod hashes;
#[allow(dead_code, reason = "the tests of other formats use more of it")]
#[path = "../disks/hostile.rs"]
mod hostile;
mod made;
#[path = "../tools/mod.rs"]
mod tools;
mod written;
