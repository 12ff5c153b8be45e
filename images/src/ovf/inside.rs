//! The files of an archive, for the images in it: nothing leads out of it.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::Arc;

use super::tar::Archive;
use crate::crypt::{Attempt, ImageKey, ImageLock};
use crate::disk::printable;
use crate::format::{self, Format, Opener, RAW, Request};
use crate::{Budget, Disk, Error, Result, ResultExt, unsupported};

/// How many images in an archive may lie in each other or name each other in a row; ours. This also ends loops.
const MAX_DEPTH: usize = 16;

/// Opens the members of an archive that one of them names.
pub struct Inside<'a> {
    archive: &'a Archive,
    /// What the archive itself was opened with.
    outside: &'a dyn Opener,
    /// The name of the member that names others; their names are relative to its folder.
    namer: &'a [u8],
    depth: usize,
    budget: &'a Budget,
}

impl<'a> Inside<'a> {
    /// For the names in the member `namer`.
    pub fn new(archive: &'a Archive, outside: &'a dyn Opener, namer: &'a [u8], budget: &'a Budget) -> Self {
        Self { archive, outside, namer, depth: 0, budget }
    }

    /// The name of the member that `name` says.
    fn locate(&self, name: &Path) -> Result<Vec<u8>> {
        if name.as_os_str().as_bytes().windows(3).any(|three| three == b"://") {
            return Err(Error::Denied(format!("it names {}: nothing leads out of an archive", printable(name))));
        }
        let mut parts: Vec<&[u8]> = self.namer.split(|byte| *byte == b'/').collect();
        parts.pop();
        for component in name.components() {
            match component {
                Component::Normal(part) => parts.push(part.as_bytes()),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    let name = printable(name);
                    return Err(Error::Denied(format!("it names {name}: nothing leads out of an archive")));
                }
            }
        }
        Ok(parts.join(&b'/'))
    }

    fn of_name(&self, name: &str) -> Result<Option<&'static Format>> {
        format::named(name, self.formats()).map_err(|error| Error::Unsupported(error.to_string()))
    }

    fn open_as<'b>(
        &'b self,
        disk: Arc<dyn Disk>,
        format: Option<&Format>,
        snapshot: Option<&str>,
        namer: &'b [u8],
    ) -> Result<Arc<dyn Disk>> {
        let Some(format) = format else {
            return match snapshot {
                Some(_) => Err(unsupported!("{disk} is a raw image, which has no snapshots")),
                None => Ok(disk),
            };
        };
        if format.disks.is_some() {
            return Err(unsupported!("{disk} is an appliance in an appliance"));
        }
        if self.depth == MAX_DEPTH {
            return Err(unsupported!("more than {MAX_DEPTH} images in an archive, each in or named by the one before"));
        }
        let inside = Inside { namer, depth: self.depth + 1, ..*self };
        let name = disk.to_string();
        (format.open)(disk, &Request { opener: &inside, snapshot, budget: self.budget }).within(name)
    }
}

impl Opener for Inside<'_> {
    fn open(&self, name: &Path, format: Option<&str>) -> Result<Arc<dyn Disk>> {
        self.budget.count_file()?;
        let member = self.locate(name)?;
        let Some(disk) = self.archive.get(&member)? else {
            let what = format!("{} is not in the archive", printable(name));
            return Err(Error::io(what, ErrorKind::NotFound.into()));
        };
        let format = match format {
            Some(RAW) => return Ok(disk),
            Some(name) => self.of_name(name)?,
            None => match format::recognise(&disk, self.formats())? {
                None => {
                    return Err(Error::Unknown(format!("no format is recorded for {disk}, and none is recognised")));
                }
                found => found,
            },
        };
        self.open_as(disk, format, None, &member)
    }

    fn open_inside(
        &self,
        inside: Arc<dyn Disk>,
        format: Option<&str>,
        snapshot: Option<&str>,
    ) -> Result<Arc<dyn Disk>> {
        let format = match format {
            Some(name) => self.of_name(name)?,
            None => format::recognise(&inside, self.formats())?,
        };
        self.open_as(inside, format, snapshot, self.namer)
    }

    fn unlock(&self, lock: &ImageLock, attempt: &mut Attempt<'_>) -> Result<ImageKey> {
        self.outside.unlock(lock, attempt)
    }

    fn formats(&self) -> &'static [Format] {
        self.outside.formats()
    }

    fn file_name(&self) -> Option<&OsStr> {
        self.namer.rsplit(|byte| *byte == b'/').next().map(OsStr::from_bytes)
    }
}
