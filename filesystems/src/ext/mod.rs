//! The driver for ext2, ext3 and ext4.
//!
//! Specification: <https://docs.kernel.org/filesystems/ext4/>.

mod block_map;
pub mod casefold;
pub mod checksum;
mod deleted;
pub mod directory;
mod extents;
pub mod features;
mod file_system;
pub mod group;
pub mod hash;
mod htree;
mod inline;
pub mod inode;
pub mod journal;
pub mod layout;
mod listing;
pub mod map;
pub mod names;
mod overhead;
pub mod superblock;
pub mod volume;
pub mod xattr;

use std::sync::Arc;

use images::{Disk, Result};

use crate::{Driver, FileSystem, Identity, Options};

use features::{Features, incompat};
pub use file_system::Ext;
use superblock::Superblock;
use volume::Volume;

/// ext2, ext3 and ext4.
pub const DRIVER: Driver = Driver { name: "ext", probe, open };

/// The largest `s_rev_level` that exists.
const MAX_REVISION: u32 = 1;

fn probe(disk: &dyn Disk) -> Result<Option<Identity>> {
    let Some(raw) = Superblock::probe(disk)? else { return Ok(None) };
    let features = Features {
        compat: raw.s_feature_compat.get(),
        incompat: raw.s_feature_incompat.get(),
        ro_compat: raw.s_feature_ro_compat.get(),
    };
    // A magic of two bytes is found in other contents too. The journal of another volume has no inodes.
    let has_inodes = raw.s_inodes_count.get() != 0 || features.has_incompat(incompat::JOURNAL_DEV);
    let has_blocks = raw.s_blocks_count_lo.get() != 0 || raw.s_blocks_count_hi.get() != 0;
    if raw.s_rev_level.get() > MAX_REVISION || !has_inodes || !has_blocks {
        return Ok(None);
    }
    Ok(Some(Identity { kind: features.kind().into(), label: superblock::label(&raw), uuid: superblock::uuid(&raw) }))
}

fn open(disk: Arc<dyn Disk>, options: &Options) -> Result<Arc<dyn FileSystem>> {
    Ok(Arc::new(mount(disk, options)?))
}

/// Opens the file system on a disk, its journal replayed in memory if it must be and `options` allow it.
pub fn mount(disk: Arc<dyn Disk>, options: &Options) -> Result<Ext> {
    let superblock = Superblock::read(&*disk)?;
    let disk = match &options.journal {
        Some(journal) => journal::external::join(disk, journal.clone(), &superblock)?,
        None => disk,
    };
    if !superblock.needs_recovery() {
        return Ext::new(Volume::new(disk, superblock), Vec::new());
    }
    if !options.replay {
        let note = "the journal was not replayed: the tree is what the disk holds, and may be inconsistent";
        return Ext::new(Volume::new(disk, superblock), vec![note.into()]);
    }
    let replayed = journal::replay(disk, &superblock)?;
    // The journal may hold a newer superblock.
    let superblock = Superblock::read(&*replayed.disk)?;
    Ext::new(Volume::new(replayed.disk, superblock), replayed.notes)
}
