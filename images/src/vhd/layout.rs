//! The structures of a VHD file with the field names of its specification; no logic. All numbers are big endian.
//!
//! Specification: Virtual Hard Disk Image Format Specification 1.0,
//! <https://www.microsoft.com/en-us/download/details.aspx?id=23850>.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `cookie` of the footer.
pub const COOKIE: [u8; 8] = *b"conectix";
/// `cookie` of the dynamic disk header.
pub const DYNAMIC_COOKIE: [u8; 8] = *b"cxsparse";

/// "Hard Disk Footer Format": the last 512 bytes of the file, and the first ones unless the disk is fixed.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Footer {
    pub cookie: [u8; 8],
    pub features: U32,
    pub file_format_version: U32,
    pub data_offset: U64,
    pub time_stamp: U32,
    pub creator_application: [u8; 4],
    pub creator_version: U32,
    pub creator_host_os: U32,
    pub original_size: U64,
    pub current_size: U64,
    pub cylinders: U16,
    pub heads: u8,
    pub sectors_per_track: u8,
    pub disk_type: U32,
    pub checksum: U32,
    pub unique_id: [u8; 16],
    pub saved_state: u8,
    pub reserved: [u8; 427],
}
const _: () = assert!(size_of::<Footer>() == 512);

/// The length of the footer that versions before Virtual PC 2004 wrote: its last byte is missing.
pub const OLD_FOOTER_SIZE: usize = 511;
/// Where `checksum` lies in the footer, in bytes.
pub const FOOTER_CHECKSUM: usize = 64;
/// `file_format_version` 1.0; the lower half is a compatible revision.
pub const VERSION_1: u32 = 0x0001_0000;

/// `disk_type`: the bytes of the disk, then the footer.
pub const TYPE_FIXED: u32 = 2;
/// `disk_type`: blocks that are allocated when they are written.
pub const TYPE_DYNAMIC: u32 = 3;
/// `disk_type`: as dynamic, and sectors that are not marked are the parent's.
pub const TYPE_DIFFERENCING: u32 = 4;

/// "Dynamic Disk Header Format".
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DynamicHeader {
    pub cookie: [u8; 8],
    pub data_offset: U64,
    pub table_offset: U64,
    pub header_version: U32,
    pub max_table_entries: U32,
    pub block_size: U32,
    pub checksum: U32,
    pub parent_unique_id: [u8; 16],
    pub parent_time_stamp: U32,
    pub reserved_1: U32,
    /// UTF-16.
    pub parent_unicode_name: [U16; 256],
    pub parent_locators: [ParentLocator; 8],
    pub reserved_2: [u8; 256],
}
const _: () = assert!(size_of::<DynamicHeader>() == 1024);

/// Where `checksum` lies in the dynamic disk header, in bytes.
pub const DYNAMIC_CHECKSUM: usize = 36;

/// Where one platform's path of the parent lies.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ParentLocator {
    pub platform_code: [u8; 4],
    pub platform_data_space: U32,
    pub platform_data_length: U32,
    pub reserved: U32,
    pub platform_data_offset: U64,
}
const _: () = assert!(size_of::<ParentLocator>() == 24);

/// `platform_code`: a path relative to the image, in UTF-16 (little endian).
pub const PLATFORM_WINDOWS_RELATIVE: [u8; 4] = *b"W2ru";
/// `platform_code`: an absolute path of Windows, in UTF-16 (little endian).
pub const PLATFORM_WINDOWS_ABSOLUTE: [u8; 4] = *b"W2ku";
/// `platform_code`: a `file://` address, in UTF-8.
pub const PLATFORM_MAC: [u8; 4] = *b"MacX";

/// An entry of the block allocation table: the block is not allocated.
pub const UNUSED: u32 = 0xffff_ffff;
/// The size of an entry of the block allocation table in bytes.
pub const ENTRY_SIZE: u64 = 4;
/// The sector of all offsets and bitmaps, in bytes.
pub const SECTOR: u64 = 512;
/// The geometry that stands for all larger disks, in sectors: 65535 cylinders, 16 heads, 255 sectors.
pub const MAX_GEOMETRY: u64 = 65535 * 16 * 255;
/// QEMU's limit of a disk, in sectors: 2040 GiB, of which the specification says 2 TiB or more cannot be addressed.
pub const MAX_SECTORS: u64 = 1 << 32;
