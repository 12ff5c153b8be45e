//! The journal of ext3 and ext4: replayed into memory, the image is never written.

mod crc32;
pub mod layout;
pub mod log;
pub mod recovery;
pub mod superblock;

pub use log::{Log, Run};
