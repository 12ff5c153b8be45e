//! The blocks and inodes that a replay changes, over the file system that it began with.

use std::collections::BTreeMap;

use images::disk::Replacement;
use images::{Result, corrupt, unsupported};

use super::super::log::{Log, Run};
use crate::ext::checksum::{crc32c, inode_seed};
use crate::ext::inode::Inode;
use crate::ext::layout::checksum_halves;
use crate::ext::volume::Volume;
use crate::length::in_memory;

/// The most that fast commits may change, in bytes: ours. The kernel writes what is longer as a whole transaction.
const MAX_CHANGED: usize = 256 << 20;

/// Where fields lie in an inode's record, in bytes: <https://docs.kernel.org/filesystems/ext4/inodes.html>.
pub const I_SIZE_LO: usize = 0x4;
/// See [`I_SIZE_LO`].
pub const I_LINKS_COUNT: usize = 0x1a;
/// See [`I_SIZE_LO`].
pub const I_BLOCKS_LO: usize = 0x1c;
/// See [`I_SIZE_LO`].
pub const I_FLAGS: usize = 0x20;
/// See [`I_SIZE_LO`].
pub const I_BLOCK: usize = 0x28;
/// See [`I_SIZE_LO`].
pub const I_GENERATION: usize = 0x64;
/// See [`I_SIZE_LO`].
pub const I_SIZE_HIGH: usize = 0x6c;
const I_CHECKSUM_LO: usize = 0x7c;
const I_EXTRA_ISIZE: usize = 0x80;
const I_CHECKSUM_HI: usize = 0x82;

/// A file system in which blocks change.
pub struct Store {
    /// The file system before.
    pub volume: Volume,
    changed: BTreeMap<u64, Vec<u8>>,
    spare: Vec<Run>,
}

impl Store {
    /// The file system of `volume`, unchanged.
    pub fn new(volume: Volume, log: &Log) -> Self {
        Self { volume, changed: BTreeMap::new(), spare: log.runs().to_vec() }
    }

    /// What changed.
    pub fn into_blocks(self) -> BTreeMap<u64, Replacement> {
        self.changed.into_iter().map(|(block, bytes)| (block, Replacement::Bytes(bytes.into()))).collect()
    }

    /// A copy of a block as it is now.
    pub fn block(&self, number: u64) -> Result<Vec<u8>> {
        match self.changed.get(&number) {
            Some(bytes) => Ok(bytes.clone()),
            None => Ok(self.volume.block(number)?.to_vec()),
        }
    }

    /// Changes a block.
    pub fn put(&mut self, number: u64, bytes: Vec<u8>) -> Result<()> {
        if self.changed.len().saturating_mul(bytes.len()) > MAX_CHANGED {
            return Err(unsupported!("fast commits that change more than {MAX_CHANGED} bytes"));
        }
        self.changed.insert(number, bytes);
        Ok(())
    }

    /// A block for something new, all zeros.
    ///
    /// The bitmaps are not consulted: it is one of the journal's, whose content nobody needs after the replay.
    pub fn allocate(&mut self) -> Result<u64> {
        while let Some(run) = self.spare.last_mut() {
            if let Some(len) = run.len.checked_sub(1) {
                run.len = len;
                return Ok(run.physical + u64::from(len));
            }
            self.spare.pop();
        }
        Err(unsupported!("fast commits that add more blocks than the journal has"))
    }

    /// The record of an inode as it is now.
    pub fn record(&self, number: u32) -> Result<Vec<u8>> {
        let (block, inside) = self.place(number)?;
        let block = self.block(block)?;
        Ok(block.get(inside..).unwrap_or_default().iter().take(self.record_size()).copied().collect())
    }

    /// An inode as it is now.
    pub fn inode(&self, number: u32) -> Result<Inode> {
        let offset = self.volume.inode_offset(number)?;
        Inode::parse(self.volume.superblock(), number, offset, &self.record(number)?)
    }

    /// Changes an inode's record, as long as [`record`](Self::record) gives it, and sets its checksum.
    pub fn put_record(&mut self, number: u32, mut record: Vec<u8>) -> Result<()> {
        if let Some(seed) = self.volume.superblock().checksum_seed {
            let extra = if record.len() > I_EXTRA_ISIZE { get16(&record, I_EXTRA_ISIZE) } else { 0 };
            let has_high = usize::from(extra) >= I_CHECKSUM_HI + 2 - I_EXTRA_ISIZE;
            set16(&mut record, I_CHECKSUM_LO, 0);
            if has_high {
                set16(&mut record, I_CHECKSUM_HI, 0);
            }
            let crc = crc32c(inode_seed(seed, number, get32(&record, I_GENERATION)), &record);
            let (low, high) = checksum_halves(crc);
            set16(&mut record, I_CHECKSUM_LO, low);
            if has_high {
                set16(&mut record, I_CHECKSUM_HI, high);
            }
        }
        let (number, inside) = self.place(number)?;
        let mut block = self.block(number)?;
        match block.get_mut(inside..).and_then(|rest| rest.get_mut(..record.len())) {
            Some(place) => place.copy_from_slice(&record),
            None => return Err(corrupt!("inode table", 0u64, "an inode crosses the end of block {number}")),
        }
        self.put(number, block)
    }

    fn record_size(&self) -> usize {
        self.volume.superblock().inode_size.into()
    }

    /// The block of an inode, and where it starts in it.
    fn place(&self, number: u32) -> Result<(u64, usize)> {
        let (offset, block_size) = (self.volume.inode_offset(number)?, self.volume.block_size());
        Ok((offset / block_size, in_memory(offset % block_size)))
    }
}

/// Reads a little-endian number; zero past the end.
pub fn get16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u16::from_le_bytes(*bytes))
}

/// Reads a little-endian number; zero past the end.
pub fn get32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Writes a little-endian number; nothing past the end.
pub fn set16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value.to_le_bytes();
    }
}

/// Writes a little-endian number; nothing past the end.
pub fn set32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value.to_le_bytes();
    }
}
