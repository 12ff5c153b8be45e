//! Metadata that Linux's persistent data library keeps: checked blocks, B-trees and arrays on a disk of their own.
//!
//! A block is checked when it is read, and kept among a bounded number of others. Nothing is read before it is asked for.

mod array;
mod btree;
pub mod layout;
#[cfg(test)]
pub mod tests;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use images::disk::{Cached, Page};
use images::{Disk, Error, Extent, Properties, Result, Writer, corrupt, read_only};
use zerocopy::FromBytes;

use super::bounds::Bounds;
pub use array::Array;
pub use btree::Tree;
use layout::{ARRAY_CSUM_XOR, ArrayBlock, BLOCK_SIZE, BTREE_CSUM_XOR, INTERNAL_NODE, LEAF_NODE, NodeHeader};

/// The metadata of a pool or a cache.
pub struct Store {
    inner: Arc<dyn Disk>,
    nodes: Cached,
    arrays: Cached,
    pub bounds: Arc<Bounds>,
}

impl Store {
    /// The metadata on this disk.
    pub fn new(inner: Arc<dyn Disk>, bounds: &Arc<Bounds>) -> Self {
        let checked = |check| {
            let checked = Arc::new(Checked { inner: inner.clone(), check });
            Cached::sharing(checked, BLOCK_SIZE, bounds.pages.clone())
        };
        Self { nodes: checked(check_node), arrays: checked(check_array), inner, bounds: bounds.clone() }
    }

    /// How many reads of images a read of it may take.
    pub fn amplification(&self) -> u64 {
        self.inner.amplification()
    }

    /// Counts so many blocks that are read to find out which blocks lie where. Fails if there were too many.
    pub fn count(&self, blocks: u64) -> Result<()> {
        self.bounds.count(&*self.inner, blocks.saturating_mul(BLOCK_SIZE as u64))
    }

    /// The first block, whose checksum is mixed with `xor`. `None` if it is all zeros: nothing was ever kept here.
    pub fn superblock(&self, xor: u32) -> Result<Option<Vec<u8>>> {
        let mut block = vec![0; BLOCK_SIZE];
        self.count(1)?;
        self.inner.read_at(&mut block, 0)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        check_sum("superblock", &block, 0, xor)?;
        Ok(Some(block))
    }

    /// A node of a tree.
    fn node(&self, block: u64) -> Result<Page> {
        page(&self.nodes, "B-tree node", block)
    }

    /// A block of an array.
    fn array_block(&self, block: u64) -> Result<Page> {
        page(&self.arrays, "array block", block)
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

fn page(pages: &Cached, what: &str, block: u64) -> Result<Page> {
    let blocks = pages.size() / BLOCK_SIZE as u64;
    if block == 0 || block >= blocks {
        return Err(corrupt!(what, 0u32, "it is to be in block {block:#x} of {pages}, which has {blocks:#x}"));
    }
    pages.page_at(block * BLOCK_SIZE as u64)
}

/// A disk whose whole blocks are checked when they are read.
struct Checked {
    inner: Arc<dyn Disk>,
    check: fn(&[u8], u64) -> Result<()>,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Disk for Checked {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.inner.read_at(buf, offset)?;
        (self.check)(buf, offset)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        self.inner.extent_at(offset)
    }

    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} holds checked blocks: those cannot be written yet"))
    }
}

/// Whether a block's first four bytes are the checksum of the others.
fn check_sum(what: &str, block: &[u8], at: u64, xor: u32) -> Result<()> {
    let Some((stored, rest)) = block.split_first_chunk::<4>() else {
        return Err(corrupt!(what, at, "it is {} bytes long, want {BLOCK_SIZE}", block.len()));
    };
    // The kernel's CRC has no last inversion.
    let (stored, computed) = (u32::from_le_bytes(*stored), !crc32c::crc32c(rest) ^ xor);
    if stored != computed {
        return Err(corrupt!(what, at, "checksum {stored:#010x}, want {computed:#010x}"));
    }
    Ok(())
}

fn check_place(what: &str, stored: u64, at: u64) -> Result<()> {
    if stored != at / BLOCK_SIZE as u64 {
        return Err(corrupt!(what, at, "it was written for block {stored:#x}"));
    }
    Ok(())
}

fn short(what: &str, at: u64) -> Error {
    corrupt!(what, at, "it is cut off")
}

/// Whether this is a sound node: of one kind, with entries that fit, in the order of their keys.
fn check_node(block: &[u8], at: u64) -> Result<()> {
    const WHAT: &str = "B-tree node";
    check_sum(WHAT, block, at, BTREE_CSUM_XOR)?;
    let (header, _) = NodeHeader::ref_from_prefix(block).map_err(|_| short(WHAT, at))?;
    check_place(WHAT, header.blocknr.get(), at)?;
    let [entries, most, size] =
        [header.nr_entries, header.max_entries, header.value_size].map(|field| u64::from(field.get()));
    if !matches!(header.flags.get(), INTERNAL_NODE | LEAF_NODE) {
        return Err(corrupt!(WHAT, at, "flags {:#x}, want 1 (internal) or 2 (leaf)", header.flags.get()));
    }
    if header.flags.get() == INTERNAL_NODE && size != 8 {
        return Err(corrupt!(WHAT, at, "values of {size} bytes in an internal node, want 8"));
    }
    let room = (BLOCK_SIZE - size_of::<NodeHeader>()) as u64;
    if most.saturating_mul(size.saturating_add(8)) > room || entries > most {
        return Err(corrupt!(WHAT, at, "{entries} of {most} entries of {size} bytes do not fit"));
    }
    let node = btree::Node::new(block).ok_or_else(|| short(WHAT, at))?;
    if !node.keys().is_sorted_by(|one, next| one.get() < next.get()) {
        return Err(corrupt!(WHAT, at, "the keys are not in order"));
    }
    Ok(())
}

/// Whether this is a sound block of an array.
fn check_array(block: &[u8], at: u64) -> Result<()> {
    const WHAT: &str = "array block";
    check_sum(WHAT, block, at, ARRAY_CSUM_XOR)?;
    let (header, values) = ArrayBlock::ref_from_prefix(block).map_err(|_| short(WHAT, at))?;
    check_place(WHAT, header.blocknr.get(), at)?;
    let [entries, most, size] =
        [header.nr_entries, header.max_entries, header.value_size].map(|field| u64::from(field.get()));
    if most.saturating_mul(size) > values.len() as u64 || entries > most {
        return Err(corrupt!(WHAT, at, "{entries} of {most} entries of {size} bytes do not fit"));
    }
    Ok(())
}
