//! The write half of ext2, ext3 and ext4.
//!
//! An [`Operation`] changes metadata blocks in memory, all of what it wants or nothing; a [`Transaction`] gathers many and is
//! committed as a whole. Content of files is written at once where it belongs, before the transaction that makes it part
//! of a file. Operations come one after the other, and readers beside them see whole ones.
// The operations that use all of this come one after the other.
#![allow(dead_code)]

mod acl;
pub(super) mod opening;
pub(super) mod operation;
pub(super) mod record;
pub(super) mod transaction;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use images::disk::Page;
use images::{Error, Result, Writer, read_only};

use operation::Operation;
use transaction::{Committing, Transaction};

use super::volume::Volume;

/// How many bytes of changed blocks are gathered before they are committed (ours). While they are, as much may gather again.
const MOST_CHANGED: u64 = 16 << 20;

/// What an open file system has more if it is written.
pub(super) struct Writing {
    writer: Writer,
    /// Read by those who read the tree, written by operations.
    transaction: RwLock<Transaction>,
    /// Taken by whoever commits: one at a time.
    commits: Mutex<()>,
    /// Why nothing is written any more.
    ended: OnceLock<String>,
}

impl Writing {
    /// The write half of a volume that was [made for it](Volume::writable).
    pub fn new(volume: &Volume) -> Result<Self> {
        Ok(Self {
            writer: volume.writer()?,
            transaction: RwLock::default(),
            commits: Mutex::default(),
            ended: OnceLock::new(),
        })
    }

    /// Keeps operations from changing the tree as long as it is there. Whoever has one takes no second.
    pub fn reading(&self) -> RwLockReadGuard<'_, Transaction> {
        self.transaction.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn transaction(&self) -> RwLockWriteGuard<'_, Transaction> {
        self.transaction.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an operation: all of it is done, or, after an error, nothing. It may run twice, the second time after a commit that
    /// gave free what the first one found to be in use.
    pub fn operate<T>(&self, volume: &Volume, mut operation: impl FnMut(&mut Operation<'_>) -> Result<T>) -> Result<T> {
        let mut again = true;
        loop {
            self.check()?;
            let (answer, has_released, is_full) = {
                let mut transaction = self.transaction();
                let mut now = Operation::new(volume, &*self.writer, &mut transaction);
                let answer = operation(&mut now);
                let has_released = now.has_released();
                if answer.is_ok() {
                    now.finish();
                } else {
                    drop(now);
                }
                let bytes = volume.changed()?.running() as u64 * volume.block_size();
                (answer, has_released, bytes >= MOST_CHANGED)
            };
            match answer {
                Err(Error::NoSpace) if again && has_released => self.commit(volume)?,
                answer => {
                    if is_full {
                        self.commit(volume)?;
                    }
                    return answer;
                }
            }
            again = false;
        }
    }

    /// Makes durable all operations that are done. After a failure nothing is written any more.
    pub fn commit(&self, volume: &Volume) -> Result<()> {
        let commit = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        self.commit_alone(volume, &commit).inspect_err(|error| self.end(format!("writing failed: {error}")))
    }

    fn commit_alone(&self, volume: &Volume, _: &MutexGuard<'_, ()>) -> Result<()> {
        let changed = volume.changed()?;
        let (blocks, committing) = {
            let mut transaction = self.transaction();
            if transaction.is_empty() {
                drop(transaction);
                return self.writer.flush();
            }
            (changed.commit(), transaction.commit())
        };
        self.make_durable(volume, &blocks, &committing)?;
        changed.settle();
        self.transaction().settle();
        Ok(())
    }

    /// Writes the blocks of a transaction where they belong, and all that was written before.
    fn make_durable(&self, volume: &Volume, blocks: &[(u64, Page)], _: &Committing) -> Result<()> {
        for (block, content) in blocks {
            self.writer.write_at(content, volume.superblock().block_offset(*block)?)?;
        }
        self.writer.flush()
    }

    /// Makes everything durable; then nothing is written any more.
    pub fn close(&self, volume: &Volume) -> Result<()> {
        self.commit(volume)?;
        self.end("the file system is closed".into());
        Ok(())
    }

    /// Fails if nothing is written any more.
    pub fn check(&self) -> Result<()> {
        self.ended.get().map_or(Ok(()), |why| Err(read_only!("{why}")))
    }

    fn end(&self, why: String) {
        if self.ended.set(why.clone()).is_ok() {
            log::info!("{why}");
        }
    }
}
