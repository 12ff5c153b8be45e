//! A disk that fails, or is full, at each write of a scenario.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use filesystems::{Changes, FileSystem, FileSystemMut, NewContent, NodeId, Rename};
use images::{Disk, DiskMut, Error, Extent, Properties, Result, Writer};

use super::checked::{assert_clean, bytes, memory};
use super::checker::check;
use super::{new, open_to_write, volume};

/// Counts down at every write; from 0 on it fails: once as if the host was full, or for good.
struct Failing {
    inner: Arc<dyn Disk>,
    left: Arc<AtomicU64>,
    is_full: bool,
}

struct FailingWriter(Writer, Arc<AtomicU64>, bool);

impl FailingWriter {
    fn count(&self) -> Result<()> {
        let count = |left: u64| (left != u64::MAX).then(|| if left == 0 && !self.2 { 0 } else { left.wrapping_sub(1) });
        match self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count) {
            Ok(0) if self.2 => Err(Error::NoSpace),
            Ok(0) => Err(Error::io("cannot write m", std::io::Error::other("medium error"))),
            _ => Ok(()),
        }
    }
}

impl DiskMut for FailingWriter {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.count()?;
        self.0.write_at(data, offset)
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.count()?;
        self.0.zero_at(offset, len)
    }

    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.0.discard_at(offset, len)
    }

    fn flush(&self) -> Result<()> {
        self.0.flush()
    }

    fn grow(&self, size: u64) -> Result<()> {
        self.0.grow(size)
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
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
        Ok(Box::new(FailingWriter(self.inner.writer(bytes)?, self.left.clone(), self.is_full)))
    }
}

type Step = Box<dyn Fn(&dyn FileSystem, &dyn FileSystemMut) -> Result<()>>;

fn find(fs: &dyn FileSystem, path: &str) -> NodeId {
    filesystems::resolve(fs, path.as_bytes(), true).unwrap()
}

/// Every kind of change once.
fn steps() -> Vec<Step> {
    let make = |path: &'static str, name: &'static str, content: NewContent<'static>| -> Step {
        Box::new(move |fs, writer| writer.create(find(fs, path), name.as_bytes(), &new(content)).map(drop))
    };
    let write = |path: &'static str, at: u64, len: usize| -> Step {
        Box::new(move |fs, writer| writer.write_at(find(fs, path), &vec![at as u8 + 1; len], at))
    };
    let size = |path: &'static str, size: u64| -> Step {
        Box::new(move |fs, writer| writer.set_stat(find(fs, path), &Changes { size: Some(size), ..Changes::default() }))
    };
    let rename = |from: &'static str, name: &'static str, to: &'static str, new: &'static str| -> Step {
        Box::new(move |fs, writer| {
            let (from, to) = ((find(fs, from), name.as_bytes()), (find(fs, to), new.as_bytes()));
            writer.rename(from, to, Rename::Replace)
        })
    };
    let sync = || -> Step { Box::new(|_, writer| writer.sync(None, false)) };
    let mut all = vec![
        make("/", "a directory", NewContent::Directory),
        make("/a directory", "a file", NewContent::File),
        write("/a directory/a file", 0, 3000),
        sync(),
        write("/a directory/a file", 3000, 3000),
        size("/a directory/a file", 700),
        make("/", "another file", NewContent::File),
        write("/another file", 2000, 1000),
        sync(),
        rename("/", "another file", "/a directory", "a file"),
        sync(),
        size("/a directory/a file", 9000),
        make("/", "moved", NewContent::Directory),
        rename("/", "a directory", "/moved", "there"),
    ];
    // More than one cluster of a directory holds.
    for name in
        ["one long name of a file", "two long names of a file", "three", "four long names", "five", "six long names"]
    {
        all.push(make("/moved/there", name, NewContent::File));
    }
    all.push(Box::new(|fs, writer| writer.remove(find(fs, "/moved/there"), b"three")));
    all.push(sync());
    all
}

fn tree(fs: &dyn FileSystem) -> super::model::Tree {
    let mut tree = super::model::tree::read(fs, &super::sequences::rules()).unwrap();
    tree.values_mut().for_each(|seen| seen.modified = None); // The present, which goes on.
    tree
}

/// Does all steps, each again if it failed because the host was full. How many writes there were, and the tree.
fn run(empty: &[u8], left: u64, is_full: bool) -> (u64, Arc<dyn Disk>, Option<super::model::Tree>) {
    let inner = memory(empty.to_vec());
    let left = Arc::new(AtomicU64::new(left));
    let fs = open_to_write(Arc::new(Failing { inner: inner.clone(), left: left.clone(), is_full }));
    let writer = fs.writer(fs.root()).unwrap();
    let count = || (u64::MAX / 2).saturating_sub(left.load(Ordering::Relaxed));
    let mut was_read_only = false;
    for (number, step) in steps().iter().enumerate() {
        let before = tree(fs.as_ref());
        match step(fs.as_ref(), writer) {
            Ok(()) => assert!(!was_read_only, "step {number} after a failure"),
            Err(Error::NoSpace) if is_full => {
                super::model::tree::assert_same(&tree(fs.as_ref()), &before, &super::sequences::rules(), "full");
                step(fs.as_ref(), writer).unwrap_or_else(|error| panic!("step {number} again: {error}"));
            }
            Err(Error::Io { .. } | Error::ReadOnly(_)) if !is_full => {
                was_read_only = true;
                let again = writer.create(fs.root(), b"again", &new(NewContent::File));
                assert!(matches!(again, Err(Error::ReadOnly(why)) if why.contains("medium error")));
                break;
            }
            Err(error) => panic!("step {number}: {error}"),
        }
    }
    let found = tree(fs.as_ref());
    let mut closed = writer.close();
    if is_full && closed.is_err() {
        closed = writer.close();
    }
    assert_eq!(closed.is_err(), was_read_only || (!is_full && left.load(Ordering::Relaxed) == 0), "{closed:?}");
    (count(), inner, closed.is_ok().then_some(found))
}

#[test]
fn a_failure_of_any_write() {
    for (kilobytes, args) in [(160, ["-F", "12", "-s", "1"]), (4400, ["-F", "16", "-s", "1"])] {
        let empty = volume(kilobytes, &args);
        let (writes, disk, wanted) = run(&empty, u64::MAX / 2, true);
        assert_clean(&bytes(disk.as_ref()), "no failure");
        let wanted = wanted.unwrap();
        for at in 0..writes {
            let (_, disk, found) = run(&empty, at, true);
            let when = format!("full at write {at} of {writes}");
            super::model::tree::assert_same(&found.unwrap(), &wanted, &super::sequences::rules(), &when);
            assert_clean(&bytes(disk.as_ref()), &when);
            let (_, disk, _) = run(&empty, at, false);
            check(&bytes(disk.as_ref()), &format!("failed at write {at} of {writes}"));
        }
        assert!(writes > 40, "{writes}");
    }
}
