//! The images of a folder, put together as its descriptor says.

use std::sync::Arc;

use super::descriptor::{Descriptor, Image, Storage};
use super::expandable;
use crate::disk::{Concat, Piece, View};
use crate::format::{RAW, Request};
use crate::{Disk, Result, ResultExt, corrupt, name, xml};

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
        let opened = open_image(image, disk, request)?;
        if opened.size() < storage.size {
            let (has, want) = (opened.size(), storage.size);
            return Err(corrupt!(
                opened.to_string(),
                has,
                "its end, but the descriptor has {want} bytes for it: truncated?"
            ));
        }
        disk = Some(opened);
    }
    let Some(disk) = disk else { return Err(corrupt!("Parallels descriptor", 0u64, "a part without images")) };
    Ok(Piece::View(View::new(disk.to_string(), disk, 0, storage.size)?))
}

/// One image, through the gate.
fn open_image(image: &Image, below: Option<Arc<dyn Disk>>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let file = request.opener.open(&name::of_file(&image.file), Some(RAW))?;
    if !image.is_expandable {
        return Ok(file);
    }
    let name = file.to_string();
    if !expandable::probe(&*file)? {
        return Err(corrupt!(name, 0u64, "an expandable image by the descriptor, but it does not start like one"));
    }
    expandable::open(file, below, request.budget).within(name)
}
