//! The structures of a file system that exists for the tests: two disks, several trees, keys of 128 bits.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// How each of its disks begins.
pub const MAGIC: [u8; 8] = *b"TOYTREES";
/// Where the records begin on the first disk, in bytes.
pub const RECORDS_AT: u64 = 512;

/// The start of a disk.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    pub magic: [u8; 8],
    pub uuid: U64,
    /// 0 for the disk with the records, 1 for that with the files' content.
    pub index: U32,
    /// How many records there are.
    pub records: U32,
}
const _: () = assert!(size_of::<Header>() == 24);

/// A tree, a directory or a file. Its parent is in the same tree.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Record {
    pub tree: U64,
    pub inode: U64,
    pub parent: U64,
    pub generation: U32,
    /// Where the content lies on the second disk, in bytes.
    pub at: U32,
    pub len: U32,
    /// `t`, `d` or `f`.
    pub kind: u8,
    pub name_len: u8,
    pub name: [u8; 18],
}
const _: () = assert!(size_of::<Record>() == 56);
