//! The host is full, or its disk fails, at every single write: the writer is told, and the image stays sound.

use std::fmt;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::images::disk::Memory;
use ::images::{Budget, Disk, DiskMut, Error, Extent, Properties, Request, Result, Writer};

use crate::images::{Kind, Source};
use crate::power_cut::Base;
use crate::tools::{Folder, open_as, read_all};

/// A disk of which one write, zeroing, growth or flush fails.
struct FailsOnce {
    inner: Arc<dyn Disk>,
    /// How many still work before the one that fails.
    left: Arc<AtomicUsize>,
    kind: ErrorKind,
}

impl fmt::Display for FailsOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Disk for FailsOnce {
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
        let (inner, left, kind) = (self.inner.writer(bytes)?, self.left.clone(), self.kind);
        Ok(Box::new(Failing { inner, left, kind }))
    }
}

struct Failing {
    inner: Writer,
    left: Arc<AtomicUsize>,
    kind: ErrorKind,
}

impl Failing {
    fn next(&self) -> Result<()> {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            0 => Err(Error::io("cannot write the image", self.kind.into())),
            _ => Ok(()),
        }
    }
}

impl DiskMut for Failing {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.next()?;
        self.inner.write_at(data, offset)
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.next()?;
        self.inner.zero_at(offset, len)
    }

    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.next()?;
        self.inner.discard_at(offset, len)
    }

    fn flush(&self) -> Result<()> {
        self.next()?;
        self.inner.flush()
    }

    fn grow(&self, size: u64) -> Result<()> {
        self.next()?;
        self.inner.grow(size)
    }
}

/// Does the same each time, and notes what the failure leaves open; whether there was one.
fn scenario(disk: &dyn Disk, model: &mut [u8], open: &mut Vec<Range<usize>>) -> bool {
    let writer = disk.writer(0..disk.size()).unwrap();
    let mut failures = 0;
    for round in 0..14usize {
        let at = round * 37_511 % (model.len() - 40_000);
        let len = [40_000, 700, 9000][round % 3];
        let done = match round % 7 {
            3 => writer.zero_at(at as u64, len as u64),
            5 => writer.flush(),
            _ => writer.write_at(&vec![round as u8 + 1; len], at as u64),
        };
        match round % 7 {
            5 => {}
            _ if done.is_err() => open.push(at..at + len),
            3 => model[at..at + len].fill(0),
            _ => model[at..at + len].fill(round as u8 + 1),
        }
        failures += usize::from(done.is_err());
    }
    // What failed once may be done now; nothing is lost that a flush did not say.
    for _ in 0..2 {
        failures += usize::from(writer.flush().is_err());
    }
    assert!(failures <= 1, "one failure is told once");
    failures == 1
}

fn fail(kind: &Kind, error: ErrorKind) {
    let folder = Folder::new();
    let start = kind.make(&folder);
    let bytes = folder.read("image");
    let base = if kind.source == Source::Backing { folder.read("base") } else { Vec::new() };
    let (opener, budget) = (Base(base), Budget::default());
    let request = Request { opener: &opener, snapshot: None, budget: &budget };
    for step in 0.. {
        let file = Arc::new(Memory::new("image", bytes.clone()));
        let left = Arc::new(AtomicUsize::new(step));
        let failing = FailsOnce { inner: file.clone(), left: left.clone(), kind: error };
        let disk = open_as("qcow2", Arc::new(failing), &request).unwrap();
        let (mut model, mut open) = (start.clone(), Vec::new());
        let has_failed = scenario(&*disk, &mut model, &mut open);
        let now = read_all(&*disk);
        for range in open {
            model[range.clone()].copy_from_slice(&now[range]);
        }
        assert!(now == model, "{kind:?}, step {step}");
        // QEMU looks at some of them; what is wrong at one step is so at its neighbours.
        if step % 5 == 0 || !has_failed {
            folder.write("cut", &read_all(&*file));
            let checked = toolbox::command("qemu-img").args(["check", "-f", "qcow2"]).arg(folder.path("cut")).output();
            let checked = checked.unwrap();
            let text = String::from_utf8_lossy(&checked.stdout).into_owned();
            assert!(matches!(checked.status.code(), Some(0 | 3)), "{kind:?}, step {step}: {text}");
            assert!(folder.reference("cut") == model, "{kind:?}, step {step}");
        }
        if left.load(Ordering::Relaxed) < usize::MAX / 2 {
            break;
        }
    }
}

#[test]
fn a_failure_of_any_write_leaves_a_sound_image() {
    for (source, options) in [
        (Source::Empty, "cluster_size=512"),
        (Source::Compressed, "cluster_size=16k"),
        (Source::Backing, "extended_l2=on,cluster_size=16k"),
        (Source::Snapshot, "cluster_size=4k"),
    ] {
        let kind = Kind { source, options: options.to_owned(), size: 400 * 512 };
        fail(&kind, ErrorKind::StorageFull);
    }
}
