//! The content of a file: read in order with its holes, and copied to a file of the host, hashed on the way.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::sync_channel;
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

/// The content of a file, and what is known of it.
#[derive(Clone, Copy)]
pub struct Content<'a> {
    /// The tree that the file is in.
    pub tree: &'a dyn FileSystem,
    /// The file.
    pub file: NodeId,
    /// Its size in bytes.
    pub size: u64,
    /// The ranges that are known to be gone, in bytes.
    pub lost: &'a [Range<u64>],
    /// Whether what cannot be read is passed over, as what is gone is, and not an error.
    pub partial: bool,
}

/// What became of a file's content.
pub struct Copied {
    /// In hexadecimal digits, holes and what is gone as zeros; none for a file that is almost only holes.
    pub sha256: Option<String>,
    /// The ranges that are not there, in bytes, ascending and apart.
    pub lost: Vec<Range<u64>>,
    /// How many bytes were written.
    pub written: u64,
}

/// A part of the content.
pub enum Part {
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many bytes that are not stored: a hole, or gone. They read as zeros.
    Hole(u64),
}

impl Content<'_> {
    /// Calls `each` with every part and where it begins, from the first byte to the last and without a gap. Returns the
    /// ranges that are not there, in bytes, ascending and apart.
    pub fn parts(&self, each: &mut dyn FnMut(u64, Part) -> Result<()>) -> Result<Vec<Range<u64>>> {
        let known = joined(self.lost.to_vec());
        let mut reader = Reader { content: self, each, lost: known.clone() };
        let mut gaps = known.into_iter().filter(|range| range.start < self.size).peekable();
        let mut at = 0;
        while at < self.size {
            if let Some(gap) = gaps.next_if(|gap| gap.start <= at) {
                let end = gap.end.min(self.size).max(at);
                if end > at {
                    (reader.each)(at, Part::Hole(end - at))?;
                }
                at = end;
                continue;
            }
            let end = gaps.peek().map_or(self.size, |gap| gap.start);
            at = reader.step(at, end)?;
        }
        Ok(joined(reader.lost))
    }

    /// Copies it to `out`, which is empty. What is not stored becomes a hole. `progress` is told of bytes that are done.
    pub fn copy_to(&self, out: &File, progress: &dyn Fn(u64)) -> Result<Copied> {
        let mut hash = Sha256::new();
        let mut copy = Copy { out, progress, written: 0, zeros: 0 };
        let lost = if self.size < PARALLEL {
            self.parts(&mut |at, part| copy.take(at, part, &mut |part| update(&mut hash, part)))?
        } else {
            thread::scope(|scope| {
                let (sender, parts) = sync_channel::<Part>(4);
                let hashing = scope.spawn(move || {
                    let mut hash = Sha256::new();
                    parts.into_iter().for_each(|part| update(&mut hash, part));
                    hash
                });
                let mut send = |part| {
                    // The other side reads until this one ends.
                    let _ = sender.send(part);
                };
                let copied = self.parts(&mut |at, part| copy.take(at, part, &mut send));
                drop(sender);
                hash = hashing.join().map_err(|_| Error::io("cannot hash", std::io::Error::other("a bug")))?;
                copied
            })?
        };
        out.set_len(self.size).map_err(cannot_write)?;
        let digits = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let sha256 = (copy.zeros <= HOLES_HASHED).then_some(digits);
        Ok(Copied { sha256, lost, written: copy.written })
    }
}

/// A copy on its way.
struct Copy<'a> {
    out: &'a File,
    progress: &'a dyn Fn(u64),
    written: u64,
    zeros: u64,
}

impl Copy<'_> {
    fn take(&mut self, at: u64, part: Part, hash: &mut dyn FnMut(Part)) -> Result<()> {
        match &part {
            Part::Bytes(bytes) => {
                self.out.write_all_at(bytes, at).map_err(cannot_write)?;
                self.written += bytes.len() as u64;
                (self.progress)(bytes.len() as u64);
                hash(part);
            }
            Part::Hole(len) => {
                self.zeros = self.zeros.saturating_add(*len);
                (self.progress)(*len);
                if self.zeros <= HOLES_HASHED {
                    hash(part);
                }
            }
        }
        Ok(())
    }
}

/// The parts of a content, as they are read.
struct Reader<'a> {
    content: &'a Content<'a>,
    each: &'a mut dyn FnMut(u64, Part) -> Result<()>,
    lost: Vec<Range<u64>>,
}

impl Reader<'_> {
    /// Reads or passes over what lies at `at`, at most up to `end`, and returns how far it came.
    fn step(&mut self, at: u64, end: u64) -> Result<u64> {
        let content = self.content;
        let mut to = at;
        // Small extents in a row are read together.
        while to < end && to - at < PIECE as u64 {
            // What cannot be mapped cannot be read either, and the read has the better error.
            let (len, is_hole) = match content.tree.extent_at(content.file, to) {
                Ok(extent) => (extent.len.max(1), extent.data.reads_zero()),
                Err(_) => (STEP - to % STEP, false),
            };
            if is_hole && to > at {
                break;
            }
            let next = to.saturating_add(len).min(end);
            if is_hole {
                (self.each)(at, Part::Hole(next - at))?;
                return Ok(next);
            }
            to = next;
        }
        let to = to.min(at + PIECE as u64);
        let mut bytes = vec![0; (to - at) as usize];
        match self.read(&mut bytes, at) {
            Ok(()) => (self.each)(at, Part::Bytes(bytes))?,
            Err(error) if !content.partial => return Err(error),
            Err(_) => self.piecewise(at, to)?,
        }
        Ok(to)
    }

    /// Reads what can be read of a range that cannot be read as a whole.
    fn piecewise(&mut self, mut at: u64, end: u64) -> Result<()> {
        while at < end {
            let to = (at - at % STEP + STEP).min(end);
            let mut bytes = vec![0; (to - at) as usize];
            match self.read(&mut bytes, at) {
                Ok(()) => (self.each)(at, Part::Bytes(bytes))?,
                Err(_) => {
                    self.lost.push(at..to);
                    (self.each)(at, Part::Hole(to - at))?;
                }
            }
            at = to;
        }
        Ok(())
    }

    fn read(&self, buf: &mut [u8], at: u64) -> Result<()> {
        let content = self.content;
        let mut done = 0;
        while done < buf.len() {
            match content.tree.read_at(content.file, &mut buf[done..], at + done as u64)? {
                0 => return Err(corrupt!("file", at + done as u64, "ends here, but has {} bytes", content.size)),
                len => done += len,
            }
        }
        Ok(())
    }
}

fn update(hash: &mut Sha256, part: Part) {
    match part {
        Part::Bytes(bytes) => hash.update(&bytes),
        Part::Hole(mut len) => {
            while len > 0 {
                let now = len.min(ZEROS.len() as u64);
                hash.update(&ZEROS[..now as usize]);
                len -= now;
            }
        }
    }
}

fn cannot_write(error: std::io::Error) -> Error {
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
