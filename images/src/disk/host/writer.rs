//! Writing to a file of the host.

use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::{HostFile, Open};
use crate::disk::claim::Claim;
use crate::disk::{DiskMut, Writer};
use crate::{Error, Result, read_only};

/// What is written at once where the host has no other way to make zeros.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// The writer of these bytes of `disk`, whose file is `open`.
pub(super) fn of(disk: &HostFile, open: &Arc<Open>, bytes: Range<u64>) -> Result<Writer> {
    let claim = open.claims.take(disk, bytes)?;
    Ok(Box::new(HostWriter { open: open.clone(), claim }))
}

struct HostWriter {
    open: Arc<Open>,
    claim: Claim,
}

impl HostWriter {
    fn check(&self, offset: u64, len: u64) -> Result<()> {
        self.claim.check(&self.open.name, self.open.size.load(Ordering::Acquire), offset, len)
    }

    /// Notes that something was written, or may have been in part, after that was done.
    fn wrote(&self, done: std::io::Result<()>, verb: &str, offset: u64) -> Result<()> {
        self.open.is_unflushed.store(true, Ordering::Release);
        done.map_err(|source| Error::io(format!("cannot {verb} {} at byte {offset:#x}", self.open.name), source))
    }

    /// Makes a hole. `false` if the host has none there: its file system or device may know none, a device's holes are whole
    /// sectors, and none is empty.
    fn punch(&self, offset: u64, len: u64) -> std::io::Result<bool> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let done = loop {
            match fallocate(&self.open.file, flags, offset, len) {
                Err(Errno::INTR) => {}
                done => break done,
            }
        };
        // Mapped as data, the run that was found last would still read right, but `extent_at` can do better.
        *self.open.last_data.lock().unwrap_or_else(PoisonError::into_inner) = 0..0;
        match done {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    fn write_zeros(&self, mut offset: u64, mut len: u64) -> std::io::Result<()> {
        while len > 0 {
            let now = &ZEROS[..len.min(ZEROS.len() as u64) as usize];
            self.open.file.write_all_at(now, offset)?;
            offset += now.len() as u64;
            len -= now.len() as u64;
        }
        Ok(())
    }
}

impl DiskMut for HostWriter {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.check(offset, data.len() as u64)?;
        self.wrote(self.open.file.write_all_at(data, offset), "write", offset)
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.check(offset, len)?;
        let done = self.punch(offset, len).and_then(|done| if done { Ok(()) } else { self.write_zeros(offset, len) });
        self.wrote(done, "zero", offset)
    }

    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.check(offset, len)?;
        self.wrote(self.punch(offset, len).map(|_| ()), "discard", offset)
    }

    /// After a flush that failed the kernel takes what it could not write for written, so that a second one would lie.
    fn flush(&self) -> Result<()> {
        // Who waits here finds that the other thread's flush was his, too, unless something was written since it began.
        let mut failed = self.open.flush.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_none() && self.open.is_unflushed.swap(false, Ordering::AcqRel) {
            let done = self.open.file.sync_data();
            let error = done.map_err(|source| Error::io(format!("cannot flush {}", self.open.name), source)).err();
            *failed = error.map(Arc::new);
        }
        failed.as_ref().map_or(Ok(()), |error| Err(Error::Shared(error.clone())))
    }

    fn grow(&self, size: u64) -> Result<()> {
        let name = &self.open.name;
        self.claim.check_end(name)?;
        // Two that grow at the same time must not shrink: the lock is one that no reader takes.
        let _one = self.open.flush.lock().unwrap_or_else(PoisonError::into_inner);
        if size <= self.open.size.load(Ordering::Acquire) {
            return Ok(());
        }
        let failed = |source| Error::io(format!("cannot make {name} {size} bytes long"), source);
        if self.open.file.metadata().map_err(failed)?.file_type().is_block_device() {
            return Err(read_only!("{name} cannot grow: it is a device"));
        }
        self.open.file.set_len(size).map_err(failed)?;
        self.open.is_unflushed.store(true, Ordering::Release);
        self.open.size.store(size, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use rustix::fs::{OFlags, fcntl_getfl};

    use super::*;
    use crate::disk::{Access, Data, Disk};

    const KIB64: u64 = 64 << 10;

    fn file_of(size: u64) -> (tempfile::NamedTempFile, HostFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), vec![1; size as usize]).unwrap();
        let disk = HostFile::open_for(file.path(), Access::ReadWrite).unwrap();
        (file, disk)
    }

    #[test]
    fn a_file_is_open_as_it_was_asked_for() {
        let (file, disk) = file_of(10);
        let mode = |file: &File| fcntl_getfl(file).unwrap() & OFlags::RWMODE;
        assert_eq!(mode(disk.file()), OFlags::RDWR);
        assert_eq!(mode(HostFile::open(file.path()).unwrap().file()), OFlags::RDONLY);
        let both = HostFile::new(Path::new("x"), disk.file().try_clone().unwrap()).unwrap();
        assert_eq!(both.writer(0..10).err().unwrap().to_string(), "x is open for reading only");
        let busy = std::env::current_exe().unwrap();
        let error = HostFile::open_for(&busy, Access::ReadWrite).err().unwrap().to_string();
        assert!(error.contains(" for writing: Text file busy"), "{error}");
        HostFile::open(&busy).unwrap();
    }

    #[test]
    fn zeros_and_what_is_discarded_take_no_space() {
        let (file, disk) = file_of(8 * KIB64);
        assert_eq!(disk.extent_at(0).unwrap().len, 8 * KIB64, "all of it is known as data");
        let writer = disk.writer(0..8 * KIB64).unwrap();
        writer.zero_at(KIB64, 2 * KIB64).unwrap();
        writer.discard_at(4 * KIB64 - 100, KIB64 + 200).unwrap();
        let extents: Vec<_> = [0, KIB64, 3 * KIB64, 4 * KIB64, 5 * KIB64]
            .map(|at| disk.extent_at(at).unwrap())
            .map(|extent| (matches!(extent.data, Data::Hole), extent.len / KIB64))
            .into();
        assert_eq!(extents, [(false, 1), (true, 2), (false, 1), (true, 1), (false, 3)]);
        writer.write_at(&[2; 10], KIB64 + 5).unwrap();
        writer.flush().unwrap();
        let mut want = vec![1; 8 * KIB64 as usize];
        want[KIB64 as usize..3 * KIB64 as usize].fill(0);
        want[KIB64 as usize + 5..][..10].fill(2);
        want[4 * KIB64 as usize - 100..5 * KIB64 as usize + 100].fill(0);
        assert!(std::fs::read(file.path()).unwrap() == want);
        assert_eq!(file.as_file().metadata().unwrap().len(), 8 * KIB64, "a file is as long as before");
    }

    #[test]
    fn a_host_without_holes_is_written_zeros() {
        let (file, disk) = file_of(3 * KIB64);
        let open = &disk.open;
        let writer = HostWriter { open: open.clone(), claim: open.claims.take(&disk, 0..3 * KIB64).unwrap() };
        writer.write_zeros(100, 2 * KIB64 + 7).unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        assert!(bytes.iter().zip(0..).all(|(byte, at)| *byte == u8::from(!(100..100 + 2 * KIB64 + 7).contains(&at))));
    }
}
