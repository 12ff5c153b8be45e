//! The binary structures of VMDK's three kinds of sparse extents; no logic.
//!
//! Hosted sparse (`KDMV`) and ESXi host sparse (`COWD`) extents: VMware's technical note
//! [Virtual Disk Format 5.0](https://www.scribd.com/document/464037297/vmdk-50-technote-pdf); what it leaves open, and
//! the values of `COWD`'s flags, by [libvmdk's specification](https://github.com/libyal/libvmdk/blob/main/documentation/).
//! Space-efficient sparse (`SESPARSE`) extents have no published specification; the figures here are those that
//! [QEMU](https://gitlab.com/qemu-project/qemu/-/blob/master/block/vmdk.c) reads. All numbers are little endian, and
//! all offsets and sizes count sectors.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The unit of every offset and size, in bytes.
pub const SECTOR: u64 = 512;

/// The first four bytes of a hosted sparse extent.
pub const HOSTED_MAGIC: [u8; 4] = *b"KDMV";
/// The first four bytes of an ESXi host sparse extent.
pub const COWD_MAGIC: [u8; 4] = *b"COWD";
/// The first eight bytes of a space-efficient sparse extent, as a number.
pub const SE_CONST_MAGIC: u64 = 0xcafe_babe;
/// The first eight bytes of its volatile header, as a number.
pub const SE_VOLATILE_MAGIC: u64 = 0xcafe_cafe;

/// The header, and in a stream the footer, of a hosted sparse extent.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SparseExtentHeader {
    pub magic_number: [u8; 4],
    pub version: U32,
    pub flags: U32,
    pub capacity: U64,
    pub grain_size: U64,
    pub descriptor_offset: U64,
    pub descriptor_size: U64,
    pub num_gtes_per_gt: U32,
    pub rgd_offset: U64,
    pub gd_offset: U64,
    pub over_head: U64,
    pub unclean_shutdown: u8,
    /// `singleEndLineChar`, `nonEndLineChar`, `doubleEndLineChar1` and `doubleEndLineChar2`.
    pub end_line_chars: [u8; 4],
    pub compress_algorithm: U16,
    pub pad: [u8; 433],
}
const _: () = assert!(size_of::<SparseExtentHeader>() as u64 == SECTOR);

/// `flags` bit 0: `end_line_chars` are there to detect a transfer as text.
pub const FLAG_NEW_LINE: u32 = 1 << 0;
/// `flags` bit 1: there is a redundant grain directory at `rgd_offset`.
pub const FLAG_REDUNDANT: u32 = 1 << 1;
/// `flags` bit 2: a grain table entry of 1 is a zeroed grain.
pub const FLAG_ZEROED_GRAIN: u32 = 1 << 2;
/// `flags` bit 16: grains are compressed.
pub const FLAG_COMPRESSED: u32 = 1 << 16;
/// `flags` bit 17: every block of data or metadata is preceded by a marker.
pub const FLAG_MARKERS: u32 = 1 << 17;

/// What `end_line_chars` must be.
pub const END_LINE_CHARS: [u8; 4] = *b"\n \r\n";
/// `gd_offset`: the footer at the end of the file has the right one.
pub const GD_AT_END: u64 = u64::MAX;
/// `compress_algorithm`: none.
pub const COMPRESSION_NONE: u16 = 0;
/// `compress_algorithm`: deflate, with the header of zlib.
pub const COMPRESSION_DEFLATE: u16 = 1;
/// The newest `version`.
pub const MAX_HOSTED_VERSION: u32 = 3;
/// The most entries of a grain table, which is also what every writer uses.
pub const MAX_GTES_PER_GT: u32 = 512;
/// Grain table entry (with [`FLAG_ZEROED_GRAIN`]): the grain reads as zeros.
pub const GTE_ZEROED: u64 = 1;

/// What precedes metadata in a stream, in a sector of its own.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MetaDataMarker {
    pub num_sectors: U64,
    pub size: U32,
    pub kind: U32,
    pub pad: [u8; 496],
}
const _: () = assert!(size_of::<MetaDataMarker>() as u64 == SECTOR);

/// `MetaDataMarker::kind`: the end of the stream.
pub const MARKER_EOS: u32 = 0;
/// `MetaDataMarker::kind`: the footer follows.
pub const MARKER_FOOTER: u32 = 3;

/// What precedes the compressed bytes of a grain in a stream, without padding.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct GrainMarker {
    /// The grain's first sector in the extent.
    pub lba: U64,
    /// The length of the compressed bytes.
    pub size: U32,
}
const _: () = assert!(size_of::<GrainMarker>() == 12);

/// The header of an ESXi host sparse extent.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct CowdHeader {
    pub magic_number: [u8; 4],
    pub version: U32,
    pub flags: U32,
    pub num_sectors: U32,
    pub grain_size: U32,
    pub gd_offset: U32,
    pub num_gd_entries: U32,
    pub free_sector: U32,
    /// Of a root its geometry; of a child its parent's file name and generation.
    pub root_or_child: [u8; 1028],
    pub generation: U32,
    pub name: [u8; 60],
    pub description: [u8; 512],
    pub saved_generation: U32,
    pub reserved: [u8; 8],
    pub unclean_shutdown: U32,
    pub padding: [u8; 396],
}
const _: () = assert!(size_of::<CowdHeader>() == 2048);

/// `CowdHeader::flags` bit 0: a root, which has no parent but what a descriptor names.
pub const COWD_FLAG_ROOT: u32 = 1 << 0;
/// The only version of an ESXi host sparse extent.
pub const COWD_VERSION: u32 = 1;
/// Entries of a grain table of an ESXi host sparse extent.
pub const COWD_GTES_PER_GT: u32 = 4096;

/// The constant header of a space-efficient sparse extent.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SeConstHeader {
    pub magic: U64,
    pub version: U64,
    pub capacity: U64,
    pub grain_size: U64,
    pub grain_table_size: U64,
    pub flags: U64,
    pub reserved: [u8; 32],
    pub volatile_header_offset: U64,
    pub volatile_header_size: U64,
    pub journal_header_offset: U64,
    pub journal_header_size: U64,
    pub journal_offset: U64,
    pub journal_size: U64,
    pub grain_dir_offset: U64,
    pub grain_dir_size: U64,
    pub grain_tables_offset: U64,
    pub grain_tables_size: U64,
    pub free_bitmap_offset: U64,
    pub free_bitmap_size: U64,
    pub backmap_offset: U64,
    pub backmap_size: U64,
    pub grains_offset: U64,
    pub grains_size: U64,
    pub pad: [u8; 304],
}
const _: () = assert!(size_of::<SeConstHeader>() as u64 == SECTOR);

/// The start of the volatile header; the rest of its sector is zero.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SeVolatileHeader {
    pub magic: U64,
    pub free_gt_number: U64,
    pub next_txn_seq_number: U64,
    pub replay_journal: U64,
}
const _: () = assert!(size_of::<SeVolatileHeader>() == 32);

/// The only version of a space-efficient sparse extent: major 2, minor 1.
pub const SE_VERSION: u64 = 0x2_0000_0001;
/// The only `grain_size`: 4 KiB.
pub const SE_GRAIN_SIZE: u64 = 8;
/// The only `grain_table_size`: 4096 entries of 8 bytes.
pub const SE_GRAIN_TABLE_SIZE: u64 = 64;
/// Grain directory entry: the upper half of one that has a grain table; the lower half is the table's number.
pub const SE_GDE_ALLOCATED: u64 = 0x1000_0000;
/// Grain table entry: the uppermost four bits.
pub const SE_GTE_KIND_SHIFT: u32 = 60;
/// Kind of a grain table entry: unallocated; all of the entry is zero.
pub const SE_GTE_UNALLOCATED: u64 = 0;
/// Kind of a grain table entry: unmapped by the guest; reads as zeros.
pub const SE_GTE_UNMAPPED: u64 = 1;
/// Kind of a grain table entry: zeros.
pub const SE_GTE_ZERO: u64 = 2;
/// Kind of a grain table entry: a grain, whose number is scattered over the other 60 bits.
pub const SE_GTE_ALLOCATED: u64 = 3;
