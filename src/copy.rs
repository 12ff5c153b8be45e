//! The content of a recovered file: copied with its holes, and hashed on the way.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use filesystems::{FileSystem, NodeId};
use images::{Error, Result, corrupt};
use sha2::{Digest, Sha256};

/// What is read at once, in bytes.
const PIECE: usize = 1 << 20;
/// The unit in which a range that cannot be read is narrowed down, in bytes: the smallest that matters on a disk.
const STEP: u64 = 4096;
/// Files from this size, in bytes, are hashed on a second thread.
const PARALLEL: u64 = 4 << 20;
/// How many bytes of holes are hashed; a file with more has no hash. Ours: some minutes.
const HOLES_HASHED: u64 = 64 << 30;
/// Holes are hashed in pieces of so many bytes.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What became of a file's content.
pub struct Copied {
    /// In hexadecimal digits, holes and what is gone as zeros; none for a file that is almost only holes.
    pub sha256: Option<String>,
    /// The ranges that are not there, in bytes, ascending and apart.
    pub lost: Vec<Range<u64>>,
    /// How many bytes were written.
    pub written: u64,
}

/// A part of the content, for the hash.
enum Part {
    Bytes(Vec<u8>),
    Zeros(u64),
}

/// Copies `size` bytes of a file to `out`, which is empty. `lost` is known to be gone; it stays a hole, and so does, if
/// `partial` is set, what cannot be read. If not, that is an error. `progress` is told of bytes that are done.
pub fn copy(
    fs: &dyn FileSystem,
    file: NodeId,
    size: u64,
    lost: &[Range<u64>],
    partial: bool,
    out: &File,
    progress: &dyn Fn(u64),
) -> Result<Copied> {
    let mut copy = Copy { fs, file, size, partial, out, progress, lost: lost.to_vec(), written: 0, zeros: 0 };
    let mut hash = Sha256::new();
    if size < PARALLEL {
        copy.run(&mut |part| update(&mut hash, part))?;
    } else {
        hash = thread::scope(|scope| {
            let (sender, parts) = sync_channel::<Part>(4);
            let hashing = scope.spawn(move || {
                let mut hash = Sha256::new();
                parts.into_iter().for_each(|part| update(&mut hash, part));
                hash
            });
            let copied = copy.run(&mut |part| send(&sender, part));
            drop(sender);
            let hash = hashing.join().map_err(|_| Error::io("cannot hash", std::io::Error::other("a bug")))?;
            copied.map(|()| hash)
        })?;
    }
    out.set_len(size).map_err(written)?;
    let digits = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let sha256 = (copy.zeros <= HOLES_HASHED).then_some(digits);
    Ok(Copied { sha256, lost: joined(copy.lost), written: copy.written })
}

fn send(sender: &SyncSender<Part>, part: Part) {
    // The other side reads until this one ends.
    let _ = sender.send(part);
}

fn update(hash: &mut Sha256, part: Part) {
    match part {
        Part::Bytes(bytes) => hash.update(&bytes),
        Part::Zeros(mut len) => {
            while len > 0 {
                let now = len.min(ZEROS.len() as u64);
                hash.update(&ZEROS[..now as usize]);
                len -= now;
            }
        }
    }
}

fn written(error: std::io::Error) -> Error {
    Error::io("cannot write", error)
}

/// Sorted, and with neighbours joined.
fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match out.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => out.push(range),
        }
    }
    out
}

struct Copy<'a> {
    fs: &'a dyn FileSystem,
    file: NodeId,
    size: u64,
    partial: bool,
    out: &'a File,
    progress: &'a dyn Fn(u64),
    lost: Vec<Range<u64>>,
    written: u64,
    zeros: u64,
}

impl Copy<'_> {
    fn run(&mut self, hash: &mut dyn FnMut(Part)) -> Result<()> {
        let known = joined(std::mem::take(&mut self.lost));
        self.lost.clone_from(&known);
        let size = self.size;
        let mut gaps = known.into_iter().filter(|range| range.start < size).peekable();
        let mut at = 0;
        while at < size {
            if let Some(gap) = gaps.next_if(|gap| gap.start <= at) {
                let end = gap.end.min(size).max(at);
                self.skip(end - at, hash);
                at = end;
                continue;
            }
            let end = gaps.peek().map_or(size, |gap| gap.start);
            at = self.step(at, end, hash)?;
        }
        Ok(())
    }

    /// Copies or passes over what lies at `at`, at most up to `end`, and returns how far it came.
    fn step(&mut self, at: u64, end: u64, hash: &mut dyn FnMut(Part)) -> Result<u64> {
        let mut to = at;
        // Small extents in a row are read together.
        while to < end && to - at < PIECE as u64 {
            // What cannot be mapped cannot be read either, and the read has the better error.
            let (len, is_hole) = match self.fs.extent_at(self.file, to) {
                Ok(extent) => (extent.len.max(1), extent.data.reads_zero()),
                Err(_) => (STEP - to % STEP, false),
            };
            if is_hole && to > at {
                break;
            }
            let next = to.saturating_add(len).min(end);
            if is_hole {
                self.skip(next - at, hash);
                return Ok(next);
            }
            to = next;
        }
        let to = to.min(at + PIECE as u64);
        let mut bytes = vec![0; (to - at) as usize];
        match self.read(&mut bytes, at) {
            Ok(()) => self.keep(bytes, at, hash)?,
            Err(error) if !self.partial => return Err(error),
            Err(_) => self.piecewise(at, to, hash)?,
        }
        Ok(to)
    }

    /// Copies what can be read of a range that cannot be read as a whole.
    fn piecewise(&mut self, mut at: u64, end: u64, hash: &mut dyn FnMut(Part)) -> Result<()> {
        while at < end {
            let to = (at - at % STEP + STEP).min(end);
            let mut bytes = vec![0; (to - at) as usize];
            match self.read(&mut bytes, at) {
                Ok(()) => self.keep(bytes, at, hash)?,
                Err(_) => {
                    self.lost.push(at..to);
                    self.skip(to - at, hash);
                }
            }
            at = to;
        }
        Ok(())
    }

    fn read(&self, buf: &mut [u8], at: u64) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            match self.fs.read_at(self.file, &mut buf[done..], at + done as u64)? {
                0 => return Err(corrupt!("file", at + done as u64, "ends here, but has {} bytes", self.size)),
                len => done += len,
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: Vec<u8>, at: u64, hash: &mut dyn FnMut(Part)) -> Result<()> {
        self.out.write_all_at(&bytes, at).map_err(written)?;
        self.written += bytes.len() as u64;
        (self.progress)(bytes.len() as u64);
        hash(Part::Bytes(bytes));
        Ok(())
    }

    fn skip(&mut self, len: u64, hash: &mut dyn FnMut(Part)) {
        self.zeros = self.zeros.saturating_add(len);
        (self.progress)(len);
        if self.zeros <= HOLES_HASHED {
            hash(Part::Zeros(len));
        }
    }
}
