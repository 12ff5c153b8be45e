//! A journal on a device of its own: <https://docs.kernel.org/filesystems/ext4/journal.html#layout>.
//!
//! The file system and its journal are joined to one disk, the journal behind the last block, so that replay and search
//! read the copies in place as they do in a journal that is a file.

use std::sync::Arc;

use images::disk::{Concat, Piece, View};
use images::{Disk, Result};

use super::log::Run;
use crate::Request;
use crate::ext::features::{compat, incompat};
use crate::ext::layout::{SUPERBLOCK_MAGIC, SUPERBLOCK_OFFSET, SuperBlock};
use crate::ext::superblock::{self, Superblock};
use crate::ext::volume::Volume;

/// Whether a file system has its journal on another device.
pub fn is_external(superblock: &Superblock) -> bool {
    superblock.features.has_compat(compat::HAS_JOURNAL) && superblock.raw.s_journal_inum.get() == 0
}

/// The file system's disk with its journal behind its last block; the disk alone if its journal is its own, or is none
/// of the members.
pub fn join(request: &Request<'_>, superblock: &Superblock) -> Result<Arc<dyn Disk>> {
    let disk = request.disk.clone();
    let uuid = superblock::uuid(&superblock.raw.s_journal_uuid).filter(|_| is_external(superblock));
    let mut journal = None;
    for member in uuid.iter().flat_map(|uuid| request.members.with_uuid(uuid)) {
        if is_journal(&*member.disk, 0, superblock)? {
            journal = Some(member.disk.clone());
            break;
        }
    }
    let Some(journal) = journal else { return Ok(disk) };
    let wanted = superblock.blocks.saturating_mul(superblock.block_size.into());
    let (name, have) = (disk.to_string(), disk.size().min(wanted));
    let missing = Piece::Missing(wanted - have, "the volume ends before".into());
    let journal_size = journal.size();
    let pieces = [
        Piece::View(View::new(name.clone(), disk, 0, have)?),
        missing,
        Piece::View(View::new(journal.to_string(), journal, 0, journal_size)?),
    ];
    Ok(Arc::new(Concat::new(name, pieces)?))
}

/// Where the blocks of a joined journal lie, and its superblock in bytes.
pub(super) fn runs(volume: &Volume) -> Result<Option<(Vec<Run>, u64)>> {
    let superblock = volume.superblock();
    let block_size = volume.block_size();
    let start = superblock.blocks.saturating_mul(block_size);
    if volume.disk().size() <= start || !is_journal(&**volume.disk(), start, superblock)? {
        return Ok(None);
    }
    // Its blocks are counted from the start of the device.
    let len = u32::try_from((volume.disk().size() - start) / block_size).unwrap_or(u32::MAX);
    let at = start + (SUPERBLOCK_OFFSET / block_size + 1) * block_size;
    Ok(Some((vec![Run { logical: 0, physical: superblock.blocks, len }], at)))
}

/// Whether the journal device of this file system begins at `start` of a disk.
fn is_journal(disk: &dyn Disk, start: u64, superblock: &Superblock) -> Result<bool> {
    let mut bytes = [0; size_of::<SuperBlock>()];
    if disk.size().saturating_sub(start) < SUPERBLOCK_OFFSET + bytes.len() as u64 {
        return Ok(false);
    }
    disk.read_at(&mut bytes, start + SUPERBLOCK_OFFSET)?;
    let raw: SuperBlock = zerocopy::transmute!(bytes);
    Ok(raw.s_magic.get() == SUPERBLOCK_MAGIC
        && raw.s_feature_incompat.get() & incompat::JOURNAL_DEV != 0
        && raw.s_uuid == superblock.raw.s_journal_uuid)
}
