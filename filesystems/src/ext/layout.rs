//! The structures of ext2, ext3 and ext4 as they lie on the disk.
//!
//! Specification: <https://docs.kernel.org/filesystems/ext4/>. All integers are little-endian.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Where the primary superblock lies, in bytes, whatever the block size.
pub const SUPERBLOCK_OFFSET: u64 = 1024;
/// `s_magic`.
pub const SUPERBLOCK_MAGIC: u16 = 0xef53;
/// `eh_magic`.
pub const EXTENT_MAGIC: u16 = 0xf30a;
/// The magic of the extended attributes inside an inode.
pub const XATTR_MAGIC: u32 = 0xea02_0000;
/// The inode size of revision 0, and the part that every inode has.
pub const GOOD_OLD_INODE_SIZE: usize = 128;
/// The first inode that is not reserved in revision 0.
pub const GOOD_OLD_FIRST_INO: u32 = 11;
/// The root directory's inode.
pub const ROOT_INO: u32 = 2;
/// The group descriptor without the 64bit feature.
pub const GROUP_DESC_SIZE: u16 = 32;
/// The longest name in bytes.
pub const NAME_LEN: usize = 255;

/// The low half of a checksum, and the high one, for structures that have two fields for them, or one for the low.
pub fn checksum_halves(checksum: u32) -> (u16, u16) {
    let [a, b, c, d] = checksum.to_le_bytes();
    (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))
}

/// The low 32 bits of a block's number and the 16 above them, for the two fields that hold them in extents.
pub fn block_halves(block: u64) -> (u32, u16) {
    let [a, b, c, d, e, f, ..] = block.to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]))
}
/// Direct pointers in `i_block`.
pub const DIRECT_BLOCKS: u64 = DIRECT_POINTERS as u64;
/// How many pointers lead to them, at the beginning of `i_block`.
pub const DIRECT_POINTERS: usize = 12;
/// The biased length above which an extent is unwritten.
pub const EXTENT_INIT_MAX_LEN: u16 = 32768;
/// The kernel's `EXT4_MAX_EXTENT_DEPTH`.
pub const EXTENT_MAX_DEPTH: u16 = 5;
/// `det_reserved_ft` of a directory block's checksum entry.
pub const DIR_TAIL_FILE_TYPE: u8 = 0xde;

/// `i_flags`.
pub mod inode_flags {
    /// Compressed by the e2compr patches.
    pub const COMPR: u32 = 0x4;
    /// Can be neither changed nor renamed, linked or removed.
    pub const IMMUTABLE: u32 = 0x10;
    /// Can only be appended to, and neither renamed nor removed.
    pub const APPEND: u32 = 0x20;
    /// Has compressed clusters.
    pub const COMPRBLK: u32 = 0x200;
    /// Encrypted content, names or target.
    pub const ENCRYPT: u32 = 0x800;
    /// The directory has a hash tree.
    pub const INDEX: u32 = 0x1000;
    /// Directories in it are spread as those at the top are.
    pub const TOPDIR: u32 = 0x2_0000;
    /// `i_blocks` counts file system blocks.
    pub const HUGE_FILE: u32 = 0x4_0000;
    /// `i_block` holds an extent tree.
    pub const EXTENTS: u32 = 0x8_0000;
    /// Protected by fs-verity.
    pub const VERITY: u32 = 0x10_0000;
    /// Holds the value of an extended attribute.
    pub const EA_INODE: u32 = 0x20_0000;
    /// The content is in the inode.
    pub const INLINE_DATA: u32 = 0x1000_0000;
    /// The directory's names are looked up without regard to case.
    pub const CASEFOLD: u32 = 0x4000_0000;
    /// What a directory passes on to directories in it: the kernel's `EXT4_FL_INHERITED`.
    pub const INHERITED: u32 = 0x6201_c4cf;
    /// The same to files: the kernel's `EXT4_REG_FLMASK` of it.
    pub const INHERITED_BY_FILES: u32 = INHERITED & !0x6003_0000;
    /// The same to other nodes: `EXT4_OTHER_FLMASK`.
    pub const INHERITED_BY_OTHERS: u32 = 0xc0;
}

/// The file type in `i_mode`.
pub mod mode {
    /// The mask.
    pub const TYPE: u16 = 0xf000;
    /// FIFO.
    pub const FIFO: u16 = 0x1000;
    /// Character device.
    pub const CHAR: u16 = 0x2000;
    /// Directory.
    pub const DIRECTORY: u16 = 0x4000;
    /// Block device.
    pub const BLOCK: u16 = 0x6000;
    /// Regular file.
    pub const FILE: u16 = 0x8000;
    /// Symbolic link.
    pub const SYMLINK: u16 = 0xa000;
    /// Socket.
    pub const SOCKET: u16 = 0xc000;
}

/// `struct ext4_super_block`, <https://docs.kernel.org/filesystems/ext4/super.html>.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct SuperBlock {
    pub s_inodes_count: U32,
    pub s_blocks_count_lo: U32,
    pub s_r_blocks_count_lo: U32,
    pub s_free_blocks_count_lo: U32,
    pub s_free_inodes_count: U32,
    pub s_first_data_block: U32,
    pub s_log_block_size: U32,
    pub s_log_cluster_size: U32,
    pub s_blocks_per_group: U32,
    pub s_clusters_per_group: U32,
    pub s_inodes_per_group: U32,
    pub s_mtime: U32,
    pub s_wtime: U32,
    pub s_mnt_count: U16,
    pub s_max_mnt_count: U16,
    pub s_magic: U16,
    pub s_state: U16,
    pub s_errors: U16,
    pub s_minor_rev_level: U16,
    pub s_lastcheck: U32,
    pub s_checkinterval: U32,
    pub s_creator_os: U32,
    pub s_rev_level: U32,
    pub s_def_resuid: U16,
    pub s_def_resgid: U16,
    pub s_first_ino: U32,
    pub s_inode_size: U16,
    pub s_block_group_nr: U16,
    pub s_feature_compat: U32,
    pub s_feature_incompat: U32,
    pub s_feature_ro_compat: U32,
    pub s_uuid: [u8; 16],
    pub s_volume_name: [u8; 16],
    pub s_last_mounted: [u8; 64],
    pub s_algorithm_usage_bitmap: U32,
    pub s_prealloc_blocks: u8,
    pub s_prealloc_dir_blocks: u8,
    pub s_reserved_gdt_blocks: U16,
    pub s_journal_uuid: [u8; 16],
    pub s_journal_inum: U32,
    pub s_journal_dev: U32,
    pub s_last_orphan: U32,
    pub s_hash_seed: [U32; 4],
    pub s_def_hash_version: u8,
    pub s_jnl_backup_type: u8,
    pub s_desc_size: U16,
    pub s_default_mount_opts: U32,
    pub s_first_meta_bg: U32,
    pub s_mkfs_time: U32,
    pub s_jnl_blocks: [U32; 17],
    pub s_blocks_count_hi: U32,
    pub s_r_blocks_count_hi: U32,
    pub s_free_blocks_count_hi: U32,
    pub s_min_extra_isize: U16,
    pub s_want_extra_isize: U16,
    pub s_flags: U32,
    pub s_raid_stride: U16,
    pub s_mmp_interval: U16,
    pub s_mmp_block: U64,
    pub s_raid_stripe_width: U32,
    pub s_log_groups_per_flex: u8,
    pub s_checksum_type: u8,
    pub s_reserved_pad: U16,
    pub s_kbytes_written: U64,
    pub s_snapshot_inum: U32,
    pub s_snapshot_id: U32,
    pub s_snapshot_r_blocks_count: U64,
    pub s_snapshot_list: U32,
    pub s_error_count: U32,
    pub s_first_error_time: U32,
    pub s_first_error_ino: U32,
    pub s_first_error_block: U64,
    pub s_first_error_func: [u8; 32],
    pub s_first_error_line: U32,
    pub s_last_error_time: U32,
    pub s_last_error_ino: U32,
    pub s_last_error_line: U32,
    pub s_last_error_block: U64,
    pub s_last_error_func: [u8; 32],
    pub s_mount_opts: [u8; 64],
    pub s_usr_quota_inum: U32,
    pub s_grp_quota_inum: U32,
    pub s_overhead_clusters: U32,
    pub s_backup_bgs: [U32; 2],
    pub s_encrypt_algos: [u8; 4],
    pub s_encrypt_pw_salt: [u8; 16],
    pub s_lpf_ino: U32,
    pub s_prj_quota_inum: U32,
    pub s_checksum_seed: U32,
    pub s_wtime_hi: u8,
    pub s_mtime_hi: u8,
    pub s_mkfs_time_hi: u8,
    pub s_lastcheck_hi: u8,
    pub s_first_error_time_hi: u8,
    pub s_last_error_time_hi: u8,
    pub s_pad: [u8; 2],
    pub s_encoding: U16,
    pub s_encoding_flags: U16,
    pub s_orphan_file_inum: U32,
    pub s_reserved: [U32; 94],
    pub s_checksum: U32,
}
const _: () = assert!(size_of::<SuperBlock>() == 1024);
const _: () = assert!(std::mem::offset_of!(SuperBlock, s_mmp_block) == 0x168);
const _: () = assert!(std::mem::offset_of!(SuperBlock, s_checksum_seed) == 0x270);

/// `ob_magic`.
pub const ORPHAN_MAGIC: u32 = 0x0b10_ca04;

/// The end of a block of the orphan file, <https://docs.kernel.org/filesystems/ext4/orphan.html>.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct OrphanBlockTail {
    pub ob_magic: U32,
    pub ob_checksum: U32,
}
const _: () = assert!(size_of::<OrphanBlockTail>() == 8);

/// The part of `struct ext4_group_desc` that every file system has,
/// <https://docs.kernel.org/filesystems/ext4/group_descr.html>.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct GroupDesc {
    pub bg_block_bitmap_lo: U32,
    pub bg_inode_bitmap_lo: U32,
    pub bg_inode_table_lo: U32,
    pub bg_free_blocks_count_lo: U16,
    pub bg_free_inodes_count_lo: U16,
    pub bg_used_dirs_count_lo: U16,
    pub bg_flags: U16,
    pub bg_exclude_bitmap_lo: U32,
    pub bg_block_bitmap_csum_lo: U16,
    pub bg_inode_bitmap_csum_lo: U16,
    pub bg_itable_unused_lo: U16,
    pub bg_checksum: U16,
}
const _: () = assert!(size_of::<GroupDesc>() == 32);

/// The rest of `struct ext4_group_desc`, with the 64bit feature.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct GroupDescHigh {
    pub bg_block_bitmap_hi: U32,
    pub bg_inode_bitmap_hi: U32,
    pub bg_inode_table_hi: U32,
    pub bg_free_blocks_count_hi: U16,
    pub bg_free_inodes_count_hi: U16,
    pub bg_used_dirs_count_hi: U16,
    pub bg_itable_unused_hi: U16,
    pub bg_exclude_bitmap_hi: U32,
    pub bg_block_bitmap_csum_hi: U16,
    pub bg_inode_bitmap_csum_hi: U16,
    pub bg_reserved: U32,
}
const _: () = assert!(size_of::<GroupDescHigh>() == 32);

/// The first 128 bytes of `struct ext4_inode`, with Linux's reading of the parts that depend on the system,
/// <https://docs.kernel.org/filesystems/ext4/inodes.html>.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Inode {
    pub i_mode: U16,
    pub i_uid: U16,
    pub i_size_lo: U32,
    pub i_atime: U32,
    pub i_ctime: U32,
    pub i_mtime: U32,
    pub i_dtime: U32,
    pub i_gid: U16,
    pub i_links_count: U16,
    pub i_blocks_lo: U32,
    pub i_flags: U32,
    pub l_i_version: U32,
    pub i_block: [u8; 60],
    pub i_generation: U32,
    pub i_file_acl_lo: U32,
    pub i_size_high: U32,
    pub i_obso_faddr: U32,
    pub l_i_blocks_high: U16,
    pub l_i_file_acl_high: U16,
    pub l_i_uid_high: U16,
    pub l_i_gid_high: U16,
    pub l_i_checksum_lo: U16,
    pub l_i_reserved: U16,
}
const _: () = assert!(size_of::<Inode>() == 128);

/// The fields of `struct ext4_inode` from byte 128; `i_extra_isize` says how many of them are there.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct InodeExtra {
    pub i_extra_isize: U16,
    pub i_checksum_hi: U16,
    pub i_ctime_extra: U32,
    pub i_mtime_extra: U32,
    pub i_atime_extra: U32,
    pub i_crtime: U32,
    pub i_crtime_extra: U32,
    pub i_version_hi: U32,
    pub i_projid: U32,
}
const _: () = assert!(size_of::<InodeExtra>() == 32);

/// `struct ext4_extent_header`, <https://docs.kernel.org/filesystems/ext4/ifork.html>.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ExtentHeader {
    pub eh_magic: U16,
    pub eh_entries: U16,
    pub eh_max: U16,
    pub eh_depth: U16,
    pub eh_generation: U32,
}
const _: () = assert!(size_of::<ExtentHeader>() == 12);

/// `struct ext4_extent_idx`: an entry of an inner node.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct ExtentIdx {
    pub ei_block: U32,
    pub ei_leaf_lo: U32,
    pub ei_leaf_hi: U16,
    pub ei_unused: U16,
}
const _: () = assert!(size_of::<ExtentIdx>() == 12);

/// `struct ext4_extent`: an entry of a leaf.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct Extent {
    pub ee_block: U32,
    pub ee_len: U16,
    pub ee_start_hi: U16,
    pub ee_start_lo: U32,
}
const _: () = assert!(size_of::<Extent>() == 12);

/// The fixed part of `struct ext4_dir_entry_2`, <https://docs.kernel.org/filesystems/ext4/directory.html>.
/// Without the filetype feature `file_type` is the upper half of `name_len`: zero, because names have 255 bytes at most.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct DirEntry {
    pub inode: U32,
    pub rec_len: U16,
    pub name_len: u8,
    pub file_type: u8,
}
const _: () = assert!(size_of::<DirEntry>() == 8);

/// `struct ext4_dir_entry_tail`: the checksum at the end of a directory block.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct DirEntryTail {
    pub det_reserved_zero1: U32,
    pub det_rec_len: U16,
    pub det_reserved_zero2: u8,
    pub det_reserved_ft: u8,
    pub det_checksum: U32,
}
const _: () = assert!(size_of::<DirEntryTail>() == 12);

/// `struct dx_root_info`, after the entries `.` and `..` (24 bytes) of a hash tree's root.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct DxRootInfo {
    pub reserved_zero: U32,
    pub hash_version: u8,
    pub info_length: u8,
    pub indirect_levels: u8,
    pub unused_flags: u8,
}
const _: () = assert!(size_of::<DxRootInfo>() == 8);

/// `struct dx_entry`. In the first entry of a node `hash` is in truth `limit` and `count`, 16 bits each.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct DxEntry {
    pub hash: U32,
    pub block: U32,
}
const _: () = assert!(size_of::<DxEntry>() == 8);

/// `struct dx_tail`: the checksum behind the entries of a hash tree's node.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct DxTail {
    pub dt_reserved: U32,
    pub dt_checksum: U32,
}
const _: () = assert!(size_of::<DxTail>() == 8);

/// The fixed part of `struct ext4_xattr_entry`, as far as finding `system.data` in an inode needs it,
/// <https://docs.kernel.org/filesystems/ext4/attributes.html>.
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
#[allow(missing_docs)]
pub struct XattrEntry {
    pub e_name_len: u8,
    pub e_name_index: u8,
    pub e_value_offs: U16,
    pub e_value_inum: U32,
    pub e_value_size: U32,
    pub e_hash: U32,
}
const _: () = assert!(size_of::<XattrEntry>() == 16);
