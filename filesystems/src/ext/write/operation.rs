//! One operation on the tree: the metadata blocks that it changes, all of them or none.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use images::disk::Page;
use images::{DiskMut, Result};

use super::record::Record;
use super::space::Space;
use super::transaction::Transaction;
use crate::ext::superblock::Superblock;
use crate::ext::volume::{Block, Volume};
use crate::node::Time;

/// What an operation changes. What it changed is read by all from then on, by [`Volume::block`] too, for nobody reads beside
/// it. Unless it is [finished](Self::finish), all of it is taken back when it is dropped.
pub(in crate::ext) struct Operation<'a> {
    pub volume: &'a Volume,
    /// Where content of files is written, at once and past the transaction.
    pub writer: &'a dyn DiskMut,
    transaction: &'a mut Transaction,
    /// The blocks as the transaction had them before.
    before: HashMap<u64, Option<Page>>,
    inodes: Vec<u32>,
    /// Inodes of which more than times changed.
    essential: Vec<u32>,
    freed: Vec<Range<u64>>,
    revoked: Vec<Range<u64>>,
    finished: bool,
}

impl<'a> Operation<'a> {
    /// An operation of this transaction, the only one at this time.
    pub fn new(volume: &'a Volume, writer: &'a dyn DiskMut, transaction: &'a mut Transaction) -> Self {
        Self {
            volume,
            writer,
            transaction,
            before: HashMap::new(),
            inodes: Vec::new(),
            essential: Vec::new(),
            freed: Vec::new(),
            revoked: Vec::new(),
            finished: false,
        }
    }

    /// The superblock as it was when the file system was opened: its geometry and its features, but not its counts.
    pub fn superblock(&self) -> &'a Superblock {
        self.volume.superblock()
    }

    /// A block as it is now.
    pub fn block(&self, number: u64) -> Result<Block> {
        self.volume.block(number)
    }

    /// Changes a block of metadata. If `edit` fails nothing is changed.
    pub fn change<T>(&mut self, number: u64, edit: impl FnOnce(&mut [u8]) -> Result<T>) -> Result<T> {
        let mut content = Page::from(&*self.volume.block(number)?);
        let answer = edit(Arc::get_mut(&mut content).expect("nobody else has it yet"))?;
        self.set(number, content)?;
        Ok(answer)
    }

    /// Gives a block of metadata a content, a whole block, whatever it had before.
    pub fn replace(&mut self, number: u64, content: Vec<u8>) -> Result<()> {
        self.superblock().block_offset(number)?;
        debug_assert_eq!(content.len() as u64, self.volume.block_size(), "a whole block");
        self.set(number, content.into())
    }

    fn set(&mut self, number: u64, content: Page) -> Result<()> {
        let before = self.volume.changed()?.set(number, Some(content));
        self.before.entry(number).or_insert(before);
        Ok(())
    }

    /// Blocks that hold nothing any more: they are not used again before this is committed. `metadata` are those that
    /// may have lain in the journal: their copies there are revoked.
    pub fn release(&mut self, blocks: Range<u64>, metadata: bool) -> Result<()> {
        if metadata {
            for block in blocks.clone() {
                let before = self.volume.changed()?.set(block, None);
                self.before.entry(block).or_insert(before);
            }
            self.revoked.push(blocks.clone());
        }
        self.freed.push(blocks);
        Ok(())
    }

    /// The first blocks of `blocks` that may not be used yet, because they were freed and this is not committed.
    pub fn first_released(&self, blocks: Range<u64>) -> Option<Range<u64>> {
        let own = self.freed.iter().filter(|freed| freed.start < blocks.end && freed.end > blocks.start);
        own.cloned().chain(self.transaction.first_released(blocks.clone())).min_by_key(|freed| freed.start)
    }

    /// Whether blocks that were freed may be used again once the transaction is committed.
    pub fn has_released(&self) -> bool {
        self.transaction.has_released()
    }

    /// How many blocks the transaction revokes with what this one does.
    pub(super) fn revoked(&self) -> usize {
        self.transaction.revoked_with(&self.revoked)
    }

    /// What is known of the space.
    pub(super) fn space(&mut self) -> Result<&mut Space> {
        self.transaction.space(self.volume)
    }

    /// The record of an inode, its checksum verified.
    pub fn record(&self, number: u32) -> Result<Record> {
        let inode = self.volume.inode(number)?;
        let block = inode.offset / self.volume.block_size();
        let inside = (inode.offset % self.volume.block_size()) as usize;
        let size = usize::from(self.superblock().inode_size);
        Ok(Record::of(number, inode.offset, self.volume.block(block)?[inside..][..size].to_vec()))
    }

    /// Writes the record of an inode, with its checksum.
    pub fn put(&mut self, record: &mut Record) -> Result<()> {
        self.put_times(record)?;
        self.essential.push(record.number);
        Ok(())
    }

    /// The same if nothing but times changed: an fdatasync does not wait for it.
    pub fn put_times(&mut self, record: &mut Record) -> Result<()> {
        record.seal(self.superblock());
        let block_size = self.volume.block_size();
        let inside = (record.offset % block_size) as usize;
        self.change(record.offset / block_size, |block| {
            block[inside..][..record.bytes().len()].copy_from_slice(record.bytes());
            Ok(())
        })?;
        self.volume.forget(record.number);
        self.inodes.push(record.number);
        Ok(())
    }

    /// The present, in the resolution that inodes have.
    pub fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Time { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanoseconds: since.subsec_nanos() }
    }

    /// It is done: what it changed belongs to the transaction.
    pub fn finish(mut self) {
        self.finished = true;
        self.transaction.add(&self.essential, &self.freed, &self.revoked, self.before.keys().copied());
    }
}

impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Ok(changed) = self.volume.changed() {
            for (block, before) in self.before.drain() {
                changed.set(block, before);
            }
        }
        for inode in &self.inodes {
            self.volume.forget(*inode);
        }
    }
}
