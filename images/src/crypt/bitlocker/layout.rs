//! The structures of a BitLocker volume; no logic. All numbers are little-endian.
//!
//! [BitLocker Drive Encryption format](https://github.com/libyal/libbde/blob/main/documentation/BitLocker%20Drive%20Encryption%20(BDE)%20format.asciidoc).

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The start of the first sector.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct VolumeHeader {
    pub(super) boot_entry_point: [u8; 3],
    pub(super) signature: [u8; 8],
    pub(super) bytes_per_sector: U16,
}
const _: () = assert!(size_of::<VolumeHeader>() == 13);

/// The boot entry point of Windows Vista.
pub(super) const VISTA_ENTRY: [u8; 3] = *b"\xeb\x52\x90";
/// `signature` of a volume header, and of a metadata block.
pub(super) const SIGNATURE: [u8; 8] = *b"-FVE-FS-";
/// `signature` of a volume header of BitLocker To Go, which is FAT's.
pub(super) const TO_GO: [u8; 8] = *b"MSWIN4.1";

/// What tells a volume header from a file system's, in the first sector.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Information {
    pub(super) identifier: [u8; 16],
    pub(super) block_offsets: [U64; BLOCKS],
}
const _: () = assert!(size_of::<Information>() == 40);

/// Where [`Information`] lies in the first sector, and where in that of BitLocker To Go, in bytes.
pub(super) const INFORMATION_AT: u64 = 160;
pub(super) const INFORMATION_AT_TO_GO: usize = 424;
/// How many copies of the metadata there are.
pub(super) const BLOCKS: usize = 3;
/// `identifier`: 4967d63b-2e29-4ad8-8399-f6a339e3d001.
pub(super) const IDENTIFIER: [u8; 16] = *b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01";
/// `identifier` of a volume that is encrypted where it is written: 92a84d3b-dd80-4d0e-9e4e-b1e3284eaed8.
pub(super) const IDENTIFIER_ENCRYPT_ON_WRITE: [u8; 16] =
    *b"\x3b\x4d\xa8\x92\x80\xdd\x0e\x4d\x9e\x4e\xb1\xe3\x28\x4e\xae\xd8";

/// The start of a metadata block of version 2.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct BlockHeader {
    pub(super) signature: [u8; 8],
    /// Of this header and the metadata, in units of 16 bytes.
    pub(super) size: U16,
    pub(super) version: U16,
    pub(super) current_state: U16,
    pub(super) next_state: U16,
    pub(super) encrypted_volume_size: U64,
    pub(super) unknown: U32,
    pub(super) volume_header_sectors: U32,
    pub(super) block_offsets: [U64; BLOCKS],
    pub(super) volume_header_offset: U64,
}
const _: () = assert!(size_of::<BlockHeader>() == 64);

/// The unit of `size` of a block header, in bytes.
pub(super) const SIZE_UNIT: usize = 16;
/// The state of a volume that is encrypted as a whole.
pub(super) const STATE_ENCRYPTED: u16 = 4;
/// How much of the volume each copy of the metadata takes, in bytes.
pub(super) const BLOCK_LEN: u64 = 65_536;

/// What a metadata block holds behind its header, and a .BEK file from its start.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct MetadataHeader {
    /// Of this header and the entries, in bytes.
    pub(super) size: U32,
    pub(super) version: U32,
    pub(super) header_size: U32,
    pub(super) size_copy: U32,
    pub(super) identifier: [u8; 16],
    pub(super) next_nonce_counter: U32,
    pub(super) encryption_method: U16,
    pub(super) encryption_method_copy: U16,
    pub(super) creation_time: U64,
}
const _: () = assert!(size_of::<MetadataHeader>() == 48);

/// What follows the metadata: the checksum (CRC-32) over block header and metadata.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Validation {
    pub(super) size: U16,
    pub(super) version: U16,
    pub(super) crc: U32,
}
const _: () = assert!(size_of::<Validation>() == 8);

/// The start of an entry of the metadata; its data follows.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct EntryHeader {
    /// Of this header and the data, in bytes.
    pub(super) size: U16,
    pub(super) entry_type: U16,
    pub(super) value_type: U16,
    pub(super) version: U16,
}
const _: () = assert!(size_of::<EntryHeader>() == 8);

/// `entry_type`: a property of the entry that it lies in.
pub(super) const ENTRY_PROPERTY: u16 = 0x0000;
/// `entry_type`: a volume master key.
pub(super) const ENTRY_VMK: u16 = 0x0002;
/// `entry_type`: the full volume encryption key.
pub(super) const ENTRY_FVEK: u16 = 0x0003;
/// `entry_type`: a startup key, in a .BEK file.
pub(super) const ENTRY_STARTUP_KEY: u16 = 0x0006;
/// `entry_type`: where the encrypted volume header lies.
pub(super) const ENTRY_VOLUME_HEADER: u16 = 0x000f;

/// `value_type`: a key, in the clear.
pub(super) const VALUE_KEY: u16 = 0x0001;
/// `value_type`: how a secret is stretched.
pub(super) const VALUE_STRETCH_KEY: u16 = 0x0003;
/// `value_type`: an encrypted key.
pub(super) const VALUE_AES_CCM: u16 = 0x0005;
/// `value_type`: a volume master key.
pub(super) const VALUE_VMK: u16 = 0x0008;
/// `value_type`: an external key.
pub(super) const VALUE_EXTERNAL_KEY: u16 = 0x0009;
/// `value_type`: offset and size.
pub(super) const VALUE_OFFSET_SIZE: u16 = 0x000f;

/// The data of [`VALUE_VMK`]; properties follow.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Vmk {
    pub(super) identifier: [u8; 16],
    pub(super) modification_time: U64,
    pub(super) unknown: U16,
    pub(super) protection_type: U16,
}
const _: () = assert!(size_of::<Vmk>() == 28);

/// The data of [`VALUE_EXTERNAL_KEY`]; properties follow.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ExternalKey {
    pub(super) identifier: [u8; 16],
    pub(super) modification_time: U64,
}
const _: () = assert!(size_of::<ExternalKey>() == 24);

/// The start of the data of [`VALUE_STRETCH_KEY`].
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct StretchKey {
    pub(super) encryption_method: U32,
    pub(super) salt: [u8; SALT],
}
const _: () = assert!(size_of::<StretchKey>() == 20);

/// The length of a salt, in bytes.
pub(super) const SALT: usize = 16;

/// The start of the data of [`VALUE_AES_CCM`]: the encrypted key follows.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct AesCcm {
    pub(super) nonce: [u8; 12],
    pub(super) message_authentication_code: [u8; 16],
}
const _: () = assert!(size_of::<AesCcm>() == 28);

/// The start of what is encrypted: the key follows.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct KeyContainer {
    pub(super) size: U32,
    pub(super) version: U16,
    pub(super) unknown: U16,
    pub(super) encryption_method: U32,
}
const _: () = assert!(size_of::<KeyContainer>() == 12);

/// The start of the data of [`VALUE_KEY`]: the key follows.
pub(super) const KEY_METHOD_LEN: usize = 4;

/// The start of the data of [`VALUE_OFFSET_SIZE`].
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct OffsetSize {
    pub(super) offset: U64,
    pub(super) size: U64,
}
const _: () = assert!(size_of::<OffsetSize>() == 16);

/// `protection_type`: none.
pub(super) const PROTECTION_CLEAR: u16 = 0x0000;
/// `protection_type`: a startup key, in a .BEK file.
pub(super) const PROTECTION_STARTUP_KEY: u16 = 0x0200;
/// `protection_type`: a recovery password.
pub(super) const PROTECTION_RECOVERY_PASSWORD: u16 = 0x0800;
/// `protection_type`: a password.
pub(super) const PROTECTION_PASSWORD: u16 = 0x2000;
