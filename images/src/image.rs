//! An image: a file of the host, and the files that it names, opened as one disk.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use crate::crypt::Secrets;
use crate::disk::{HostFile, View};
use crate::format::{self, APPLIANCES, FOLDERS, FORMATS, Format, Request};
use crate::gate::{Backing, Found, Gate, Rules, is_block_device, path_of};
use crate::{Budget, Disk, Error, Result, ResultExt, lock, split};

/// How an image is opened.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The format by its name, `raw` or one of [`FORMATS`]; otherwise the file is probed.
    pub format: Option<String>,
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
}

/// Opens the image at `path`, a regular file or a block device, and all files that it names; or the folder of a format
/// that is one.
///
/// An appliance of several disks is an error, see [`open_all`]. Every error names the file. A file that a QEMU process has
/// open for writing is logged as a warning.
pub fn open(path: &Path, options: &Options) -> Result<Arc<dyn Disk>> {
    open_with(path, options, FORMATS)
}

/// Opens the image at `path` as [`open`] does; of an appliance, all of its disks, in their order.
pub fn open_all(path: &Path, options: &Options) -> Result<Vec<Arc<dyn Disk>>> {
    let found = recognised(path, options, FORMATS)?;
    let rules = Rules::of(options, FORMATS);
    let snapshot = options.snapshot.as_deref();
    let appliance = APPLIANCES.iter().find(|(name, _)| found.format.is_some_and(|format| format.name == *name));
    let disks = match appliance {
        None => vec![open_layer(&found, snapshot, rules, None)?],
        Some((_, disks)) => {
            let gate = Gate::new(&found, rules, None)?;
            let request = Request { opener: &gate, snapshot, budget: &options.budget };
            disks(found.file.clone(), &request).within(&found.file)?
        }
    };
    Ok(disks.into_iter().map(|disk| with_sector_size(disk, options)).collect())
}

/// [`open`] with a table of formats of its own.
pub(crate) fn open_with(path: &Path, options: &Options, formats: &'static [Format]) -> Result<Arc<dyn Disk>> {
    let found = recognised(path, options, formats)?;
    let disk = open_layer(&found, options.snapshot.as_deref(), Rules::of(options, formats), None)?;
    Ok(with_sector_size(disk, options))
}

fn with_sector_size(disk: Arc<dyn Disk>, options: &Options) -> Arc<dyn Disk> {
    match options.sector_size {
        Some(size) => Arc::new(View::with_sector_size(disk, size)),
        None => disk,
    }
}

/// The image file at `path` and its format. Fails as [`open`] does.
///
/// A guest may have the whole of a block device and write there what it likes, so that one is raw unless a format is
/// given.
pub(crate) fn recognised(path: &Path, options: &Options, formats: &'static [Format]) -> Result<Found> {
    if let Some(size) = options.sector_size.filter(|size| !matches!(size, 512 | 4096)) {
        return Err(Error::Usage(format!("a sector size of {size} bytes: 512 and 4096 are possible")));
    }
    let forced = options.format.as_deref().map(|name| format::named(name, formats)).transpose()?;
    let file = HostFile::open(&descriptor_in(path))?;
    if let Some(format) = forced {
        return Ok(Found::by_user(file, format, true));
    }
    let looks = format::recognise(&file, formats)?;
    if is_block_device(&file)? {
        let mut found = Found::by_user(file, None, true);
        found.looks_like = looks.map(|format| format.name);
        return Ok(found);
    }
    if looks.is_some() {
        return Ok(Found::by_user(file, looks, false));
    }
    format::refuse_foreign(&file)?;
    let real = path_of(&file);
    let is_split = split::is_first_of_several(real.as_deref().unwrap_or(file.path()));
    let split = formats.iter().find(|format| format.name == split::FORMAT.name && is_split);
    Ok(Found::by_user(file, split, true))
}

/// The file by which the image at `path` is opened: itself, unless it is the folder of a format that is one.
fn descriptor_in(path: &Path) -> Cow<'_, Path> {
    let inside = || FOLDERS.iter().map(|name| path.join(name)).find(|inside| inside.is_file());
    let found = path.is_dir().then(inside).flatten();
    found.map_or(Cow::Borrowed(path), Cow::Owned)
}

/// Opens one file of a chain: the image itself, or a file that the image behind `namer` names.
pub(crate) fn open_layer(
    found: &Found,
    snapshot: Option<&str>,
    rules: Rules<'_>,
    namer: Option<&Gate<'_>>,
) -> Result<Arc<dyn Disk>> {
    let file = &found.file;
    if lock::has_writer(file.file()) {
        log::warn!("{file} is open for writing in a running QEMU: what is read may not fit together");
    }
    if let Some(format) = found.looks_like {
        log::warn!(
            "{file} starts like a {format} image and is read as raw, as all devices are: --format={format} if not"
        );
    }
    let Some(format) = found.format else {
        return match snapshot {
            Some(_) => Err(Error::Unsupported(format!("{file} is a raw image, which has no snapshots"))),
            None => Ok(file.clone()),
        };
    };
    let gate = Gate::new(found, rules, namer)?;
    let opened = (format.open)(file.clone(), &Request { opener: &gate, snapshot, budget: rules.budget });
    match opened {
        // The file where the error arose and the file that the user gave are enough: a chain has up to 128 between.
        Err(error) if namer.is_some() && gate.failed_below() => Err(error),
        opened => opened.within(file),
    }
}
