//! The structures of a QED file with the field names of its specification; no logic. All numbers are little endian.
//!
//! Specification: <https://www.qemu.org/docs/master/interop/qed_spec.html>.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `magic`.
pub const MAGIC: [u8; 4] = *b"QED\0";

/// The start of the file.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    pub magic: [u8; 4],
    pub cluster_size: U32,
    pub table_size: U32,
    pub header_size: U32,
    pub features: U64,
    pub compat_features: U64,
    pub autoclear_features: U64,
    pub l1_table_offset: U64,
    pub image_size: U64,
    pub backing_filename_offset: U32,
    pub backing_filename_size: U32,
}
const _: () = assert!(size_of::<Header>() == 64);

/// `features` bit 0: there is a backing file.
pub const FEATURE_BACKING_FILE: u64 = 1 << 0;
/// `features` bit 1: the file was not closed; its tables must be checked before they are written.
pub const FEATURE_NEED_CHECK: u64 = 1 << 1;
/// `features` bit 2: the backing file is raw.
pub const FEATURE_BACKING_FORMAT_NO_PROBE: u64 = 1 << 2;

/// `cluster_size`: a power of two from this many bytes.
pub const MIN_CLUSTER_SIZE: u64 = 4 << 10;
/// `cluster_size`: a power of two up to this many bytes.
pub const MAX_CLUSTER_SIZE: u64 = 64 << 20;
/// `table_size`: a power of two up to this many clusters.
pub const MAX_TABLE_SIZE: u64 = 16;
/// QEMU's limit of the name of a backing file, in bytes.
pub const MAX_BACKING_NAME: u32 = 1023;

/// An L2 entry: the cluster reads as zeros.
pub const ZERO_CLUSTER: u64 = 1;
/// The size of an entry of both levels of tables, in bytes.
pub const ENTRY_SIZE: u64 = 8;
