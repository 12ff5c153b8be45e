//! The content of a file of parts that are decompressed one by one, when they are wanted.
//!
//! A small part is decompressed whole and kept in a cache. A large one is decompressed as far as it is wanted, and what
//! came out is kept for the run in a [`Spool`]: no byte of it is decompressed twice while its decoder lives. One whose
//! decoder was ended in favour of others is decompressed to its end when it is wanted again, so that none is a third time.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::index::{Index, Part};
use super::spool::Spool;
use super::whole::{STEP, WHAT, fill};
use super::{Codec, Decoder, content_of};
use crate::disk::{HostFile, Page, Pages, check_range, next_number};
use crate::length::{at_most, in_memory};
use crate::progress::{self, Progress};
use crate::turns::{self, Turns};
use crate::{Budget, Data, Disk, Error, Extent, Properties, Reservation, Result, Writer, corrupt, read_only};

/// The largest part that is decompressed whole into memory, in bytes.
const SMALL: u64 = 4 << 20;
/// What is known of a large part that was begun, in bytes: its lines in the lists here, perhaps an error.
const LARGE_MEMORY: u64 = 1024;

/// The content of a file that consists of parts.
pub struct Parts {
    name: String,
    file: Arc<dyn Disk>,
    codec: Box<dyn Codec>,
    index: Index,
    number: u64,
    budget: Budget,
    /// The small parts that are kept.
    pages: Arc<Pages>,
    turns: Arc<Turns>,
    /// The large parts; `None` if there is none.
    large: Option<LargeParts>,
}

/// What is known of the large parts.
struct LargeParts {
    spool: Spool,
    disk: HostFile,
    /// The parts of which something was read, by where they start.
    begun: Mutex<(HashMap<u64, Arc<Large>>, Reservation)>,
}

/// A large part of which something was read.
struct Large {
    part: Part,
    /// How much of it is in the spool, in bytes. Only who holds `work` changes it.
    done: AtomicU64,
    work: Mutex<Work>,
}

#[derive(Default)]
struct Work {
    decoder: Option<Box<dyn Decoder>>,
    failed: Option<Arc<Error>>,
}

impl turns::Part for Large {
    fn end(&self) {
        if let Ok(mut work) = self.work.try_lock() {
            work.decoder = None;
        }
    }
}

/// No state that these locks guard is half changed when a thread panics: a decoder that did is not used again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Parts {
    /// The content of `file`.
    pub fn new(file: Arc<dyn Disk>, codec: impl Codec + 'static, index: Index, budget: &Budget) -> Result<Self> {
        let name = content_of(&*file);
        let large = match index.iter().any(|part| part.len > SMALL) {
            true => Some(LargeParts::new(&name, index.size(), budget)?),
            false => None,
        };
        let (number, pages, turns) = (next_number(), budget.parts(), budget.turns());
        Ok(Self { name, file, codec: Box::new(codec), index, number, budget: budget.clone(), pages, turns, large })
    }

    /// All of a small part.
    fn small(&self, part: Part) -> Result<Page> {
        if let Some(page) = self.pages.get(self.number, part.start) {
            return Ok(page);
        }
        let make = || {
            // Where it is kept is counted by the cache.
            let _memory = self.budget.take_decoder(part.len, "a part of a compressed file")?;
            let mut bytes = vec![0; in_memory(part.len)];
            let mut decoder = self.codec.begin(&self.file, part, &self.budget)?;
            let len = fill(&mut *decoder, &mut bytes)?;
            check_len(part, len as u64)?;
            check_end(part, &mut *decoder)?;
            Ok(bytes.into())
        };
        self.turns.run(|| self.pages.get_or_make(self.number, part.start, make))
    }

    /// Reads a large part from `inside` on.
    fn read_large(&self, parts: &LargeParts, part: Part, buf: &mut [u8], inside: u64) -> Result<()> {
        let large = parts.begun(part)?;
        let end = inside + buf.len() as u64;
        if large.done.load(Ordering::Acquire) < end {
            self.turns.run(|| self.decode(parts, &large, end))?;
        }
        parts.disk.read_at(buf, part.start + inside)
    }

    /// Decompresses a large part until `end` of its bytes are done, at least.
    fn decode(&self, parts: &LargeParts, large: &Arc<Large>, end: u64) -> Result<()> {
        let mut work = lock(&large.work);
        if let Some(error) = &work.failed {
            return Err(Error::Shared(error.clone()));
        }
        // Taken out of its place: a decoder that fails or panics is not used again.
        let decoder = work.decoder.take();
        match self.advance(parts, large, decoder, end) {
            Ok(decoder) => work.decoder = decoder,
            // What the host refused may work the next time, and what others had the memory for.
            Err(error) if matches!(error.root(), Error::Io { .. } | Error::Memory(_)) => return Err(error),
            Err(error) => {
                let error = Arc::new(error);
                work.failed = Some(error.clone());
                return Err(Error::Shared(error));
            }
        }
        let keeps = work.decoder.is_some();
        drop(work);
        let part: Weak<Large> = Arc::downgrade(large);
        self.turns.note(self.number, part, keeps);
        Ok(())
    }

    fn report(&self, done: u64) {
        progress::report(Progress {
            what: WHAT,
            file: &self.file.to_string(),
            done,
            size: self.file.size(),
            detail: "",
        });
    }

    /// Goes on with a large part, and gives back the decoder if it is not at its end.
    fn advance(
        &self,
        parts: &LargeParts,
        large: &Large,
        decoder: Option<Box<dyn Decoder>>,
        mut end: u64,
    ) -> Result<Option<Box<dyn Decoder>>> {
        let part = large.part;
        let mut done = large.done.load(Ordering::Acquire);
        if done >= end {
            return Ok(decoder);
        }
        let mut buf = vec![0; STEP];
        let mut decoder = match decoder {
            Some(decoder) => decoder,
            None => {
                // Its decoder was ended in favour of another: what is done comes out once more, and then all of it.
                let mut decoder = self.codec.begin(&self.file, part, &self.budget)?;
                let mut again = 0;
                end = if done > 0 { part.len } else { end };
                while again < done {
                    let want = at_most(done - again, STEP);
                    let len = fill(&mut *decoder, &mut buf[..want])? as u64;
                    again += len;
                    if len < want as u64 {
                        check_len(part, again)?;
                    }
                }
                decoder
            }
        };
        while done < end {
            let want = at_most(part.len - done, STEP);
            let len = fill(&mut *decoder, &mut buf[..want])?;
            if len < want {
                check_len(part, done + len as u64)?;
            }
            if done + len as u64 == part.len {
                check_end(part, &mut *decoder)?;
            }
            parts.spool.write(&buf[..len], part.start + done)?;
            done += len as u64;
            large.done.store(done, Ordering::Release);
            self.report(decoder.position());
        }
        self.report(self.file.size());
        Ok((done < part.len).then_some(decoder))
    }
}

impl LargeParts {
    fn new(name: &str, size: u64, budget: &Budget) -> Result<Self> {
        let spool = Spool::new(budget)?;
        spool.set_size(size)?;
        let disk = spool.disk(name)?;
        Ok(Self { spool, disk, begun: Mutex::new((HashMap::new(), budget.empty())) })
    }

    /// What is known of `part`.
    fn begun(&self, part: Part) -> Result<Arc<Large>> {
        let (begun, memory) = &mut *lock(&self.begun);
        if let Some(large) = begun.get(&part.start) {
            return Ok(large.clone());
        }
        memory.grow(LARGE_MEMORY, "what is known of the parts of a compressed file")?;
        Ok(begun.entry(part.start).or_insert_with(|| Arc::new(Large::new(part))).clone())
    }
}

impl Large {
    fn new(part: Part) -> Self {
        Self { part, done: AtomicU64::new(0), work: Mutex::default() }
    }
}

/// Fails unless a part has as many bytes as it says.
fn check_len(part: Part, len: u64) -> Result<()> {
    match len == part.len {
        true => Ok(()),
        false => Err(corrupt!("compressed part", part.packed.0, "ends after {len} of {} bytes", part.len)),
    }
}

/// Fails unless `decoder`, which gave all of `part`, is at its end and finds its checksum right.
fn check_end(part: Part, decoder: &mut dyn Decoder) -> Result<()> {
    match decoder.decode(&mut [0])? {
        0 => Ok(()),
        _ => Err(corrupt!("compressed part", part.packed.0, "more than the {} bytes that it says", part.len)),
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Disk for Parts {
    fn size(&self) -> u64 {
        self.index.size()
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        while !buf.is_empty() {
            let part = self.index.part_at(offset);
            let inside = offset - part.start;
            let len = at_most(part.len - inside, buf.len());
            let (now, rest) = buf.split_at_mut(len);
            match &self.large {
                Some(large) if part.len > SMALL => self.read_large(large, part, now, inside)?,
                _ => now.copy_from_slice(&self.small(part)?[in_memory(inside)..][..len]),
            }
            buf = rest;
            offset += len as u64;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let part = self.index.part_at(offset);
        let end = part.start + part.len;
        if let Some(large) = self.large.as_ref().filter(|_| part.len > SMALL) {
            let begun = lock(&large.begun).0.get(&part.start).cloned();
            let done = part.start + begun.map_or(0, |large| large.done.load(Ordering::Acquire));
            if offset < done {
                return Ok(large.disk.extent_at(offset)?.at_most(done - offset));
            }
        }
        Ok(Extent { len: end - offset, data: Data::Opaque })
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} is compressed: it must be unpacked before it can be written"))
    }
}
