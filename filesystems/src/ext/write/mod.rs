//! The write half of ext2, ext3 and ext4.
//!
//! An [`Operation`] changes metadata blocks in memory, all of what it wants or nothing; a [`Transaction`] gathers many and is
//! [committed](commits) as a whole. Content of files is written at once where it belongs, before the transaction that makes it
//! part of a file. Operations come one after the other, and readers beside them see whole ones.

mod attribute_inode;
mod attributes;
mod bitmap;
mod block_content;
mod block_pointers;
pub(super) mod blocks;
mod charge;
mod commits;
pub(super) mod content;
pub(super) mod create;
mod descriptor;
mod directory;
mod directory_block;
mod entries;
mod extent_tree;
pub(super) mod held;
mod index;
mod inline_content;
mod inline_directory;
pub(super) mod inodes;
mod journal;
mod lent_journal;
pub(super) mod link;
pub(super) mod mapping;
mod marks;
pub(super) mod names;
pub(super) mod opening;
pub(super) mod operation;
pub(super) mod orphans;
pub(super) mod record;
pub(super) mod removal;
pub(super) mod rename;
#[cfg(test)]
mod scratch;
mod space;
mod spread;
pub(super) mod stat;
pub(super) mod superblock;
pub(super) mod transaction;
pub(super) mod xattrs;
mod zones;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use images::{Error, Result, Writer, read_only, unsupported};

use commits::{Commits, Limits};
use operation::Operation;
use transaction::Transaction;

use super::volume::Volume;

/// What an open file system has more if it is written.
pub(super) struct Writing {
    writer: Writer,
    /// Read by those who read the tree, written by operations.
    transaction: RwLock<Transaction>,
    /// Taken by whoever commits: one at a time.
    commits: Mutex<Commits>,
    /// How many commits began.
    begun: AtomicU64,
    /// How large a transaction may become; known when everything is ready for the first operation.
    limits: OnceLock<Limits>,
    /// Why nothing is written any more.
    ended: OnceLock<String>,
}

impl Writing {
    /// The write half of a volume that was [made for it](Volume::writable). Fails with `Unsupported` if its journal is one
    /// that is only read.
    pub fn new(volume: &Volume) -> Result<Self> {
        let mut transaction = Transaction::default();
        // What is wrong with its groups is said before anything is written.
        transaction.space(volume)?;
        let writer = volume.writer()?;
        Ok(Self {
            writer,
            transaction: RwLock::new(transaction),
            limits: OnceLock::new(),
            commits: Mutex::new(Commits::open(volume)?),
            begun: AtomicU64::new(0),
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
    /// gave free what the first one found to be in use, or made room for all that it changes.
    pub fn operate<T>(&self, volume: &Volume, mut operation: impl FnMut(&mut Operation<'_>) -> Result<T>) -> Result<T> {
        let limits = self.prepare(volume)?;
        let mut again = true;
        loop {
            self.check()?;
            let mut is_full = false;
            let answer = {
                let mut transaction = self.transaction();
                let is_first = transaction.is_empty();
                let mut now = Operation::new(volume, &*self.writer, &mut transaction);
                let answer = operation(&mut now);
                let (changed, revoked) = (volume.changed()?.running(), now.revoked());
                let has_released = now.has_released();
                match answer {
                    Ok(_) if !limits.holds(changed, revoked) => {
                        drop(now);
                        if is_first || !again {
                            return Err(unsupported!(
                                "not written: {changed} changed blocks at once, more than the journal holds"
                            ));
                        }
                        None
                    }
                    Ok(answer) => {
                        now.finish();
                        is_full = limits.is_full(changed, revoked);
                        Some(Ok(answer))
                    }
                    Err(Error::NoSpace) if again && has_released => None,
                    Err(error) => Some(Err(error)),
                }
            };
            match answer {
                None => self.commit(volume)?,
                Some(answer) => {
                    if is_full {
                        self.commit(volume)?;
                    }
                    return answer;
                }
            }
            again = false;
        }
    }

    /// Makes everything ready for the first operation.
    fn prepare(&self, volume: &Volume) -> Result<&Limits> {
        if let Some(limits) = self.limits.get() {
            return Ok(limits);
        }
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        if self.limits.get().is_none() {
            commits
                .prepare(self, volume)
                .and_then(|()| self.correct_counts(volume))
                .inspect_err(|error| self.end(volume, format!("preparing it to be written failed: {error}")))?;
        }
        Ok(self.limits.get_or_init(|| commits.limits(volume)))
    }

    /// Corrects the superblock's counts, which a crash leaves as they were at the last unmount.
    fn correct_counts(&self, volume: &Volume) -> Result<()> {
        let mut transaction = self.transaction();
        let mut now = Operation::new(volume, &*self.writer, &mut transaction);
        if blocks::correct_counts(&mut now)? {
            now.finish();
        }
        Ok(())
    }

    /// Makes durable all operations that are done, and all content that was written. After a failure nothing is written any more.
    pub fn commit(&self, volume: &Volume) -> Result<()> {
        let before = self.begun.load(Ordering::SeqCst);
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        // One that began after this was called has done it.
        if self.begun.load(Ordering::SeqCst) > before {
            return Ok(());
        }
        self.begun.fetch_add(1, Ordering::SeqCst);
        commits.commit(self, volume).inspect_err(|error| self.end(volume, format!("writing failed: {error}")))
    }

    /// Writes what was committed where it belongs, as happens when the journal fills.
    #[cfg(test)]
    fn write_home(&self, volume: &Volume) -> Result<()> {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        commits.write_home(&*self.writer, volume)
    }

    /// Makes durable what was written to a file. If nothing but its times waits for a commit, none is made.
    pub fn sync_data(&self, volume: &Volume, inode: u32) -> Result<()> {
        // A commit that is under way may have what is waited for.
        let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        if self.reading().has(inode) {
            drop(commits);
            return self.commit(volume);
        }
        self.writer.flush().inspect_err(|error| self.end(volume, format!("writing failed: {error}")))
    }

    /// Makes everything durable and the file system clean; then nothing is written any more.
    pub fn close(&self, volume: &Volume) -> Result<()> {
        self.commit(volume)?;
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        self.check()?;
        commits
            .close(self, volume)
            .inspect(|()| drop(self.ended.set("the file system is closed".into())))
            .inspect_err(|error| self.end(volume, format!("closing failed: {error}")))
    }

    /// Fails if nothing is written any more.
    pub fn check(&self) -> Result<()> {
        self.ended.get().map_or(Ok(()), |why| Err(read_only!("{why}")))
    }

    /// Something failed: whatever is on the disk stays there, to be replayed.
    fn end(&self, volume: &Volume, why: String) {
        let line = format!("{} is not written any more: {why}", volume.disk());
        if self.ended.set(why).is_ok() {
            log::error!("{line}");
        }
    }
}

#[cfg(test)]
mod tests;
