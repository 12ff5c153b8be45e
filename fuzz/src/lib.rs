//! What the fuzz targets share: real images that the fuzzer's input patches, and everything that a reader may do.
//!
//! An input that had to be a whole image would hardly ever get past the first magic number. So each target has seeds,
//! small images that `seeds.sh` makes with the real tools, and the input says what to change in which of them.

mod allocator;
mod bounds;
pub mod change;
pub mod exercise;
mod image;
mod patched;

pub use bounds::bounded;
pub use image::image;
pub use patched::{Patched, Seeds};
