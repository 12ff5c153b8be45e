//! The structures of a qcow file, version 1; no logic. All numbers are big endian.
//!
//! Description: Mark McLoughlin, "The QCOW Image Format", <https://people.gnome.org/~markmc/qcow-image-format-version-1.html>.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `magic`, which later versions share.
pub const MAGIC: u32 = 0x5146_49fb;
/// `version`.
pub const VERSION: u32 = 1;

/// The start of the file.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    pub magic: U32,
    pub version: U32,
    pub backing_file_offset: U64,
    pub backing_file_size: U32,
    pub mtime: U32,
    pub size: U64,
    pub cluster_bits: u8,
    pub l2_bits: u8,
    pub padding: U16,
    pub crypt_method: U32,
    pub l1_table_offset: U64,
}
const _: () = assert!(size_of::<Header>() == 48);

/// `crypt_method`: none.
pub const CRYPT_NONE: u32 = 0;
/// `crypt_method`: AES in CBC mode.
pub const CRYPT_AES: u32 = 1;
/// An L2 entry, bit 63: the cluster is compressed.
pub const COMPRESSED: u64 = 1 << 63;
/// QEMU's limits of `cluster_bits`.
pub const CLUSTER_BITS: std::ops::RangeInclusive<u8> = 9..=16;
/// QEMU's limits of `l2_bits`.
pub const L2_BITS: std::ops::RangeInclusive<u8> = 6..=13;
/// QEMU's limit of the name of a backing file, in bytes.
pub const MAX_BACKING_NAME: u32 = 1023;
/// The size of an entry of both levels of tables, in bytes.
pub const ENTRY_SIZE: u64 = 8;
