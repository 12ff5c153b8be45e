//! A file of a chain that was found, and how it is opened as an image.

use std::sync::Arc;

use super::principal::Principal;
use super::{Gate, Rules};
use crate::disk::ReadOnly;
use crate::format::{Format, Request};
use crate::origin::Origin;
use crate::{Disk, Error, Result, ResultExt};

/// An image file that was found, and what is known of it before its content is read.
pub(crate) struct Found {
    /// The file, open for reading.
    pub origin: Origin,
    /// Its format; `None` is raw.
    pub format: Option<&'static Format>,
    /// Whether the user or the image that names it said the format. Else its content did.
    pub is_told: bool,
    /// The format that it looks like, though it is not read as one.
    pub looks_like: Option<&'static str>,
    /// Those who had a say in its name.
    pub(super) principals: Vec<Principal>,
}

impl Found {
    /// What the user named.
    pub fn by_user(origin: Origin, format: Option<&'static Format>, is_told: bool) -> Self {
        Self { origin, format, is_told, looks_like: None, principals: Vec::new() }
    }

    /// Its bytes, for a reader of its format; with a writer only if that format has one.
    pub fn file(&self) -> Arc<dyn Disk> {
        let file = self.origin.disk();
        match self.format {
            Some(format) if !format.writes && file.writer(0..0).is_ok() => {
                let why = format!("{file}: {} images are not written; --overlay leaves it as it is", format.name);
                Arc::new(ReadOnly::new(file, why))
            }
            _ => file,
        }
    }

    /// Opens it as what it is: the image itself, or a file that the image behind `namer` names.
    pub fn open(&self, snapshot: Option<&str>, rules: Rules<'_>, namer: Option<&Gate<'_>>) -> Result<Arc<dyn Disk>> {
        let file = self.file();
        if self.origin.has_writer() {
            log::warn!("{file} is open for writing in a running QEMU: what is read may not fit together");
        }
        if let Some(format) = self.looks_like {
            log::warn!(
                "{file} starts like a {format} image and is read as raw, as all devices are: --format={format} if not"
            );
        }
        let Some(format) = self.format else {
            return match snapshot {
                Some(_) => Err(Error::Unsupported(format!("{file} is a raw image, which has no snapshots"))),
                None => Ok(file),
            };
        };
        let gate = Gate::new(self, rules, namer)?;
        let opened = (format.open)(file.clone(), &Request { opener: &gate, snapshot, budget: rules.budget });
        match opened {
            // The file where the error arose and the file that the user gave are enough: a chain has up to 128 between.
            Err(error) if namer.is_some() && gate.failed_below() => Err(error),
            opened => opened.within(file),
        }
    }
}
