//! The structures of a VDI file; no logic. All numbers are little endian.
//!
//! The format has no specification but VirtualBox's own description of its header:
//! <https://forums.virtualbox.org/viewtopic.php?t=8046>, and its source, `src/VBox/Storage/VDICore.h`.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `u32Signature`.
pub const SIGNATURE: u32 = 0xbeda_107f;
/// Where the signature lies, in bytes.
pub const SIGNATURE_OFFSET: u64 = 0x40;
/// `u32Version` 1.1, the only one that VirtualBox has written since 2006.
pub const VERSION_1_1: u32 = 0x0001_0001;

/// The pre-header and version 1.1 of the header, up to the end of what matters.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    pub file_info: [u8; 64],
    pub signature: U32,
    pub version: U32,
    pub header_size: U32,
    pub image_type: U32,
    pub image_flags: U32,
    pub comment: [u8; 256],
    pub offset_blocks: U32,
    pub offset_data: U32,
    pub cylinders: U32,
    pub heads: U32,
    pub sectors: U32,
    pub sector_size: U32,
    pub dummy: U32,
    pub disk_size: U64,
    pub block_size: U32,
    pub block_extra: U32,
    pub blocks: U32,
    pub blocks_allocated: U32,
    pub uuid_create: [u8; 16],
    pub uuid_modify: [u8; 16],
    pub uuid_linkage: [u8; 16],
    pub uuid_parent_modify: [u8; 16],
}
const _: () = assert!(size_of::<Header>() == 456);

/// `image_type`: blocks are allocated when they are written.
pub const TYPE_NORMAL: u32 = 1;
/// `image_type`: all blocks are allocated.
pub const TYPE_FIXED: u32 = 2;
/// `image_type`: as differencing, of a VirtualBox that no longer exists.
pub const TYPE_UNDO: u32 = 3;
/// `image_type`: what is not allocated is the parent's.
pub const TYPE_DIFFERENCING: u32 = 4;

/// Block map entry: not allocated.
pub const BLOCK_FREE: u32 = 0xffff_ffff;
/// Block map entry: not allocated, and reads as zeros even if there is a parent.
pub const BLOCK_ZERO: u32 = 0xffff_fffe;

/// The size of an entry of the block map in bytes.
pub const ENTRY_SIZE: u64 = 4;
