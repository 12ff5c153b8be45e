//! What one image file comes from: its bytes, and who it is.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;
use std::sync::Arc;

use crate::address::Address;
use crate::disk::{Access, HostFile, printable};
use crate::format::Beside;
use crate::location::Location;
use crate::source::Source;
use crate::{Budget, Disk, Error, Result, lock, read_only};

/// An open image file.
#[derive(Clone)]
pub enum Origin {
    /// A file or block device of this host.
    Host(Arc<HostFile>),
    /// What an address led to.
    Remote(Arc<Remote>),
}

/// What an address led to.
pub struct Remote {
    address: Address,
    source: &'static Source,
    disk: Arc<dyn Disk>,
}

/// What tells one origin from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A file of the host by its device and inode.
    File(u64, u64),
    /// What the address says, however it is written.
    Address(Address),
}

impl Identity {
    /// That of a file of the host.
    pub fn of(metadata: &Metadata) -> Self {
        Self::File(metadata.dev(), metadata.ino())
    }
}

impl Remote {
    /// Opens what `address` leads to, by the one of these sources that reads it.
    pub fn open(address: Address, sources: &'static [Source], budget: &Budget) -> Result<Self> {
        let Some(source) = sources.iter().find(|source| source.reads(address.scheme())) else {
            return Err(Error::Unsupported(format!("{address}: nothing reads the scheme {}", address.scheme())));
        };
        Self::open_by(source, address, budget)
    }

    fn open_by(source: &'static Source, address: Address, budget: &Budget) -> Result<Self> {
        let disk = (source.open)(&address, budget)?;
        Ok(Self { address, source, disk })
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Whether others may lie beside it.
    pub fn has_folder(&self) -> bool {
        self.source.folders
    }

    /// Opens the file `name` of the same server, a path that is relative to this one.
    pub fn beside(&self, name: &OsStr, budget: &Budget) -> Result<Self> {
        Self::open_by(self.source, self.address.beside(name), budget)
    }
}

impl Origin {
    /// Opens what the user gave. What lies elsewhere than on this host is for reading only; a file that is written is
    /// locked, and refused if somebody else uses it.
    pub fn open(location: Location, access: Access, sources: &'static [Source], budget: &Budget) -> Result<Self> {
        Ok(match location {
            Location::Host(path) => {
                let file = HostFile::open_for(&path, access)?;
                if access == Access::ReadWrite {
                    lock::for_writing(&file, file.file())?;
                }
                Self::Host(Arc::new(file))
            }
            Location::Address(address) if access == Access::ReadWrite => {
                return Err(read_only!("{address} does not lie on this host: it cannot be written"));
            }
            Location::Address(address) => Self::Remote(Arc::new(Remote::open(address, sources, budget)?)),
        })
    }

    /// Its bytes.
    pub fn disk(&self) -> Arc<dyn Disk> {
        match self {
            Self::Host(file) => file.clone(),
            Self::Remote(remote) => remote.disk.clone(),
        }
    }

    /// Where it was found.
    pub fn location(&self) -> Location {
        match self {
            Self::Host(file) => Location::Host(file.path().to_owned()),
            Self::Remote(remote) => Location::Address(remote.address.clone()),
        }
    }

    /// What tells it from others.
    pub fn identity(&self) -> Result<Identity> {
        Ok(match self {
            Self::Host(file) => Identity::of(&file.metadata()?),
            Self::Remote(remote) => Identity::Address(remote.address.clone()),
        })
    }

    /// What the host says of it, if it is a file of the host.
    pub fn metadata(&self) -> Result<Option<Metadata>> {
        match self {
            Self::Host(file) => file.metadata().map(Some),
            Self::Remote(_) => Ok(None),
        }
    }

    /// Whether it is a block device: a guest may have the whole of one and write there what it likes.
    pub fn is_block_device(&self) -> Result<bool> {
        Ok(self.metadata()?.is_some_and(|metadata| metadata.file_type().is_block_device()))
    }

    /// Keeps others who look at locks from writing it as long as it is open. Fails if somebody writes it.
    pub fn keep_as_it_is(&self) -> Result<()> {
        match self {
            Self::Host(file) => lock::against_writing(&**file, file.file()),
            Self::Remote(_) => Ok(()),
        }
    }

    /// Whether a QEMU of this host has it open for writing.
    pub fn has_writer(&self) -> bool {
        match self {
            Self::Host(file) => lock::has_writer(file.file()),
            Self::Remote(_) => false,
        }
    }

    /// Asks `ask` of its name and of what lies beside it; `None` if it has no name. A link to a file of the host has no
    /// say: what counts is the file itself.
    pub fn beside<T>(&self, budget: &Budget, ask: impl FnOnce(&Beside<'_>) -> T) -> Option<T> {
        match self {
            Self::Host(file) => {
                let path = path_of(file).unwrap_or_else(|| file.path().to_owned());
                let has = |name: &OsStr| path.with_file_name(name).is_file();
                Some(ask(&Beside { shown: printable(&path), name: path.file_name()?, has: &has }))
            }
            Self::Remote(remote) => {
                let name = remote.address.file_name()?;
                let has = |name: &OsStr| remote.has_folder() && remote.beside(name, budget).is_ok();
                Some(ask(&Beside { shown: self.to_string(), name: &name, has: &has }))
            }
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(file) => file.fmt(f),
            Self::Remote(remote) => remote.address.fmt(f),
        }
    }
}

/// The path of an open file as the kernel has it.
pub fn path_of(file: &HostFile) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", file.file().as_raw_fd())).ok()
}
