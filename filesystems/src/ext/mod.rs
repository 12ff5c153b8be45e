//! The driver for ext2, ext3 and ext4.
//!
//! Specification: <https://docs.kernel.org/filesystems/ext4/>.

pub mod casefold;
pub mod checksum;
pub mod features;
pub mod journal;
pub mod layout;
pub mod superblock;
