//! How a file system is opened to be written.

use std::sync::Arc;

use images::{Disk, DiskMut, Error, Result, read_only};

use super::{Writing, journal, marks, orphans, removal};
use crate::ext::features::compat;
use crate::ext::gathered::Gathered;
use crate::ext::journal::{external, replay};
use crate::ext::superblock::Superblock;
use crate::ext::volume::Volume;
use crate::{Options, Request};

/// A file system that is opened to be written.
pub(in crate::ext) struct Opened {
    pub volume: Volume,
    pub writing: Writing,
    /// What the user should know, one line each.
    pub notes: Vec<String>,
}

/// Opens it, with its journal replayed onto the disk if it must be. Fails with `ReadOnly` if something keeps it from being
/// written; then nothing was.
pub(in crate::ext) fn open(request: &Request<'_>) -> Result<Opened> {
    let (disk, mut notes) = (request.disk.clone(), Vec::new());
    let mut superblock = check(&*disk)?;
    if external::is_external(&superblock) {
        return Err(read_only!("not written: its journal is on another device"));
    }
    if superblock.needs_recovery() {
        notes.extend(replay_onto_disk(&disk, &superblock, request.options)?);
        // All that was read before may be another one now.
        superblock = check(&*disk)?;
    }
    if !superblock.features.has_compat(compat::HAS_JOURNAL) && !marks::is_clean(&superblock.raw) {
        notes.push("the file system was not unmounted: it should be checked with e2fsck".into());
    }
    let volume = Volume::writable(disk, superblock);
    let writing = Writing::new(&volume).map_err(refusal)?;
    let orphans = orphans::all(&volume).map_err(refusal)?;
    for orphan in &orphans {
        removal::recover(&writing, &volume, *orphan).map_err(refusal)?;
    }
    if !orphans.is_empty() {
        notes.push(format!("{} files that were removed or cut off were still in use: that is finished", orphans.len()));
    }
    Ok(Opened { volume, writing, notes })
}

/// The superblock, with which the file system can be written.
fn check(disk: &dyn Disk) -> Result<Superblock> {
    let superblock = Superblock::read(disk).map_err(refusal)?;
    superblock.features.check_writable()?;
    Ok(superblock)
}

/// What keeps it from being written need not keep it from being read.
fn refusal(error: Error) -> Error {
    match error {
        Error::Corrupt { .. } => read_only!("{error}"),
        Error::Unsupported(why) => read_only!("not written: {why}"),
        error => error,
    }
}

/// Replays the journal and empties it. A crash on the way leaves it to be replayed again.
fn replay_onto_disk(disk: &Arc<dyn Disk>, superblock: &Superblock, options: &Options) -> Result<Vec<String>> {
    if !options.replay {
        return Err(read_only!("not written: its journal is not to be replayed"));
    }
    let replayed = replay(disk.clone(), superblock, &options.budget)?;
    // Its transactions may have turned on features.
    let superblock = check(&*replayed.disk)?;
    let writer = disk.writer(0..disk.size())?;
    let mut gathered = Gathered::new(&*writer);
    let mut content = vec![0; superblock.block_size as usize];
    for block in &replayed.blocks {
        let offset = superblock.block_offset(*block)?;
        replayed.disk.read_at(&mut content, offset)?;
        gathered.put(&content, offset)?;
    }
    gathered.write()?;
    writer.flush()?;
    let volume = Volume::new(disk.clone(), superblock);
    journal::empty_after_replay(&volume, &*writer, replayed.next)?;
    clear_recovery(&volume, &*writer)?;
    Ok(replayed.notes.iter().map(|note| note.replace("replayed in memory", "replayed onto the disk")).collect())
}

/// Says that no recovery is needed. That there are orphans stays, if there are.
fn clear_recovery(volume: &Volume, writer: &dyn DiskMut) -> Result<()> {
    let has_orphans = orphans::are_in_file(volume)?;
    marks::write(volume, writer, |raw| marks::end(0, raw, has_orphans))?;
    writer.flush()
}
