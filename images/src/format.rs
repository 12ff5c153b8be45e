//! How an image format is found and opened: one table of leaves, and the gate for the files that images name.

use std::path::Path;
use std::sync::Arc;

use crate::{Disk, Result};

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
}

/// Opens the files that an image names: backing, extent and data files. The one gate for all of them.
pub trait Opener {
    /// Opens what `name` says, relative to the image that holds the name, as the image format `format`.
    ///
    /// `raw` is the format of a file that is its own content, as an external data file is. With `None` the file is
    /// probed, and it is an error if nothing recognises it. A `json:` name that holds a format overrides `format`.
    fn open(&self, name: &Path, format: Option<&str>) -> Result<Arc<dyn Disk>>;
}

/// Every image format that is recognised by its content; raw, which is not, is the fallback.
pub static FORMATS: &[Format] = &[crate::qcow2::FORMAT];
