//! EWF: the images of EnCase (`.E01`) and SMART (`.s01`), of compressed chunks in one file or in several segments.
//!
//! Sectors that could not be read when the image was made are read as its writer left them: the hashes that it stores
//! are of those bytes, every other reader shows them, and a file system with such a sector in it can still be looked at.
//! How many there are is said when the image is opened, and in what it says of itself.

mod chunks;
mod layout;
mod sections;
mod segments;
mod table;

use std::sync::Arc;

use chunks::Chunks;
use sections::{End, Geometry, Sections};
use serde_json::{Map, Value};

use crate::block_map::Mapped;
use crate::description::Description;
use crate::disk::{Concat, Piece, View};
use crate::format::Request;
use crate::stored::{Algorithm, Stored, hex};
use crate::{Budget, Disk, Format, Reservation, Result, ResultExt, corrupt};

/// What is kept of a segment: its open file, its names.
const SEGMENT_MEMORY: u64 = 4096;

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format {
    endings: &["e01", "s01"],
    describe: Some(describe),
    hashes: Some(stored),
    ..Format::new("ewf", probe, open)
};

fn probe(file: &dyn Disk) -> Result<bool> {
    let mut signature = [0; layout::SIGNATURE.len()];
    if file.size() < signature.len() as u64 {
        return Ok(false);
    }
    file.read_at(&mut signature, 0)?;
    Ok(signature == layout::SIGNATURE)
}

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let image = Image::read(file, request)?;
    match image.sections.unreadable {
        (0, _) => {}
        (sectors, ranges) => log::warn!(
            "{}: {sectors} sectors in {ranges} places could not be read when the image was made; they read as its writer \
             left them",
            image.name
        ),
    }
    image.disk(request.budget)
}

/// The hashes of the disk that the image stores.
fn stored(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Vec<Stored>> {
    let image = Image::read(file, request)?;
    let ([hash, digest], sha1) = (image.sections.md5, image.sections.sha1);
    let disk = image.disk(request.budget)?;
    let one = |algorithm, value: &[u8]| Stored::of_disk(algorithm, value.to_owned(), disk.clone());
    // Where both sections have the MD5, it is one, unless they differ: then one of them must be wrong.
    let md5 = hash.into_iter().chain(digest.filter(|digest| hash.as_ref() != Some(digest)));
    let md5 = md5.map(|value| one(Algorithm::Md5, &value));
    Ok(md5.chain(sha1.map(|value| one(Algorithm::Sha1, &value))).collect())
}

/// What the sections say.
fn describe(file: &Arc<dyn Disk>, request: &Request<'_>) -> Result<Description> {
    let image = Image::read(file.clone(), request)?;
    let text = |bytes: &[u8]| Value::from(hex(bytes));
    let mut specific = Map::new();
    specific.insert("segments".to_owned(), image.names.len().into());
    specific.insert("sector-size".to_owned(), image.geometry.sector.into());
    if let Some(md5) = image.sections.md5.into_iter().flatten().next() {
        specific.insert("md5".to_owned(), text(&md5));
    }
    if let Some(sha1) = image.sections.sha1 {
        specific.insert("sha1".to_owned(), text(&sha1));
    }
    if image.sections.unreadable.0 > 0 {
        specific.insert("unreadable-sectors".to_owned(), image.sections.unreadable.0.into());
    }
    let Geometry { size, chunk, .. } = image.geometry;
    Ok(Description { virtual_size: Some(size), cluster_size: Some(chunk), specific, ..Description::default() })
}

/// An image whose segments are all here.
struct Image {
    /// The name of the first segment.
    name: String,
    /// All segments, one after the other.
    file: Arc<dyn Disk>,
    /// The names of the segments.
    names: Vec<String>,
    geometry: Geometry,
    sections: Sections,
    /// What the names and the tables take.
    memory: Reservation,
}

impl Image {
    /// Reads the sections of `first`, and of the segments that follow it.
    fn read(first: Arc<dyn Disk>, request: &Request<'_>) -> Result<Self> {
        request.refuse_snapshot("EWF")?;
        let name = first.to_string();
        let mut memory = request.budget.empty();
        let (mut sections, mut names, mut pieces) = (Sections::default(), Vec::new(), Vec::new());
        let (mut start, mut number) = (0u64, 1);
        let mut segment = first;
        loop {
            memory.grow(SEGMENT_MEMORY, "the segments of an EWF image")?;
            let mut read = |sections: &mut Sections| {
                segments::check_header(&*segment, number)?;
                sections.read(&*segment, number, start, &mut memory)
            };
            // Of the first segment the name is said by who opened it.
            let end = match read(&mut sections) {
                Err(error) if number > 1 => return Err(error).within(&segment),
                end => end?,
            };
            let size = segment.size();
            names.push(segment.to_string());
            pieces.push(Piece::View(View::new(segment.to_string(), segment, 0, size)?));
            if end == End::Done {
                break;
            }
            start = match start.checked_add(size) {
                Some(start) if start <= i64::MAX as u64 => start,
                _ => return Err(corrupt!("EWF segments", 0u64, "they are larger than 2^63 bytes")),
            };
            number += 1;
            segment = segments::open(request.opener, number)?;
        }
        let Some(geometry) = sections.geometry else {
            return Err(corrupt!("EWF sections", 0u64, "none of them is a volume"));
        };
        let (chunks, want) = (sections.chunks(), geometry.size.div_ceil(geometry.chunk));
        if chunks < want {
            return Err(corrupt!("EWF tables", 0u64, "they have {chunks} chunks, the disk has {want}"));
        }
        let file = Arc::new(Concat::new(name.clone(), pieces)?);
        Ok(Self { name, file, names, geometry, sections, memory })
    }

    fn disk(self, budget: &Budget) -> Result<Arc<dyn Disk>> {
        let (file, geometry) = (self.file.clone(), self.geometry);
        let chunks = Chunks::new(self, budget);
        let sector_size = Some(geometry.sector).filter(|size| matches!(size, 512 | 4096));
        Ok(Arc::new(Mapped { sector_size, ..Mapped::new(file, geometry.size, chunks) }))
    }
}
