//! An unnamed temporary file that is written until it is dropped.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{HostFile, printable};
use crate::storage::{self, Storage};
use crate::{Budget, Disk, DiskMut, Error, Extent, Properties, Result, Writer};

/// An empty file without a name, which grows as far as the storage allows.
pub struct Temporary {
    file: HostFile,
    held: Arc<Held>,
}

/// What the file takes of the storage.
struct Held {
    name: String,
    file: std::fs::File,
    folder: PathBuf,
    storage: Arc<Storage>,
    bytes: AtomicU64,
}

impl Temporary {
    /// For what is written over `image`.
    pub fn new(image: &str, budget: &Budget) -> Result<Self> {
        let (name, folder) = (format!("what is written over {image}"), storage::folder());
        let failed = |source| {
            let shown = printable(&folder);
            Error::io(format!("cannot keep {name} in {shown} (the variable TMPDIR can name another folder)"), source)
        };
        let file = storage::unnamed(&folder).map_err(failed)?;
        let again = file.try_clone().map_err(failed)?;
        let file = HostFile::writing(Path::new(&name), file)?;
        let held = Held { name, file: again, folder, storage: budget.storage(), bytes: AtomicU64::new(0) };
        Ok(Self { file, held: Arc::new(held) })
    }
}

impl fmt::Display for Temporary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.fmt(f)
    }
}

impl Disk for Temporary {
    fn size(&self) -> u64 {
        self.file.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_at(buf, offset)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        self.file.extent_at(offset)
    }

    fn properties(&self) -> Properties {
        self.file.properties()
    }

    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        Ok(Box::new(Temporal { inner: self.file.writer(bytes)?, held: self.held.clone() }))
    }
}

/// Its writer.
struct Temporal {
    inner: Writer,
    held: Arc<Held>,
}

impl DiskMut for Temporal {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.inner.write_at(data, offset)
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.inner.zero_at(offset, len)
    }

    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.inner.discard_at(offset, len)
    }

    /// Nothing: after a cut of the power the file is gone.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn grow(&self, size: u64) -> Result<()> {
        let Held { name, file, folder, storage, bytes } = &*self.held;
        let more = size.saturating_sub(bytes.fetch_max(size, Ordering::Relaxed));
        if storage.take(more, file, folder).is_err() {
            bytes.fetch_sub(more, Ordering::Relaxed);
            log::warn!(
                "{name} takes more of {} than --unpack-limit allows (without it: half of what was free)",
                printable(folder)
            );
            return Err(Error::io(name.clone(), io::ErrorKind::StorageFull.into()));
        }
        self.inner.grow(size)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.storage.give_back(*self.bytes.get_mut());
    }
}
