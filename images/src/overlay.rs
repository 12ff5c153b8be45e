//! Writing over an image that stays as it is: what is written goes to a file of its own, or is thrown away.

mod backing;
mod temporary;

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{Access, HostFile, printable};
use crate::format::{Layer, RAW};
use crate::gate::Found;
use crate::image::{recognised, with_sector_size};
use crate::lock;
use crate::{Budget, Disk, Error, Options, Result, ResultExt, read_only, unsupported};
use backing::{Backing, is_same};
use temporary::Temporary;

/// Opens the image at `location`, for reading only whatever `options` say, and over it a disk that can be written.
///
/// With a path, what is written goes to that file: an overlay that QEMU can boot from and `qemu-img commit` can commit. It
/// is made, readable by its owner only, unless it is there; one that is there must be an overlay of this image, and goes
/// on from where it was left. What is encrypted in the image as such lies in the clear in its overlay.
///
/// Without one, it goes to an unnamed temporary file, which the kernel removes when the disk is dropped or the process ends,
/// however it ends: as much as [`Storage`](crate::Storage) allows. Any image can have that: of any format, from any source, of
/// several disks, an internal snapshot.
///
/// All disks of the image, in their order, as [`open_all`](crate::open_all) has them; one with a path can have one disk only.
pub fn open_overlays(location: &Path, overlay: Option<&Path>, options: &Options) -> Result<Vec<Arc<dyn Disk>>> {
    let options = &Options { access: Access::Read, ..options.clone() };
    match overlay {
        Some(path) => named(path, &recognised(location, options)?, options).map(|disk| vec![disk]),
        None => crate::open_all(location, options)?.into_iter().map(|disk| over(disk, options)).collect(),
    }
}

/// As [`open_overlays`], for an image of one disk.
pub fn open_overlay(location: &Path, overlay: Option<&Path>, options: &Options) -> Result<Arc<dyn Disk>> {
    let mut disks = open_overlays(location, overlay, options)?;
    match (disks.pop(), disks.len()) {
        (Some(disk), 0) => Ok(disk),
        (_, more) => Err(Error::Usage(format!("{} has {} disks: one is wanted", printable(location), more + 1))),
    }
}

/// A disk that reads as `base` and can be written, until it is dropped: what is written goes to a temporary file.
pub fn over(base: Arc<dyn Disk>, options: &Options) -> Result<Arc<dyn Disk>> {
    let layer = layer(options)?;
    let file = Arc::new(Temporary::new(&base.to_string(), &options.budget)?);
    (layer.create)(&*file, base.size(), None)?;
    open_layer(layer, file, base, &options.budget)
}

/// The overlay at `path` of the image in `found`, which nobody may write meanwhile.
fn named(path: &Path, found: &Found, options: &Options) -> Result<Arc<dyn Disk>> {
    let layer = layer(options)?;
    if options.snapshot.is_some() {
        let why = "it is over an internal snapshot, which no overlay can name";
        return Err(unsupported!("{}: {why}; --overlay without a file works", printable(path)));
    }
    found.origin.keep_as_it_is()?;
    let base = with_sector_size(found.open(None, options.rules(), None)?, options);
    let format = found.format.map_or(RAW, |format| format.name);
    let backing = Backing::of(&found.origin, format, path)?;
    let file = match create(path)? {
        Some(file) => {
            let made = HostFile::writing(path, file).and_then(|file| {
                (layer.create)(&file, base.size(), Some((&backing.name, format)))?;
                sync_folder(path)?;
                Ok(file)
            });
            made.inspect_err(|_| drop(std::fs::remove_file(path)))?
        }
        None => HostFile::open_for(path, Access::ReadWrite)?,
    };
    lock::for_writing(&file, file.file())?;
    let file: Arc<dyn Disk> = Arc::new(file);
    let image = &found.origin;
    match (layer.backing)(&*file).within(&file)? {
        Some((name, format)) if is_same(&name, format.as_deref(), &backing, path) => {}
        Some((name, _)) => {
            let name = String::from_utf8_lossy(&name).escape_debug().to_string();
            return Err(Error::Usage(format!("{file} is an overlay of {name}, and not of {image}")));
        }
        None => return Err(Error::Usage(format!("{file} is there, and is no overlay of {image}"))),
    }
    open_layer(layer, file, base, &options.budget)
}

fn open_layer(layer: Layer, file: Arc<dyn Disk>, base: Arc<dyn Disk>, budget: &Budget) -> Result<Arc<dyn Disk>> {
    let disk = (layer.open)(file.clone(), base.clone(), budget).within(&file)?;
    if disk.size() < base.size() {
        return Err(read_only!("{file}: the overlay is smaller than {base}: qemu-img resize makes it as large"));
    }
    Ok(disk)
}

/// The first of the formats that keeps what is written over other images.
fn layer(options: &Options) -> Result<Layer> {
    let layer = options.formats.iter().find_map(|format| format.layer);
    layer.ok_or_else(|| unsupported!("none of the image formats keeps what is written over an image"))
}

/// A new file at `path`, or `None` if there is one.
fn create(path: &Path) -> Result<Option<File>> {
    match OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
        Err(source) => Err(Error::io(format!("cannot create {}", printable(path)), source)),
    }
}

/// Makes the name of a new file durable.
fn sync_folder(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| Error::io(format!("cannot flush the folder of {}", printable(path)), source))
}
