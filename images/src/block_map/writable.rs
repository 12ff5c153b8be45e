//! The engine's other half: a disk of blocks that can be written.
//!
//! What has a place that nobody shares is overwritten there, by several threads at the same time. All else is written by
//! one thread at a time: it takes a place, writes all of the blocks there, with what lay around the new bytes, and links it.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::content::Content;
use super::{Allocation, Begun, Clear, Cleared, MapMut, Mapped, Mapping};
use crate::disk::{Claim, Claims, check_claimed};
use crate::{Disk, DiskMut, Extent, Properties, Result, ResultExt, Writer, read_only};

/// How much is allocated at once, in bytes; ours. Others wait so long.
const MOST: u64 = 4 << 20;
/// The unit in which formats encrypt, in bytes.
const SECTOR: u64 = 512;

/// A disk of blocks whose map can be changed.
pub struct Writable<M: MapMut>(Arc<Shared<M>>);

struct Shared<M: MapMut> {
    disk: Mapped<M>,
    claims: Claims,
    /// Shared by whoever uses a block that he found; held alone to know that nobody does.
    in_use: RwLock<()>,
    begun: Mutex<Option<Arc<Writing<M::Changes>>>>,
}

/// What the writers of one disk share.
struct Writing<C> {
    changes: Mutex<C>,
    data: Arc<dyn DiskMut>,
    has_started: AtomicBool,
}

impl<M: MapMut> Writable<M> {
    /// The same disk, for reading and writing.
    pub fn new(disk: Mapped<M>) -> Self {
        let (claims, in_use, begun) = (Claims::default(), RwLock::default(), Mutex::default());
        Self(Arc::new(Shared { disk, claims, in_use, begun }))
    }

    /// What all writers share. The image's files have one writer as long as the disk is open.
    fn begin(&self) -> Result<Arc<Writing<M::Changes>>> {
        let Shared { disk, begun, .. } = &*self.0;
        let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writing) = &*begun {
            return Ok(writing.clone());
        }
        let Begun { changes, data } = disk.map.begin(&disk.file).within(disk)?;
        let writing = Arc::new(Writing { changes: Mutex::new(changes), data, has_started: AtomicBool::new(false) });
        *begun = Some(writing.clone());
        Ok(writing)
    }
}

impl<M: MapMut> fmt::Display for Writable<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.disk.fmt(f)
    }
}

impl<M: MapMut + 'static> Disk for Writable<M> {
    fn size(&self) -> u64 {
        self.0.disk.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let _using = self.0.in_use.read().unwrap_or_else(PoisonError::into_inner);
        self.0.disk.read_at(buf, offset)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        self.0.disk.extent_at(offset)
    }

    fn properties(&self) -> Properties {
        self.0.disk.properties()
    }

    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        check_claimed(self, &bytes)?;
        let writing = self.begin()?;
        let claim = self.0.claims.take(self, bytes)?;
        Ok(Box::new(BlockWriter { shared: self.0.clone(), writing, claim }))
    }
}

struct BlockWriter<M: MapMut> {
    shared: Arc<Shared<M>>,
    writing: Arc<Writing<M::Changes>>,
    claim: Claim,
}

impl<M: MapMut> BlockWriter<M> {
    fn disk(&self) -> &Mapped<M> {
        &self.shared.disk
    }

    fn map(&self) -> &M {
        &self.shared.disk.map
    }

    fn check(&self, offset: u64, len: u64) -> Result<()> {
        self.claim.check(&self.disk().name, self.disk().size, offset, len)
    }

    /// The changes, for one thread at a time; with room for some more.
    fn changes(&self) -> Result<MutexGuard<'_, M::Changes>> {
        let mut changes = self.writing.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.writing.has_started.load(Ordering::Acquire) {
            self.map().start(&mut changes).within(self.disk())?;
            self.writing.has_started.store(true, Ordering::Release);
        }
        if self.map().is_full(&changes) {
            self.flush_changes(&mut changes)?;
        }
        Ok(changes)
    }

    fn flush_changes(&self, changes: &mut M::Changes) -> Result<()> {
        let settle = || drop(self.shared.in_use.write().unwrap_or_else(PoisonError::into_inner));
        self.map().flush(changes, &settle).within(self.disk())
    }

    /// Whether the parent has bytes at `offset` that are seen where this disk has none.
    fn hides(&self, offset: u64) -> bool {
        self.disk().parent.as_ref().is_some_and(|parent| offset < parent.size())
    }

    fn write(&self, mut content: Content<'_>, mut offset: u64) -> Result<()> {
        while content.len() > 0 {
            let done = match self.overwrite(content, offset)? {
                0 => self.write_new(content, offset)?,
                done => done,
            };
            content = content.split(done).1;
            offset += done;
        }
        Ok(())
    }

    /// Overwrites the bytes at `offset` that have a place of their own; says how many. What is encrypted may share sectors
    /// with its neighbours, and is written by one thread at a time.
    fn overwrite(&self, content: Content<'_>, offset: u64) -> Result<u64> {
        if self.disk().encryption.is_some() || !self.writing.has_started.load(Ordering::Acquire) {
            return Ok(0);
        }
        let _using = self.shared.in_use.read().unwrap_or_else(PoisonError::into_inner);
        let Some((at, len)) = self.map().in_place(offset, content.len()).within(self.disk())? else { return Ok(0) };
        content.split(len).0.write(&*self.writing.data, at)?;
        Ok(len)
    }

    /// Writes some bytes at `offset`, to a new place unless they have one; says how many.
    fn write_new(&self, content: Content<'_>, offset: u64) -> Result<u64> {
        let mut changes = self.changes()?;
        let want = content.len().min(MOST);
        if let Some((at, len)) = self.map().in_place(offset, want).within(self.disk())? {
            let content = content.split(len).0;
            match self.disk().encryption {
                None => content.write(&*self.writing.data, at)?,
                Some(_) => {
                    let inside = offset % SECTOR;
                    let sectors = offset - inside..(offset + len).next_multiple_of(SECTOR);
                    self.write_encrypted(content, offset, sectors, at.saturating_sub(inside))?;
                }
            }
            return Ok(len);
        }
        let new = self.map().allocate(&mut changes, offset, want).within(self.disk())?;
        let len = want.min(new.blocks.end - offset);
        if let Err(error) = self.fill(&new, content.split(len).0, offset) {
            self.map().release(&mut changes, &new);
            return Err(error);
        }
        // Whatever fails there, some of it may be linked.
        self.map().link(&mut changes, &new).within(self.disk())?;
        Ok(len)
    }

    /// Writes all of the blocks: `content` at `offset`, and around it what they have now.
    fn fill(&self, new: &Allocation, content: Content<'_>, offset: u64) -> Result<()> {
        let Range { start, end } = new.blocks;
        if self.disk().encryption.is_some() {
            return self.write_encrypted(content, offset, start..end, new.at);
        }
        let behind = offset + content.len();
        for edge in [start..offset, behind..end] {
            if edge.is_empty() || (new.is_fresh && self.reads_zero(edge.clone())?) {
                continue;
            }
            // Less than a block.
            let mut bytes = vec![0; (edge.end - edge.start) as usize];
            self.read(&mut bytes, edge.start)?;
            self.writing.data.write_at(&bytes, new.at + (edge.start - start))?;
        }
        content.write(&*self.writing.data, new.at + (offset - start))
    }

    /// Encrypts whole sectors of the disk to byte `at` of the file: `content` at `offset`, and around it what is there now.
    fn write_encrypted(&self, content: Content<'_>, offset: u64, sectors: Range<u64>, at: u64) -> Result<()> {
        let Some(encryption) = &self.disk().encryption else { return Ok(()) };
        // At most what is allocated at once, and a block.
        let mut bytes = vec![0; (sectors.end - sectors.start) as usize];
        let (head, len) = ((offset - sectors.start) as usize, content.len() as usize);
        self.read(&mut bytes[..head], sectors.start)?;
        self.read(&mut bytes[head + len..], offset + content.len())?;
        content.copy_to(&mut bytes[head..head + len]);
        encryption.key.encrypt(&mut bytes, if encryption.by_host { at } else { sectors.start })?;
        self.writing.data.write_at(&bytes, at)
    }

    /// Fills `buf` with what the disk has from `offset` on, and with zeros behind its end.
    fn read(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let there = self.disk().size.saturating_sub(offset).min(buf.len() as u64);
        let (there, behind) = buf.split_at_mut(there as usize);
        behind.fill(0);
        if there.is_empty() { Ok(()) } else { self.disk().read_at(there, offset) }
    }

    /// Whether the tables say that these bytes read as zeros.
    fn reads_zero(&self, bytes: Range<u64>) -> Result<bool> {
        let (mut at, end) = (bytes.start, bytes.end.min(self.disk().size));
        while at < end {
            let run = self.map().run_at(at, end - at).within(self.disk())?;
            match run.mapping {
                Mapping::Zero => {}
                Mapping::Parent if !self.hides(at) => {}
                _ => return Ok(false),
            }
            at = at.saturating_add(run.len);
        }
        Ok(true)
    }

    /// Takes the content of whole blocks away; `bytes` are theirs, up to the end of the disk.
    fn clear(&self, bytes: Range<u64>, may_keep: bool) -> Result<()> {
        let mut at = bytes.start;
        while at < bytes.end {
            let how = Clear { may_keep, hides: self.hides(at) };
            let mut changes = self.changes()?;
            let cleared = self.map().clear(&mut changes, at, bytes.end - at, how).within(self.disk())?;
            drop(changes);
            let (Cleared::Done(done) | Cleared::Write(done)) = cleared;
            let done = done.min(bytes.end - at);
            if matches!(cleared, Cleared::Write(_)) && !may_keep {
                self.write(Content::Zeros(done), at)?;
            }
            at += done;
        }
        Ok(())
    }

    /// Of `len` bytes at `offset` those that are whole blocks. The last block of the disk is whole up to its end.
    fn whole_blocks(&self, offset: u64, len: u64) -> Range<u64> {
        let (block, end) = (self.map().block_size(), offset + len);
        let last = if end == self.disk().size { end } else { end - end % block };
        let first = offset.next_multiple_of(block).min(end);
        first..last.max(first)
    }
}

impl<M: MapMut> DiskMut for BlockWriter<M> {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.check(offset, data.len() as u64)?;
        self.write(Content::Bytes(data), offset)
    }

    fn zero_at(&self, offset: u64, len: u64) -> Result<()> {
        self.check(offset, len)?;
        let whole = self.whole_blocks(offset, len);
        for edge in [offset..whole.start, whole.end..offset + len] {
            if !edge.is_empty() && !self.reads_zero(edge.clone())? {
                self.write(Content::Zeros(edge.end - edge.start), edge.start)?;
            }
        }
        self.clear(whole, false)
    }

    fn discard_at(&self, offset: u64, len: u64) -> Result<()> {
        self.check(offset, len)?;
        self.clear(self.whole_blocks(offset, len), true)
    }

    fn flush(&self) -> Result<()> {
        let mut changes = self.writing.changes.lock().unwrap_or_else(PoisonError::into_inner);
        self.flush_changes(&mut changes)
    }

    fn grow(&self, size: u64) -> Result<()> {
        if size <= self.disk().size {
            return Ok(());
        }
        Err(read_only!("{} cannot grow: its size is that of the guest's disk", self.disk()))
    }
}
