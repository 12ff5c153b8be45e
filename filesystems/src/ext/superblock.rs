//! The superblock, checked: what the rest of the driver may rely on.

use images::{Disk, Result, corrupt, unsupported};
use zerocopy::IntoBytes;

use super::checksum::crc32c;
use super::features::{Features, compat, incompat, ro_compat};
use super::layout::{self, GOOD_OLD_FIRST_INO, GOOD_OLD_INODE_SIZE, GROUP_DESC_SIZE};
use super::layout::{SUPERBLOCK_MAGIC, SUPERBLOCK_OFFSET};

/// The specification's largest block, 64 KiB, as `s_log_block_size`.
const MAX_LOG_BLOCK_SIZE: u32 = 6;
/// The specification's largest cluster, 512 MiB, as `s_log_cluster_size`.
const MAX_LOG_CLUSTER_SIZE: u32 = 20;
/// The kernel's largest group descriptor.
const MAX_DESC_SIZE: u16 = 1024;
/// The smallest group descriptor with the 64bit feature.
const MIN_64BIT_DESC_SIZE: u16 = 64;
/// `s_checksum_type` of crc32c, the only one.
const CHECKSUM_CRC32C: u8 = 1;
/// What a damaged superblock's owner can do; where backups lie depends on the block size, which is lost with it.
const BACKUPS: &str = "backups usually lie at block 32768 (4 KiB blocks) or 8193 (1 KiB blocks): \
    repair a copy of the volume with e2fsck -b BLOCK";

/// A superblock whose geometry is consistent and whose features are all known.
#[derive(Clone, Debug)]
pub struct Superblock {
    /// Every field as it is on the disk.
    pub raw: Box<layout::SuperBlock>,
    /// Bytes in a block: a power of two, 1 KiB to 64 KiB.
    pub block_size: u32,
    /// Blocks in a cluster: a power of two, 1 without bigalloc.
    pub cluster_blocks: u32,
    /// Blocks of the whole file system; their bytes are below 2^63.
    pub blocks: u64,
    /// Block groups: at least 1.
    pub groups: u32,
    /// Blocks in every group but the last: at least 1.
    pub blocks_per_group: u32,
    /// Inodes of the whole file system.
    pub inodes: u32,
    /// Inodes in every group: at least 1.
    pub inodes_per_group: u32,
    /// Bytes in an inode: a power of two, 128 to the block size.
    pub inode_size: u16,
    /// The first inode that is not reserved.
    pub first_inode: u32,
    /// Bytes in a group descriptor: a power of two, 32 to 1024.
    pub desc_size: u16,
    /// The first block of group 0.
    pub first_data_block: u32,
    /// The feature flags.
    pub features: Features,
    /// What metadata_csum checksums start from; `None` without that feature.
    pub checksum_seed: Option<u32>,
}

impl Superblock {
    /// Whether the magic is there: what a probe asks. Fails only if the disk cannot be read.
    pub fn probe(disk: &dyn Disk) -> Result<Option<Box<layout::SuperBlock>>> {
        if disk.size() < SUPERBLOCK_OFFSET + size_of::<layout::SuperBlock>() as u64 {
            return Ok(None);
        }
        let mut bytes = [0; size_of::<layout::SuperBlock>()];
        disk.read_at(&mut bytes, SUPERBLOCK_OFFSET)?;
        let raw: layout::SuperBlock = zerocopy::transmute!(bytes);
        Ok((raw.s_magic.get() == SUPERBLOCK_MAGIC).then(|| Box::new(raw)))
    }

    /// Reads and checks the primary superblock.
    ///
    /// Fails with `Unsupported` if it has an incompatible feature that is not read, with `Corrupt` if its checksum or
    /// its geometry is wrong.
    pub fn read(disk: &dyn Disk) -> Result<Self> {
        match Self::probe(disk)? {
            Some(raw) => Self::check(raw),
            None => Err(corrupt!("superblock", SUPERBLOCK_OFFSET, "no magic 0xef53; {BACKUPS}")),
        }
    }

    /// A backup of the superblock, and its block: the first sound one at the places where mke2fs puts the first backup,
    /// at the start of the second group. The primary must have been found damaged.
    pub fn read_backup(disk: &dyn Disk) -> Option<(Self, u64)> {
        for log_block_size in 0..=MAX_LOG_BLOCK_SIZE {
            let block_size = 1024u64 << log_block_size;
            let block = block_size * 8 + u64::from(block_size == 1024);
            let mut bytes = [0; size_of::<layout::SuperBlock>()];
            if disk.read_at(&mut bytes, block * block_size).is_err() {
                continue;
            }
            let raw: layout::SuperBlock = zerocopy::transmute!(bytes);
            if raw.s_magic.get() != SUPERBLOCK_MAGIC || raw.s_log_block_size.get() != log_block_size {
                continue;
            }
            if let Ok(superblock) = Self::check(Box::new(raw)) {
                return Some((superblock, block));
            }
        }
        None
    }

    fn check(raw: Box<layout::SuperBlock>) -> Result<Self> {
        let dynamic = raw.s_rev_level.get() > 0;
        let feature = |field: zerocopy::little_endian::U32| if dynamic { field.get() } else { 0 };
        let features = Features {
            compat: feature(raw.s_feature_compat),
            incompat: feature(raw.s_feature_incompat),
            ro_compat: feature(raw.s_feature_ro_compat),
        };
        let checksum_seed = checksum_seed(&raw, &features)?;
        features.check_readable()?;
        let (block_size, cluster_blocks) = block_sizes(&raw, &features)?;
        let (inode_size, desc_size) = record_sizes(&raw, &features, block_size)?;
        let (blocks, groups) = counts(&raw, &features, block_size, cluster_blocks)?;
        Ok(Self {
            block_size,
            cluster_blocks,
            blocks,
            groups,
            blocks_per_group: raw.s_blocks_per_group.get(),
            inodes: raw.s_inodes_count.get(),
            inodes_per_group: raw.s_inodes_per_group.get(),
            inode_size,
            first_inode: if dynamic { raw.s_first_ino.get() } else { GOOD_OLD_FIRST_INO },
            desc_size,
            first_data_block: raw.s_first_data_block.get(),
            features,
            checksum_seed,
            raw,
        })
    }

    /// Whether the journal must be replayed before the tree is what the guest last saw.
    pub fn needs_recovery(&self) -> bool {
        self.features.has_compat(compat::HAS_JOURNAL) && self.features.has_incompat(incompat::RECOVER)
    }

    /// Where a block starts, in bytes. Fails if it is not a block of this file system.
    pub fn block_offset(&self, block: u64) -> Result<u64> {
        if block < self.blocks {
            Ok(block * u64::from(self.block_size))
        } else {
            Err(corrupt!("block number", 0u64, "{block}, but the file system has {} blocks", self.blocks))
        }
    }

    /// Writes the checksum of a superblock of this file system, where it has one.
    pub(super) fn seal(&self, raw: &mut layout::SuperBlock) {
        if self.checksum_seed.is_some() {
            raw.s_checksum = crc32c(!0, &raw.as_bytes()[..1020]).into();
        }
    }

    /// The label without its padding, if there is one.
    pub fn label(&self) -> Option<Vec<u8>> {
        label(&self.raw)
    }

    /// The UUID as blkid prints it, if there is one.
    pub fn uuid(&self) -> Option<String> {
        uuid(&self.raw.s_uuid)
    }

    /// Whether a group starts with a copy of the superblock and of the group descriptors.
    pub fn has_backup(&self, group: u32) -> bool {
        let power_of = |base: u64| {
            let mut power = base;
            while power < u64::from(group) {
                power *= base;
            }
            power == u64::from(group)
        };
        if group == 0 {
            true
        } else if self.features.has_compat(compat::SPARSE_SUPER2) {
            self.raw.s_backup_bgs.iter().any(|backup| backup.get() == group)
        } else if group == 1 || !self.features.has_ro_compat(ro_compat::SPARSE_SUPER) {
            true
        } else {
            power_of(3) || power_of(5) || power_of(7)
        }
    }

    /// Group descriptors in a block.
    pub fn descs_per_block(&self) -> u32 {
        self.block_size / u32::from(self.desc_size)
    }

    /// Where the descriptor of a group below `groups` starts, in bytes: in the table behind the superblock, or, with
    /// meta_bg, in the first group of its meta group.
    pub fn desc_offset(&self, group: u32) -> Result<u64> {
        let table_block = group / self.descs_per_block();
        let inside = group % self.descs_per_block() * u32::from(self.desc_size);
        let meta = self.features.has_incompat(incompat::META_BG) && table_block >= self.raw.s_first_meta_bg.get();
        let block = if meta {
            let first = table_block * self.descs_per_block();
            let start = u64::from(self.first_data_block) + u64::from(first) * u64::from(self.blocks_per_group);
            // With bigalloc and 1 KiB blocks group 0 starts with the boot block.
            let boot = first == 0 && self.block_size == 1024 && self.first_data_block == 0;
            start + u64::from(self.has_backup(first)) + u64::from(boot)
        } else {
            SUPERBLOCK_OFFSET / u64::from(self.block_size) + 1 + u64::from(table_block)
        };
        Ok(self.block_offset(block)? + u64::from(inside))
    }
}

/// `s_volume_name` without its padding, if it is not empty.
pub fn label(raw: &layout::SuperBlock) -> Option<Vec<u8>> {
    let label = raw.s_volume_name.split(|byte| *byte == 0).next()?;
    (!label.is_empty()).then(|| label.to_vec())
}

/// What checksums start from, where there are any; that of the superblock is verified.
fn checksum_seed(raw: &layout::SuperBlock, features: &Features) -> Result<Option<u32>> {
    if !features.has_ro_compat(ro_compat::METADATA_CSUM) {
        return Ok(None);
    }
    if raw.s_checksum_type != CHECKSUM_CRC32C {
        return Err(unsupported!("ext: checksum type {} is not known, only crc32c (1)", raw.s_checksum_type));
    }
    let (have, want) = (crc32c(!0, &raw.as_bytes()[..1020]), raw.s_checksum.get());
    if have != want {
        return Err(corrupt!("superblock", SUPERBLOCK_OFFSET, "checksum {have:#010x}, want {want:#010x}; {BACKUPS}"));
    }
    let has_seed = features.has_incompat(incompat::CSUM_SEED);
    Ok(Some(if has_seed { raw.s_checksum_seed.get() } else { crc32c(!0, &raw.s_uuid) }))
}

/// Bytes in a block, and blocks in a cluster.
fn block_sizes(raw: &layout::SuperBlock, features: &Features) -> Result<(u32, u32)> {
    let log_block_size = raw.s_log_block_size.get();
    if log_block_size > MAX_LOG_BLOCK_SIZE {
        return Err(corrupt!(
            "superblock",
            SUPERBLOCK_OFFSET,
            "s_log_block_size {log_block_size}, at most 6; {BACKUPS}"
        ));
    }
    let block_size = 1024u32 << log_block_size;
    if !features.has_ro_compat(ro_compat::BIGALLOC) {
        return Ok((block_size, 1));
    }
    let log_cluster_size = raw.s_log_cluster_size.get();
    if !(log_block_size..=MAX_LOG_CLUSTER_SIZE).contains(&log_cluster_size) {
        let range = format!("want {log_block_size} to {MAX_LOG_CLUSTER_SIZE}");
        return Err(corrupt!(
            "superblock",
            SUPERBLOCK_OFFSET,
            "s_log_cluster_size {log_cluster_size}, {range}; {BACKUPS}"
        ));
    }
    Ok((block_size, 1u32 << (log_cluster_size - log_block_size)))
}

/// Bytes in the record of an inode and in the descriptor of a group.
fn record_sizes(raw: &layout::SuperBlock, features: &Features, block_size: u32) -> Result<(u16, u16)> {
    let dynamic = raw.s_rev_level.get() > 0;
    let inode_size = if dynamic { raw.s_inode_size.get() } else { GOOD_OLD_INODE_SIZE as u16 };
    let sound = inode_size.is_power_of_two() && usize::from(inode_size) >= GOOD_OLD_INODE_SIZE;
    if !sound || u32::from(inode_size) > block_size {
        return Err(corrupt!("superblock", SUPERBLOCK_OFFSET, "s_inode_size {inode_size}; {BACKUPS}"));
    }
    let is_wide = features.has_incompat(incompat::SIXTY_FOUR_BIT);
    let (desc_size, smallest) =
        if is_wide { (raw.s_desc_size.get(), MIN_64BIT_DESC_SIZE) } else { (GROUP_DESC_SIZE, GROUP_DESC_SIZE) };
    if !desc_size.is_power_of_two() || !(smallest..=MAX_DESC_SIZE).contains(&desc_size) {
        return Err(corrupt!("superblock", SUPERBLOCK_OFFSET, "s_desc_size {desc_size}; {BACKUPS}"));
    }
    Ok((inode_size, desc_size))
}

/// How many blocks and groups there are; they fit to the number of inodes.
fn counts(raw: &layout::SuperBlock, features: &Features, block_size: u32, cluster_blocks: u32) -> Result<(u64, u32)> {
    let blocks_per_group = raw.s_blocks_per_group.get();
    // A group's bitmap is one block.
    let most = u64::from(block_size) * 8;
    if blocks_per_group == 0 || u64::from(blocks_per_group) > most * u64::from(cluster_blocks) {
        return Err(corrupt!("superblock", SUPERBLOCK_OFFSET, "s_blocks_per_group {blocks_per_group}; {BACKUPS}"));
    }
    let inodes_per_group = raw.s_inodes_per_group.get();
    if inodes_per_group == 0 || u64::from(inodes_per_group) > most {
        return Err(corrupt!("superblock", SUPERBLOCK_OFFSET, "s_inodes_per_group {inodes_per_group}; {BACKUPS}"));
    }
    let low = u64::from(raw.s_blocks_count_lo.get());
    let is_wide = features.has_incompat(incompat::SIXTY_FOUR_BIT);
    let blocks = if is_wide { u64::from(raw.s_blocks_count_hi.get()) << 32 | low } else { low };
    let first_data_block = raw.s_first_data_block.get();
    if blocks <= first_data_block.into() || blocks > (i64::MAX as u64) / u64::from(block_size) {
        return Err(corrupt!(
            "superblock",
            SUPERBLOCK_OFFSET,
            "{blocks} blocks from block {first_data_block}; {BACKUPS}"
        ));
    }
    let groups = (blocks - u64::from(first_data_block)).div_ceil(blocks_per_group.into());
    let inodes = raw.s_inodes_count.get();
    match u32::try_from(groups) {
        Ok(count) if groups.checked_mul(inodes_per_group.into()) == Some(inodes.into()) => Ok((blocks, count)),
        _ => {
            let want = format!("{groups} groups of {inodes_per_group}");
            Err(corrupt!("superblock", SUPERBLOCK_OFFSET, "s_inodes_count {inodes}, want {want}; {BACKUPS}"))
        }
    }
}

/// A UUID as blkid prints it, if it is not zero.
pub fn uuid(bytes: &[u8; 16]) -> Option<String> {
    if *bytes == [0; 16] {
        return None;
    }
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&index) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use images::disk::Memory;
    use zerocopy::FromBytes;

    /// A superblock of 8192 blocks of 1 KiB in one group.
    fn small() -> layout::SuperBlock {
        let mut raw = layout::SuperBlock::read_from_bytes(&[0; 1024]).unwrap();
        raw.s_magic.set(SUPERBLOCK_MAGIC);
        raw.s_rev_level.set(1);
        raw.s_blocks_count_lo.set(8192);
        raw.s_first_data_block.set(1);
        raw.s_blocks_per_group.set(8192);
        raw.s_inodes_per_group.set(1024);
        raw.s_inodes_count.set(1024);
        raw.s_inode_size.set(256);
        raw.s_first_ino.set(11);
        raw
    }

    fn read(raw: &layout::SuperBlock) -> Result<Superblock> {
        let mut bytes = vec![0; 1024];
        bytes.extend_from_slice(raw.as_bytes());
        Superblock::read(&Memory::new("m", bytes))
    }

    #[test]
    fn geometry_is_checked() {
        assert_eq!(read(&small()).unwrap().groups, 1);
        let bad: &[(&str, fn(&mut layout::SuperBlock))] = &[
            ("no magic", |raw| raw.s_magic.set(0)),
            ("s_log_block_size 7", |raw| raw.s_log_block_size.set(7)),
            ("s_log_block_size 4294967295", |raw| raw.s_log_block_size.set(u32::MAX)),
            ("s_inode_size 100", |raw| raw.s_inode_size.set(100)),
            ("s_inode_size 2048", |raw| raw.s_inode_size.set(2048)),
            ("s_blocks_per_group 0", |raw| raw.s_blocks_per_group.set(0)),
            ("s_blocks_per_group 8193", |raw| raw.s_blocks_per_group.set(8193)),
            ("s_inodes_per_group 0", |raw| raw.s_inodes_per_group.set(0)),
            ("s_inodes_count 1025", |raw| raw.s_inodes_count.set(1025)),
            ("1 blocks from block 1", |raw| raw.s_blocks_count_lo.set(1)),
            ("checksum", |raw| {
                raw.s_feature_ro_compat.set(ro_compat::METADATA_CSUM);
                raw.s_checksum_type = 1;
            }),
            ("s_desc_size 32", |raw| {
                raw.s_feature_incompat.set(incompat::SIXTY_FOUR_BIT);
                raw.s_desc_size.set(32);
            }),
        ];
        for (why, patch) in bad {
            let mut raw = small();
            patch(&mut raw);
            let error = read(&raw).unwrap_err().to_string();
            assert!(error.starts_with("superblock at byte 0x400: "), "{error}");
            assert!(error.contains(why) && error.contains("e2fsck -b"), "{why}: {error}");
        }
    }

    #[test]
    fn backups_are_in_groups_0_1_and_powers_of_3_5_7() {
        let mut raw = small();
        raw.s_feature_ro_compat.set(ro_compat::SPARSE_SUPER);
        let superblock = read(&raw).unwrap();
        let with: Vec<u32> = (0..130).filter(|group| superblock.has_backup(*group)).collect();
        assert_eq!(with, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
        assert!(!superblock.has_backup(u32::MAX), "no endless loop");
    }
}
