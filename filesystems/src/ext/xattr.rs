//! Extended attributes: not read yet.

use images::{Result, unsupported};

use super::inode::Inode;
use super::volume::Volume;

/// The extended attributes of an inode.
pub fn list(_volume: &Volume, _inode: &Inode) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    Err(unsupported!("ext: extended attributes are not read"))
}
