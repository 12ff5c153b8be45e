//! How a file system is opened to be written.

use images::{Error, Result, read_only};

use super::Writing;
use crate::Request;
use crate::ext::features::compat;
use crate::ext::superblock::Superblock;
use crate::ext::volume::Volume;

/// A file system that is opened to be written.
pub(in crate::ext) struct Opened {
    pub volume: Volume,
    pub writing: Writing,
    /// What the user should know, one line each.
    pub notes: Vec<String>,
}

/// Opens it. Fails with `ReadOnly` if something keeps it from being written.
pub(in crate::ext) fn open(request: &Request<'_>) -> Result<Opened> {
    let superblock = match Superblock::read(&**request.disk) {
        Err(error @ Error::Corrupt { .. }) => return Err(read_only!("{error}")),
        superblock => superblock?,
    };
    superblock.features.check_writable()?;
    if superblock.features.has_compat(compat::HAS_JOURNAL) {
        return Err(read_only!("it has a journal, and this program does not write journals"));
    }
    let volume = Volume::writable(request.disk.clone(), superblock);
    let writing = Writing::new(&volume)?;
    Ok(Opened { volume, writing, notes: Vec::new() })
}
