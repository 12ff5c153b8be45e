//! A file of the host as a disk: the bottom of every stack.

use std::fmt;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{SeekFrom as Whence, seek};

use super::{Data, Disk, Extent, check_range};
use crate::{Error, Result};

/// A regular file or block device of the host, open for reading.
pub struct HostFile {
    path: PathBuf,
    file: File,
    size: u64,
}

impl HostFile {
    /// Wraps an open file; `path` names it in messages. A block device's size is found by seeking to its end.
    pub fn new(path: &Path, file: File) -> Result<Self> {
        let size = (&file)
            .seek(SeekFrom::End(0))
            .map_err(|source| Error::io(format!("cannot find the size of {}", path.display()), source))?;
        Ok(Self { path: path.to_owned(), file, size })
    }

    /// The path that the file was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Display for HostFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl Disk for HostFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        self.file
            .read_exact_at(buf, offset)
            .map_err(|source| Error::io(format!("cannot read {self} at byte {offset:#x}"), source))
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let end = self.size;
        let find = |whence| seek(&self.file, whence).map(|at| at.clamp(offset, end));
        let data = match find(Whence::Data(offset)) {
            Ok(at) if at > offset => return Ok(Extent { len: at - offset, data: Data::Hole }),
            Ok(at) => at,
            Err(rustix::io::Errno::NXIO) => return Ok(Extent { len: end - offset, data: Data::Hole }),
            // Devices and file systems without SEEK_DATA: everything is data.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::OPNOTSUPP) => {
                return Ok(Extent { len: end - offset, data: Data::Host(&self.file, offset) });
            }
            Err(errno) => return Err(Error::io(format!("cannot map {self}"), io::Error::from(errno))),
        };
        let hole = find(Whence::Hole(data)).unwrap_or(end);
        Ok(Extent { len: hole.max(offset + 1) - offset, data: Data::Host(&self.file, offset) })
    }
}
