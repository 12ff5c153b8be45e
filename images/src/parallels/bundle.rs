//! The images of a folder, put together as its descriptor says.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::descriptor::{Descriptor, Image, Storage};
use super::expandable;
use crate::disk::{Concat, Piece, View};
use crate::format::{RAW, Request};
use crate::{Disk, Result, ResultExt, corrupt, xml};

/// The name of the descriptor in its folder.
pub const DESCRIPTOR: &str = "DiskDescriptor.xml";

/// The disk that the descriptor in `file` describes.
pub fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let descriptor = Descriptor::parse(&xml::read(&*file, "Parallels descriptor")?, request.snapshot)?;
    let pieces = descriptor.storages.iter().map(|storage| open_storage(storage, request));
    Ok(Arc::new(Concat::new(file.to_string(), pieces.collect::<Result<Vec<_>>>()?)?))
}

fn open_storage(storage: &Storage, request: &Request<'_>) -> Result<Piece> {
    let mut disk: Option<Arc<dyn Disk>> = None;
    for image in &storage.images {
        disk = Some(open_image(image, disk, request)?);
    }
    let Some(disk) = disk else { return Err(corrupt!("Parallels descriptor", 0u64, "a part without images")) };
    if disk.size() < storage.size {
        let (has, want) = (disk.size(), storage.size);
        return Err(corrupt!(disk.to_string(), has, "its end, but the descriptor has {want} bytes for it: truncated?"));
    }
    Ok(Piece::View(View::new(disk.to_string(), disk, 0, storage.size)?))
}

/// One image, through the gate.
fn open_image(image: &Image, below: Option<Arc<dyn Disk>>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let file = request.opener.open(&as_file(&image.file), Some(RAW))?;
    if !image.is_expandable {
        return Ok(file);
    }
    let name = file.to_string();
    if !expandable::probe(&*file)? {
        return Err(corrupt!(name, 0u64, "an expandable image by the descriptor, but it does not start like one"));
    }
    expandable::open(file, below).within(name)
}

/// A path as the gate must have it: that of a file, whatever colons are in it.
fn as_file(path: &str) -> PathBuf {
    if path.starts_with('/') { PathBuf::from(path) } else { Path::new(".").join(path) }
}
