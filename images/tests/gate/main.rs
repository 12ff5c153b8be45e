//! The gate against the kernel: whether an image may have the file that it names, and whether each user who had a say in
//! the name could open it himself. Needs root, to be several users.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod formats;
mod kernel;
mod matrix;
mod races;
mod ways;
mod world;
