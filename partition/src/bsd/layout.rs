//! The BSD disk label on disk: <https://man.freebsd.org/cgi/man.cgi?query=disklabel&sektion=5>, in the order of bytes of the PC.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// `d_magic` and `d_magic2`.
pub const MAGIC: u32 = 0x8256_4557;
/// How many partitions a label may have; NetBSD's and OpenBSD's, and the kernel's for all.
pub const MAX_PARTITIONS: usize = 16;
/// `p_fstype` of an entry that is not in use.
pub const FS_UNUSED: u8 = 0;

/// An entry: its letter is its place.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
pub struct Partition {
    /// In sectors.
    pub p_size: U32,
    pub p_offset: U32,
    pub p_fsize: U32,
    pub p_fstype: u8,
    pub p_frag: u8,
    pub p_cpg: U16,
}

#[derive(FromBytes, KnownLayout, Immutable, Unaligned, Clone)]
#[repr(C)]
pub struct DiskLabel {
    pub d_magic: U32,
    pub d_type: U16,
    pub d_subtype: U16,
    pub d_typename: [u8; 16],
    pub d_packname: [u8; 16],
    pub d_secsize: U32,
    pub d_nsectors: U32,
    pub d_ntracks: U32,
    pub d_ncylinders: U32,
    pub d_secpercyl: U32,
    pub d_secperunit: U32,
    pub d_sparespertrack: U16,
    pub d_sparespercyl: U16,
    pub d_acylinders: U32,
    pub d_rpm: U16,
    pub d_interleave: U16,
    pub d_trackskew: U16,
    pub d_cylskew: U16,
    pub d_headswitch: U32,
    pub d_trkseek: U32,
    pub d_flags: U32,
    pub d_drivedata: [U32; 5],
    pub d_spare: [U32; 5],
    pub d_magic2: U32,
    pub d_checksum: U16,
    pub d_npartitions: U16,
    pub d_bbsize: U32,
    pub d_sbsize: U32,
    pub d_partitions: [Partition; MAX_PARTITIONS],
}

const _: () = assert!(size_of::<Partition>() == 16);
const _: () = assert!(size_of::<DiskLabel>() == 404);
