//! The content of a file of parts that are decompressed one by one, when they are wanted.
//!
//! A small part is decompressed whole and kept in a cache. A large one is decompressed as far as it is wanted, and what
//! came out is kept for the run in a [`Spool`]: no byte of it is decompressed twice while its decoder lives.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use super::index::{Index, Part};
use super::progress::{self, Progress};
use super::spool::Spool;
use super::whole::{STEP, fill};
use super::{Codec, Decoder, content_of};
use crate::disk::{HostFile, Page, Pages, check_range, next_number};
use crate::{Data, Disk, Error, Extent, Result, corrupt};

/// The largest part that is decompressed whole into memory, in bytes.
const SMALL: u64 = 4 << 20;
/// Our bound of the small parts that all files of the program keep, in bytes.
const CACHE_BYTES: u64 = 32 << 20;
/// How many decoders of large parts one file keeps. Each holds a dictionary or window, which the codecs bound.
const MAX_DECODERS: usize = 2;

static CACHE: LazyLock<Pages> = LazyLock::new(|| Pages::large(CACHE_BYTES));

/// The content of a file that consists of parts.
pub struct Parts {
    name: String,
    file: Arc<dyn Disk>,
    codec: Box<dyn Codec>,
    index: Index,
    number: u64,
    /// The large parts; `None` if there is none.
    large: Option<LargeParts>,
}

/// What is known of the large parts.
struct LargeParts {
    spool: Spool,
    disk: HostFile,
    /// The parts of which something was read, by where they start.
    begun: Mutex<HashMap<u64, Arc<Large>>>,
    /// Those that have a decoder, the one that was used last at the end.
    decoding: Mutex<VecDeque<Arc<Large>>>,
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

/// No state that these locks guard is half changed when a thread panics: a decoder that did is not used again.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Parts {
    /// The content of `file`.
    pub fn new(file: Arc<dyn Disk>, codec: impl Codec + 'static, index: Index) -> Result<Self> {
        let name = content_of(&*file);
        let large = match index.iter().any(|part| part.len > SMALL) {
            true => Some(LargeParts::new(&name, index.size())?),
            false => None,
        };
        Ok(Self { name, file, codec: Box::new(codec), index, number: next_number(), large })
    }

    /// All of a small part.
    fn small(&self, part: Part) -> Result<Page> {
        CACHE.get_or_make(self.number, part.start, || {
            let mut bytes = vec![0; part.len as usize];
            let mut decoder = self.codec.begin(&self.file, part)?;
            let len = fill(&mut *decoder, &mut bytes)?;
            check_len(part, len as u64)?;
            check_end(part, &mut *decoder)?;
            Ok(bytes.into())
        })
    }

    /// Reads a large part from `inside` on.
    fn read_large(&self, parts: &LargeParts, part: Part, buf: &mut [u8], inside: u64) -> Result<()> {
        let large = lock(&parts.begun).entry(part.start).or_insert_with(|| Arc::new(Large::new(part))).clone();
        let end = inside + buf.len() as u64;
        while large.done.load(Ordering::Acquire) < end {
            self.decode(parts, &large, end)?;
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
            // What the host refused may work the next time.
            Err(error) if matches!(error.root(), Error::Io { .. }) => return Err(error),
            Err(error) => {
                let error = Arc::new(error);
                work.failed = Some(error.clone());
                return Err(Error::Shared(error));
            }
        }
        let keeps = work.decoder.is_some();
        drop(work);
        parts.note(large, keeps);
        Ok(())
    }

    fn report(&self, done: u64) {
        progress::report(Progress { file: &self.name, done, size: self.file.size() });
    }

    /// Goes on with a large part, and gives back the decoder if it is not at its end.
    fn advance(
        &self,
        parts: &LargeParts,
        large: &Large,
        decoder: Option<Box<dyn Decoder>>,
        end: u64,
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
                // Its decoder was ended in favour of another: what is done comes out once more.
                let mut decoder = self.codec.begin(&self.file, part)?;
                let mut again = 0;
                while again < done {
                    let want = (done - again).min(STEP as u64) as usize;
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
            let want = (part.len - done).min(STEP as u64) as usize;
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
    fn new(name: &str, size: u64) -> Result<Self> {
        let spool = Spool::new()?;
        spool.set_size(size)?;
        let disk = spool.disk(name)?;
        Ok(Self { spool, disk, begun: Mutex::default(), decoding: Mutex::default() })
    }

    /// Notes that `large` was used last, and whether it has a decoder; ends the decoders that are too many.
    fn note(&self, large: &Arc<Large>, keeps: bool) {
        let mut decoding = lock(&self.decoding);
        decoding.retain(|other| !Arc::ptr_eq(other, large));
        if keeps {
            decoding.push_back(large.clone());
        }
        while decoding.len() > MAX_DECODERS {
            // One that is at work comes back to this list when it is done.
            if let Some(oldest) = decoding.pop_front()
                && let Ok(mut work) = oldest.work.try_lock()
            {
                work.decoder = None;
            }
        }
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
            let len = usize::try_from(part.len - inside).unwrap_or(usize::MAX).min(buf.len());
            let (now, rest) = buf.split_at_mut(len);
            match &self.large {
                Some(large) if part.len > SMALL => self.read_large(large, part, now, inside)?,
                _ => now.copy_from_slice(&self.small(part)?[inside as usize..][..len]),
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
            let begun = lock(&large.begun).get(&part.start).cloned();
            let done = part.start + begun.map_or(0, |large| large.done.load(Ordering::Acquire));
            if offset < done {
                return Ok(large.disk.extent_at(offset)?.at_most(done - offset));
            }
        }
        Ok(Extent { len: end - offset, data: Data::Opaque })
    }
}
