//! A file system's disk with its superblock: inodes and blocks by number, through bounded caches.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use images::disk::{Cached, Page};
use images::{Disk, Error, Result, Writer, corrupt, read_only};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use zerocopy::FromBytes;

use super::changed::Changed;
use super::group::Group;
use super::inode::Inode;
use super::known_blocks::KnownBlocks;
use super::layout::{self, SUPERBLOCK_OFFSET};
use super::run::Window;
use super::superblock::Superblock;

/// The unit in which metadata is read, in bytes (ours): a few blocks of a directory or 64 inodes at once.
const PAGE_SIZE: usize = 16 << 10;
/// How many bytes of metadata are kept (ours).
const METADATA_CACHE: u64 = 8 << 20;
/// How many bytes of parsed inodes are kept (ours): about 5,000 inodes.
const INODE_CACHE: u64 = 2 << 20;
/// How many bytes of resolved maps are kept (ours): at least four windows of the most fragmented files.
const WINDOW_CACHE: u64 = 2 << 20;

/// Of how many directories is kept what is known of their blocks (ours).
const KNOWN_DIRECTORIES: usize = 512;

/// How many resolved maps are expected (ours): most are short.
const WINDOW_ITEMS: usize = 1024;
/// What an entry of a cache takes beside its content, about.
const ENTRY_OVERHEAD: usize = 64;

/// Weighs what a cache keeps by the memory it takes.
#[derive(Clone)]
pub(super) struct ByBytes;

impl Weighter<u32, Arc<Inode>> for ByBytes {
    fn weight(&self, _: &u32, inode: &Arc<Inode>) -> u64 {
        (ENTRY_OVERHEAD + size_of::<Inode>() + inode.tail.len()) as u64
    }
}

impl Weighter<(u32, u32, u64), Arc<Window>> for ByBytes {
    fn weight(&self, _: &(u32, u32, u64), window: &Arc<Window>) -> u64 {
        (ENTRY_OVERHEAD + window.bytes()) as u64
    }
}

/// A metadata block: a slice of a cached page.
#[derive(Clone)]
pub struct Block {
    page: Page,
    start: usize,
    len: usize,
    offset: u64,
}

impl Block {
    /// Where the block starts on the disk, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.page[self.start..][..self.len]
    }
}

/// The disk of a file system, its superblock, and what was read of it. Making one reads nothing.
pub struct Volume {
    disk: Arc<dyn Disk>,
    metadata: Cached,
    superblock: Superblock,
    inodes: Cache<u32, Arc<Inode>, ByBytes>,
    pub(super) windows: Cache<(u32, u32, u64), Arc<Window>, ByBytes>,
    /// What was changed of the metadata, if it is written.
    changed: Option<Changed>,
    /// Numbers the states of inodes that are read.
    versions: AtomicU64,
    pub(super) directories: Cache<u32, Arc<KnownBlocks>>,
}

impl Volume {
    /// The file system with this superblock on this disk.
    pub fn new(disk: Arc<dyn Disk>, superblock: Superblock) -> Self {
        // So every block lies in one page.
        let page_size = PAGE_SIZE.max(superblock.block_size as usize);
        Self::with_pages(disk, superblock, page_size)
    }

    /// The same, to be written: what is changed of its metadata is read from memory until it is on the disk.
    pub(super) fn writable(disk: Arc<dyn Disk>, superblock: Superblock) -> Self {
        Self { changed: Some(Changed::default()), ..Self::new(disk, superblock) }
    }

    /// The same for one pass through all metadata: it reads no more than the blocks that are asked for.
    pub(super) fn of_blocks(&self) -> Self {
        Self::with_pages(self.disk.clone(), self.superblock.clone(), self.superblock.block_size as usize)
    }

    fn with_pages(disk: Arc<dyn Disk>, superblock: Superblock, page_size: usize) -> Self {
        Self {
            metadata: Cached::new(disk.clone(), page_size, METADATA_CACHE),
            disk,
            inodes: Cache::with_weighter(INODE_CACHE as usize / size_of::<Inode>(), INODE_CACHE, ByBytes),
            windows: Cache::with_weighter(WINDOW_ITEMS, WINDOW_CACHE, ByBytes),
            directories: Cache::new(KNOWN_DIRECTORIES),
            changed: None,
            versions: AtomicU64::new(1),
            superblock,
        }
    }

    /// The superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The disk itself, without the cache.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Bytes in a block.
    pub fn block_size(&self) -> u64 {
        self.superblock.block_size.into()
    }

    /// `len` bytes at `offset` (bytes), which must not cross a block.
    fn bytes(&self, offset: u64, len: usize) -> Result<Block> {
        if let Some(changed) = &self.changed
            && let Some(page) = changed.get(offset / self.block_size())
        {
            let start = (offset % self.block_size()) as usize;
            return Ok(Block { page, start, len, offset });
        }
        let page = match self.metadata.page_at(offset) {
            Ok(page) => page,
            // One bad sector hides one block.
            Err(Error::Io { .. }) if self.metadata.page_size() > self.superblock.block_size as usize => {
                let mut bytes = vec![0; len];
                self.disk.read_at(&mut bytes, offset)?;
                return Ok(Block { page: bytes.into(), start: 0, len, offset });
            }
            Err(error) => return Err(error),
        };
        let start = (offset % self.metadata.page_size() as u64) as usize;
        if page.get(start..).is_some_and(|rest| rest.len() >= len) {
            Ok(Block { page, start, len, offset })
        } else {
            Err(corrupt!(self.disk.to_string(), offset, "{len} bytes wanted, but it ends before"))
        }
    }

    /// A metadata block, through the cache.
    pub fn block(&self, block: u64) -> Result<Block> {
        self.bytes(self.superblock.block_offset(block)?, self.superblock.block_size as usize)
    }

    /// The metadata blocks that were changed. Fails if the volume is not written.
    pub(super) fn changed(&self) -> Result<&Changed> {
        self.changed.as_ref().ok_or_else(|| read_only!("{} was opened for reading", self.disk))
    }

    /// The superblock as it is now, with its counts.
    pub(super) fn superblock_now(&self) -> Result<Box<layout::SuperBlock>> {
        if self.changed.is_none() {
            return Ok(self.superblock.raw.clone());
        }
        let bytes = self.bytes(SUPERBLOCK_OFFSET, size_of::<layout::SuperBlock>())?;
        let raw = layout::SuperBlock::read_from_bytes(&bytes).expect("as many bytes as it has");
        Ok(Box::new(raw))
    }

    /// The writer of the whole disk, which what is kept of it takes notice of.
    pub(super) fn writer(&self) -> Result<Writer> {
        self.metadata.writer(0..self.disk.size())
    }

    /// Forgets what was read of an inode, its map and its entries: they were changed.
    pub(super) fn forget(&self, number: u32) {
        self.inodes.remove(&number);
        self.directories.remove(&number);
    }

    /// The descriptor of a group below `groups`, verified.
    pub fn group(&self, number: u32) -> Result<Group> {
        let offset = self.superblock.desc_offset(number)?;
        let bytes = self.bytes(offset, self.superblock.desc_size.into())?;
        Group::parse(&self.superblock, number, offset, &bytes)
    }

    /// Where the record of an inode starts on the disk, in bytes.
    pub fn inode_offset(&self, number: u32) -> Result<u64> {
        let superblock = &self.superblock;
        let Some(index) = number.checked_sub(1).filter(|index| *index < superblock.inodes) else {
            return Err(corrupt!("inode number", 0u64, "{number}, want 1 to {}", superblock.inodes));
        };
        let group = self.group(index / superblock.inodes_per_group)?;
        let inside = u64::from(index % superblock.inodes_per_group) * u64::from(superblock.inode_size);
        let block = group.inode_table.saturating_add(inside / self.block_size());
        Ok(superblock.block_offset(block)? + inside % self.block_size())
    }

    /// An inode, its checksum verified. Fails with `Corrupt` for damaged inodes; reserved inodes are given like any.
    pub fn inode(&self, number: u32) -> Result<Arc<Inode>> {
        self.inodes.get_or_insert_with(&number, || {
            let offset = self.inode_offset(number)?;
            let record = self.bytes(offset, self.superblock.inode_size.into())?;
            let mut inode = Inode::parse(&self.superblock, number, offset, &record)?;
            if self.changed.is_some() {
                inode.version = self.versions.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Arc::new(inode))
        })
    }
}
