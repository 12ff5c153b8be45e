//! What an image format is, and how one is found: the types that leaves are made of.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::crypt::{Attempt, ImageKey, ImageLock};
use crate::description::Description;
use crate::disk::Cached;
use crate::stored::Stored;
use crate::{Budget, Disk, Error, Result, unsupported};

/// An image format: a leaf of this crate, one line in [`FORMATS`](crate::FORMATS).
///
/// What not every format has is an optional field, which [`Format::new`] leaves out.
#[derive(Clone, Copy)]
pub struct Format {
    /// The name that `--format` takes and that headers of other formats use, for example `qcow2`.
    pub name: &'static str,
    /// Whether the file starts like this format. Fails only if the file cannot be read.
    pub probe: Probe,
    /// The disk that the file describes.
    pub open: Open,
    /// Endings of names that say this format, without a dot, beside its own name.
    pub endings: &'static [&'static str],
    /// Whether it only wraps an image, as compression does: the ending of what is inside lies before its own.
    pub wraps: bool,
    /// Whether images of it can be written: then its disk takes the writer of the file. A format that leaves this out gets a
    /// file that has none.
    pub writes: bool,
    /// How it keeps what is written over another image, for a format that can.
    pub layer: Option<Layer>,
    /// For a format that the content does not tell: whether the name does, and which names there are beside it.
    pub named: Option<Named>,
    /// The file by which it is opened, for a format that is a folder of files.
    pub folder: Option<&'static str>,
    /// All disks of an image, for a format of which one can hold several: then [`Format::open`] opens that of an image that
    /// has no more.
    pub disks: Option<Disks>,
    /// What an image says of itself, for a format that says more than can be seen of any: its sizes and the files that it
    /// names.
    pub describe: Option<Describe>,
    /// The hashes that an image stores of what is in it.
    pub hashes: Option<Hashes>,
}

/// Whether a disk starts like a format.
pub type Probe = fn(&dyn Disk) -> Result<bool>;
/// Opens the disk that a file describes.
pub type Open = fn(Arc<dyn Disk>, &Request<'_>) -> Result<Arc<dyn Disk>>;
/// Opens all disks of an image, in their order.
pub type Disks = fn(Arc<dyn Disk>, &Request<'_>) -> Result<Vec<Arc<dyn Disk>>>;
/// Reads what an image says of itself. The files that it asks for are noted.
pub type Describe = fn(&Arc<dyn Disk>, &Request<'_>) -> Result<Description>;
/// Reads the hashes that an image stores.
pub type Hashes = fn(Arc<dyn Disk>, &Request<'_>) -> Result<Vec<Stored>>;
/// Whether the name of a file says a format.
pub type Named = fn(&Beside<'_>) -> bool;

/// How a format keeps what is written over another image.
#[derive(Clone, Copy)]
pub struct Layer {
    /// Makes an empty image of an empty file, over a disk of so many bytes; with the name that it records for that, and the
    /// name of its format, if it has one. Durable on return.
    pub create: fn(&dyn Disk, u64, Option<(&[u8], &str)>) -> Result<()>,
    /// The name and the format that the image in a file records; `None` if it is of another format, or lies over nothing.
    pub backing: fn(&dyn Disk) -> Result<Option<(Vec<u8>, Option<String>)>>,
    /// The image in a file, over this disk, whatever name it records.
    pub open: fn(Arc<dyn Disk>, Arc<dyn Disk>, &Budget) -> Result<Arc<dyn Disk>>,
}

/// What there is to know of a file beside its content.
pub struct Beside<'a> {
    /// How messages show it.
    pub shown: String,
    /// Its name in its folder.
    pub name: &'a OsStr,
    /// Whether a file of this name lies in the same folder.
    pub has: &'a dyn Fn(&OsStr) -> bool,
}

impl Format {
    /// A format that has no more than these three.
    pub const fn new(name: &'static str, probe: Probe, open: Open) -> Self {
        let (endings, wraps): (&[&str], bool) = (&[], false);
        let (named, folder, disks, describe, hashes, layer) = (None, None, None, None, None, None);
        Self { name, probe, open, endings, wraps, writes: false, layer, named, folder, disks, describe, hashes }
    }
}

impl fmt::Debug for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What a format is asked for, beside the file itself.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Opens the files that the image names.
    pub opener: &'a dyn Opener,
    /// The internal snapshot that is wanted in place of the current state, by its name or id. A format without
    /// snapshots refuses it by name. Always `None` for backing files: the one that is asked for is the top image's.
    pub snapshot: Option<&'a str>,
    /// What the disk may hold, with all the others of the program.
    pub budget: &'a Budget,
}

impl Request<'_> {
    /// Fails if a snapshot is wanted: for formats, here `format`, that have none.
    pub(crate) fn refuse_snapshot(&self, format: &str) -> Result<()> {
        match self.snapshot {
            Some(_) => Err(unsupported!("a {format} image has no internal snapshots")),
            None => Ok(()),
        }
    }
}

/// Opens the files that an image names: backing, extent and data files. The one gate for all of them.
pub trait Opener {
    /// Opens what `name` says, relative to the image that holds the name, as the image format `format`.
    ///
    /// `raw` is the format of a file that is its own content, as an external data file is. With `None` the file is
    /// probed, and it is an error if nothing recognises it. A `json:` name that holds a format overrides `format`.
    fn open(&self, name: &Path, format: Option<&str>) -> Result<Arc<dyn Disk>>;

    /// The key of the image itself, which is encrypted as `lock` says. `attempt` tries one secret.
    ///
    /// Fails with `Denied` if there is none, and says which option gives one.
    fn unlock(&self, lock: &ImageLock, _attempt: &mut Attempt<'_>) -> Result<ImageKey> {
        Err(no_key(lock))
    }

    /// Opens `inside`, a whole image that this one only wraps (compressed, in an archive), as the image format `format`.
    ///
    /// With `None` it is probed, and is raw if nothing recognises it, just as if it lay on the host in the place of the
    /// file that wraps it: the files that it names are looked for beside that one and pass this same gate. `snapshot`
    /// is handed on. An opener that knows no formats refuses.
    fn open_inside(
        &self,
        inside: Arc<dyn Disk>,
        format: Option<&str>,
        snapshot: Option<&str>,
    ) -> Result<Arc<dyn Disk>> {
        let _ = (format, snapshot);
        Err(unsupported!("{inside} lies in another file, and nothing here can open it"))
    }

    /// The formats that images in this one, or beside it, are recognised among. An opener that knows none has none.
    fn formats(&self) -> &'static [Format] {
        &[]
    }

    /// The name of the image itself in its folder, if it has one: for formats of which names are a part.
    fn file_name(&self) -> Option<&OsStr> {
        None
    }
}

/// That an image is encrypted, where nobody was told a key.
pub(crate) fn no_key(lock: &ImageLock) -> Error {
    Error::Denied(format!("the image is encrypted ({}), and no key was given", lock.method))
}

/// The name of the format that has no structure of its own: the file's bytes are the disk's.
pub const RAW: &str = "raw";

/// How probes read, in bytes: whole pages, and no more of them are kept than all the probes together touch.
const PROBE_PAGE: usize = 4096;
const PROBE_CACHE: u64 = 512 << 10;

/// `disk` for probes: most of them look at the same page, and each of its reads may be a question to a server.
pub(crate) fn start_of(disk: &Arc<dyn Disk>) -> Cached {
    Cached::new(disk.clone(), PROBE_PAGE, PROBE_CACHE)
}

/// The format whose probe matches `disk`, or `None` for raw. Two that match are an error which names both.
pub(crate) fn recognise<'a>(disk: &Arc<dyn Disk>, formats: &'a [Format]) -> Result<Option<&'a Format>> {
    recognise_by(&start_of(disk), formats)
}

/// [`recognise`] of what [`start_of`] made.
pub(crate) fn recognise_by<'a>(disk: &Cached, formats: &'a [Format]) -> Result<Option<&'a Format>> {
    let mut found: Option<&Format> = None;
    for format in formats {
        if (format.probe)(disk)? {
            if let Some(first) = found {
                return Err(Error::Ambiguous(format!(
                    "{disk} can be read as {} and as {}: give --format to choose",
                    first.name, format.name
                )));
            }
            found = Some(format);
        }
    }
    Ok(found)
}

/// The format of this name, or `None` for raw.
pub(crate) fn named<'a>(name: &str, formats: &'a [Format]) -> Result<Option<&'a Format>> {
    if name == RAW {
        return Ok(None);
    }
    formats.iter().find(|format| format.name == name).map(Some).ok_or_else(|| {
        let known: Vec<_> = [RAW].into_iter().chain(formats.iter().map(|format| format.name)).collect();
        Error::Usage(format!("unknown image format {}, known are {}", name.escape_debug(), known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Faulty, Memory};

    fn starts_with_a(disk: &dyn Disk) -> Result<bool> {
        let mut byte = [0];
        disk.read_at(&mut byte, 0)?;
        Ok(byte == *b"a")
    }

    const FAKES: &[Format] = &[
        Format::new("first", starts_with_a, |disk, _| Ok(disk)),
        Format::new("never", |_| Ok(false), |disk, _| Ok(disk)),
        Format::new("second", starts_with_a, |disk, _| Ok(disk)),
    ];

    #[test]
    fn two_formats_that_match_are_ambiguous_and_none_is_raw() {
        let a: Arc<dyn Disk> = Arc::new(Memory::new("disk.a", b"abc".to_vec()));
        let b: Arc<dyn Disk> = Arc::new(Memory::new("disk.b", b"b".to_vec()));
        let error = recognise(&a, FAKES).err().unwrap();
        assert!(matches!(error, Error::Ambiguous(_)));
        assert_eq!(error.to_string(), "disk.a can be read as first and as second: give --format to choose");
        assert_eq!(recognise(&a, &FAKES[..2]).unwrap().unwrap().name, "first");
        assert!(recognise(&b, FAKES).unwrap().is_none());
        let bad = std::iter::once(0..1).collect();
        let error = recognise(&(Arc::new(Faulty::new(a, bad)) as Arc<dyn Disk>), FAKES).err().unwrap();
        assert!(matches!(error, Error::Io { .. }), "a probe that cannot read is no mismatch");
    }

    #[test]
    fn formats_by_name() {
        assert!(named("raw", FAKES).unwrap().is_none());
        assert_eq!(named("second", FAKES).unwrap().unwrap().name, "second");
        let error = named("vmdk", FAKES).err().unwrap().to_string();
        assert_eq!(error, "unknown image format vmdk, known are raw, first, never, second");
    }
}
