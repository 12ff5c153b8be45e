//! The structures of jbd2, the journal of ext3 and ext4, as they lie on the disk: big endian.
//!
//! Specification: <https://docs.kernel.org/filesystems/ext4/journal.html>

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Begins every block of the journal that is not a copy.
pub const JBD2_MAGIC_NUMBER: u32 = 0xc03b_3998;

/// `h_blocktype`: tags that say which blocks the copies that follow belong to.
pub const JBD2_DESCRIPTOR_BLOCK: u32 = 1;
/// `h_blocktype`: the transaction is complete.
pub const JBD2_COMMIT_BLOCK: u32 = 2;
/// `h_blocktype`: a superblock without feature fields.
pub const JBD2_SUPERBLOCK_V1: u32 = 3;
/// `h_blocktype`: a superblock.
pub const JBD2_SUPERBLOCK_V2: u32 = 4;
/// `h_blocktype`: blocks whose older copies must not be replayed.
pub const JBD2_REVOKE_BLOCK: u32 = 5;

/// `s_feature_compat`: commit blocks carry a CRC-32 of their transaction (checksum v1).
pub const JBD2_FEATURE_COMPAT_CHECKSUM: u32 = 0x1;

/// `s_feature_incompat`: the journal has revoke blocks.
pub const JBD2_FEATURE_INCOMPAT_REVOKE: u32 = 0x1;
/// `s_feature_incompat`: block numbers have 64 bits.
pub const JBD2_FEATURE_INCOMPAT_64BIT: u32 = 0x2;
/// `s_feature_incompat`: commit blocks are written without waiting for the transaction's other blocks.
pub const JBD2_FEATURE_INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
/// `s_feature_incompat`: checksum v2, CRC-32C with 16 bits in a tag.
pub const JBD2_FEATURE_INCOMPAT_CSUM_V2: u32 = 0x8;
/// `s_feature_incompat`: checksum v3, CRC-32C with 32 bits in a tag.
pub const JBD2_FEATURE_INCOMPAT_CSUM_V3: u32 = 0x10;
/// `s_feature_incompat`: the end of the journal is a fast-commit area.
pub const JBD2_FEATURE_INCOMPAT_FAST_COMMIT: u32 = 0x20;

/// `s_checksum_type`, the only one in use: CRC-32C.
pub const JBD2_CRC32C_CHKSUM: u8 = 4;
/// `h_chksum_type` of checksum v1: CRC-32, most significant bit first.
pub const JBD2_CRC32_CHKSUM: u8 = 1;
/// `h_chksum_size` of checksum v1, in bytes.
pub const JBD2_CRC32_CHKSUM_SIZE: u8 = 4;

/// `s_num_fc_blks` 0 means this many blocks.
pub const JBD2_DEFAULT_FAST_COMMIT_BLOCKS: u32 = 256;
/// The log (without a fast-commit area) is never shorter than this, in blocks.
pub const JBD2_MIN_JOURNAL_BLOCKS: u32 = 1024;

/// `t_flags`: the copy began with the magic number, which is zeroed in the journal.
pub const JBD2_FLAG_ESCAPE: u16 = 1;
/// `t_flags`: no UUID follows the tag.
pub const JBD2_FLAG_SAME_UUID: u16 = 2;
/// `t_flags`: the last tag of its descriptor block.
pub const JBD2_FLAG_LAST_TAG: u16 = 8;

/// The length of the UUID that follows a tag without [`JBD2_FLAG_SAME_UUID`], in bytes.
pub const TAG_UUID_SIZE: usize = 16;

/// The start of every block of the journal that is not a copy.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct JournalHeader {
    pub h_magic: U32,
    pub h_blocktype: U32,
    pub h_sequence: U32,
}
const _: () = assert!(size_of::<JournalHeader>() == 12);

/// The first block of the journal.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct JournalSuperblock {
    pub s_header: JournalHeader,
    pub s_blocksize: U32,
    pub s_maxlen: U32,
    pub s_first: U32,
    pub s_sequence: U32,
    pub s_start: U32,
    pub s_errno: U32,
    pub s_feature_compat: U32,
    pub s_feature_incompat: U32,
    pub s_feature_ro_compat: U32,
    pub s_uuid: [u8; 16],
    pub s_nr_users: U32,
    pub s_dynsuper: U32,
    pub s_max_transaction: U32,
    pub s_max_trans_data: U32,
    pub s_checksum_type: u8,
    pub s_padding2: [u8; 3],
    pub s_num_fc_blks: U32,
    pub s_head: U32,
    pub s_padding: [U32; 40],
    pub s_checksum: U32,
    pub s_users: [u8; 768],
}
const _: () = assert!(size_of::<JournalSuperblock>() == 1024);
const _: () = assert!(core::mem::offset_of!(JournalSuperblock, s_checksum) == 252);

/// A tag of a descriptor block under checksum v3.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct JournalBlockTag3 {
    pub t_blocknr: U32,
    pub t_flags: U32,
    pub t_blocknr_high: U32,
    pub t_checksum: U32,
}
const _: () = assert!(size_of::<JournalBlockTag3>() == 16);

/// The part that all other tags begin with; `t_blocknr_high` follows with 64-bit block numbers, and two unused bytes
/// end it under checksum v2.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct JournalBlockTag {
    pub t_blocknr: U32,
    pub t_checksum: U16,
    pub t_flags: U16,
}
const _: () = assert!(size_of::<JournalBlockTag>() == 8);

/// The end of a descriptor or revoke block under checksum v2 and v3.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct JournalBlockTail {
    pub t_checksum: U32,
}
const _: () = assert!(size_of::<JournalBlockTail>() == 4);

/// The start of a revoke block; `r_count` is in bytes and counts this header too.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct JournalRevokeHeader {
    pub r_header: JournalHeader,
    pub r_count: U32,
}
const _: () = assert!(size_of::<JournalRevokeHeader>() == 16);

/// The start of a commit block.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct CommitHeader {
    pub c_header: JournalHeader,
    pub h_chksum_type: u8,
    pub h_chksum_size: u8,
    pub h_padding: [u8; 2],
    pub h_chksum: [U32; 8],
    pub h_commit_sec: U64,
    pub h_commit_nsec: U32,
}
const _: () = assert!(size_of::<CommitHeader>() == 60);
