//! The structures of FAT12, FAT16 and FAT32 on the disk.
//!
//! Specification: [Microsoft FAT32 File System Specification, version 1.03](https://download.microsoft.com/download/1/6/1/161ba512-40e2-4cc9-843a-923143f3456c/fatgen103.doc)
//! ("fatgen103"). Field names are the specification's, in the usual case.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What both kinds of boot sector begin with: the jump, the OEM name and the BIOS parameter block.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Bpb {
    pub jmp_boot: [u8; 3],
    pub oem_name: [u8; 8],
    pub byts_per_sec: U16,
    pub sec_per_clus: u8,
    pub rsvd_sec_cnt: U16,
    pub num_fats: u8,
    pub root_ent_cnt: U16,
    pub tot_sec_16: U16,
    pub media: u8,
    pub fat_sz_16: U16,
    pub sec_per_trk: U16,
    pub num_heads: U16,
    pub hidd_sec: U32,
    pub tot_sec_32: U32,
}
const _: () = assert!(size_of::<Bpb>() == 36);

/// The end of the parameters, at byte 36 in FAT12 and FAT16, at byte 64 in FAT32.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BootSectorTail {
    pub drv_num: u8,
    /// "Reserved" in the specification; Windows and Linux keep [`DIRTY`] here.
    pub reserved1: u8,
    pub boot_sig: u8,
    pub vol_id: U32,
    pub vol_lab: [u8; 11],
    pub fil_sys_type: [u8; 8],
}
const _: () = assert!(size_of::<BootSectorTail>() == 26);

/// What FAT32 adds at byte 36.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Fat32Bpb {
    pub fat_sz_32: U32,
    pub ext_flags: U16,
    pub fs_ver: U16,
    pub root_clus: U32,
    pub fs_info: U16,
    pub bk_boot_sec: U16,
    pub reserved: [u8; 12],
}
const _: () = assert!(size_of::<Fat32Bpb>() == 28);

/// The file system information sector of FAT32.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct FsInfo {
    pub lead_sig: U32,
    pub reserved1: [u8; 480],
    pub struc_sig: U32,
    pub free_count: U32,
    pub nxt_free: U32,
    pub reserved2: [u8; 12],
    pub trail_sig: U32,
}
const _: () = assert!(size_of::<FsInfo>() == 512);

/// Where `root_clus` lies, and where `fst_clus_lo` lies in an entry, in bytes.
pub const ROOT_CLUS: u64 = 44;
pub const FST_CLUS_LO: u64 = 26;

/// A directory entry: the short name and everything else about a file.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DirEntry {
    pub name: [u8; 11],
    pub attr: u8,
    pub nt_res: u8,
    pub crt_time_tenth: u8,
    pub crt_time: U16,
    pub crt_date: U16,
    pub lst_acc_date: U16,
    pub fst_clus_hi: U16,
    pub wrt_time: U16,
    pub wrt_date: U16,
    pub fst_clus_lo: U16,
    pub file_size: U32,
}
const _: () = assert!(size_of::<DirEntry>() == SLOT_SIZE as usize);

/// A directory entry that holds a part of the long name of the entry that follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct LongDirEntry {
    pub ord: u8,
    pub name1: [U16; 5],
    pub attr: u8,
    pub kind: u8,
    pub chksum: u8,
    pub name2: [U16; 6],
    pub fst_clus_lo: U16,
    pub name3: [U16; 2],
}
const _: () = assert!(size_of::<LongDirEntry>() == SLOT_SIZE as usize);

/// The size of a directory entry of either kind in bytes.
pub const SLOT: u64 = SLOT_SIZE as u64;
/// The same where memory or clusters are counted.
pub const SLOT_SIZE: u32 = 32;

/// The last two bytes of the first 512 of the boot sector.
pub const SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// `fil_sys_type` of what is not FAT.
pub const OTHER_TYPES: [[u8; 8]; 2] = [*b"JFS     ", *b"HPFS    "];
/// `boot_sig` where the serial number follows, and where label and type follow too.
pub const SERIAL_SIG: u8 = 0x28;
pub const EXTENDED_SIG: u8 = 0x29;
/// The label of the boot sector of a volume that has none.
pub const NO_NAME: [u8; 11] = *b"NO NAME    ";
/// In `reserved1`: the volume was not unmounted.
pub const DIRTY: u8 = 0x01;

/// Where `reserved1` lies, in bytes: in FAT12 and FAT16, and in FAT32.
pub const STATE_16: u64 = 37;
pub const STATE_32: u64 = 65;
/// In the entry of cluster 1 of FAT16 and FAT32: the volume was unmounted.
pub const CLEAN_16: u32 = 0x8000;
pub const CLEAN_32: u32 = 0x0800_0000;

/// In `ext_flags`: only one FAT is in use, and which.
pub const MIRRORING_OFF: u16 = 0x80;
pub const ACTIVE_FAT: u16 = 0x0f;

/// The most clusters of FAT12 and FAT16, "FAT Type Determination".
pub const FAT12_CLUSTERS_MAX: u64 = 4084;
pub const FAT16_CLUSTERS_MAX: u64 = 65524;
/// The most clusters of FAT32, of which 28 bits number clusters and the last 10 numbers mean other things.
pub const FAT32_CLUSTERS_MAX: u64 = 0x0fff_fff5;
/// The number of the first cluster.
pub const FIRST_CLUSTER: u32 = 2;

pub const LEAD_SIG: u32 = 0x4161_5252;
pub const STRUC_SIG: u32 = 0x6141_7272;

pub const ATTR_READ_ONLY: u8 = 0x01;
pub const ATTR_VOLUME_ID: u8 = 0x08;
pub const ATTR_DIRECTORY: u8 = 0x10;
pub const ATTR_ARCHIVE: u8 = 0x20;
pub const ATTR_LONG_NAME: u8 = 0x0f;
pub const ATTR_LONG_NAME_MASK: u8 = 0x3f;

/// First byte of a name: the entry is free; it and all that follow are free; the name begins with 0xe5.
pub const FREE: u8 = 0xe5;
pub const FREE_TO_END: u8 = 0x00;
pub const KANJI_E5: u8 = 0x05;

/// In `nt_res`: the base, the extension of the short name is to be shown in lower case.
pub const LOWER_BASE: u8 = 0x08;
pub const LOWER_EXTENSION: u8 = 0x10;

/// In `ord`: this is the last part of the name, which comes first on the disk.
pub const LAST_LONG_ENTRY: u8 = 0x40;
/// UTF-16 units in one part, and in a name.
pub const LONG_PART: usize = 13;
pub const LONG_NAME_MAX: usize = 255;
/// The most entries of a directory, which makes 2 MiB.
pub const DIRECTORY_SLOTS_MAX: u32 = 65536;
