//! A transaction as it is written into the log.

use std::time::Duration;

use images::Result;
use zerocopy::IntoBytes;

use super::crc32::crc32_be;
use super::layout::*;
use super::log::Log;
use super::superblock::{Checksum, Superblock};
use crate::ext::checksum::crc32c;
use crate::ext::gathered::Gathered;

impl Superblock {
    /// Bytes of a tag.
    fn tag_size(&self) -> usize {
        let more = if self.wide { 4 } else { 0 };
        match self.checksum {
            Checksum::Tag32(_) => size_of::<JournalBlockTag3>(),
            Checksum::Tag16(_) => size_of::<JournalBlockTag>() + more + 2,
            Checksum::None | Checksum::Transaction => size_of::<JournalBlockTag>() + more,
        }
    }

    /// Bytes at the end of descriptor and revoke blocks that their checksum takes.
    fn tail_size(&self) -> usize {
        if self.seed().is_some() { size_of::<JournalBlockTail>() } else { 0 }
    }

    /// How many copies a descriptor block announces.
    fn tags_in_block(&self) -> usize {
        let used = size_of::<JournalHeader>() + TAG_UUID_SIZE + self.tail_size();
        (self.block_size as usize - used) / self.tag_size()
    }

    /// How many numbers a revoke block holds.
    fn revokes_in_block(&self) -> usize {
        let used = size_of::<JournalRevokeHeader>() + self.tail_size();
        (self.block_size as usize - used) / self.number_size()
    }

    fn number_size(&self) -> usize {
        if self.wide { 8 } else { 4 }
    }

    /// How many blocks of the log a transaction takes.
    pub fn blocks_for(&self, copies: usize, revokes: usize) -> usize {
        copies + copies.div_ceil(self.tags_in_block()) + revokes.div_ceil(self.revokes_in_block()) + 1
    }
}

/// A transaction that is being written: first what it revokes, then its copies, then its commit block.
pub(in crate::ext) struct Transaction<'a> {
    log: &'a Log,
    uuid: [u8; 16],
    sequence: u32,
    /// The block of the log that comes next.
    at: u32,
    /// Checksum v1 up to here.
    crc: u32,
    gathered: Gathered<'a>,
}

impl<'a> Transaction<'a> {
    /// The one with this number, from block `at` of the log on. `uuid` is that of the journal.
    pub fn new(log: &'a Log, uuid: [u8; 16], sequence: u32, at: u32, gathered: Gathered<'a>) -> Self {
        Self { log, uuid, sequence, at, crc: !0, gathered }
    }

    /// Writes which blocks are not to be replayed, from this transaction or older ones.
    pub fn revoke(&mut self, blocks: &[u64]) -> Result<()> {
        let superblock = &self.log.superblock;
        let size = superblock.number_size();
        for blocks in blocks.chunks(superblock.revokes_in_block()) {
            let mut block = self.header(JBD2_REVOKE_BLOCK);
            let used = size_of::<JournalRevokeHeader>() + size * blocks.len();
            let count = u32::try_from(used).expect("at most a block");
            block[size_of::<JournalHeader>()..][..4].copy_from_slice(&count.to_be_bytes());
            for (place, number) in block[size_of::<JournalRevokeHeader>()..used].chunks_exact_mut(size).zip(blocks) {
                place.copy_from_slice(&number.to_be_bytes()[8 - size..]);
            }
            self.seal(&mut block);
            self.put(&block)?;
        }
        Ok(())
    }

    /// Writes copies of blocks, each with its number.
    pub fn copy<B: AsRef<[u8]>>(&mut self, blocks: &[(u64, B)]) -> Result<()> {
        for blocks in blocks.chunks(self.log.superblock.tags_in_block()) {
            let mut block = self.header(JBD2_DESCRIPTOR_BLOCK);
            let mut place = size_of::<JournalHeader>();
            for (index, (number, content)) in blocks.iter().enumerate() {
                let (escaped, content) = escape(content.as_ref());
                let mut flags = if escaped { JBD2_FLAG_ESCAPE } else { 0 };
                flags |= if index > 0 { JBD2_FLAG_SAME_UUID } else { 0 };
                flags |= if index + 1 == blocks.len() { JBD2_FLAG_LAST_TAG } else { 0 };
                let tag = self.tag(*number, flags, &content);
                block[place..][..tag.len()].copy_from_slice(&tag);
                place += tag.len();
                if index == 0 {
                    block[place..][..TAG_UUID_SIZE].copy_from_slice(&self.uuid);
                    place += TAG_UUID_SIZE;
                }
            }
            self.seal(&mut block);
            self.put_checked(&block)?;
            for (_, content) in blocks {
                let (_, content) = escape(content.as_ref());
                self.put_checked(&content)?;
            }
        }
        Ok(())
    }

    /// Gives the commit block, where it lies in bytes, and the block of the log that follows it. All but this block is written,
    /// and must be durable before it is.
    pub fn finish(mut self, time: Duration) -> Result<(Vec<u8>, u64, u32)> {
        self.gathered.write()?;
        let mut block = self.header(JBD2_COMMIT_BLOCK);
        let mut commit = CommitHeader {
            c_header: self.header_of(JBD2_COMMIT_BLOCK),
            h_chksum_type: 0,
            h_chksum_size: 0,
            h_padding: [0; 2],
            h_chksum: [0.into(); 8],
            h_commit_sec: time.as_secs().into(),
            h_commit_nsec: time.subsec_nanos().into(),
        };
        if self.log.superblock.checksum == Checksum::Transaction {
            (commit.h_chksum_type, commit.h_chksum_size) = (JBD2_CRC32_CHKSUM, JBD2_CRC32_CHKSUM_SIZE);
            commit.h_chksum[0] = self.crc.into();
        }
        block[..size_of::<CommitHeader>()].copy_from_slice(commit.as_bytes());
        if let Some(seed) = self.log.superblock.seed() {
            commit.h_chksum[0] = crc32c(seed, &block).into();
            block[..size_of::<CommitHeader>()].copy_from_slice(commit.as_bytes());
        }
        Ok((block, self.log.offset(self.at)?, self.log.superblock.after(self.at, 1)))
    }

    fn header_of(&self, kind: u32) -> JournalHeader {
        JournalHeader { h_magic: JBD2_MAGIC_NUMBER.into(), h_blocktype: kind.into(), h_sequence: self.sequence.into() }
    }

    /// A block with a header and zeros.
    fn header(&self, kind: u32) -> Vec<u8> {
        let mut block = vec![0; self.log.superblock.block_size as usize];
        block[..size_of::<JournalHeader>()].copy_from_slice(self.header_of(kind).as_bytes());
        block
    }

    fn tag(&self, number: u64, flags: u16, content: &[u8]) -> Vec<u8> {
        let superblock = &self.log.superblock;
        let [a, b, c, d, low @ ..] = number.to_be_bytes();
        let high = [a, b, c, d];
        let crc = superblock.seed().map_or(0, |seed| crc32c(crc32c(seed, &self.sequence.to_be_bytes()), content));
        if let Checksum::Tag32(_) = superblock.checksum {
            let t_blocknr_high = if superblock.wide { high } else { [0; 4] }.into();
            let flags = u32::from(flags).into();
            let tag =
                JournalBlockTag3 { t_blocknr: low.into(), t_flags: flags, t_blocknr_high, t_checksum: crc.into() };
            return tag.as_bytes().to_vec();
        }
        let [_, _, low_crc @ ..] = crc.to_be_bytes();
        let tag = JournalBlockTag { t_blocknr: low.into(), t_checksum: low_crc.into(), t_flags: flags.into() };
        let mut tag = tag.as_bytes().to_vec();
        tag.extend_from_slice(if superblock.wide { &high } else { &[] });
        tag.resize(superblock.tag_size(), 0);
        tag
    }

    /// Writes the checksum of a descriptor or revoke block at its end, where it has one.
    fn seal(&self, block: &mut [u8]) {
        if let Some(seed) = self.log.superblock.seed() {
            let crc = crc32c(seed, block).to_be_bytes();
            let at = block.len() - crc.len();
            block[at..].copy_from_slice(&crc);
        }
    }

    fn put_checked(&mut self, block: &[u8]) -> Result<()> {
        if self.log.superblock.checksum == Checksum::Transaction {
            self.crc = crc32_be(self.crc, block);
        }
        self.put(block)
    }

    fn put(&mut self, block: &[u8]) -> Result<()> {
        self.gathered.put(block, self.log.offset(self.at)?)?;
        self.at = self.log.superblock.after(self.at, 1);
        Ok(())
    }
}

/// A block as it lies in the log: what begins with the journal's magic begins with zeros there.
fn escape(content: &[u8]) -> (bool, std::borrow::Cow<'_, [u8]>) {
    match content.strip_prefix(&JBD2_MAGIC_NUMBER.to_be_bytes()) {
        Some(rest) => (true, [&[0; 4], rest].concat().into()),
        None => (false, content.into()),
    }
}
