//! Parallels: expandable images (`.hds`) with both kinds of header, and the folders of them that a Parallels product
//! makes (`.hdd`), with a descriptor that puts them together.

mod bundle;
mod descriptor;
mod expandable;
mod layout;

use crate::{Disk, Format, Result, xml};

pub use bundle::DESCRIPTOR;

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format {
    name: "parallels",
    probe: |file| Ok(expandable::probe(file)? || is_descriptor(file)?),
    open: |file, request| match is_descriptor(&*file)? {
        true => bundle::open(file, request),
        false => {
            request.refuse_snapshot("single Parallels")?;
            expandable::open(file, None, request.budget)
        }
    },
};

fn is_descriptor(file: &dyn Disk) -> Result<bool> {
    xml::starts_with(file, descriptor::ROOT)
}
