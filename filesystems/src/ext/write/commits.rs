//! How transactions become durable: through the journal, and from there to where they belong.
//!
//! A file system without a journal is lent one. One that has no room for it is written in place, in no order: a crash may leave
//! anything of the last transaction, which is why the file system is marked then as one to be checked.

use images::disk::Page;
use images::{DiskMut, Error, Result};

use super::journal::Journal;
use super::operation::Operation;
use super::{Writing, lent_journal, marks, orphans};
use crate::ext::features::compat;
use crate::ext::gathered::Gathered;
use crate::ext::journal::superblock::Superblock as JournalSuperblock;
use crate::ext::layout::SUPERBLOCK_OFFSET;
use crate::ext::volume::Volume;

/// How many bytes of changed blocks are gathered before they are committed (ours). While they are, as much may gather again, and
/// as much may be in the journal only.
const MOST_CHANGED: u64 = 16 << 20;

/// Who commits has this.
pub(super) struct Commits {
    journal: Option<Journal>,
    /// Whether the superblock says that the file system is being written.
    is_marked: bool,
    /// `s_state` as it was before.
    state: u16,
}

/// How large a transaction may become.
pub(super) struct Limits {
    most_blocks: usize,
    journal: Option<JournalSuperblock>,
}

impl Limits {
    /// Whether a transaction of so many blocks can be committed at all.
    pub fn holds(&self, blocks: usize, revoked: usize) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.blocks_for(blocks, revoked) < journal.ring() as usize)
    }

    /// Whether it should be committed.
    pub fn is_full(&self, blocks: usize, revoked: usize) -> bool {
        let is_long = |journal: &JournalSuperblock| journal.blocks_for(blocks, revoked) > journal.ring() as usize / 4;
        blocks >= self.most_blocks || self.journal.as_ref().is_some_and(is_long)
    }
}

impl Commits {
    /// Those of a volume on which nothing was written yet.
    pub fn open(volume: &Volume) -> Result<Self> {
        let has_journal = volume.superblock().features.has_compat(compat::HAS_JOURNAL);
        let journal = has_journal.then(|| Journal::open(volume)).transpose()?;
        Ok(Self { journal, is_marked: false, state: volume.superblock().raw.s_state.get() })
    }

    /// Makes the journal of a file system that has none. Comes before all operations.
    pub fn prepare(&mut self, writing: &Writing, volume: &Volume) -> Result<()> {
        let Some(length) = lent_journal::length(volume)?.filter(|_| self.journal.is_none()) else { return Ok(()) };
        let writer = &*writing.writer;
        {
            let mut transaction = writing.transaction();
            let mut now = Operation::new(volume, writer, &mut transaction);
            match lent_journal::make(&mut now, length, self.state) {
                Ok(()) => {}
                Err(Error::NoSpace) => return Ok(()),
                Err(error) => return Err(error),
            }
            now.change_superblock(|raw| {
                marks::begin(raw);
                Ok(())
            })?;
            now.finish();
        }
        marks::write(volume, writer, marks::set_dirty)?;
        writer.flush()?;
        write_superblock_last(writing, volume)?;
        self.is_marked = true;
        self.journal = Some(Journal::open_inode(volume, lent_journal::JOURNAL_INO)?);
        Ok(())
    }

    pub fn limits(&self, volume: &Volume) -> Limits {
        let most_blocks = usize::try_from(MOST_CHANGED / volume.block_size()).expect("16 MiB fit into memory");
        Limits { most_blocks, journal: self.journal.as_ref().map(|journal| journal.superblock().clone()) }
    }

    /// Makes the running transaction durable, and all that was written before.
    pub fn commit(&mut self, writing: &Writing, volume: &Volume) -> Result<()> {
        let (writer, changed) = (&*writing.writer, volume.changed()?);
        let (blocks, committing) = {
            let mut transaction = writing.transaction();
            if transaction.is_empty() {
                drop(transaction);
                return writer.flush();
            }
            if !self.is_marked {
                let mut now = Operation::new(volume, writer, &mut transaction);
                now.change_superblock(|raw| {
                    marks::begin(raw);
                    Ok(())
                })?;
                now.finish();
            }
            (changed.commit(), transaction.commit())
        };
        if !self.is_marked {
            marks::write(volume, writer, marks::begin)?;
            self.is_marked = true;
            if self.journal.is_none() {
                writer.flush()?;
            }
        }
        if self.journal.as_ref().is_some_and(|journal| !journal.has_room(blocks.len(), committing.revoked.len())) {
            self.write_home(writer, volume)?;
        }
        match &mut self.journal {
            Some(journal) => journal.commit(writer, &blocks, &committing)?,
            None => {
                write_blocks(writer, volume, &blocks)?;
                writer.flush()?;
            }
        }
        changed.settle(committing.revoked);
        writing.transaction().settle();
        self.leave_journal(writer, volume)
    }

    /// Writes home what was committed, if there is enough of it.
    fn leave_journal(&mut self, writer: &dyn DiskMut, volume: &Volume) -> Result<()> {
        let bytes = volume.changed()?.committed_count() as u64 * volume.block_size();
        let is_filling = self.journal.as_ref().is_none_or(Journal::is_filling);
        if is_filling || bytes >= MOST_CHANGED { self.write_home(writer, volume) } else { Ok(()) }
    }

    /// Writes home what was committed; the next flush makes that durable.
    pub fn write_home(&mut self, writer: &dyn DiskMut, volume: &Volume) -> Result<()> {
        let changed = volume.changed()?;
        write_blocks(writer, volume, &changed.committed())?;
        changed.went_home();
        if let Some(journal) = &mut self.journal {
            journal.went_home();
        }
        Ok(())
    }

    /// Writes everything home and says that the file system is clean.
    pub fn close(&mut self, writing: &Writing, volume: &Volume) -> Result<()> {
        let writer = &*writing.writer;
        if !self.is_marked {
            return Ok(());
        }
        self.write_home(writer, volume)?;
        writer.flush()?;
        if let Some(journal) = &mut self.journal {
            journal.empty(writer)?;
        }
        let has_orphans = orphans::are_in_file(volume)?;
        if let Some(journal) = self.journal.take_if(|journal| journal.is_lent()) {
            lent_journal::forget(volume, writer)?;
            {
                let mut transaction = writing.transaction();
                let mut now = Operation::new(volume, writer, &mut transaction);
                lent_journal::give_back(&mut now, &journal.blocks())?;
                now.change_superblock(|raw| {
                    marks::end(self.state, raw, has_orphans);
                    Ok(())
                })?;
                now.finish();
            }
            return write_superblock_last(writing, volume);
        }
        marks::write(volume, writer, |raw| marks::end(self.state, raw, has_orphans))?;
        writer.flush()
    }
}

/// Writes the running transaction where it belongs, past the journal: the superblock when all else is durable.
fn write_superblock_last(writing: &Writing, volume: &Volume) -> Result<()> {
    let (writer, changed) = (&*writing.writer, volume.changed()?);
    let (mut blocks, committing) = {
        let mut transaction = writing.transaction();
        (changed.commit(), transaction.commit())
    };
    let last =
        blocks.extract_if(.., |(block, _)| *block == SUPERBLOCK_OFFSET / volume.block_size()).collect::<Vec<_>>();
    for blocks in [blocks, last] {
        write_blocks(writer, volume, &blocks)?;
        writer.flush()?;
    }
    changed.settle(committing.revoked);
    changed.went_home();
    writing.transaction().settle();
    Ok(())
}

/// Writes blocks where they belong.
fn write_blocks(writer: &dyn DiskMut, volume: &Volume, blocks: &[(u64, Page)]) -> Result<()> {
    let mut gathered = Gathered::new(writer);
    for (block, content) in blocks {
        gathered.put(content, volume.superblock().block_offset(*block)?)?;
    }
    gathered.write()
}
