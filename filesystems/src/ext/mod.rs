//! The driver for ext2, ext3 and ext4.
//!
//! Specification: <https://docs.kernel.org/filesystems/ext4/>.

mod attribute_names;
mod block_map;
pub mod casefold;
mod changed;
pub mod checksum;
mod deleted;
pub mod directory;
mod directory_blocks;
mod extents;
pub mod features;
mod file_system;
mod file_system_mut;
mod gathered;
pub mod group;
pub mod hash;
mod htree;
mod inline;
pub mod inode;
pub mod journal;
mod known_blocks;
pub mod layout;
mod listing;
pub mod map;
pub mod names;
mod node;
mod overhead;
pub mod run;
pub mod superblock;
pub mod volume;
mod write;
pub mod xattr;
mod xattr_entries;

use std::sync::Arc;

use images::disk::Access;
use images::{Disk, Error, Result};

use crate::{Driver, FileSystem, Identity, Members, Options, Request};

use features::{Features, incompat};
pub use file_system::Ext;
use superblock::Superblock;
use volume::Volume;
use write::opening::Opened;

/// ext2, ext3 and ext4.
pub const DRIVER: Driver =
    Driver { kinds: &["ext2", "ext3", "ext4"], journal: Some(features::JOURNAL), ..Driver::new("ext", probe, open) };

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
    let blocks = u64::from(raw.s_blocks_count_lo.get());
    let wanted = blocks.checked_shl(raw.s_log_block_size.get().saturating_add(10)).unwrap_or(0);
    if wanted > disk.size() {
        log::info!("{disk} has {} bytes, but the file system on it {wanted}", disk.size());
    }
    Ok(Some(Identity {
        kind: features.kind().into(),
        label: superblock::label(&raw),
        uuid: superblock::uuid(&raw.s_uuid),
    }))
}

fn open(request: &Request<'_>) -> Result<Arc<dyn FileSystem>> {
    Ok(Arc::new(mount_request(request)?))
}

/// Opens the file system on a disk alone, its journal replayed in memory if it must be and the options allow it.
pub fn mount(disk: Arc<dyn Disk>, options: &Options) -> Result<Ext> {
    mount_request(&Request::new(&disk, &Members::default(), options))
}

/// The same where the journal may be one of the members.
fn mount_request(request: &Request<'_>) -> Result<Ext> {
    let options = request.options;
    let mut why = "it was opened for reading".to_owned();
    if options.access == Access::ReadWrite {
        match write::opening::open(request) {
            Ok(Opened { volume, writing, notes }) => {
                let ext = Ext::new(volume, notes, &options.budget, options.budget.empty())?;
                return Ok(ext.written(Ok(writing)));
            }
            Err(Error::ReadOnly(reason)) => why = reason,
            Err(error) => return Err(error),
        }
    }
    Ok(mount_for_reading(request)?.written(Err(why)))
}

fn mount_for_reading(request: &Request<'_>) -> Result<Ext> {
    let options = request.options;
    let (superblock, mut notes) = superblock_or_backup(request.disk)?;
    let disk = journal::external::join(request, &superblock)?;
    if !superblock.needs_recovery() {
        return Ext::new(Volume::new(disk, superblock), notes, &options.budget, options.budget.empty());
    }
    if !options.replay {
        notes.push("the journal was not replayed: the tree is what the disk holds, and may be inconsistent".into());
        return Ext::new(Volume::new(disk, superblock), notes, &options.budget, options.budget.empty());
    }
    let replayed = journal::replay(disk, &superblock, &options.budget)?;
    // The journal may hold a newer superblock, or the only sound one.
    let (superblock, mut notes) = superblock_or_backup(&replayed.disk)?;
    notes.extend(replayed.notes);
    Ext::new(Volume::new(replayed.disk, superblock), notes, &options.budget, replayed.held)
}

/// The superblock, or, if it is damaged, a backup of it and a note that says so. Fails as the primary's reading did if
/// there is no backup either.
fn superblock_or_backup(disk: &Arc<dyn Disk>) -> Result<(Superblock, Vec<String>)> {
    let error = match Superblock::read(&**disk) {
        Ok(superblock) => return Ok((superblock, Vec::new())),
        Err(error @ Error::Corrupt { .. }) => error,
        Err(error) => return Err(error),
    };
    let Some((mut superblock, block)) = Superblock::read_backup(&**disk) else { return Err(error) };
    // A backup does not say whether the journal is to be replayed; the journal does.
    let volume = Volume::new(disk.clone(), superblock.clone());
    if superblock.features.has_compat(features::compat::HAS_JOURNAL)
        && journal::open(&volume).is_ok_and(|log| log.superblock.start.is_some())
    {
        superblock.features.incompat |= incompat::RECOVER;
    }
    Ok((superblock, vec![format!("{error}; the backup at block {block} is used")]))
}
