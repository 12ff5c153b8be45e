//! A file that does not say how long its content is, decompressed once.

use std::sync::Arc;

use super::progress::{self, Progress};
use super::spool::Spool;
use super::{Decoder, content_of};
use crate::{Disk, Result};

/// How much is decompressed at a time, in bytes.
pub const STEP: usize = 1 << 20;

/// Takes content in its order.
pub struct Sink {
    file: String,
    packed: u64,
    content: String,
    spool: Spool,
    size: u64,
}

impl Sink {
    /// For the content of `file`.
    pub fn new(file: &dyn Disk) -> Result<Self> {
        log::info!("{file} does not say how long its content is: it is decompressed once, to a temporary file");
        let (name, content) = (file.to_string(), content_of(file));
        Ok(Self { file: name, packed: file.size(), content, spool: Spool::new()?, size: 0 })
    }

    /// Adds what comes next. The file is read up to `position`.
    pub fn write(&mut self, bytes: &[u8], position: u64) -> Result<()> {
        self.spool.write(bytes, self.size)?;
        // Lengths of what went through memory.
        self.size = self.size.saturating_add(bytes.len() as u64);
        progress::report(Progress { file: &self.file, done: position, size: self.packed });
        Ok(())
    }

    /// All that was added, as a disk.
    pub fn finish(self) -> Result<Arc<dyn Disk>> {
        self.spool.set_size(self.size)?;
        progress::report(Progress { file: &self.file, done: self.packed, size: self.packed });
        Ok(Arc::new(self.spool.disk(&self.content)?))
    }
}

/// All that comes out of `decoder`, which reads `file`, as a disk.
pub fn whole(file: &dyn Disk, mut decoder: impl Decoder) -> Result<Arc<dyn Disk>> {
    let mut sink = Sink::new(file)?;
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
