//! An array of values of one size, in blocks that a B-tree finds.

use images::length::in_memory;
use images::{Result, corrupt};
use zerocopy::FromBytes;

use super::layout::{ArrayBlock, BLOCK_SIZE};
use super::{Store, Tree, short};

/// An array of a store, with values of `SIZE` bytes.
#[derive(Clone, Copy, Debug)]
pub struct Array<const SIZE: usize> {
    /// The block of the first node of its tree.
    pub root: u64,
}

impl<const SIZE: usize> Array<SIZE> {
    /// How many values a block has.
    const PER_BLOCK: u64 = ((BLOCK_SIZE - size_of::<ArrayBlock>()) / SIZE) as u64;

    /// Hands the first `count` values to `each`, in order, with their indices.
    pub fn for_each(
        &self,
        store: &Store,
        count: u64,
        mut each: impl FnMut(u64, [u8; SIZE]) -> Result<()>,
    ) -> Result<()> {
        let tree = Tree::<8> { root: self.root };
        for number in 0..count.div_ceil(Self::PER_BLOCK) {
            let first = number * Self::PER_BLOCK;
            let wanted = (count - first).min(Self::PER_BLOCK);
            store.count(1)?;
            let Some(block) = tree.get(store, number)? else {
                return Err(corrupt!(
                    "array",
                    0u32,
                    "block {number} of it is missing in the tree at block {:#x} of {store}",
                    self.root
                ));
            };
            let block = u64::from_le_bytes(block);
            let page = store.array_block(block)?;
            let at = block * BLOCK_SIZE as u64;
            let (header, values) = ArrayBlock::ref_from_prefix(&page).map_err(|_| short("array block", at))?;
            let (size, entries) = (header.value_size.get(), u64::from(header.nr_entries.get()));
            if size as usize != SIZE || entries < wanted {
                return Err(corrupt!("array block", at, "{entries} entries of {size} bytes, want {wanted} of {SIZE}"));
            }
            let values = values.as_chunks::<SIZE>().0;
            for (index, value) in (first..).zip(values.iter().take(in_memory(wanted))) {
                each(index, *value)?;
            }
        }
        Ok(())
    }
}
