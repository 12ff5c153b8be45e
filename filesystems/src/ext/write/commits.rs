//! How transactions become durable: through the journal, and from there to where they belong.
//!
//! Where there is no journal they are written where they belong at once, in no order: a crash may leave anything of the last
//! one, which is why the file system is marked then as one to be checked.

use images::disk::Page;
use images::{DiskMut, Result};

use super::journal::Journal;
use super::operation::Operation;
use super::{Writing, marks, orphans};
use crate::ext::features::compat;
use crate::ext::gathered::Gathered;
use crate::ext::journal::superblock::Superblock as JournalSuperblock;
use crate::ext::volume::Volume;

/// How many bytes of changed blocks are gathered before they are committed (ours). While they are, as much may gather again, and
/// as much may be in the journal only.
const MOST_CHANGED: u64 = 16 << 20;

/// Who commits has this.
pub(super) struct Commits {
    journal: Option<Journal>,
    /// Whether the superblock says that the file system is being written.
    is_marked: bool,
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
        Ok(Self { journal: has_journal.then(|| Journal::open(volume)).transpose()?, is_marked: false })
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
                    marks::begin(volume.superblock(), raw);
                    Ok(())
                })?;
                now.finish();
            }
            (changed.commit(), transaction.commit())
        };
        if !self.is_marked {
            marks::write(volume, writer, |raw| marks::begin(volume.superblock(), raw))?;
            self.is_marked = true;
            if self.journal.is_none() {
                writer.flush()?;
            }
        }
        if let Some(journal) = &mut self.journal {
            if !journal.has_room(blocks.len(), committing.revoked.len()) {
                write_home(writer, volume, &changed.committed())?;
                changed.went_home();
                journal.went_home();
                journal.make_room(writer)?;
            }
            journal.commit(writer, &blocks, &committing)?;
        } else {
            write_home(writer, volume, &blocks)?;
            writer.flush()?;
        }
        changed.settle(committing.revoked);
        writing.transaction().settle();
        self.leave_journal(writer, volume)
    }

    /// Writes home what was committed, if there is enough of it; the next flush makes that durable.
    fn leave_journal(&mut self, writer: &dyn DiskMut, volume: &Volume) -> Result<()> {
        let changed = volume.changed()?;
        let Some(journal) = &mut self.journal else {
            changed.went_home();
            return Ok(());
        };
        let bytes = changed.committed_count() as u64 * volume.block_size();
        if journal.is_filling() || bytes >= MOST_CHANGED {
            write_home(writer, volume, &changed.committed())?;
            changed.went_home();
            journal.went_home();
        }
        Ok(())
    }

    /// Writes everything home and says that the file system is clean.
    pub fn close(&mut self, writing: &Writing, volume: &Volume) -> Result<()> {
        let (writer, changed) = (&*writing.writer, volume.changed()?);
        if !self.is_marked {
            return Ok(());
        }
        write_home(writer, volume, &changed.committed())?;
        changed.went_home();
        writer.flush()?;
        if let Some(journal) = &mut self.journal {
            journal.went_home();
            journal.empty(writer)?;
        }
        let has_orphans = orphans::are_in_file(volume)?;
        marks::write(volume, writer, |raw| marks::end(volume.superblock(), raw, has_orphans))?;
        writer.flush()
    }
}

/// Writes blocks where they belong.
fn write_home(writer: &dyn DiskMut, volume: &Volume, blocks: &[(u64, Page)]) -> Result<()> {
    let mut gathered = Gathered::new(writer);
    for (block, content) in blocks {
        gathered.put(content, volume.superblock().block_offset(*block)?)?;
    }
    gathered.write()
}
