//! OVF: appliances, a descriptor and the disks that it names; as files side by side, or in a tar archive (OVA).
//!
//! The disks of an archive are read where they lie in it. An appliance with one disk is opened as any image is; the
//! disks of one with several are opened together, by [`images::open_all`](crate::open_all).

mod descriptor;
mod inside;
mod layout;
mod manifest;
mod tar;

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use descriptor::{DiskEntry, FileEntry, Source};
use inside::Inside;
use tar::Archive;

use crate::description::{Contained, Description};
use crate::disk::{Concat, Piece, View};
use crate::format::{self, Opener, RAW, Request};
use crate::parent::is_absent;
use crate::stored::Stored;
use crate::xml::{self, clean};
use crate::{Budget, Disk, Error, Format, Result, ResultExt, corrupt, name, unsupported};

/// The line of a descriptor with its files beside it in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format {
    disks: Some(disks),
    describe: Some(describe),
    hashes: Some(stored),
    ..Format::new("ovf", |file| xml::starts_with(file, "Envelope"), |file, request| only(disks(file, request)?))
};

/// The line of an archive in [`FORMATS`](crate::FORMATS).
pub const ARCHIVE: Format = Format {
    disks: Some(disks_in_archive),
    describe: Some(describe_archive),
    hashes: Some(stored_in_archive),
    ..Format::new("ova", tar::has_descriptor, |file, request| only(disks_in_archive(file, request)?))
};

/// How many digits the numbers of a file in pieces have.
const PIECE_DIGITS: usize = 9;
/// Our limit of the pieces of a file.
const MAX_PIECES: u32 = 10_000;

/// The disk, if there is one only.
fn only(mut disks: Vec<Arc<dyn Disk>>) -> Result<Arc<dyn Disk>> {
    match (disks.pop(), disks.len()) {
        (Some(disk), 0) => Ok(disk),
        (_, more) => Err(unsupported!("it is an appliance of {} disks, and no single image", more + 1)),
    }
}

/// The disks that the descriptor in `file` names, in their order.
fn disks(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Vec<Arc<dyn Disk>>> {
    opened(parts(&*file, request)?)
}

/// The disks of the appliance in the archive `file`, in their order.
fn disks_in_archive(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Vec<Arc<dyn Disk>>> {
    opened(Appliance::read(file, request.budget)?.parts(request)?)
}

fn opened(parts: Vec<Part>) -> Result<Vec<Arc<dyn Disk>>> {
    parts.into_iter().map(|part| part.disk.map(|(_, disk)| disk)).collect()
}

/// What the appliance of a descriptor consists of.
fn describe(file: &Arc<dyn Disk>, request: &Request<'_>) -> Result<Description> {
    Ok(described(parts(&**file, request)?))
}

/// What the appliance in an archive consists of.
fn describe_archive(file: &Arc<dyn Disk>, request: &Request<'_>) -> Result<Description> {
    Ok(described(Appliance::read(file.clone(), request.budget)?.parts(request)?))
}

fn described(parts: Vec<Part>) -> Description {
    let contained = |part: Part| {
        let (format, size, problem) = match part.disk {
            Ok((format, disk)) => (Some(format), Some(disk.size()), None),
            Err(error) => (None, None, Some(error.to_string())),
        };
        Contained { name: part.name, format, virtual_size: size, problem }
    };
    let disks: Vec<_> = parts.into_iter().map(contained).collect();
    let virtual_size = if let [disk] = &disks[..] { disk.virtual_size } else { None };
    Description { virtual_size, disks, ..Description::default() }
}

/// The hashes in the manifest beside the descriptor in `file`.
fn stored(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Vec<Stored>> {
    let Some(own) = request.opener.file_name() else { return Ok(Vec::new()) };
    let manifest = name::of_file(&Path::new(own).with_extension("mf").to_string_lossy());
    let manifest = match request.opener.open(&manifest, Some(RAW)) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        manifest => manifest?,
    };
    hashes(&*manifest, |name| match own.as_bytes() == name.as_bytes() {
        true => Ok(file.clone()),
        false => request.opener.open(&name::of_file(name), Some(RAW)),
    })
}

/// The hashes in the manifest of the appliance in the archive `file`.
fn stored_in_archive(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Vec<Stored>> {
    let appliance = Appliance::read(file, request.budget)?;
    let name = [&appliance.descriptor[..appliance.descriptor.len() - 3], b"mf"].concat();
    let Some(manifest) = appliance.archive.get(&name)? else { return Ok(Vec::new()) };
    let inside = Inside::new(&appliance.archive, request.opener, &appliance.descriptor, request.budget);
    hashes(&*manifest, |name| inside.open(Path::new(name), Some(RAW)))
}

fn hashes(manifest: &dyn Disk, file: impl Fn(&str) -> Result<Arc<dyn Disk>>) -> Result<Vec<Stored>> {
    let lines = manifest::parse(&xml::read(manifest, "OVF manifest")?).within(manifest)?;
    let stored = lines.into_iter().map(|line| {
        let bytes = file(&line.name);
        Stored::of_file(clean(&line.name), line.algorithm, line.value, bytes)
    });
    Ok(stored.collect())
}

/// The appliance in an archive.
struct Appliance {
    archive: Archive,
    /// The name of the descriptor.
    descriptor: Vec<u8>,
}

impl Appliance {
    fn read(file: Arc<dyn Disk>, budget: &Budget) -> Result<Self> {
        let archive = Archive::read(file, budget)?;
        let mut descriptors = archive.names().filter(|name| tar::is_descriptor(name));
        let descriptor = match (descriptors.next(), descriptors.next()) {
            (Some(descriptor), None) => descriptor.to_owned(),
            (Some(first), Some(second)) => {
                let (first, second) = (first.escape_ascii(), second.escape_ascii());
                return Err(Error::Ambiguous(format!("it has two descriptors, {first} and {second}")));
            }
            (None, _) => return Err(unsupported!("the archive has no OVF descriptor")),
        };
        drop(descriptors);
        Ok(Self { archive, descriptor })
    }

    fn parts(&self, request: &Request<'_>) -> Result<Vec<Part>> {
        let Some(file) = self.archive.get(&self.descriptor)? else {
            return Err(unsupported!("the archive has no OVF descriptor"));
        };
        let inside = Inside::new(&self.archive, request.opener, &self.descriptor, request.budget);
        parts(&*file, &Request { opener: &inside, snapshot: request.snapshot, budget: request.budget }).within(file)
    }
}

/// A disk of an appliance.
struct Part {
    /// The name of its file.
    name: String,
    /// Its format and itself, or why it cannot be had.
    disk: Result<(&'static str, Arc<dyn Disk>)>,
}

/// The disks that the descriptor in `file` names, of the files that the request's opener has.
fn parts(file: &dyn Disk, request: &Request<'_>) -> Result<Vec<Part>> {
    let disks = descriptor::parse(&xml::read(file, descriptor::WHAT)?)?;
    // What is named by several disks is opened once.
    let mut files: HashMap<FileEntry, std::result::Result<_, Arc<Error>>> = HashMap::new();
    let part = |entry: DiskEntry| match entry.source {
        Source::Blank(size) => {
            let name = clean(&entry.id);
            let disk = Concat::new(format!("blank disk {name}"), [Piece::Hole(size)]);
            Part { name, disk: disk.map(|disk| (RAW, Arc::new(disk) as Arc<dyn Disk>)) }
        }
        Source::File(entry) => {
            let opened = files.entry(entry.clone()).or_insert_with(|| open_file(&entry, request).map_err(Arc::new));
            Part { name: clean(&entry.href), disk: opened.clone().map_err(Error::Shared) }
        }
    };
    Ok(disks.into_iter().map(part).collect())
}

/// Opens the disk in a file of an appliance.
fn open_file(entry: &FileEntry, request: &Request<'_>) -> Result<(&'static str, Arc<dyn Disk>)> {
    let opener = request.opener;
    let mut path = name::of_file(&entry.href);
    let file = match entry.chunk {
        Some(chunk) => pieces(entry, chunk, opener)?,
        None => match (opener.open(&path, Some(RAW)), decoded(&entry.href)) {
            // A href is an address; yet most tools write the name as it is.
            (Err(error), Some(decoded)) if is_absent(&error) => {
                path = name::of_file(&decoded);
                opener.open(&path, Some(RAW))?
            }
            (opened, _) => opened?,
        },
    };
    if let Some(size) = entry.size.filter(|size| *size != file.size()) {
        log::warn!("{file}: {size} bytes by the descriptor, but it has {}", file.size());
    }
    if let Some(compression) = &entry.compression {
        let found = opener.formats().iter().find(|format| format.name == compression);
        let Some(format) = found else {
            return Err(unsupported!("{file} is compressed with {compression}, which is not supported"));
        };
        return Ok((format.name, opener.open_inside(file, Some(compression), request.snapshot)?));
    }
    let Some(found) = format::recognise(&file, opener.formats())? else {
        return match (entry.format, request.snapshot) {
            (Some(format), _) => {
                Err(corrupt!(file.to_string(), 0u64, "a {format} image by the descriptor, but it is none"))
            }
            (None, Some(_)) => Err(unsupported!("{file} is a raw image, which has no snapshots")),
            (None, None) => Ok((RAW, file)),
        };
    };
    if found.disks.is_some() {
        return Err(unsupported!("{file} is an appliance in an appliance"));
    }
    // Where the descriptor says nothing of its format, the gate is to know that.
    let told = entry.format.map(|_| found.name);
    let disk = match (entry.chunk, request.snapshot) {
        // By its name, so that what it names itself is found beside it.
        (None, None) => opener.open(&path, told)?,
        (_, snapshot) => opener.open_inside(file, told, snapshot)?,
    };
    Ok((found.name, disk))
}

/// A file that is cut into pieces of `chunk` bytes: `NAME.000000000`, `NAME.000000001` and so on.
fn pieces(entry: &FileEntry, chunk: u64, opener: &dyn Opener) -> Result<Arc<dyn Disk>> {
    let mut pieces: Vec<Arc<dyn Disk>> = Vec::new();
    for number in 0..MAX_PIECES {
        if pieces.last().is_some_and(|last| last.size() < chunk) {
            break;
        }
        let name = format!("{}.{number:0PIECE_DIGITS$}", entry.href);
        match opener.open(&name::of_file(&name), Some(RAW)) {
            Ok(piece) if piece.size() > chunk => {
                return Err(corrupt!(piece.to_string(), chunk, "a piece of more than {chunk} bytes"));
            }
            Ok(piece) => pieces.push(piece),
            Err(error) if is_absent(&error) && number > 0 => break,
            Err(error) => return Err(error),
        }
    }
    let whole = |piece: Arc<dyn Disk>| View::new(piece.to_string(), piece.clone(), 0, piece.size()).map(Piece::View);
    let pieces = pieces.into_iter().map(whole).collect::<Result<Vec<_>>>()?;
    let file = Concat::new(clean(&entry.href), pieces)?;
    match entry.size {
        Some(size) if file.size() < size => {
            let (name, found) = (clean(&entry.href), file.size());
            Err(corrupt!(name, found, "its pieces have {found} bytes, {size} by the descriptor: one is missing"))
        }
        _ => Ok(Arc::new(file)),
    }
}

/// The name with its `%20` and the like resolved, if it has such.
fn decoded(href: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = href.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = |hex: &[u8]| std::str::from_utf8(hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match after.get(..2).and_then(code) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok().filter(|decoded| decoded != href)
}
