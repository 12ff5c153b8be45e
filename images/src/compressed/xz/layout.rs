//! The structures of the .xz file format.
//!
//! Specification: <https://tukaani.org/xz/xz-file-format.txt>, version 1.2.1.

use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Section 2.1.1.1.
pub const HEADER_MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
/// Section 2.1.2.4.
pub const FOOTER_MAGIC: [u8; 2] = *b"YZ";

/// Section 2.1.1.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct StreamHeader {
    pub magic: [u8; 6],
    pub flags: [u8; 2],
    /// Of the flags.
    pub crc32: U32,
}

/// Section 2.1.2.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct StreamFooter {
    /// Of the two fields that follow.
    pub crc32: U32,
    /// The size of the index, in units of four bytes, less one.
    pub backward_size: U32,
    pub flags: [u8; 2],
    pub magic: [u8; 2],
}

const _: () = assert!(size_of::<StreamHeader>() == 12 && size_of::<StreamFooter>() == 12);

/// The size of a stream's header, and of its footer.
pub const STREAM_END: u64 = 12;
/// The first byte of an index, where a block has the size of its header: section 4.1.
pub const INDEX_INDICATOR: u8 = 0;
/// Headers, padding, indexes: all are multiples of this many bytes.
pub const UNIT: u64 = WORD as u64;
pub const WORD: usize = 4;
/// The most bytes of a multibyte integer: section 1.2.
pub const MAX_INTEGER: usize = 9;

/// The low half of the block flags: the number of filters less one. Section 3.1.2.
pub const FILTER_COUNT: u8 = 0x03;
pub const RESERVED_FLAGS: u8 = 0x3c;
pub const HAS_COMPRESSED_SIZE: u8 = 0x40;
pub const HAS_UNCOMPRESSED_SIZE: u8 = 0x80;

/// The numbers of the filters: section 5.3.
pub const DELTA: u64 = 0x03;
pub const X86: u64 = 0x04;
pub const POWERPC: u64 = 0x05;
pub const IA64: u64 = 0x06;
pub const ARM: u64 = 0x07;
pub const ARM_THUMB: u64 = 0x08;
pub const SPARC: u64 = 0x09;
pub const ARM64: u64 = 0x0a;
pub const RISCV: u64 = 0x0b;
pub const LZMA2: u64 = 0x21;
