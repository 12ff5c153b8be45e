//! What an image says of itself: the words that `info` and the formats share.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Map, Value};

/// What one file of a format says of itself. All of it comes from the image, and none of it is safe to print as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// The size of the guest's disk in bytes; `None` if it could not be found out.
    pub virtual_size: Option<u64>,
    /// The unit of allocation in bytes.
    pub cluster_size: Option<u64>,
    /// How the guest's data is encrypted: `luks`, `aes`.
    pub encryption: Option<String>,
    /// Whether a writer has not closed it.
    pub dirty: bool,
    /// The file that has what this one does not.
    pub backing: Option<Named>,
    /// Other files that belong to it: extents, data files.
    pub files: Vec<Named>,
    /// The internal snapshots in the order of the file.
    pub snapshots: Vec<Snapshot>,
    /// The whole disks in it, if it is an appliance, in their order.
    pub disks: Vec<Contained>,
    /// What only this format has, with the field names of `qemu-img info`.
    pub specific: Map<String, Value>,
}

/// A file as an image names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name as it stands in the image.
    pub name: Vec<u8>,
    /// The format that the image says it has.
    pub format: Option<String>,
}

/// A disk of an appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contained {
    /// The name of its file as the appliance has it.
    pub name: String,
    /// The name of its format; `None` if it could not be found out.
    pub format: Option<&'static str>,
    /// The size of the guest's disk in bytes; `None` if it could not be found out.
    pub virtual_size: Option<u64>,
    /// Why it cannot be opened.
    pub problem: Option<String>,
}

impl Named {
    pub(crate) fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.name))
    }
}

/// An internal snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its identifier, which [`Options::snapshot`](crate::Options::snapshot) takes; unique unless the image is damaged.
    pub id: String,
    /// Its name, which need not be unique.
    pub name: String,
    /// The size of the guest's disk when it was taken, in bytes.
    pub size: u64,
    /// When it was taken: seconds since 1970 in UTC, and nanoseconds.
    pub date: (u32, u32),
    /// How long the guest had run, in nanoseconds.
    pub vm_clock: u64,
    /// The size of the saved machine state in bytes; 0 if only the disk was saved.
    pub vm_state_size: u64,
    /// How many instructions the guest had executed, where that was counted.
    pub icount: Option<u64>,
}
