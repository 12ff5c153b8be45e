//! A B-tree from numbers to values of one size.

use images::disk::Page;
use images::{Result, corrupt};
use zerocopy::FromBytes;
use zerocopy::byteorder::little_endian::U64;

use super::Store;
use super::layout::{INTERNAL_NODE, NodeHeader};

/// The deepest tree. Ours: at 126 entries a node, which is half of the most, more than all numbers of 64 bits.
const MAX_DEPTH: usize = 12;

/// A node that was checked.
pub struct Node<'p> {
    header: &'p NodeHeader,
    keys: &'p [U64],
    values: &'p [u8],
}

impl<'p> Node<'p> {
    /// The parts of a block; `None` if they do not fit into it.
    pub fn new(block: &'p [u8]) -> Option<Self> {
        let (header, rest) = NodeHeader::ref_from_prefix(block).ok()?;
        let (entries, most) = (header.nr_entries.get() as usize, header.max_entries.get() as usize);
        let (keys, values) = rest.split_at_checked(most.checked_mul(8)?)?;
        let keys = <[U64]>::ref_from_bytes(keys).ok()?.get(..entries)?;
        let values = values.get(..entries.checked_mul(header.value_size.get() as usize)?)?;
        Some(Self { header, keys, values })
    }

    /// Its keys, in order.
    pub fn keys(&self) -> &'p [U64] {
        self.keys
    }

    fn value<const SIZE: usize>(&self, index: usize) -> Option<[u8; SIZE]> {
        self.values.get(index.checked_mul(SIZE)?..)?.first_chunk().copied()
    }
}

/// A tree of a store, with values of `SIZE` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Tree<const SIZE: usize> {
    /// The block of its first node.
    pub root: u64,
}

/// The leaf of a tree in which a key is, or would be.
pub struct Leaf<const SIZE: usize> {
    page: Page,
    /// The first of its entries that is not below the key.
    index: usize,
    /// All keys from the key that was asked for up to this one, and not itself, are in this leaf or nowhere.
    pub end: u64,
}

impl<const SIZE: usize> Tree<SIZE> {
    /// The leaf for this key.
    pub fn leaf(&self, store: &Store, key: u64) -> Result<Leaf<SIZE>> {
        let (mut block, mut end) = (self.root, u64::MAX);
        for _ in 0..MAX_DEPTH {
            let page = store.node(block)?;
            let at = block * page.len() as u64;
            let Some(node) = Node::new(&page) else { return Err(super::short("B-tree node", at)) };
            if node.header.flags.get() != INTERNAL_NODE {
                let size = node.header.value_size.get();
                if size as usize != SIZE {
                    return Err(corrupt!("B-tree node", at, "values of {size} bytes, want {SIZE}"));
                }
                let index = node.keys.partition_point(|entry| entry.get() < key);
                return Ok(Leaf { page, index, end });
            }
            // The last child that does not begin behind the key; below the first one there is nothing.
            let next = node.keys.partition_point(|entry| entry.get() <= key);
            if let Some(behind) = node.keys.get(next) {
                end = end.min(behind.get());
            }
            let Some(child) = next.checked_sub(1).and_then(|index| node.value(index)) else {
                return Ok(Leaf { index: node.keys.len(), end, page });
            };
            block = u64::from_le_bytes(child);
        }
        Err(corrupt!("B-tree", 0u32, "the nodes from block {:#x} of {store} are more than {MAX_DEPTH} deep", self.root))
    }

    /// The value of this key.
    pub fn get(&self, store: &Store, key: u64) -> Result<Option<[u8; SIZE]>> {
        Ok(self.leaf(store, key)?.entries().next().filter(|(found, _)| *found == key).map(|(_, value)| value))
    }
}

impl<const SIZE: usize> Leaf<SIZE> {
    /// The entries from the key that was asked for.
    pub fn entries(&self) -> impl Iterator<Item = (u64, [u8; SIZE])> {
        let node = Node::new(&self.page);
        let count = node.as_ref().map_or(0, |node| node.keys.len());
        (self.index..count).map_while(move |index| {
            let node = node.as_ref()?;
            Some((node.keys.get(index)?.get(), node.value(index)?))
        })
    }
}
