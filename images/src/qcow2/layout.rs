//! The structures of a qcow2 file as its specification draws them; no logic.
//!
//! Specification: <https://www.qemu.org/docs/master/interop/qcow2.html>. All numbers are big endian.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `QFI` and 0xfb, the first four bytes of the file.
pub const MAGIC: u32 = 0x5146_49fb;

/// The header of version 2, which is also the start of the header of version 3.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    pub magic: U32,
    pub version: U32,
    pub backing_file_offset: U64,
    pub backing_file_size: U32,
    pub cluster_bits: U32,
    pub size: U64,
    pub crypt_method: U32,
    pub l1_size: U32,
    pub l1_table_offset: U64,
    pub refcount_table_offset: U64,
    pub refcount_table_clusters: U32,
    pub nb_snapshots: U32,
    pub snapshots_offset: U64,
}
const _: () = assert!(size_of::<Header>() == 72);

/// What version 3 adds directly after [`Header`], up to and including `header_length`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct HeaderVersion3 {
    pub incompatible_features: U64,
    pub compatible_features: U64,
    pub autoclear_features: U64,
    pub refcount_order: U32,
    pub header_length: U32,
}
const _: () = assert!(size_of::<HeaderVersion3>() == 32);

/// The length of a version 3 header without additional fields, in bytes.
pub const HEADER_LENGTH_VERSION_3: u32 = 104;
/// `refcount_order` of version 2, whose header has no such field.
pub const REFCOUNT_ORDER_VERSION_2: u32 = 4;
/// Where the additional field `compression_type`, one byte, lies.
pub const COMPRESSION_TYPE_OFFSET: u32 = 104;

/// `incompatible_features` bit 0: refcounts may be inconsistent.
pub const INCOMPATIBLE_DIRTY: u64 = 1 << 0;
/// `incompatible_features` bit 1: any structure may be corrupt.
pub const INCOMPATIBLE_CORRUPT: u64 = 1 << 1;
/// `incompatible_features` bit 2: guest clusters are stored in an external data file.
pub const INCOMPATIBLE_DATA_FILE: u64 = 1 << 2;
/// `incompatible_features` bit 3: `compression_type` is not the default.
pub const INCOMPATIBLE_COMPRESSION: u64 = 1 << 3;
/// `incompatible_features` bit 4: L2 entries are extended by subclusters.
pub const INCOMPATIBLE_EXTENDED_L2: u64 = 1 << 4;
/// `compatible_features` bit 0: refcounts may be updated late.
pub const COMPATIBLE_LAZY_REFCOUNTS: u64 = 1 << 0;
/// `autoclear_features` bit 1: the external data file can be read as a raw image.
pub const AUTOCLEAR_RAW_DATA_FILE: u64 = 1 << 1;

/// `crypt_method`: none.
pub const CRYPT_NONE: u32 = 0;
/// `crypt_method`: AES in CBC mode, given up by QEMU.
pub const CRYPT_AES: u32 = 1;
/// `crypt_method`: LUKS.
pub const CRYPT_LUKS: u32 = 2;

/// The data of the header extension `EXTENSION_CRYPTO_HEADER`: where the encryption header lies, in bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CryptoHeader {
    pub offset: U64,
    pub length: U64,
}
const _: () = assert!(size_of::<CryptoHeader>() == 16);

/// `compression_type`: deflate without zlib header.
pub const COMPRESSION_DEFLATE: u8 = 0;
/// `compression_type`: zstd.
pub const COMPRESSION_ZSTD: u8 = 1;

/// The start of a header extension; its data follows, padded to a multiple of 8 bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExtensionHeader {
    pub kind: U32,
    pub length: U32,
}
const _: () = assert!(size_of::<ExtensionHeader>() == 8);

/// Extension: the end of the extensions.
pub const EXTENSION_END: u32 = 0;
/// Extension: the name of the backing file's format.
pub const EXTENSION_BACKING_FORMAT: u32 = 0xe279_2aca;
/// Extension: names of feature bits, an array of [`FeatureName`].
pub const EXTENSION_FEATURE_NAMES: u32 = 0x6803_f857;
/// Extension: the name of the external data file.
pub const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
/// `kind`: where the encryption header lies, a [`CryptoHeader`].
pub const EXTENSION_CRYPTO_HEADER: u32 = 0x0537_be77;

/// One entry of the feature name table.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FeatureName {
    /// 0 incompatible, 1 compatible, 2 autoclear.
    pub kind: u8,
    pub bit: u8,
    /// Padded with zeros.
    pub name: [u8; 46],
}
const _: () = assert!(size_of::<FeatureName>() == 48);

/// The fixed start of an entry of the snapshot table; extra data, id and name follow, padded to a multiple of 8 bytes.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SnapshotEntry {
    pub l1_table_offset: U64,
    pub l1_size: U32,
    pub id_size: U16,
    pub name_size: U16,
    pub date_sec: U32,
    pub date_nsec: U32,
    pub vm_clock_nsec: U64,
    pub vm_state_size: U32,
    pub extra_data_size: U32,
}
const _: () = assert!(size_of::<SnapshotEntry>() == 40);

/// Where the size of the saved machine state, 8 bytes, lies in the extra data; it replaces `vm_state_size`.
pub const SNAPSHOT_EXTRA_VM_STATE_SIZE: usize = 0;
/// Where the snapshot's virtual disk size, 8 bytes, lies in the extra data.
pub const SNAPSHOT_EXTRA_DISK_SIZE: usize = 8;
/// Where the snapshot's instruction count, 8 bytes, lies in the extra data.
pub const SNAPSHOT_EXTRA_ICOUNT: usize = 16;
/// An instruction count that stands for none.
pub const NO_ICOUNT: u64 = u64::MAX;

/// L1 and standard L2 entries: bits 9 to 55, an offset into the file.
pub const ENTRY_OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// L2 entry, bit 63: the cluster's refcount is exactly one.
pub const L2_COPIED: u64 = 1 << 63;
/// L2 entry, bit 62: the cluster is compressed.
pub const L2_COMPRESSED: u64 = 1 << 62;
/// Standard L2 entry, bit 0: the cluster reads as zeros.
pub const L2_ZERO: u64 = 1 << 0;

/// Refcount table entries: bits 9 to 63, an offset into the file.
pub const REFCOUNT_BLOCK_OFFSET: u64 = 0xffff_ffff_ffff_fe00;
/// QEMU's limit of a refcount table, in bytes.
pub const MAX_REFCOUNT_TABLE: u64 = 8 << 20;
/// Where `autoclear_features` lies in the header, 8 bytes.
pub const AUTOCLEAR_FEATURES_OFFSET: u64 = 88;

/// The unit of the size field of a compressed cluster's descriptor, in bytes.
pub const COMPRESSED_SECTOR: u64 = 512;
/// Subclusters of a cluster with an extended L2 entry.
pub const SUBCLUSTERS: u32 = 32;

/// The smallest cluster: 512 bytes.
pub const MIN_CLUSTER_BITS: u32 = 9;
/// QEMU's limit: 2 MiB.
pub const MAX_CLUSTER_BITS: u32 = 21;
/// The smallest cluster that can have subclusters: 16 KiB.
pub const MIN_CLUSTER_BITS_EXTENDED: u32 = 14;
/// QEMU's limit of an L1 table, in bytes.
pub const MAX_L1_BYTES: u64 = 32 << 20;
/// The longest name of a backing file, in bytes.
pub const MAX_BACKING_NAME: u32 = 1023;
/// QEMU's limit of the number of snapshots.
pub const MAX_SNAPSHOTS: u32 = 65536;
/// QEMU's limit of the snapshot table, in bytes.
pub const MAX_SNAPSHOT_TABLE: u64 = 64 << 20;
/// QEMU's limit of a snapshot's extra data, in bytes.
pub const MAX_SNAPSHOT_EXTRA: u32 = 1024;
