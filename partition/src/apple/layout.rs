//! The Apple partition map on disk: <https://developer.apple.com/library/archive/documentation/mac/Devices/Devices-121.html>.

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// `sbSig`: `ER`.
pub const DRIVER_SIGNATURE: u16 = 0x4552;
/// `pmSig`: `PM`.
pub const MAP_SIGNATURE: u16 = 0x504d;

/// The start of the first block of a disk: the driver descriptor record.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct Block0 {
    pub sb_sig: U16,
    /// In bytes.
    pub sb_blk_size: U16,
    pub sb_blk_count: U32,
}

/// The start of each block of the map. It counts in blocks of the disk.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct Partition {
    pub pm_sig: U16,
    pub pm_sig_pad: U16,
    /// How many blocks the map has; the same in each of them.
    pub pm_map_blk_cnt: U32,
    pub pm_py_part_start: U32,
    pub pm_part_blk_cnt: U32,
    pub pm_part_name: [u8; 32],
    pub pm_par_type: [u8; 32],
}

const _: () = assert!(size_of::<Block0>() == 8);
const _: () = assert!(size_of::<Partition>() == 80);
