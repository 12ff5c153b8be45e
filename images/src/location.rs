//! Where an image lies, as the user gives it or as another image leads there.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::address::Address;
use crate::disk::printable;
use crate::source::Source;

/// A path of this host, or the address of something elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// A file or block device of this host.
    Host(PathBuf),
    /// What one of the [`SOURCES`](crate::SOURCES) reads.
    Address(Address),
}

impl Location {
    /// What `given` means, which the user gave: an address if it starts with a scheme of one of these sources and `://`,
    /// else a path. `./` before it makes a path of anything.
    pub fn of(given: &Path, sources: &[Source]) -> Self {
        let address = given.to_str().and_then(Address::parse);
        match address.filter(|address| sources.iter().any(|source| source.reads(address.scheme()))) {
            Some(address) => Self::Address(address),
            None => Self::Host(given.to_owned()),
        }
    }

    /// Whether it is not on this host. Reads there wait, and more threads than cores pay.
    pub fn is_remote(&self) -> bool {
        matches!(self, Self::Address(_))
    }

    /// The path, if it is one of this host.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Host(path) => Some(path),
            Self::Address(_) => None,
        }
    }

    /// The same, whatever folder the process is in later.
    pub fn absolute(&self) -> Self {
        match self {
            Self::Host(path) => Self::Host(std::path::absolute(path).unwrap_or_else(|_| path.clone())),
            Self::Address(_) => self.clone(),
        }
    }

    /// The last part of it, without what is before it: a file's name.
    pub fn file_name(&self) -> Option<OsString> {
        match self {
            Self::Host(path) => path.file_name().map(OsStr::to_owned),
            Self::Address(address) => address.file_name(),
        }
    }

    /// As it is shown where nothing needs to be escaped: a path exactly, an address without what may be secret.
    pub fn shown(&self) -> Cow<'_, OsStr> {
        match self {
            Self::Host(path) => path.as_os_str().into(),
            Self::Address(address) => OsString::from(address.to_string()).into(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(path) => f.write_str(&printable(path)),
            Self::Address(address) => address.fmt(f),
        }
    }
}
