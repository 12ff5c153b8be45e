//! The master boot record on disk: <https://uefi.org/specs/UEFI/2.10/05_GUID_Partition_Table_Format.html#legacy-master-boot-record-mbr>.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The last two bytes of a boot sector.
pub const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// `OSType` of a partition that covers a disk with a GPT.
pub const GPT_PROTECTIVE: u8 = 0xee;

/// `OSType` of the partitions that hold logical partitions: DOS's own, that of Windows 95 and that of Linux.
pub const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// The first sector of a disk, and of each link of a chain of logical partitions.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct LegacyMbr {
    pub boot_code: [u8; 440],
    pub unique_mbr_disk_signature: U32,
    pub unknown: U16,
    pub partition_record: [PartitionRecord; 4],
    pub signature: [u8; 2],
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub struct PartitionRecord {
    pub boot_indicator: u8,
    pub starting_chs: [u8; 3],
    pub os_type: u8,
    pub ending_chs: [u8; 3],
    pub starting_lba: U32,
    pub size_in_lba: U32,
}

const _: () = assert!(size_of::<LegacyMbr>() == 512);
const _: () = assert!(size_of::<PartitionRecord>() == 16);
