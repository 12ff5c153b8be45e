//! ext2, ext3 and ext4 as this driver writes them, checked by e2fsck, by the kernel's own mount and by a model.

#![allow(clippy::unwrap_used)]

#[path = "../ext_image/mod.rs"]
mod ext_image;
#[path = "../model/mod.rs"]
mod model;
#[path = "../walk/mod.rs"]
mod walk;

mod directories;
mod names;
mod random;
mod written;
