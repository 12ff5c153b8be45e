//! An image: what the user names, and the files that it names, opened as one disk.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::crypt::Secrets;
use crate::disk::{Access, View};
use crate::format::{self, Format, Request};
use crate::gate::{Backing, Found, Gate, Rules};
use crate::origin::Origin;
use crate::{Budget, Disk, Error, FORMATS, Location, Result, ResultExt, SOURCES, Source, formats};

/// How an image is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The format by its name, `raw` or one of `formats`; otherwise the file is probed.
    pub format: Option<String>,
    /// Whether the image may be written. The files that it names are never.
    pub access: Access,
    /// Which files the image may name.
    pub backing: Backing,
    /// The logical sector size in bytes, 512 or 4096; otherwise it is detected where it matters.
    pub sector_size: Option<u32>,
    /// The internal snapshot to open in place of the current state, by its name or id.
    pub snapshot: Option<String>,
    /// Where the keys come from for images that are encrypted as such, backing files too; `None` refuses these.
    pub secrets: Option<Arc<dyn Secrets>>,
    /// What all images of the program together may hold; clones of one budget.
    pub budget: Budget,
    /// The formats that there are.
    pub formats: &'static [Format],
    /// What reads images that lie elsewhere than on this host.
    pub sources: &'static [Source],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: None,
            access: Access::Read,
            backing: Backing::default(),
            sector_size: None,
            snapshot: None,
            secrets: None,
            budget: Budget::default(),
            formats: FORMATS,
            sources: SOURCES,
        }
    }
}

impl Options {
    /// `location` as [`open`] finds it from any working directory.
    pub fn absolute(&self, location: &Path) -> Result<PathBuf> {
        if Location::of(location, self.sources).is_remote() {
            return Ok(location.to_owned());
        }
        std::path::absolute(location).map_err(|source| Error::io(format!("cannot find {}", location.display()), source))
    }

    /// What holds for an image that is opened so, and for all files below it.
    pub(crate) fn rules(&self) -> Rules<'_> {
        let secrets = self.secrets.as_deref();
        Rules { backing: self.backing, formats: self.formats, secrets, budget: &self.budget }
    }
}

/// Opens the image at `location` and all files that it names. The user gave the location: the path of a regular file, of a
/// block device, or of the folder of a format that is one; or the address of one of [`Options::sources`].
///
/// An appliance of several disks is an error, see [`open_all`]. Every error names the file. A file that a QEMU process has
/// open for writing is logged as a warning.
pub fn open(location: &Path, options: &Options) -> Result<Arc<dyn Disk>> {
    let found = recognised(location, options)?;
    let disk = found.open(options.snapshot.as_deref(), options.rules(), None)?;
    Ok(with_sector_size(disk, options))
}

/// Opens the image at `location` as [`open`] does; of an appliance, all of its disks, in their order.
pub fn open_all(location: &Path, options: &Options) -> Result<Vec<Arc<dyn Disk>>> {
    let found = recognised(location, options)?;
    let (rules, snapshot) = (options.rules(), options.snapshot.as_deref());
    let disks = match found.format.and_then(|format| format.disks) {
        None => vec![found.open(snapshot, rules, None)?],
        Some(disks) => {
            let gate = Gate::new(&found, rules, None)?;
            let request = Request { opener: &gate, snapshot, budget: &options.budget };
            disks(found.file(), &request).within(&found.origin)?
        }
    };
    Ok(disks.into_iter().map(|disk| with_sector_size(disk, options)).collect())
}

pub(crate) fn with_sector_size(disk: Arc<dyn Disk>, options: &Options) -> Arc<dyn Disk> {
    match options.sector_size {
        Some(size) => Arc::new(View::with_sector_size(disk, size)),
        None => disk,
    }
}

/// The image file at `location` and its format. Fails as [`open`] does.
///
/// A guest may have the whole of a block device and write there what it likes, so that one is raw unless a format is
/// given.
pub(crate) fn recognised(location: &Path, options: &Options) -> Result<Found> {
    if let Some(size) = options.sector_size.filter(|size| !matches!(size, 512 | 4096)) {
        return Err(Error::Usage(format!("a sector size of {size} bytes: 512 and 4096 are possible")));
    }
    let formats = options.formats;
    let forced = options.format.as_deref().map(|name| format::named(name, formats)).transpose()?;
    let location = Location::of(&descriptor_in(location, formats), options.sources);
    let origin = Origin::open(location, options.access, options.sources, &options.budget)?;
    if let Some(format) = forced {
        return Ok(Found::by_user(origin, format, true));
    }
    let start = format::start_of(&origin.disk());
    let looks = format::recognise_by(&start, formats)?;
    if origin.is_block_device()? {
        let mut found = Found::by_user(origin, None, true);
        found.looks_like = looks.map(|format| format.name);
        return Ok(found);
    }
    if looks.is_some() {
        return Ok(Found::by_user(origin, looks, false));
    }
    formats::refuse_foreign(&start)?;
    let named = origin
        .beside(&options.budget, |file| formats.iter().find(|format| format.named.is_some_and(|says| says(file))));
    Ok(Found::by_user(origin, named.flatten(), true))
}

/// The file by which the image at `path` is opened: itself, unless it is the folder of a format that is one.
fn descriptor_in<'a>(path: &'a Path, formats: &[Format]) -> Cow<'a, Path> {
    let inside = |name: &str| Some(path.join(name)).filter(|inside| inside.is_file());
    let found = path.is_dir().then(|| formats.iter().filter_map(|format| format.folder).find_map(inside));
    found.flatten().map_or(Cow::Borrowed(path), Cow::Owned)
}
