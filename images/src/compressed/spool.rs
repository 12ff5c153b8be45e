//! What was decompressed and cannot be decompressed again in little time, in an unnamed temporary file of the host.
//!
//! Memory does not grow with it, zeros take no space, and the kernel removes it when the process ends, however it ends.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::disk::{HostFile, printable};
use crate::length::remainder;
use crate::storage::{self, Storage};
use crate::{Budget, Error, Result};

/// The granularity in which zeros become holes, in bytes: the block size of most file systems.
const BLOCK: usize = 4096;

/// An unnamed file, as long as what is kept.
pub struct Spool {
    file: File,
    folder: PathBuf,
    storage: Arc<Storage>,
    /// How much of the storage is used, in bytes.
    used: AtomicU64,
}

impl Spool {
    /// An empty file in `$TMPDIR`, or in `/var/tmp`.
    pub fn new(budget: &Budget) -> Result<Self> {
        Self::within(storage::folder(), budget)
    }

    /// An empty file in this folder.
    pub fn within(folder: PathBuf, budget: &Budget) -> Result<Self> {
        let file = storage::unnamed(&folder).map_err(|source| failed(&folder, source))?;
        Ok(Self { file, folder, storage: budget.storage(), used: AtomicU64::new(0) })
    }

    /// Makes the file `size` bytes long; what is new is a hole.
    pub fn set_size(&self, size: u64) -> Result<()> {
        self.file.set_len(size).map_err(|source| failed(&self.folder, source))
    }

    /// Keeps `bytes` at `offset`, where nothing was kept before. Blocks of zeros stay holes. Fails with `Denied` if that
    /// is more than the storage allows.
    pub fn write(&self, mut bytes: &[u8], mut offset: u64) -> Result<()> {
        const ZEROS: [u8; BLOCK] = [0; BLOCK];
        if offset.checked_add(bytes.len() as u64).is_none() {
            return Err(failed(&self.folder, io::Error::from(io::ErrorKind::FileTooLarge)));
        }
        // How much of the start has data, and how much after that is zero; the first block may be cut.
        while !bytes.is_empty() {
            let mut ends = [0, 0];
            for (end, wants_zeros) in [(0, false), (1, true)] {
                let mut at = ends[0];
                while at < bytes.len() {
                    let block = BLOCK - remainder(offset + at as u64, BLOCK);
                    let block = &bytes[at..bytes.len().min(at + block)];
                    if (block == &ZEROS[..block.len()]) != wants_zeros {
                        break;
                    }
                    at += block.len();
                }
                ends[end] = at;
            }
            let [data, zeros] = ends;
            self.storage.take(data as u64, &self.file, &self.folder)?;
            self.used.fetch_add(data as u64, Ordering::Relaxed);
            self.file.write_all_at(&bytes[..data], offset).map_err(|source| failed(&self.folder, source))?;
            let done = data.max(zeros);
            bytes = &bytes[done..];
            offset += done as u64;
        }
        Ok(())
    }

    /// The file as a disk that messages call `name`. What is written later can be read, if it lies inside.
    pub fn disk(&self, name: &str) -> Result<HostFile> {
        let file = self.file.try_clone().map_err(|source| failed(&self.folder, source))?;
        HostFile::new(Path::new(name), file)
    }
}

impl Spool {
    /// The file itself. What it takes of the storage is not given back.
    pub fn into_file(self) -> Result<File> {
        let file = self.file.try_clone().map_err(|source| failed(&self.folder, source))?;
        self.used.store(0, Ordering::Relaxed);
        Ok(file)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.storage.give_back(*self.used.get_mut());
    }
}

fn failed(folder: &Path, source: io::Error) -> Error {
    let folder = printable(folder);
    Error::io(
        format!("cannot keep what is decompressed in {folder} (the variable TMPDIR can name another folder)"),
        source,
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::Disk;

    #[test]
    fn zeros_take_no_space_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::within(folder.path().to_owned(), &Budget::default()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has no name");
        let mut want = vec![0; 1 << 20];
        for at in [0, 4095, 8192, 100_000, 100_001, 500_000, (1 << 20) - 1] {
            want[at] = 7;
        }
        spool.set_size(want.len() as u64).unwrap();
        for (at, chunk) in (0..).step_by(77_777).zip(want.chunks(77_777)) {
            spool.write(chunk, at).unwrap();
        }
        let disk = spool.disk("spool").unwrap();
        let mut have = vec![1; want.len()];
        disk.read_at(&mut have, 0).unwrap();
        assert!(have == want);
        assert!(spool.file.metadata().unwrap().blocks() * 512 <= 32 << 10);
        spool.write(&[0; 10], u64::MAX - 5).unwrap_err();
    }

    #[test]
    fn no_more_is_kept_than_the_storage_allows() {
        let folder = tempfile::tempdir().unwrap();
        let budget = Budget::with_storage(0, Storage::new(Some(100_000)));
        let spool = || Spool::within(folder.path().to_owned(), &budget).unwrap();
        let (first, second) = (spool(), spool());
        first.write(&[1; 60_000], 0).unwrap();
        second.write(&[0; 1 << 20], 0).unwrap();
        let error = second.write(&[1; 50_000], 1 << 20).unwrap_err().to_string();
        assert!(error.contains("100000 bytes in /") && error.contains("--unpack-limit"), "{error}");
        drop(first);
        second.write(&[1; 50_000], 1 << 20).unwrap();
        second.into_file().unwrap();
        spool().write(&[1; 50_001], 0).unwrap_err();
        spool().write(&[1; 50_000], 0).unwrap();
        let half = Budget::default();
        Spool::within(folder.path().to_owned(), &half).unwrap().write(&[1; 100], 0).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_keep_it_is_named() {
        let error = Spool::within("/nowhere".into(), &Budget::default()).err().unwrap().to_string();
        let want =
            "cannot keep what is decompressed in /nowhere (the variable TMPDIR can name another folder): No such";
        assert!(error.starts_with(want), "{error}");
    }
}
