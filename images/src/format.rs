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
    /// The disk that the file describes. `opener` opens the files that it names.
    pub open: fn(Arc<dyn Disk>, &dyn Opener) -> Result<Arc<dyn Disk>>,
}

/// Opens the files that an image names: backing, extent and data files. The one gate for all of them.
pub trait Opener {
    /// Opens what `name` says, relative to the image that holds the name.
    fn open(&self, name: &Path) -> Result<Arc<dyn Disk>>;
}

/// Every image format that is recognised by its content; raw, which is not, is the fallback.
pub static FORMATS: &[Format] = &[];
