//! The feature flags of a superblock: which are read, which are refused, and what each is called.

use images::{Result, read_only, unsupported};

/// `s_feature_compat`.
pub mod compat {
    /// Has a journal.
    pub const HAS_JOURNAL: u32 = 0x4;
    /// Some inode has extended attributes in a block.
    pub const EXT_ATTR: u32 = 0x8;
    /// Has spare blocks for a larger group descriptor table.
    pub const RESIZE_INODE: u32 = 0x10;
    /// Directories may have a hash tree.
    pub const DIR_INDEX: u32 = 0x20;
    /// Two superblock backups at most.
    pub const SPARSE_SUPER2: u32 = 0x200;
    /// The journal may hold fast commits.
    pub const FAST_COMMIT: u32 = 0x400;
    /// Inodes without a name are in a file, and no longer in a list.
    pub const ORPHAN_FILE: u32 = 0x1000;
}

/// `s_feature_incompat`.
pub mod incompat {
    /// e2compr.
    pub const COMPRESSION: u32 = 0x1;
    /// Directory entries have a file type.
    pub const FILETYPE: u32 = 0x2;
    /// The journal must be replayed.
    pub const RECOVER: u32 = 0x4;
    /// This is not a file system but the journal of one.
    pub const JOURNAL_DEV: u32 = 0x8;
    /// Group descriptors are spread over meta groups.
    pub const META_BG: u32 = 0x10;
    /// Files may have extent trees.
    pub const EXTENTS: u32 = 0x40;
    /// 64-bit block numbers.
    pub const SIXTY_FOUR_BIT: u32 = 0x80;
    /// Multiple mount protection.
    pub const MMP: u32 = 0x100;
    /// Bitmaps and inode tables lie anywhere.
    pub const FLEX_BG: u32 = 0x200;
    /// Extended attributes in inodes of their own.
    pub const EA_INODE: u32 = 0x400;
    /// Data in directory entries.
    pub const DIRDATA: u32 = 0x1000;
    /// The checksum seed is in the superblock.
    pub const CSUM_SEED: u32 = 0x2000;
    /// Directories over 2 GiB or of three hash tree levels.
    pub const LARGEDIR: u32 = 0x4000;
    /// Small files and directories in the inode.
    pub const INLINE_DATA: u32 = 0x8000;
    /// Encrypted inodes.
    pub const ENCRYPT: u32 = 0x1_0000;
    /// Directories without regard to case.
    pub const CASEFOLD: u32 = 0x2_0000;
}

/// `s_feature_ro_compat`.
pub mod ro_compat {
    /// Superblock backups in few groups only.
    pub const SPARSE_SUPER: u32 = 0x1;
    /// A file has 2 GiB or more.
    pub const LARGE_FILE: u32 = 0x2;
    /// `i_blocks` has 48 bits.
    pub const HUGE_FILE: u32 = 0x8;
    /// Group descriptors have a crc16.
    pub const GDT_CSUM: u32 = 0x10;
    /// Directories may have more than 65,000 directories in them.
    pub const DIR_NLINK: u32 = 0x20;
    /// Inodes have room for a known number of bytes behind byte 128.
    pub const EXTRA_ISIZE: u32 = 0x40;
    /// Allocation in clusters.
    pub const BIGALLOC: u32 = 0x200;
    /// crc32c checksums everywhere.
    pub const METADATA_CSUM: u32 = 0x400;
    /// The orphan file has entries.
    pub const ORPHAN_PRESENT: u32 = 0x1_0000;
}

/// Incompatible features that this driver reads.
const READ: u32 = incompat::FILETYPE
    | incompat::RECOVER
    | incompat::META_BG
    | incompat::EXTENTS
    | incompat::SIXTY_FOUR_BIT
    | incompat::MMP
    | incompat::FLEX_BG
    | incompat::EA_INODE
    | incompat::CSUM_SEED
    | incompat::LARGEDIR
    | incompat::INLINE_DATA
    | incompat::ENCRYPT
    | incompat::CASEFOLD;

/// Incompatible features of file systems that this driver writes.
const WRITTEN_INCOMPAT: u32 = READ & !(incompat::MMP | incompat::ENCRYPT | incompat::CASEFOLD);
/// Read-only-compatible features of the same.
const WRITTEN_RO_COMPAT: u32 = ro_compat::SPARSE_SUPER
    | ro_compat::LARGE_FILE
    | ro_compat::HUGE_FILE
    | ro_compat::GDT_CSUM
    | ro_compat::DIR_NLINK
    | ro_compat::EXTRA_ISIZE
    | ro_compat::BIGALLOC
    | ro_compat::METADATA_CSUM
    | ro_compat::ORPHAN_PRESENT;

/// The incompatible features of ext4 proper: what makes blkid say `ext4` and no longer `ext3`.
const EXT3_INCOMPAT: u32 = incompat::FILETYPE | incompat::RECOVER | incompat::META_BG;
/// The same for read-only-compatible features: sparse_super, large_file, btree_dir.
const EXT3_RO_COMPAT: u32 = 0x7;

/// The names of incompatible features, as e2fsprogs prints them.
const INCOMPAT_NAMES: &[(u32, &str)] = &[
    (incompat::COMPRESSION, "compression"),
    (incompat::FILETYPE, "filetype"),
    (incompat::RECOVER, "needs_recovery"),
    (incompat::JOURNAL_DEV, "journal_dev"),
    (incompat::META_BG, "meta_bg"),
    (incompat::EXTENTS, "extent"),
    (incompat::SIXTY_FOUR_BIT, "64bit"),
    (incompat::MMP, "mmp"),
    (incompat::FLEX_BG, "flex_bg"),
    (incompat::EA_INODE, "ea_inode"),
    (incompat::DIRDATA, "dirdata"),
    (incompat::CSUM_SEED, "metadata_csum_seed"),
    (incompat::LARGEDIR, "large_dir"),
    (incompat::INLINE_DATA, "inline_data"),
    (incompat::ENCRYPT, "encrypt"),
    (incompat::CASEFOLD, "casefold"),
];

/// The names of read-only-compatible features, as e2fsprogs prints them.
const RO_COMPAT_NAMES: &[(u32, &str)] = &[
    (ro_compat::SPARSE_SUPER, "sparse_super"),
    (ro_compat::LARGE_FILE, "large_file"),
    (0x4, "btree_dir"),
    (ro_compat::HUGE_FILE, "huge_file"),
    (ro_compat::GDT_CSUM, "uninit_bg"),
    (ro_compat::DIR_NLINK, "dir_nlink"),
    (ro_compat::EXTRA_ISIZE, "extra_isize"),
    (0x80, "has_snapshot"),
    (0x100, "quota"),
    (ro_compat::BIGALLOC, "bigalloc"),
    (ro_compat::METADATA_CSUM, "metadata_csum"),
    (0x800, "replica"),
    (0x1000, "read-only"),
    (0x2000, "project"),
    (0x4000, "shared_blocks"),
    (0x8000, "verity"),
    (ro_compat::ORPHAN_PRESENT, "orphan_present"),
];

/// The three sets of feature flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// `s_feature_compat`: may be ignored.
    pub compat: u32,
    /// `s_feature_incompat`: must be understood to read.
    pub incompat: u32,
    /// `s_feature_ro_compat`: must be understood to write.
    pub ro_compat: u32,
}

/// What blkid calls a disk that holds nothing but a journal.
pub const JOURNAL: &str = "jbd";

impl Features {
    /// Whether a compatible feature is on.
    pub fn has_compat(&self, flag: u32) -> bool {
        self.compat & flag != 0
    }

    /// Whether an incompatible feature is on.
    pub fn has_incompat(&self, flag: u32) -> bool {
        self.incompat & flag != 0
    }

    /// Whether a read-only-compatible feature is on.
    pub fn has_ro_compat(&self, flag: u32) -> bool {
        self.ro_compat & flag != 0
    }

    /// The type as blkid calls it: anything that ext3 did not know makes an ext4, a journal makes an ext3.
    pub fn kind(&self) -> &'static str {
        if self.has_incompat(incompat::JOURNAL_DEV) {
            JOURNAL
        } else if self.incompat & !EXT3_INCOMPAT != 0 || self.ro_compat & !EXT3_RO_COMPAT != 0 {
            "ext4"
        } else if self.has_compat(compat::HAS_JOURNAL) {
            "ext3"
        } else {
            "ext2"
        }
    }

    /// Fails with the names of the incompatible features that this driver does not read.
    pub fn check_readable(&self) -> Result<()> {
        if self.has_incompat(incompat::JOURNAL_DEV) {
            return Err(unsupported!("this is the external journal of an ext file system, not a file system"));
        }
        if self.has_incompat(incompat::COMPRESSION) {
            return Err(unsupported!("ext: compressed files (e2compr) are not supported"));
        }
        match self.incompat & !READ {
            0 => Ok(()),
            unknown => Err(unsupported!("ext: not supported: {}", names(unknown, INCOMPAT_NAMES))),
        }
    }

    /// Fails with `ReadOnly` if something in the file system would not be kept as it should be, by name.
    pub fn check_writable(&self) -> Result<()> {
        match (self.incompat & !WRITTEN_INCOMPAT, self.ro_compat & !WRITTEN_RO_COMPAT) {
            (0, 0) => Ok(()),
            (0, unknown) => Err(read_only!("not written: {}", names(unknown, RO_COMPAT_NAMES))),
            (unknown, _) => Err(read_only!("not written: {}", names(unknown, INCOMPAT_NAMES))),
        }
    }
}

fn names(flags: u32, table: &[(u32, &str)]) -> String {
    let each = (0..32).map(|bit| 1 << bit).filter(|flag| flags & flag != 0);
    let name = |flag| match table.iter().find(|(known, _)| *known == flag) {
        Some((_, name)) => format!("feature {name}"),
        None => format!("unknown feature {flag:#x}"),
    };
    each.map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_as_blkid_decides() {
        let kind = |compat, incompat, ro_compat| Features { compat, incompat, ro_compat }.kind();
        assert_eq!(kind(0x38, 0x2, 0x3), "ext2");
        assert_eq!(kind(0x3c, 0x2, 0x3), "ext3");
        assert_eq!(kind(0x3c, 0x6, 0x3), "ext3", "a journal to replay");
        assert_eq!(kind(0x3c, 0x242, 0x3), "ext4");
        assert_eq!(kind(0x38, 0x2, 0x400), "ext4", "checksums alone");
        assert_eq!(kind(0, 0x8, 0), "jbd");
    }

    #[test]
    fn refusals_name_the_feature() {
        let check = |incompat| Features { compat: 0, incompat, ro_compat: 0 }.check_readable().unwrap_err().to_string();
        assert_eq!(check(0x1002), "ext: not supported: feature dirdata");
        assert_eq!(check(0x8000_1000), "ext: not supported: feature dirdata, unknown feature 0x80000000");
        assert!(check(0x8).contains("external journal"));
        assert!(check(0x1).contains("e2compr"));
    }
}
