//! The structures on a physical volume, with the names that LVM2's sources give them.
//!
//! LVM2's sources are the specification:
//! <https://sourceware.org/git/?p=lvm2.git;a=blob;f=lib/format_text/layout.h> and `lib/label/label.h`; a description in
//! prose is <https://github.com/libyal/libvslvm/blob/main/documentation/Logical%20Volume%20Manager%20(LVM)%20format.asciidoc>.
//! All integers are little-endian.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Bytes in a sector: LVM2 counts in these, whatever the device's own sectors are.
pub const SECTOR_SIZE: usize = 512;
/// The label lies in one of this many sectors at the start (`LABEL_SCAN_SECTORS`).
pub const LABEL_SCAN_SECTORS: usize = 4;
/// What a label starts with (`LABEL_ID`).
pub const LABEL_ID: &[u8; 8] = b"LABELONE";
/// The type of label that LVM2 writes (`LVM2_LABEL`).
pub const LVM2_LABEL: &[u8; 8] = b"LVM2 001";
/// The checksum of a label covers the sector from here, where `offset_xl` lies, to its end.
pub const LABEL_CRC_START: usize = 20;
/// The magic of a metadata area (`FMTT_MAGIC`).
pub const FMTT_MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";
/// The only version of a metadata area (`FMTT_VERSION`).
pub const FMTT_VERSION: u32 = 1;
/// Bytes of the header of a metadata area; the ring of texts lies behind it (`MDA_HEADER_SIZE`).
pub const MDA_HEADER_SIZE: usize = 512;
/// The checksum of a metadata area header covers it from here, where `magic` lies, to its end.
pub const MDA_CRC_START: usize = 4;
/// A text in this area is not kept up to date (`RAW_LOCN_IGNORED`).
pub const RAW_LOCN_IGNORED: u32 = 1;
/// The physical volume belongs to a volume group (`PV_EXT_USED`); of extension version 2 and later.
pub const PV_EXT_USED: u32 = 1;

/// The start of a label.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct LabelHeader {
    pub id: [u8; 8],
    /// The sector that this label was written to.
    pub sector_xl: U64,
    pub crc_xl: U32,
    /// Where the physical volume header starts, in bytes from the start of the label.
    pub offset_xl: U32,
    pub r#type: [u8; 8],
}
const _: () = assert!(size_of::<LabelHeader>() == 32);

/// The start of a physical volume header; lists of data areas and of metadata areas follow.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PvHeader {
    pub pv_uuid: [u8; 32],
    /// In bytes.
    pub device_size_xl: U64,
}
const _: () = assert!(size_of::<PvHeader>() == 40);

/// An element of these lists; one whose offset is zero ends a list.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DiskLocn {
    /// In bytes from the start of the device.
    pub offset: U64,
    /// In bytes; zero means the rest of the device.
    pub size: U64,
}
const _: () = assert!(size_of::<DiskLocn>() == 16);

/// Behind the two lists; a list of bootloader areas follows.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct PvHeaderExtension {
    pub version: U32,
    pub flags: U32,
}
const _: () = assert!(size_of::<PvHeaderExtension>() == 8);

/// The start of a metadata area; a list of `RawLocn` follows.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct MdaHeader {
    pub checksum_xl: U32,
    pub magic: [u8; 16],
    pub version: U32,
    /// Where this header lies, in bytes from the start of the device.
    pub start: U64,
    /// Bytes of the area, with this header.
    pub size: U64,
}
const _: () = assert!(size_of::<MdaHeader>() == 40);

/// A metadata text. The first of the list is the one that holds; the second is being written.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawLocn {
    /// In bytes from the start of the area.
    pub offset: U64,
    /// In bytes.
    pub size: U64,
    pub checksum: U32,
    pub flags: U32,
}
const _: () = assert!(size_of::<RawLocn>() == 24);
