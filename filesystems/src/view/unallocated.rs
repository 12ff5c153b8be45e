//! The free space of a file system as a disk, found when it is first asked for.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use images::disk::check_range;
use images::{Data, Disk, Error, Extent, Properties, Result, Writer, read_only};

use crate::FileSystem;

/// The space that no file of a file system uses; all else is a hole. Where it lies is found on the first access, so
/// that having such a disk costs nothing.
pub struct Unallocated {
    fs: Arc<dyn FileSystem>,
    name: String,
    size: u64,
    found: OnceLock<std::result::Result<Arc<dyn Disk>, Arc<Error>>>,
}

impl Unallocated {
    /// The free space of `fs`, on a volume of this name and this size in bytes.
    pub fn new(fs: Arc<dyn FileSystem>, name: impl fmt::Display, size: u64) -> Self {
        Self { fs, name: format!("free space of {name}"), size, found: OnceLock::new() }
    }

    /// How many bytes are free, as the file system counts.
    pub fn free(&self) -> u64 {
        let space = self.fs.space(self.fs.root()).unwrap_or_default();
        space.blocks_free.saturating_mul(space.block_size.into()).min(self.size)
    }

    fn found(&self) -> Result<&dyn Disk> {
        let look = || self.fs.forensics()?.unallocated();
        let found = self.found.get_or_init(|| look().map_err(Arc::new));
        found.as_deref().map_err(|error| Error::Shared(error.clone()))
    }
}

impl fmt::Display for Unallocated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Disk for Unallocated {
    fn size(&self) -> u64 {
        self.size
    }

    /// What lies behind the end of the file system is no part of it, and reads as a hole.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        let found = self.found()?;
        let inside = usize::try_from(found.size().saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let (inside, behind) = buf.split_at_mut(inside);
        behind.fill(0);
        if inside.is_empty() { Ok(()) } else { found.read_at(inside, offset) }
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let found = self.found()?;
        let rest = self.size - offset;
        if offset < found.size() {
            Ok(found.extent_at(offset)?.at_most(rest))
        } else {
            Ok(Extent { len: rest, data: Data::Hole })
        }
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} cannot be written"))
    }
}
