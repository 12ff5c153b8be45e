//! VMDK: a text that describes a disk of extents, each of them flat or sparse, and perhaps a parent.

mod compressed;
mod descriptor;
mod extents;
mod header;
mod layout;
mod mapping;
mod parent;

use std::sync::Arc;

use descriptor::Descriptor;
use extents::Extents;
use header::Header;

use crate::format::Request;
use crate::{Disk, Format, Result, corrupt, unsupported};

/// How much of a file is looked at for the start of a descriptor, in bytes; QEMU's probe has the same limit.
const PROBED: usize = 512;

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format::new("vmdk", probe, open);

/// What a file of this format starts with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// The header of a hosted sparse extent.
    Hosted,
    /// The header of an ESXi host sparse extent.
    Cowd,
    /// The header of a space-efficient sparse extent.
    SpaceEfficient,
    /// The text of a descriptor.
    Text,
}

/// What `file` starts with, or `None` if it is not of this format.
fn start_of(file: &dyn Disk) -> Result<Option<Start>> {
    let mut bytes = [0; PROBED];
    let len = PROBED.min(usize::try_from(file.size()).unwrap_or(PROBED));
    let bytes = &mut bytes[..len];
    file.read_at(bytes, 0)?;
    Ok(match bytes {
        _ if bytes.starts_with(&layout::HOSTED_MAGIC) => Some(Start::Hosted),
        _ if bytes.starts_with(&layout::COWD_MAGIC) => Some(Start::Cowd),
        _ if bytes.starts_with(&layout::SE_CONST_MAGIC.to_le_bytes()) => Some(Start::SpaceEfficient),
        _ if is_descriptor(bytes) => Some(Start::Text),
        _ => None,
    })
}

/// Whether a text starts as VMware and QEMU recognise a descriptor: comments and empty lines, then the version.
fn is_descriptor(text: &[u8]) -> bool {
    const SIGNATURE: &[u8] = b"# disk descriptorfile";
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if text.get(..SIGNATURE.len()).is_some_and(|start| start.eq_ignore_ascii_case(SIGNATURE)) {
        return true;
    }
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(b"#")).unwrap_or_default();
    matches!(first, [name @ .., b'=', b'1'..=b'3'] if name.eq_ignore_ascii_case(b"version"))
}

fn probe(file: &dyn Disk) -> Result<bool> {
    Ok(start_of(file)?.is_some())
}

/// The descriptor in `file`, of its own or embedded, if it has one.
fn descriptor_of(file: &dyn Disk) -> Result<Option<Descriptor>> {
    match start_of(file)? {
        Some(Start::Text) => Descriptor::read(file, 0, file.size()),
        Some(Start::Hosted) => {
            let Some((at, len)) = header::embedded_descriptor(file)? else { return Ok(None) };
            Descriptor::read(file, at, len)
        }
        _ => Ok(None),
    }
}

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    if request.snapshot.is_some() {
        return Err(unsupported!("a VMDK image has no internal snapshots: each is a file of its own, to be opened"));
    }
    let Some(start) = start_of(&*file)? else {
        return Err(corrupt!("VMDK", 0u64, "neither the header of a sparse extent nor a descriptor"));
    };
    let descriptor = descriptor_of(&*file)?;
    let header = match (start, &descriptor) {
        (Start::Text, _) => None,
        (Start::Hosted, Some(_)) => Some(Header::read(&*file)?).filter(|header| header.capacity > 0),
        (Start::Cowd, _) => match Header::read(&*file)? {
            header if header.child => return Err(part_of_a_disk("a child")),
            header => Some(header),
        },
        // Without descriptor nothing says whether it is all of a disk, and whether it has a parent.
        (Start::Hosted, None) | (Start::SpaceEfficient, _) => return Err(part_of_a_disk("an extent")),
    };
    let descriptor = descriptor.unwrap_or_default();
    let parent = parent::open(&descriptor, request)?;
    Extents::new(file, &descriptor, parent, request).open(header)
}

fn part_of_a_disk(what: &str) -> crate::Error {
    unsupported!("it is {what} of a disk and not all of it: open the descriptor, a .vmdk file that names it")
}
