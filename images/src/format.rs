//! How an image format is found and opened: one table of leaves, and the gate for the files that images name.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;

use crate::crypt::{Attempt, ImageKey, ImageLock};
use crate::{Budget, Disk, Error, Result, unsupported};

/// An image format: a leaf of this crate, one line in [`FORMATS`].
pub struct Format {
    /// The name that `--format` takes and that headers of other formats use, for example `qcow2`.
    pub name: &'static str,
    /// Whether the file starts like this format. Fails only if the file cannot be read.
    pub probe: fn(&dyn Disk) -> Result<bool>,
    /// The disk that the file describes.
    pub open: fn(Arc<dyn Disk>, &Request<'_>) -> Result<Arc<dyn Disk>>,
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

    /// The name of the image itself in its folder, if it has one: for formats of which names are a part.
    fn file_name(&self) -> Option<&OsStr> {
        None
    }
}

/// That an image is encrypted, where nobody was told a key.
pub(crate) fn no_key(lock: &ImageLock) -> Error {
    Error::Denied(format!("the image is encrypted ({}), and no key was given", lock.method))
}

/// Every image format. All are recognised by their content but split raw, which its name tells; raw is the fallback.
pub static FORMATS: &[Format] = &[
    crate::qcow2::FORMAT,
    crate::vmdk::FORMAT,
    crate::vdi::FORMAT,
    crate::vhd::FORMAT,
    crate::vhdx::FORMAT,
    crate::qcow1::FORMAT,
    crate::qed::FORMAT,
    crate::parallels::FORMAT,
    crate::split::FORMAT,
    crate::compressed::GZIP,
    crate::compressed::XZ,
    crate::compressed::ZSTD,
    crate::compressed::BZIP2,
    crate::ewf::FORMAT,
    crate::ovf::FORMAT,
    crate::ovf::ARCHIVE,
];

/// Opens all disks of an image, in their order.
pub(crate) type Disks = fn(Arc<dyn Disk>, &Request<'_>) -> Result<Vec<Arc<dyn Disk>>>;

/// The formats of which an image can hold several whole disks: a line for each. Their [`Format::open`] opens the one of
/// an image that has no more.
pub(crate) static APPLIANCES: &[(&str, Disks)] = &[("ovf", crate::ovf::disks), ("ova", crate::ovf::disks_in_archive)];

/// The file by which a format is opened that is a folder of files: a line for each such format.
pub(crate) static FOLDERS: &[&str] = &[crate::parallels::DESCRIPTOR];

/// The name of the format that has no structure of its own: the file's bytes are the disk's.
pub const RAW: &str = "raw";

/// First bytes of image formats that are not read: without this table they would pass for raw disks of garbage.
const FOREIGN: &[(&str, &[u8])] = &[
    ("logical evidence (L01)", b"LVF\x09\x0d\x0a\xff\0"),
    ("EWF version 2 (Ex01)", b"EVF2\x0d\x0a\x81\0"),
    ("logical evidence (Lx01)", b"LEF2\x0d\x0a\x81\0"),
];

/// The format whose probe matches `disk`, or `None` for raw. Two that match are an error which names both.
pub(crate) fn recognise<'a>(disk: &dyn Disk, formats: &'a [Format]) -> Result<Option<&'a Format>> {
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

/// Fails with `Unsupported` if the disk starts like an image format that is not read.
pub(crate) fn refuse_foreign(disk: &dyn Disk) -> Result<()> {
    let mut start = [0; 64];
    let len = start.len().min(usize::try_from(disk.size()).unwrap_or(usize::MAX));
    disk.read_at(&mut start[..len], 0)?;
    match FOREIGN.iter().find(|(_, magic)| start.starts_with(magic)) {
        Some((name, _)) => Err(unsupported!(
            "{disk} is of the format {name}, which is not read; --format raw takes its bytes as they are"
        )),
        None => Ok(()),
    }
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
        Format { name: "first", probe: starts_with_a, open: |disk, _| Ok(disk) },
        Format { name: "never", probe: |_| Ok(false), open: |disk, _| Ok(disk) },
        Format { name: "second", probe: starts_with_a, open: |disk, _| Ok(disk) },
    ];

    #[test]
    fn two_formats_that_match_are_ambiguous_and_none_is_raw() {
        let a = Memory::new("disk.a", b"abc".to_vec());
        let error = recognise(&a, FAKES).err().unwrap();
        assert!(matches!(error, Error::Ambiguous(_)));
        assert_eq!(error.to_string(), "disk.a can be read as first and as second: give --format to choose");
        assert_eq!(recognise(&a, &FAKES[..2]).unwrap().unwrap().name, "first");
        assert!(recognise(&Memory::new("disk.b", b"b".to_vec()), FAKES).unwrap().is_none());
        let bad = std::iter::once(0..1).collect();
        let error = recognise(&Faulty::new(Arc::new(a), bad), FAKES).err().unwrap();
        assert!(matches!(error, Error::Io { .. }), "a probe that cannot read is no mismatch");
    }

    #[test]
    fn formats_by_name() {
        assert!(named("raw", FAKES).unwrap().is_none());
        assert_eq!(named("second", FAKES).unwrap().unwrap().name, "second");
        let error = named("vmdk", FAKES).err().unwrap().to_string();
        assert_eq!(error, "unknown image format vmdk, known are raw, first, never, second");
    }

    #[test]
    fn formats_that_are_not_read_are_named() {
        let error = refuse_foreign(&Memory::new("x", b"EVF2\x0d\x0a\x81\0".to_vec())).unwrap_err().to_string();
        assert_eq!(
            error,
            "x is of the format EWF version 2 (Ex01), which is not read; --format raw takes its bytes as they are"
        );
        for start in [&b""[..], b"EVF2", &[0; 4096]] {
            refuse_foreign(&Memory::new("x", start.to_vec())).unwrap();
        }
    }
}
