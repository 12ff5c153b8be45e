//! The superblock of a thin pool's metadata: `drivers/md/dm-thin-metadata.c` of Linux,
//! <https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git>, and
//! <https://docs.kernel.org/admin-guide/device-mapper/thin-provisioning.html>.

use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// `THIN_SUPERBLOCK_MAGIC`.
pub const MAGIC: u64 = 27022010;
/// What the checksum of the superblock is mixed with: `SUPERBLOCK_CSUM_XOR`.
pub const CSUM_XOR: u32 = 160774;
/// The newest `version`: `THIN_VERSION`.
pub const MAX_VERSION: u32 = 2;
/// In `flags`: the kernel asks for a check by the tools.
pub const NEEDS_CHECK: u32 = 1;
/// What `metadata_block_size` is, in sectors.
pub const METADATA_BLOCK_SECTORS: u32 = 8;
/// What `data_block_size` is a multiple of, in sectors: `DATA_DEV_BLOCK_SIZE_MIN_SECTORS`.
pub const DATA_BLOCK_MIN_SECTORS: u32 = 128;
/// The largest `data_block_size`, in sectors: `DATA_DEV_BLOCK_SIZE_MAX_SECTORS`.
pub const DATA_BLOCK_MAX_SECTORS: u32 = 2 << 20;
/// How many low bits of a mapping are the time of the change; the block of the data is above.
pub const TIME_BITS: u32 = 24;

/// `thin_disk_superblock`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Superblock {
    pub csum: U32,
    pub flags: U32,
    pub blocknr: U64,
    pub uuid: [u8; 16],
    pub magic: U64,
    pub version: U32,
    pub time: U32,
    pub trans_id: U64,
    pub held_root: U64,
    pub data_space_map_root: [u8; 128],
    pub metadata_space_map_root: [u8; 128],
    pub data_mapping_root: U64,
    pub device_details_root: U64,
    pub data_block_size: U32,
    pub metadata_block_size: U32,
    pub metadata_nr_blocks: U64,
    pub compat_flags: U32,
    pub compat_ro_flags: U32,
    pub incompat_flags: U32,
}

const _: () = assert!(size_of::<Superblock>() == 364);
