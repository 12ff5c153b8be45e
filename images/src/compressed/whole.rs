//! A file that does not say how long its content is, decompressed once.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::spool::Spool;
use super::{Decoder, content_of};
use crate::disk::HostFile;
use crate::progress::{self, Progress};
use crate::{Budget, Disk, Error, Result};

/// How much is decompressed at a time, in bytes.
pub const STEP: usize = 1 << 20;
/// What the progress of it is called.
pub const WHAT: &str = "decompressing";

/// Takes content in its order.
pub struct Sink {
    file: String,
    packed: u64,
    spool: Spool,
    size: u64,
}

impl Sink {
    /// For the content of `file`.
    pub fn new(file: &dyn Disk, budget: &Budget) -> Result<Self> {
        log::info!("{file} does not say how long its content is: it is decompressed once, to a temporary file");
        Ok(Self { file: file.to_string(), packed: file.size(), spool: Spool::new(budget)?, size: 0 })
    }

    /// Adds what comes next. The file is read up to `position`.
    pub fn write(&mut self, bytes: &[u8], position: u64) -> Result<()> {
        self.spool.write(bytes, self.size)?;
        // Lengths of what went through memory.
        self.size = self.size.saturating_add(bytes.len() as u64);
        progress::report(Progress { what: WHAT, file: &self.file, done: position, size: self.packed, detail: "" });
        Ok(())
    }

    /// All that was added.
    pub fn finish(self) -> Result<File> {
        self.spool.set_size(self.size)?;
        progress::report(Progress { what: WHAT, file: &self.file, done: self.packed, size: self.packed, detail: "" });
        self.spool.into_file()
    }
}

/// The content of `file` as a disk: what `unpack` makes of it, or made of the same bytes before.
pub fn once(file: &dyn Disk, budget: &Budget, unpack: impl FnOnce() -> Result<File>) -> Result<Arc<dyn Disk>> {
    let content = budget.storage().once(file, unpack)?;
    let name = content_of(file);
    let content = content.try_clone().map_err(|source| Error::io(format!("cannot open {name}"), source))?;
    Ok(Arc::new(HostFile::new(Path::new(&name), content)?))
}

/// All that comes out of `decoder`, which reads `file`.
pub fn whole(file: &dyn Disk, budget: &Budget, mut decoder: impl Decoder) -> Result<File> {
    let mut sink = Sink::new(file, budget)?;
    let mut buf = vec![0; STEP];
    loop {
        match fill(&mut decoder, &mut buf)? {
            0 => return sink.finish(),
            len => sink.write(&buf[..len], decoder.position())?,
        }
    }
}

/// Fills `buf`, or as much of it as there is up to the end.
pub fn fill(decoder: &mut (impl Decoder + ?Sized), buf: &mut [u8]) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match decoder.decode(&mut buf[done..])? {
            0 => break,
            len => done += len,
        }
    }
    Ok(done)
}
