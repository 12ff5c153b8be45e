//! The structures of a Parallels expandable image (`.hds`) with the names of their description; no logic.
//!
//! Description: <https://www.qemu.org/docs/master/interop/parallels.html>. All numbers are little endian.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `magic` of the older kind: table entries count sectors.
pub const MAGIC: [u8; 16] = *b"WithoutFreeSpace";
/// `magic` of the newer kind: table entries count clusters.
pub const MAGIC_EXTENDED: [u8; 16] = *b"WithouFreSpacExt";

/// The start of the file; the block allocation table follows.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    pub magic: [u8; 16],
    pub version: U32,
    pub heads: U32,
    pub cylinders: U32,
    /// The size of a cluster in sectors.
    pub tracks: U32,
    pub nb_bat_entries: U32,
    pub nb_sectors: U64,
    pub inuse: U32,
    pub data_off: U32,
    pub flags: U32,
    pub ext_off: U64,
}
const _: () = assert!(size_of::<Header>() == 64);

/// `version`, the only one.
pub const VERSION: u32 = 2;
/// `inuse`: opened by a Parallels product, and not closed.
pub const IN_USE: u32 = 0x746f_6e59;

/// A sector in bytes.
pub const SECTOR: u64 = 512;
/// The size of an entry of the block allocation table in bytes.
pub const ENTRY_SIZE: u64 = 4;
