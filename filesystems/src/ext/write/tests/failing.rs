//! A host that fails at any write.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use images::disk::Properties;
use images::{DiskMut, Error, Extent, Writer};

use super::*;

/// A disk that writes and flushes so many times, and then fails.
struct Failing {
    inner: Memory,
    left: Arc<AtomicUsize>,
}

struct FailingWriter {
    inner: Writer,
    left: Arc<AtomicUsize>,
}

impl FailingWriter {
    fn step(&self) -> Result<()> {
        let one_less = |left: usize| left.checked_sub(1);
        let done = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
        done.map(|_| ()).map_err(|_| Error::io("cannot write failing", std::io::ErrorKind::StorageFull.into()))
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failing")
    }
}

impl Disk for Failing {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.inner.read_at(buf, offset)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        self.inner.extent_at(offset)
    }

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        Ok(Box::new(FailingWriter { inner: self.inner.writer(bytes)?, left: self.left.clone() }))
    }
}

impl DiskMut for FailingWriter {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.step()?;
        self.inner.write_at(data, offset)
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.step()?;
        self.inner.zero_at(offset, len)
    }

    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.step()?;
        self.inner.discard_at(offset, len)
    }

    fn flush(&self) -> Result<()> {
        self.step()?;
        self.inner.flush()
    }

    fn grow(&self, size: u64) -> Result<()> {
        self.inner.grow(size)
    }
}

/// Fails at each write and flush in turn: then nothing is written any more, and what is there can be replayed.
fn fail_everywhere(bytes: &[u8]) {
    for steps in 0.. {
        let left = Arc::new(AtomicUsize::new(steps));
        let disk = Arc::new(Failing { inner: Memory::new("inner", bytes.to_vec()), left });
        let opened = open(disk.clone()).unwrap();
        let Opened { volume, writing, .. } = &opened;
        let free = volume.superblock().blocks - 1;
        let mut synced = 0;
        let mut write = || {
            for seconds in 1001..=1004 {
                writing.operate(volume, |op| {
                    for number in [ROOT, LOST_AND_FOUND] {
                        let mut record = op.record(number)?;
                        record.set_modified(Time { seconds, nanoseconds: 0 });
                        op.put(&mut record)?;
                    }
                    Ok(())
                })?;
                writing.commit(volume)?;
                synced = seconds;
            }
            writing.close(volume)
        };
        let outcome = write();
        let crashed = bytes_of(&*disk);
        if outcome.is_err() {
            let error = writing.operate(volume, |_| Ok(())).unwrap_err();
            assert!(matches!(&error, Error::ReadOnly(why) if why.contains("cannot write failing")), "{error}");
            writing.commit(volume).unwrap_err();
            assert!(bytes_of(&*disk) == crashed, "it is written all the same");
        }
        let (time, _) = times(Arc::new(Memory::new("crashed", crashed.clone())), free);
        assert!(time >= synced, "{time} and not {synced} after {steps} steps");
        let (status, said, repaired) = e2fsck(&crashed, "-fp");
        assert!(status <= 1, "{said}");
        assert_clean(&repaired);
        if outcome.is_ok() {
            assert!(steps > 10);
            return assert_clean(&crashed);
        }
    }
}

#[test]
fn a_host_that_fails_leaves_what_can_be_replayed() {
    fail_everywhere(&image("-b 1024 -O has_journal,extent,64bit,metadata_csum,filetype -J size=1", 8));
}

#[test]
fn a_host_that_fails_while_a_journal_is_lent() {
    fail_everywhere(&image("-b 1024 -O none,filetype,sparse_super", 16));
}
