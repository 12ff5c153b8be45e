//! The structures of the Expert Witness Compression Format with the names of its description; no logic.
//!
//! Description: <https://github.com/libyal/libewf/blob/main/documentation/Expert%20Witness%20Compression%20Format%20%28EWF%29.asciidoc>.
//! All numbers are little endian; checksums are Adler-32 of what stands before them.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `signature` of a segment file of EWF-E01 and EWF-S01.
pub const SIGNATURE: [u8; 8] = *b"EVF\x09\x0d\x0a\xff\0";

/// The start of every segment file.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct FileHeader {
    pub signature: [u8; 8],
    pub fields_start: u8,
    /// From 1.
    pub segment_number: U16,
    pub fields_end: U16,
}
const _: () = assert!(size_of::<FileHeader>() == 13);

/// The start of every section.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct SectionDescriptor {
    /// `type`: a name, filled up with zero bytes.
    pub kind: [u8; 16],
    /// Bytes from the start of the segment file.
    pub next_offset: U64,
    /// With this descriptor, in bytes; some tools leave it 0.
    pub size: U64,
    pub padding: [u8; 40],
    pub checksum: U32,
}
const _: () = assert!(size_of::<SectionDescriptor>() == 76);

/// The start of the sections `volume`, `disk` and `data`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Volume {
    pub media_type: u8,
    pub unknown: [u8; 3],
    pub number_of_chunks: U32,
    pub sectors_per_chunk: U32,
    pub bytes_per_sector: U32,
    /// Of 32 bits in the short form.
    pub number_of_sectors: U64,
}
const _: () = assert!(size_of::<Volume>() == 24);

/// The size of the short form, which the first specification has and SMART writes, with its checksum at the end.
pub const SHORT_VOLUME_SIZE: usize = 94;
/// The size of the long form, with its checksum at the end.
pub const LONG_VOLUME_SIZE: usize = 1052;
/// `media_type`: files and no disk.
pub const LOGICAL_EVIDENCE: u8 = 0x0e;

/// The start of the sections `table` and `table2`; the entries follow, and their checksum.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct TableHeader {
    pub number_of_entries: U32,
    pub padding1: [u8; 4],
    /// What the entries count from, in bytes from the start of the segment file.
    pub base_offset: U64,
    pub padding2: [u8; 4],
    pub checksum: U32,
}
const _: () = assert!(size_of::<TableHeader>() == 24);

/// The size of an entry of a table in bytes.
pub const ENTRY_SIZE: u64 = 4;
/// The bit of an entry that says that the chunk is compressed; the others are its offset.
pub const COMPRESSED: u32 = 1 << 31;
/// The size of the checksum after an uncompressed chunk, and after the entries of a table, in bytes.
pub const CHECKSUM_SIZE: u64 = 4;

/// The start of the section `error2`; the entries follow, and their checksum.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ErrorHeader {
    pub number_of_entries: U32,
    pub unknown: [u8; 512],
    pub checksum: U32,
}
const _: () = assert!(size_of::<ErrorHeader>() == 520);

/// Sectors that could not be read when the image was made.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ErrorEntry {
    pub start_sector: U32,
    pub number_of_sectors: U32,
}
const _: () = assert!(size_of::<ErrorEntry>() == 8);

/// The section `hash`.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Hash {
    pub md5: [u8; 16],
    pub unknown: [u8; 16],
    pub checksum: U32,
}
const _: () = assert!(size_of::<Hash>() == 36);

/// The section `digest`; a digest of zeros is not set.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Digest {
    pub md5: [u8; 16],
    pub sha1: [u8; 20],
    pub padding: [u8; 40],
    pub checksum: U32,
}
const _: () = assert!(size_of::<Digest>() == 80);
