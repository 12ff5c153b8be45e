//! Parallels: expandable images (`.hds`) with both kinds of header, and the folders of them that a Parallels product
//! makes (`.hdd`), with a descriptor that puts them together.

mod bundle;
mod descriptor;
mod expandable;
mod layout;

use std::sync::Arc;

use crate::{Disk, Format, Request, Result, xml};

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format {
    endings: &["hdd", "hds", "xml"],
    folder: Some(bundle::DESCRIPTOR),
    ..Format::new("parallels", |file| Ok(expandable::probe(file)? || is_descriptor(file)?), open)
};

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    if is_descriptor(&*file)? {
        return bundle::open(file, request);
    }
    request.refuse_snapshot("single Parallels")?;
    expandable::open(file, None, request.budget)
}

fn is_descriptor(file: &dyn Disk) -> Result<bool> {
    xml::starts_with(file, descriptor::ROOT)
}
