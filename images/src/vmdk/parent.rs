//! The parent of a delta link: found by its hint, and known by its content's identity.

use std::io;
use std::sync::Arc;

use super::descriptor::Descriptor;
use crate::format::{RAW, Request};
use crate::{Disk, Error, Result, ResultExt, corrupt};

/// Opens the parent that `descriptor` names, if it names one, and checks that it was not changed since.
pub fn open(descriptor: &Descriptor, request: &Request<'_>) -> Result<Option<Arc<dyn Disk>>> {
    let Some(hint) = &descriptor.parent else { return Ok(None) };
    let error = match open_as(descriptor, &hint.name, hint.cid, request) {
        Err(error) => error,
        opened => return opened.map(Some),
    };
    // It is a hint: where the disk was moved with its parent, or comes from Windows, they lie side by side.
    let last = hint.name.rsplit(|byte| matches!(byte, b'/' | b'\\')).next().unwrap_or_default();
    if !is_elsewhere(&hint.name, &error) || last.is_empty() || last.len() == hint.name.len() {
        return Err(error);
    }
    match open_as(descriptor, last, hint.cid, request) {
        Err(second) if is_missing(&second) => Err(error),
        opened => opened.map(Some),
    }
}

/// Whether `name` leads nowhere on this host: to no file, or to the drive of another.
fn is_elsewhere(name: &[u8], error: &Error) -> bool {
    let of_windows = name.contains(&b'\\') || matches!(name, [drive, b':', ..] if drive.is_ascii_alphabetic());
    is_missing(error) || of_windows && matches!(error, Error::Unsupported(_))
}

fn is_missing(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

fn open_as(descriptor: &Descriptor, name: &[u8], cid: u32, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let path = descriptor.path(name)?;
    let file = request.opener.open(&path, Some(RAW))?;
    let parent = super::descriptor_of(&*file).within(&file)?;
    match parent.and_then(|parent| parent.cid) {
        Some(found) if found == cid => {}
        Some(found) => {
            return Err(corrupt!(
                "parentCID",
                0u64,
                "it is {cid:08x}, but the parent {file} has the CID {found:08x}: it was changed after this disk was \
                 made from it"
            ));
        }
        None => {
            return Err(corrupt!("parentCID", 0u64, "it is {cid:08x}, but the parent {file} has no CID to compare"));
        }
    }
    drop(file);
    request.opener.open(&path, Some(super::FORMAT.name))
}
