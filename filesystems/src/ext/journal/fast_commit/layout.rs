//! The tags of a fast commit, as they lie on the disk: little endian.
//!
//! Specification: <https://docs.kernel.org/filesystems/ext4/journal.html#fast-commits>

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::ext::layout::Extent;

/// A range of blocks was added to a file.
pub const EXT4_FC_TAG_ADD_RANGE: u16 = 1;
/// A range of blocks was removed from a file.
pub const EXT4_FC_TAG_DEL_RANGE: u16 = 2;
/// A name for a new inode.
pub const EXT4_FC_TAG_CREAT: u16 = 3;
/// A name for an inode that exists.
pub const EXT4_FC_TAG_LINK: u16 = 4;
/// A name was removed.
pub const EXT4_FC_TAG_UNLINK: u16 = 5;
/// An inode changed.
pub const EXT4_FC_TAG_INODE: u16 = 6;
/// The remainder of the block is unused.
pub const EXT4_FC_TAG_PAD: u16 = 7;
/// The end of a fast commit.
pub const EXT4_FC_TAG_TAIL: u16 = 8;
/// The start of the fast commits of one transaction.
pub const EXT4_FC_TAG_HEAD: u16 = 9;

/// Before each value; `fc_len` does not count it.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct FcTl {
    pub fc_tag: U16,
    pub fc_len: U16,
}
const _: () = assert!(size_of::<FcTl>() == 4);

/// The value of [`EXT4_FC_TAG_HEAD`].
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct FcHead {
    pub fc_features: U32,
    pub fc_tid: U32,
}
const _: () = assert!(size_of::<FcHead>() == 8);

/// The value of [`EXT4_FC_TAG_ADD_RANGE`].
#[derive(Clone, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct FcAddRange {
    pub fc_ino: U32,
    pub fc_ex: Extent,
}
const _: () = assert!(size_of::<FcAddRange>() == 16);

/// The value of [`EXT4_FC_TAG_DEL_RANGE`].
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct FcDelRange {
    pub fc_ino: U32,
    pub fc_lblk: U32,
    pub fc_len: U32,
}
const _: () = assert!(size_of::<FcDelRange>() == 12);

/// The start of the values that name an inode; the name follows.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct FcDentryInfo {
    pub fc_parent_ino: U32,
    pub fc_ino: U32,
}
const _: () = assert!(size_of::<FcDentryInfo>() == 8);

/// The value of [`EXT4_FC_TAG_TAIL`].
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct FcTail {
    pub fc_tid: U32,
    pub fc_crc: U32,
}
const _: () = assert!(size_of::<FcTail>() == 8);
