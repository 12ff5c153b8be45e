//! The journal of ext3 and ext4, jbd2.
mod checksum;
mod layout;
pub mod log;
pub mod recovery;
pub mod superblock;
