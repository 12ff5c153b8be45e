//! The GUID partition table on disk: <https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html>.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// `Signature` of the header.
pub const SIGNATURE: [u8; 8] = *b"EFI PART";

/// `MyLBA` of the primary header.
pub const PRIMARY_LBA: u64 = 1;

/// The smallest `SizeOfPartitionEntry`; the others are this times a power of two.
pub const MIN_ENTRY_SIZE: u32 = 128;

#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct GptHeader {
    pub signature: [u8; 8],
    pub revision: U32,
    pub header_size: U32,
    pub header_crc32: U32,
    pub reserved: U32,
    pub my_lba: U64,
    pub alternate_lba: U64,
    pub first_usable_lba: U64,
    pub last_usable_lba: U64,
    pub disk_guid: [u8; 16],
    pub partition_entry_lba: U64,
    pub number_of_partition_entries: U32,
    pub size_of_partition_entry: U32,
    pub partition_entry_array_crc32: U32,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct GptEntry {
    pub partition_type_guid: [u8; 16],
    pub unique_partition_guid: [u8; 16],
    pub starting_lba: U64,
    pub ending_lba: U64,
    pub attributes: U64,
    pub partition_name: [U16; 36],
}

const _: () = assert!(size_of::<GptHeader>() == 92);
const _: () = assert!(size_of::<GptEntry>() == 128);
