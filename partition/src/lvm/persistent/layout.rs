//! The blocks of Linux's persistent data library, which keeps the metadata of thin pools and caches:
//! `drivers/md/persistent-data/` of Linux, <https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git>.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// The size of a metadata block in bytes.
pub const BLOCK_SIZE: usize = 4096;

/// What a node's checksum is mixed with: `BTREE_CSUM_XOR`.
pub const BTREE_CSUM_XOR: u32 = 121107;
/// What the checksum of a block of an array is mixed with: `CSUM_XOR` of `dm-array.c`.
pub const ARRAY_CSUM_XOR: u32 = 595846735;

/// In `flags`: the values are numbers of other nodes.
pub const INTERNAL_NODE: u32 = 1;
/// In `flags`: the values are those of the tree.
pub const LEAF_NODE: u32 = 2;

/// The start of a node of a B-tree. `max_entries` keys follow, and behind these the values.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct NodeHeader {
    pub csum: U32,
    pub flags: U32,
    pub blocknr: U64,
    pub nr_entries: U32,
    pub max_entries: U32,
    pub value_size: U32,
    pub padding: U32,
}

/// The start of a block of an array. Its values follow.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ArrayBlock {
    pub csum: U32,
    pub max_entries: U32,
    pub nr_entries: U32,
    pub value_size: U32,
    pub blocknr: U64,
}

const _: () = assert!(size_of::<NodeHeader>() == 32 && size_of::<ArrayBlock>() == 24);
