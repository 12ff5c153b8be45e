//! qcow2, versions 2 and 3: a disk of clusters that are found through two levels of tables.

mod compressed;
mod create;
mod describe;
mod encryption;
mod header;
mod layout;
mod mapping;
mod pages;
mod snapshot;
mod write;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

pub(crate) use compressed::Compressed;
pub(crate) use compressed::Descriptor;
pub use describe::describe;
pub(crate) use header::Compression;
use header::Header;
use mapping::Tables;

use crate::block_map::{Mapped, Writable};
use crate::cache::TABLE_PAGE;
use crate::disk::ReadOnly;
use crate::format::{Layer, Request};
use crate::{Disk, Format, Result, unsupported};

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format {
    describe: Some(|file, _| describe(file)),
    writes: true,
    layer: Some(Layer { create: create::create, backing: create::backing, open: create::open_over }),
    ..Format::new("qcow2", probe, open)
};

/// Whether the file starts with the magic of qcow2, and with another version than qcow, which shares it.
fn probe(file: &dyn Disk) -> Result<bool> {
    let mut start = [0; 8];
    let len = start.len().min(usize::try_from(file.size()).unwrap_or(usize::MAX));
    file.read_at(&mut start[..len], 0)?;
    let (magic, version) = start.split_at(4);
    Ok(magic == layout::MAGIC.to_be_bytes() && version != 1u32.to_be_bytes())
}

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let cached = request.budget.tables(file.clone(), TABLE_PAGE);
    let header = Header::read(&cached)?;
    if header.corrupt {
        log::warn!(
            "{file}: marked as corrupt by a writer; what is read from it may be wrong (qemu-img check tells more)"
        );
    }
    let (name, l1, size) = match request.snapshot {
        None => (file.to_string(), header.l1, header.size),
        // The specification's: a snapshot could not share the one place that each cluster has.
        Some(_) if header.data_file.is_some() => {
            return Err(unsupported!("an image with an external data file has no usable snapshots"));
        }
        Some(wanted) => {
            let found = snapshot::find(&cached, &header, wanted)?;
            (format!("snapshot {wanted} of {file}"), found.l1, found.size)
        }
    };
    let encryption = encryption::of(&file, &header, request.opener)?;
    let parent = match &header.backing {
        Some(backing) => {
            Some(request.opener.open(Path::new(OsStr::from_bytes(&backing.name)), backing.format.as_deref())?)
        }
        None => None,
    };
    let data = match &header.data_file {
        Some(name) => request.opener.open(Path::new(OsStr::from_bytes(name)), Some("raw"))?,
        None => file.clone(),
    };
    let tables = Tables::new(&file, &header, l1, request.budget);
    let is_written = file.writer(0..0).is_ok();
    let disk = Mapped { name, parent, encryption, ..Mapped::new(data, size, tables) };
    Ok(match (is_written, request.snapshot) {
        (false, _) => Arc::new(disk),
        (true, None) => Arc::new(Writable::new(disk)),
        (true, Some(_)) => {
            let why = format!("{disk}: internal snapshots are not written; --overlay leaves them as they are");
            Arc::new(ReadOnly::new(Arc::new(disk), why))
        }
    })
}
