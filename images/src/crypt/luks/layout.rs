//! The binary headers of LUKS.
//!
//! [LUKS1](https://gitlab.com/cryptsetup/cryptsetup/-/wikis/LUKS-standard/on-disk-format.pdf), figures 1 to 3;
//! [LUKS2](https://gitlab.com/cryptsetup/LUKS2-docs), 2.1.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// The first bytes of a header.
pub(super) const MAGIC: [u8; 6] = *b"LUKS\xba\xbe";
/// The first bytes of the second header of LUKS2.
pub(super) const MAGIC_2ND: [u8; 6] = *b"SKUL\xba\xbe";
/// The unit of all offsets in LUKS1, in bytes.
pub(super) const SECTOR: u64 = 512;

/// How many key slots LUKS1 has.
pub(super) const NUMKEYS: usize = 8;
/// The length of the value that tells the right key in LUKS1, in bytes.
pub(super) const DIGEST_L: usize = 20;
/// A key slot of LUKS1 that is in use.
pub(super) const KEY_ENABLED: u32 = 0x00ac_71f3;
/// A key slot of LUKS1 that is not.
pub(super) const KEY_DISABLED: u32 = 0x0000_dead;
/// The bytes of the magic and the version, which both headers share.
pub(super) const VERSION_END: usize = 8;
/// Where the UUID lies in both headers, and how long it is, in bytes.
pub(super) const UUID_AT: u64 = 168;
pub(super) const UUID_L: usize = 40;

/// The header of LUKS1.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Phdr {
    pub(super) magic: [u8; 6],
    pub(super) version: U16,
    pub(super) cipher_name: [u8; 32],
    pub(super) cipher_mode: [u8; 32],
    pub(super) hash_spec: [u8; 32],
    pub(super) payload_offset: U32,
    pub(super) key_bytes: U32,
    pub(super) mk_digest: [u8; DIGEST_L],
    pub(super) mk_digest_salt: [u8; 32],
    pub(super) mk_digest_iter: U32,
    pub(super) uuid: [u8; UUID_L],
    pub(super) key_slots: [KeySlot; NUMKEYS],
}

/// A key slot of LUKS1.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct KeySlot {
    pub(super) active: U32,
    pub(super) iterations: U32,
    pub(super) salt: [u8; 32],
    pub(super) key_material_offset: U32,
    pub(super) stripes: U32,
}

/// The binary header of LUKS2; the JSON area follows it.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BinaryHeader {
    pub(super) magic: [u8; 6],
    pub(super) version: U16,
    pub(super) hdr_size: U64,
    pub(super) seqid: U64,
    pub(super) label: [u8; 48],
    pub(super) csum_alg: [u8; 32],
    pub(super) salt: [u8; 64],
    pub(super) uuid: [u8; UUID_L],
    pub(super) subsystem: [u8; 48],
    pub(super) hdr_offset: U64,
    pub(super) padding: [u8; 184],
    pub(super) csum: [u8; CSUM_L],
    pub(super) padding4096: [u8; 7 * 512],
}

/// Where the checksum lies in a binary header of LUKS2, and how long its field is, in bytes.
pub(super) const CSUM_AT: usize = 448;
pub(super) const CSUM_L: usize = 64;
/// The sizes, and places of the second header, that the specification allows: 16 KiB to 4 MiB.
pub(super) const HDR_SIZES: [u64; 9] =
    [0x4000, 0x8000, 0x1_0000, 0x2_0000, 0x4_0000, 0x8_0000, 0x10_0000, 0x20_0000, 0x40_0000];

const _: () = assert!(size_of::<Phdr>() == 592);
const _: () = assert!(size_of::<BinaryHeader>() == 4096);
const _: () = assert!(std::mem::offset_of!(BinaryHeader, uuid) as u64 == UUID_AT);
const _: () = assert!(std::mem::offset_of!(Phdr, uuid) as u64 == UUID_AT);
const _: () = assert!(std::mem::offset_of!(BinaryHeader, csum) == CSUM_AT);
