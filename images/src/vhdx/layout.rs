//! The structures of a VHDX file with the field names of its specification; no logic.
//!
//! Specification: [MS-VHDX], <https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-vhdx/>. All numbers are
//! little endian; GUIDs are stored in the byte order of Windows.

use uuid::{Uuid, uuid};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// 2.2.1, the first eight bytes of the file.
pub const FILE_SIGNATURE: [u8; 8] = *b"vhdxfile";

/// Where the two headers lie, in bytes.
pub const HEADER_OFFSETS: [u64; 2] = [64 << 10, 128 << 10];
/// Where the two copies of the region table lie, in bytes.
pub const REGION_TABLE_OFFSETS: [u64; 2] = [192 << 10, 256 << 10];
/// How much of a header, and of a region table, its checksum covers, in bytes.
pub const HEADER_SIZE: usize = 4 << 10;
/// As [`HEADER_SIZE`], for the region table.
pub const REGION_TABLE_SIZE: usize = 64 << 10;
/// Where the checksum lies in headers, region tables and log entries, in bytes.
pub const CHECKSUM_OFFSET: usize = 4;
/// The header section, and the unit of all regions and blocks, in bytes.
pub const MIB: u64 = 1 << 20;

/// 2.2.2.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    pub signature: [u8; 4],
    pub checksum: U32,
    pub sequence_number: U64,
    pub file_write_guid: [u8; 16],
    pub data_write_guid: [u8; 16],
    pub log_guid: [u8; 16],
    pub log_version: U16,
    pub version: U16,
    pub log_length: U32,
    pub log_offset: U64,
}
const _: () = assert!(size_of::<Header>() == 80);

/// `signature` of the header.
pub const HEADER_SIGNATURE: [u8; 4] = *b"head";

/// 2.2.3.1.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RegionTableHeader {
    pub signature: [u8; 4],
    pub checksum: U32,
    pub entry_count: U32,
    pub reserved: U32,
}
const _: () = assert!(size_of::<RegionTableHeader>() == 16);

/// 2.2.3.2.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RegionTableEntry {
    pub guid: [u8; 16],
    pub file_offset: U64,
    pub length: U32,
    /// Bit 0.
    pub required: U32,
}
const _: () = assert!(size_of::<RegionTableEntry>() == 32);

/// `signature` of the region table.
pub const REGION_SIGNATURE: [u8; 4] = *b"regi";
/// The most entries of a region table, and of a metadata table.
pub const MAX_ENTRIES: u32 = 2047;
/// Region: the block allocation table.
pub const REGION_BAT: Uuid = uuid!("2dc27766-f623-4200-9d64-115e9bfd4a08");
/// Region: metadata.
pub const REGION_METADATA: Uuid = uuid!("8b7ca206-4790-4b9a-b8fe-575f050f886e");

/// 2.3.1.1.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LogEntryHeader {
    pub signature: [u8; 4],
    pub checksum: U32,
    pub entry_length: U32,
    pub tail: U32,
    pub sequence_number: U64,
    pub descriptor_count: U32,
    pub reserved: U32,
    pub log_guid: [u8; 16],
    pub flushed_file_offset: U64,
    pub last_file_offset: U64,
}
const _: () = assert!(size_of::<LogEntryHeader>() == 64);

/// 2.3.1.2 and 2.3.1.3: the two kinds of descriptors, which share their last fields.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LogDescriptor {
    pub signature: [u8; 4],
    /// Of a data descriptor.
    pub trailing_bytes: [u8; 4],
    /// `LeadingBytes` of a data descriptor, `ZeroLength` of a zero descriptor.
    pub leading_bytes: U64,
    pub file_offset: U64,
    pub sequence_number: U64,
}
const _: () = assert!(size_of::<LogDescriptor>() == 32);

/// 2.3.1.4.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LogDataSector {
    pub signature: [u8; 4],
    pub sequence_high: U32,
    pub data: [u8; 4084],
    pub sequence_low: U32,
}
const _: () = assert!(size_of::<LogDataSector>() == LOG_SECTOR_SIZE as usize);

/// `signature` of a log entry.
pub const LOG_ENTRY_SIGNATURE: [u8; 4] = *b"loge";
/// `signature` of a zero descriptor.
pub const LOG_ZERO_SIGNATURE: [u8; 4] = *b"zero";
/// `signature` of a data descriptor.
pub const LOG_DESCRIPTOR_SIGNATURE: [u8; 4] = *b"desc";
/// `signature` of a data sector.
pub const LOG_DATA_SIGNATURE: [u8; 4] = *b"data";
/// The unit of the log, and of what it replaces, in bytes.
pub const LOG_SECTOR_SIZE: u32 = 4 << 10;
pub const LOG_SECTOR: u64 = LOG_SECTOR_SIZE as u64;

/// 2.6.1.1.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MetadataTableHeader {
    pub signature: [u8; 8],
    pub reserved: U16,
    pub entry_count: U16,
    pub reserved_2: [u8; 20],
}
const _: () = assert!(size_of::<MetadataTableHeader>() == 32);

/// 2.6.1.2.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MetadataTableEntry {
    pub item_id: [u8; 16],
    pub offset: U32,
    pub length: U32,
    pub flags: U32,
    pub reserved: U32,
}
const _: () = assert!(size_of::<MetadataTableEntry>() == 32);

/// `signature` of the metadata table.
pub const METADATA_SIGNATURE: [u8; 8] = *b"metadata";
/// `flags` of a metadata entry, bit 2: who does not know the item must not open the file.
pub const METADATA_REQUIRED: u32 = 1 << 2;

/// Metadata item: block size, and whether there is a parent.
pub const ITEM_FILE_PARAMETERS: Uuid = uuid!("caa16737-fa36-4d43-b3b6-33f0aa44e76b");
/// Metadata item: the size of the guest's disk.
pub const ITEM_VIRTUAL_DISK_SIZE: Uuid = uuid!("2fa54224-cd1b-4876-b211-5dbed83bf4b8");
/// Metadata item: the identity of the guest's disk.
pub const ITEM_VIRTUAL_DISK_ID: Uuid = uuid!("beca12ab-b2e6-4523-93ef-c309e000c746");
/// Metadata item: 512 or 4096.
pub const ITEM_LOGICAL_SECTOR_SIZE: Uuid = uuid!("8141bf1d-a96f-4709-ba47-f233a8faab5f");
/// Metadata item: 512 or 4096.
pub const ITEM_PHYSICAL_SECTOR_SIZE: Uuid = uuid!("cda348c7-445d-4471-9cc9-e9885251c556");
/// Metadata item: where the parent is.
pub const ITEM_PARENT_LOCATOR: Uuid = uuid!("a8d35f2d-b30b-454d-abf7-d3d84834ab0c");

/// 2.6.2.1.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FileParameters {
    pub block_size: U32,
    pub flags: U32,
}
const _: () = assert!(size_of::<FileParameters>() == 8);

/// `flags` of the file parameters, bit 1.
pub const HAS_PARENT: u32 = 1 << 1;

/// 2.6.2.6.1.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ParentLocatorHeader {
    pub locator_type: [u8; 16],
    pub reserved: U16,
    pub key_value_count: U16,
}
const _: () = assert!(size_of::<ParentLocatorHeader>() == 20);

/// 2.6.2.6.2.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ParentLocatorEntry {
    pub key_offset: U32,
    pub value_offset: U32,
    pub key_length: U16,
    pub value_length: U16,
}
const _: () = assert!(size_of::<ParentLocatorEntry>() == 12);

/// `locator_type`: the parent is a VHDX file.
pub const LOCATOR_VHDX: Uuid = uuid!("b04aefb7-d19e-4a81-b789-25b8e9445913");

/// Metadata items lie at least this far into the region, in bytes.
pub const MIN_ITEM_OFFSET: u32 = 64 << 10;
/// The specification's limit of a metadata item, in bytes.
pub const MAX_ITEM_LENGTH: u32 = 1 << 20;

/// The size of an entry of the block allocation table in bytes.
pub const BAT_ENTRY_SIZE: u64 = 8;
/// A BAT entry's lowest three bits.
pub const BAT_STATE: u64 = 7;
/// A BAT entry's upper 44 bits: the offset in the file, a multiple of 1 MiB.
pub const BAT_OFFSET: u64 = !0xf_ffff;
/// 2.5.1.1: not present, so the parent's, else zeros.
pub const PAYLOAD_BLOCK_NOT_PRESENT: u64 = 0;
/// The content is not defined.
pub const PAYLOAD_BLOCK_UNDEFINED: u64 = 1;
/// All zeros.
pub const PAYLOAD_BLOCK_ZERO: u64 = 2;
/// Trimmed.
pub const PAYLOAD_BLOCK_UNMAPPED: u64 = 3;
/// As [`PAYLOAD_BLOCK_UNMAPPED`], in files of the draft 0.95, which QEMU reads too.
pub const PAYLOAD_BLOCK_UNMAPPED_0_95: u64 = 5;
/// All of the block is in this file.
pub const PAYLOAD_BLOCK_FULLY_PRESENT: u64 = 6;
/// The sector bitmap says which sectors are in this file.
pub const PAYLOAD_BLOCK_PARTIALLY_PRESENT: u64 = 7;
/// 2.5.1.2: the sector bitmap block is in this file.
pub const SB_BLOCK_PRESENT: u64 = 6;

/// Sectors that a sector bitmap block, which has 1 MiB, describes.
pub const SECTORS_PER_BITMAP: u64 = 1 << 23;
/// The largest payload block in bytes.
pub const MAX_BLOCK_SIZE: u64 = 256 << 20;
/// The largest disk in bytes: 64 TiB.
pub const MAX_DISK_SIZE: u64 = 64 << 40;
