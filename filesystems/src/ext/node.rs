//! A node of the tree: an inode that lives, or a version of one that does not. Which of the two is decided once, at the
//! door; whoever reads it need not know.

use std::sync::Arc;

use images::{Data, Error, Extent, Result, corrupt, unsupported};

use super::deleted::Version;
use super::inline;
use super::inode::Inode;
use super::layout::inode_flags;
use super::volume::Volume;
use crate::node::Kind;

/// The kernel's longest target that lies in `i_block`.
pub(super) const FAST_SYMLINK_MAX: u64 = 59;

/// A node.
pub(super) enum Node {
    /// What a directory names.
    Live(Arc<Inode>),
    /// A version that none names any more, with what is left of its blocks.
    Version(Arc<Version>),
}

impl Node {
    /// The inode, as it is or was.
    pub(super) fn inode(&self) -> &Inode {
        match self {
            Self::Live(inode) => inode,
            Self::Version(version) => version.inode(),
        }
    }

    /// Fails unless it is a regular file whose content can be read.
    pub(super) fn check_file(&self) -> Result<()> {
        match self.inode().kind()? {
            Kind::File => self.check_readable(),
            Kind::Directory => Err(Error::IsDirectory),
            _ => Err(Error::Invalid),
        }
    }

    /// Fails with the reason if content cannot be read although the image is sound.
    fn check_readable(&self) -> Result<()> {
        let inode = self.inode();
        if inode.has(inode_flags::ENCRYPT) {
            let number = inode.number;
            return Err(unsupported!(
                "inode {number} is encrypted by fscrypt: its content cannot be read without the key"
            ));
        }
        if inode.has(inode_flags::COMPRBLK) {
            return Err(unsupported!("inode {} is compressed by e2compr, which is not supported", inode.number));
        }
        Ok(())
    }

    /// Reads content from `offset`; short only at its end.
    pub(super) fn read(&self, volume: &Volume, buf: &mut [u8], offset: u64) -> Result<usize> {
        match self {
            _ if self.inode().has(inode_flags::INLINE_DATA) => inline::read(self.inode(), buf, offset),
            Self::Live(inode) => volume.read(inode, buf, offset),
            Self::Version(version) => version.read(volume, buf, offset),
        }
    }

    /// What lies at `offset`, which must be inside.
    pub(super) fn extent_at<'v>(&self, volume: &'v Volume, offset: u64) -> Result<Extent<'v>> {
        let inode = self.inode();
        if offset >= inode.size {
            return Err(Error::Invalid);
        }
        match self {
            _ if inode.has(inode_flags::INLINE_DATA) => Ok(Extent { len: inode.size - offset, data: Data::Opaque }),
            Self::Live(inode) => volume.extent_at(inode, offset),
            Self::Version(version) => version.extent_at(volume, offset),
        }
    }

    /// The target of a symbolic link.
    pub(super) fn target(&self, volume: &Volume) -> Result<Vec<u8>> {
        let (inode, block_size) = (self.inode(), volume.block_size());
        if inode.kind()? != Kind::Symlink {
            return Err(Error::Invalid);
        }
        self.check_readable()?;
        let len = usize::try_from(inode.size).ok().filter(|_| (1..=block_size).contains(&inode.size));
        let Some(len) = len else {
            let what = format!("symbolic link, inode {}", inode.number);
            return Err(corrupt!(what, inode.offset, "{} bytes long, want 1 to {block_size}", inode.size));
        };
        let mut target = vec![0; len];
        if self.has_fast_target(volume) {
            target.copy_from_slice(&inode.i_block()[..len]);
        } else {
            self.read(volume, &mut target, 0)?;
        }
        // The kernel takes the target as a string that ends at the first NUL.
        let end = target.iter().position(|byte| *byte == 0).unwrap_or(target.len());
        target.truncate(end);
        Ok(target)
    }

    /// Whether the target of a symbolic link lies in `i_block`.
    pub(super) fn has_fast_target(&self, volume: &Volume) -> bool {
        let inode = self.inode();
        if inode.has(inode_flags::INLINE_DATA) || inode.size > FAST_SYMLINK_MAX {
            return false;
        }
        match self {
            // Its only blocks are those of its extended attributes.
            Self::Live(inode) if inode.file_acl == 0 => inode.blocks == 0,
            Self::Live(inode) => {
                inode.blocks == volume.block_size() / 512 * u64::from(volume.superblock().cluster_blocks)
            }
            // How many blocks it had is not to be trusted: its attributes may be gone.
            Self::Version(version) => version.has_no_blocks(),
        }
    }
}
