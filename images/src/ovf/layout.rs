//! The structures of a tar archive with the names of their specification; no logic.
//!
//! Specification: POSIX.1-2017, `pax`, "ustar Interchange Format" and "pax Interchange Format":
//! <https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html>; what GNU tar has beside it:
//! <https://www.gnu.org/software/tar/manual/html_node/Standard.html>.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The unit of an archive in bytes: headers are one, and the content of a member is filled up to a multiple.
pub const BLOCK: u64 = 512;

/// What stands before each member. Numbers are octal digits.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header {
    pub name: [u8; 100],
    pub mode: [u8; 8],
    pub uid: [u8; 8],
    pub gid: [u8; 8],
    /// Bytes. GNU writes what has more than eleven digits as a big-endian number with the topmost bit set.
    pub size: [u8; 12],
    pub mtime: [u8; 12],
    /// The sum of all bytes of the header, with spaces in place of these.
    pub chksum: [u8; 8],
    pub typeflag: u8,
    pub linkname: [u8; 100],
    pub magic: [u8; 6],
    pub version: [u8; 2],
    pub uname: [u8; 32],
    pub gname: [u8; 32],
    pub devmajor: [u8; 8],
    pub devminor: [u8; 8],
    /// What stands before the name, with a `/` between; not of GNU's archives.
    pub prefix: [u8; 155],
    pub padding: [u8; 12],
}
const _: () = assert!(size_of::<Header>() as u64 == BLOCK);

/// `magic` of POSIX.
pub const USTAR: [u8; 6] = *b"ustar\0";
/// `magic` of GNU's archives.
pub const GNU: [u8; 6] = *b"ustar ";

/// `typeflag` of a file, and what older programs write for one.
pub const REGULAR: [u8; 3] = [b'0', 0, b'7'];
/// `typeflag` of a hard and of a symbolic link.
pub const LINKS: [u8; 2] = *b"12";
/// `typeflag` of records that hold for the next member, and of those that hold for all that follow.
pub const PAX_NEXT: u8 = b'x';
/// See [`PAX_NEXT`].
pub const PAX_GLOBAL: u8 = b'g';
/// `typeflag` of a name, and of the target of a link, that is too long for the header of the next member.
pub const GNU_NAME: u8 = b'L';
/// See [`GNU_NAME`].
pub const GNU_LINK: u8 = b'K';
/// `typeflag` of a file with holes.
pub const GNU_SPARSE: u8 = b'S';
