//! The superblocks of Linux's MD on disk, versions 0.90 and 1: <https://raid.wiki.kernel.org/index.php/RAID_superblock_formats>.
//!
//! The field names are those of the kernel's header `linux/raid/md_p.h`.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The first four bytes of a superblock, little-endian.
pub const MAGIC: u32 = 0xa92b_4efc;

/// MD counts in sectors of this size, whatever the disks have.
pub const SECTOR_SIZE: u64 = 512;

/// Bytes that are read for a superblock of any version.
pub const SUPERBLOCK_SIZE: usize = 4096;

/// A superblock of version 0.90 begins in the last whole piece of this size, in bytes (`MD_RESERVED_BYTES`).
pub const RESERVED_SIZE: u64 = 64 << 10;

/// How many disks a superblock of version 0.90 describes (`MD_SB_DISKS`).
pub const MAX_DISKS_90: usize = 27;
/// How many roles fit in a superblock of version 1.
pub const MAX_DISKS_1: usize = (SUPERBLOCK_SIZE - size_of::<Superblock1>()) / 2;

/// The level of an array whose members follow one another.
pub const LEVEL_LINEAR: i32 = -1;

/// Bits of `state` of a disk in version 0.90.
pub const DISK_FAULTY: u32 = 1 << 0;
pub const DISK_ACTIVE: u32 = 1 << 1;
pub const DISK_SYNC: u32 = 1 << 2;

/// The bit of `state` in version 0.90 of an array whose parities and copies are all right.
pub const STATE_CLEAN: u32 = 1 << 0;
/// `minor_version` while an array is reshaped.
pub const MINOR_RESHAPE: u32 = 91;

/// Bits of `feature_map` in version 1.
pub const FEATURE_RECOVERY_OFFSET: u32 = 1 << 1;
pub const FEATURE_RESHAPE_ACTIVE: u32 = 1 << 2;
pub const FEATURE_BAD_BLOCKS: u32 = 1 << 3;
pub const FEATURE_REPLACEMENT: u32 = 1 << 4;
pub const FEATURE_JOURNAL: u32 = 1 << 9;
pub const FEATURE_RAID0_LAYOUT: u32 = 1 << 12;
/// All bits up to the last one that is known; those not named above change nothing for a reader.
pub const FEATURES: u32 = (1 << 13) - 1;

/// Roles in version 1 that are no places in the array.
pub const ROLE_SPARE: u16 = 0xffff;
pub const ROLE_FAULTY: u16 = 0xfffe;
pub const ROLE_JOURNAL: u16 = 0xfffd;

/// `resync_offset` of an array whose parities and copies are all right.
pub const IN_SYNC: u64 = u64::MAX;

/// How a disk of an array is, in version 0.90.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub struct Disk90 {
    pub number: U32,
    pub major: U32,
    pub minor: U32,
    pub raid_disk: U32,
    pub state: U32,
    pub reserved: [U32; 27],
}

/// Version 0.90.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct Superblock90 {
    pub md_magic: U32,
    pub major_version: U32,
    pub minor_version: U32,
    pub patch_version: U32,
    pub gvalid_words: U32,
    pub set_uuid0: [u8; 4],
    pub ctime: U32,
    pub level: U32,
    /// Of each member's data, in KiB.
    pub size: U32,
    pub nr_disks: U32,
    pub raid_disks: U32,
    pub md_minor: U32,
    pub not_persistent: U32,
    pub set_uuid1: [u8; 4],
    pub set_uuid2: [u8; 4],
    pub set_uuid3: [u8; 4],
    pub gstate_creserved: [U32; 16],
    pub utime: U32,
    pub state: U32,
    pub active_disks: U32,
    pub working_disks: U32,
    pub failed_disks: U32,
    pub spare_disks: U32,
    pub sb_csum: U32,
    pub events: U64,
    pub cp_events: U64,
    pub recovery_cp: U32,
    pub reshape: [U32; 6],
    pub gstate_sreserved: [U32; 14],
    pub layout: U32,
    /// In bytes.
    pub chunk_size: U32,
    pub root_pv: U32,
    pub root_block: U32,
    pub pstate_reserved: [U32; 60],
    pub disks: [Disk90; MAX_DISKS_90],
    pub this_disk: Disk90,
}

/// Version 1, without the roles that follow it. Sizes and offsets are in sectors.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct Superblock1 {
    pub magic: U32,
    pub major_version: U32,
    pub feature_map: U32,
    pub pad0: U32,
    pub set_uuid: [u8; 16],
    pub set_name: [u8; 32],
    pub ctime: U64,
    pub level: U32,
    pub layout: U32,
    pub size: U64,
    pub chunksize: U32,
    pub raid_disks: U32,
    pub bitmap_offset: U32,
    pub new_level: U32,
    pub reshape_position: U64,
    pub delta_disks: U32,
    pub new_layout: U32,
    pub new_chunk: U32,
    pub new_offset: U32,
    pub data_offset: U64,
    pub data_size: U64,
    pub super_offset: U64,
    /// The journal's tail on a journal.
    pub recovery_offset: U64,
    pub dev_number: U32,
    pub cnt_corrected_read: U32,
    pub device_uuid: [u8; 16],
    pub devflags: u8,
    pub bblog_shift: u8,
    pub bblog_size: U16,
    /// Signed, from the superblock.
    pub bblog_offset: U32,
    pub utime: U64,
    pub events: U64,
    pub resync_offset: U64,
    pub sb_csum: U32,
    pub max_dev: U32,
    /// The size of the array's logical sectors, from Linux 6.19 on.
    pub logical_block_size: U32,
    pub pad3: [u8; 28],
}

/// How long the header of a block in a journal is, in bytes.
pub const JOURNAL_HEADER_SIZE: usize = size_of::<JournalBlock>();
/// The first four bytes of a block in a journal, little-endian.
pub const JOURNAL_MAGIC: u32 = 0x6433_c509;
/// Blocks in a journal are so many bytes long.
pub const JOURNAL_BLOCK_SIZE: usize = 4096;

/// The head of a block in the journal of a RAID 4, 5 or 6: `r5l_meta_block` of `md_p.h`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct JournalBlock {
    pub magic: U32,
    pub checksum: U32,
    pub version: u8,
    pub zero_padding_1: u8,
    pub zero_padding_2: U16,
    /// Of this head and what follows it, in bytes.
    pub meta_size: U32,
    pub seq: U64,
    /// Where in the journal it is, in sectors.
    pub position: U64,
}

const _: () = assert!(size_of::<Disk90>() == 128);
const _: () = assert!(size_of::<Superblock90>() == 4096);
const _: () = assert!(size_of::<Superblock1>() == 256);
const _: () = assert!(size_of::<JournalBlock>() == 32);
