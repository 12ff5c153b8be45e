//! What images may make the program put into temporary files: what is decompressed, within one limit.

use std::collections::HashMap;
use std::env;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::disk::{next_number, printable};
use crate::{Budget, Data, Disk, Error, Result, unsupported};

/// How many files are decompressed whole in the life of the program; ours. Each costs as much work as its content is
/// long, and an appliance can name a thousand.
const MAX_UNPACKED: usize = 256;

/// Where temporary files lie if the environment names no folder.
const FOLDER: &str = "/var/tmp";

/// The temporary files of all images of the program together.
#[derive(Default)]
pub struct Storage {
    /// What the user allows, in bytes.
    given: Option<u64>,
    /// What holds: found out when something is kept.
    limit: OnceLock<u64>,
    used: AtomicU64,
    contents: Mutex<Contents>,
}

#[derive(Default)]
struct Contents {
    /// How many files were decompressed.
    count: usize,
    /// What became of those that can be told apart: it is kept as long as this is.
    known: HashMap<Identity, Content>,
}

/// The content of a file, or why it cannot be had.
type Content = std::result::Result<Arc<File>, Arc<Error>>;

/// Bytes that lie in one piece of a file of the host: device, inode, time of its last change, offset and length.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Identity(u64, u64, (i64, i64), u64, u64);

impl Identity {
    fn of(file: &dyn Disk) -> Option<Self> {
        let extent = (file.size() > 0).then(|| file.extent_at(0))?.ok()?;
        match extent.data {
            Data::Host(host, offset) if extent.len == file.size() => {
                let host = host.metadata().ok()?;
                Some(Self(host.dev(), host.ino(), (host.mtime(), host.mtime_nsec()), offset, extent.len))
            }
            _ => None,
        }
    }
}

impl Budget {
    /// A budget of `limit` bytes, where what is decompressed goes to `storage`.
    pub fn with_storage(limit: u64, storage: Storage) -> Self {
        let budget = Self::new(limit);
        budget.shared(|| storage);
        budget
    }

    /// Where what is decompressed is kept, if that is not in memory.
    pub(crate) fn storage(&self) -> Arc<Storage> {
        self.shared(Storage::default)
    }
}

impl Storage {
    /// At most `limit` bytes in temporary files; with `None`, half of what is free where they lie.
    pub fn new(limit: Option<u64>) -> Self {
        Self { given: limit, ..Self::default() }
    }

    /// Takes `bytes` more of the file system that `file` lies on, in the folder `place`.
    pub(crate) fn take(&self, bytes: u64, file: &File, place: &Path) -> Result<()> {
        let limit = *self.limit.get_or_init(|| self.given.unwrap_or_else(|| half_of_free(file)));
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= limit);
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok() {
            return Ok(());
        }
        let (place, whose) = (
            printable(place),
            match self.given {
                Some(_) => "what --unpack-limit allows",
                None => "half of what was free there",
            },
        );
        Err(Error::Denied(format!(
            "decompressed, it takes more than {limit} bytes in {place}, {whose}; --unpack-limit SIZE allows more, and \
             the variable TMPDIR can name another folder"
        )))
    }

    /// Gives `bytes` back.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The whole content of `file`, by `unpack`; that is done once, by whatever name the same bytes are opened again.
    pub(crate) fn once(&self, file: &dyn Disk, unpack: impl FnOnce() -> Result<File>) -> Result<Arc<File>> {
        let identity = Identity::of(file);
        let mut contents = self.contents();
        if let Some(known) = identity.and_then(|identity| contents.known.get(&identity)) {
            return known.clone().map_err(Error::Shared);
        }
        contents.count += 1;
        if contents.count > MAX_UNPACKED {
            return Err(unsupported!("more than {MAX_UNPACKED} files that must be decompressed whole"));
        }
        drop(contents);
        let content = match unpack() {
            Ok(file) => Ok(Arc::new(file)),
            // What failed on the host, or for want of memory, may work the next time.
            Err(error) if matches!(error.root(), Error::Io { .. } | Error::Memory(_)) => return Err(error),
            Err(error) => Err(Arc::new(error)),
        };
        if let Some(identity) = identity {
            self.contents().known.insert(identity, content.clone());
        }
        content.map_err(Error::Shared)
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where temporary files lie: in `$TMPDIR`, or in `/var/tmp`, for `/tmp` is memory on many hosts.
pub(crate) fn folder() -> PathBuf {
    let folder = env::var_os("TMPDIR").filter(|folder| !folder.is_empty());
    folder.map_or_else(|| FOLDER.into(), PathBuf::from)
}

/// A file without a name, which only its owner could open if it had one.
pub(crate) fn unnamed(folder: &Path) -> io::Result<File> {
    const MODE: u32 = 0o600;
    let open = |flags: OFlags, path: &Path| {
        let flags = (flags | OFlags::CLOEXEC).bits() as i32;
        OpenOptions::new().read(true).write(true).mode(MODE).custom_flags(flags).open(path)
    };
    match open(OFlags::TMPFILE, folder) {
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => (),
        opened => return opened,
    }
    // File systems without O_TMPFILE, as NFS: it has a name for a moment.
    let path = folder.join(format!("imgmount-{}-{}", std::process::id(), next_number()));
    let file = open(OFlags::CREATE | OFlags::EXCL, &path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// Half of what an ordinary user may still take of the file system that `file` lies on, in bytes.
fn half_of_free(file: &File) -> u64 {
    // A file system that does not say what is free ends the work by itself when nothing is.
    rustix::fs::fstatvfs(file).map_or(u64::MAX, |all| all.f_bavail.saturating_mul(all.f_frsize) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{HostFile, Memory};

    #[test]
    fn what_is_unpacked_is_unpacked_once_by_all_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&first, vec![7; 10_000]).unwrap();
        std::fs::hard_link(&first, &second).unwrap();
        let storage = Storage::default();
        let unpack = |path: &Path| {
            let mut calls = 0;
            let made = storage.once(&HostFile::open(path).unwrap(), || {
                calls += 1;
                Ok(tempfile::tempfile().unwrap())
            });
            (made.is_ok(), calls)
        };
        assert_eq!((unpack(&first), unpack(&second)), ((true, 1), (true, 0)));
        std::fs::write(&first, vec![8; 10_001]).unwrap();
        assert_eq!(unpack(&second), (true, 1), "it was changed");
        let memory = Memory::new("m", vec![1; 100]);
        let mut calls = 2;
        let mut made = |error: Option<Error>| {
            calls += 1;
            storage.once(&memory, || error.map_or_else(|| Ok(tempfile::tempfile().unwrap()), Err)).is_ok()
        };
        assert!(
            !made(Some(Error::Memory("no".into()))) && made(None) && made(None),
            "nothing tells that it is the same"
        );
        while made(None) {}
        assert_eq!(calls, MAX_UNPACKED + 1);
    }

    #[test]
    fn a_failure_is_kept_unless_it_is_the_hosts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [1; 100]).unwrap();
        let (storage, file) = (Storage::default(), HostFile::open(file.path()).unwrap());
        storage.once(&file, || Err(Error::Memory("first".into()))).unwrap_err();
        storage.once(&file, || Err(unsupported!("second"))).unwrap_err();
        let error = storage.once(&file, || Err(unsupported!("third"))).unwrap_err();
        assert_eq!(error.to_string(), "second");
    }
}
