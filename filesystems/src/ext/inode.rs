//! An inode, parsed and checked.

use images::{Result, corrupt};
use zerocopy::FromBytes;

use super::checksum::{crc32c, inode_seed};
use super::features::{incompat, ro_compat};
use super::layout::{self, GOOD_OLD_INODE_SIZE, InodeExtra, XATTR_MAGIC, inode_flags, mode};
use super::superblock::Superblock;
use crate::node::{Kind, Stat, Time};

/// Where `i_checksum_lo` and `i_checksum_hi` lie in the record.
const CHECKSUM_LO_AT: usize = 0x7c;
const CHECKSUM_HI_AT: usize = 0x82;

/// An inode whose checksum is right.
#[derive(Clone, Debug)]
pub struct Inode {
    /// Its number.
    pub number: u32,
    /// Where its record starts on the disk, in bytes.
    pub offset: u64,
    /// The first 128 bytes as they are on the disk.
    pub raw: layout::Inode,
    /// Type and permissions.
    pub mode: u16,
    /// Hard links; 1 for directories of too many to count.
    pub links: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of content, below 2^63.
    pub size: u64,
    /// Space in units of 512 bytes.
    pub blocks: u64,
    /// `i_flags`.
    pub flags: u32,
    /// `i_generation`.
    pub generation: u32,
    /// The block with its extended attributes, or 0.
    pub file_acl: u64,
    /// Last access.
    pub accessed: Time,
    /// Last change of the content.
    pub modified: Time,
    /// Last change of the inode.
    pub changed: Time,
    /// Creation, where the inode has room for it.
    pub created: Option<Time>,
    /// What the checksums of its own blocks start from; 0 without metadata_csum.
    pub seed: u32,
    /// The extended attributes in the inode: from their magic to the end of the record, or empty.
    pub tail: Box<[u8]>,
    /// Where `tail` starts on the disk, in bytes.
    pub tail_offset: u64,
    /// Which of its states this is, where inodes change: what is kept of its map is that state's.
    pub version: u64,
}

impl Inode {
    /// Parses inode `number`; `record` are the `inode_size` bytes at `offset` of the disk.
    pub fn parse(superblock: &Superblock, number: u32, offset: u64, record: &[u8]) -> Result<Self> {
        let what = || format!("inode {number}");
        let Ok((raw, rest)) = layout::Inode::ref_from_prefix(record) else {
            return Err(corrupt!(what(), offset, "{} bytes, want at least 128", record.len()));
        };
        let extra_size = rest.first_chunk().map_or(0, |size| u16::from_le_bytes(*size));
        let sound = usize::from(extra_size) <= rest.len() && extra_size % 4 == 0;

        let generation = raw.i_generation.get();
        let seed = superblock.checksum_seed.map_or(0, |seed| inode_seed(seed, number, generation));
        if superblock.checksum_seed.is_some() {
            let (have, want) = checksum(seed, record, raw, if sound { extra_size } else { 0 });
            if have != want {
                return Err(corrupt!(what(), offset, "checksum {have:#010x}, want {want:#010x}"));
            }
        }
        if !sound {
            return Err(corrupt!(what(), offset, "i_extra_isize {extra_size} in a record of {} bytes", record.len()));
        }

        let kind = raw.i_mode.get() & mode::TYPE;
        let mut size = u64::from(raw.i_size_lo.get());
        if kind == mode::FILE || superblock.features.has_incompat(incompat::LARGEDIR) {
            size |= u64::from(raw.i_size_high.get()) << 32;
        }
        if size > i64::MAX as u64 {
            return Err(corrupt!(what(), offset, "size {size:#x}, at most 2^63 - 1"));
        }
        let flags = raw.i_flags.get();
        let mut blocks = u64::from(raw.i_blocks_lo.get());
        if superblock.features.has_ro_compat(ro_compat::HUGE_FILE) {
            blocks |= u64::from(raw.l_i_blocks_high.get()) << 32;
            if flags & inode_flags::HUGE_FILE != 0 {
                blocks *= u64::from(superblock.block_size / 512);
            }
        }
        let mut file_acl = u64::from(raw.i_file_acl_lo.get());
        if superblock.features.has_incompat(incompat::SIXTY_FOUR_BIT) {
            file_acl |= u64::from(raw.l_i_file_acl_high.get()) << 32;
        }

        // Fields that the inode has no room for read as zero.
        let mut fields = [0; size_of::<InodeExtra>()];
        let have = usize::from(extra_size).min(fields.len());
        fields[..have].copy_from_slice(&rest[..have]);
        let extra: InodeExtra = zerocopy::transmute!(fields);
        let tail = rest.get(usize::from(extra_size)..).filter(|tail| tail.starts_with(&XATTR_MAGIC.to_le_bytes()));
        Ok(Self {
            number,
            offset,
            mode: raw.i_mode.get(),
            links: raw.i_links_count.get(),
            uid: u32::from(raw.l_i_uid_high.get()) << 16 | u32::from(raw.i_uid.get()),
            gid: u32::from(raw.l_i_gid_high.get()) << 16 | u32::from(raw.i_gid.get()),
            size,
            blocks,
            flags,
            generation,
            file_acl,
            accessed: time(raw.i_atime.get(), extra.i_atime_extra.get()),
            modified: time(raw.i_mtime.get(), extra.i_mtime_extra.get()),
            changed: time(raw.i_ctime.get(), extra.i_ctime_extra.get()),
            created: (have >= std::mem::offset_of!(InodeExtra, i_crtime) + 4)
                .then(|| time(extra.i_crtime.get(), extra.i_crtime_extra.get())),
            seed,
            tail: tail.unwrap_or_default().into(),
            tail_offset: offset + (GOOD_OLD_INODE_SIZE + usize::from(extra_size)) as u64,
            raw: raw.clone(),
            version: 0,
        })
    }

    /// Whether a flag of `i_flags` is set.
    pub fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// `i_block`: block pointers, the root of an extent tree, a device number, a short target or inline data.
    pub fn i_block(&self) -> &[u8; 60] {
        &self.raw.i_block
    }

    /// Where `i_block` starts on the disk, in bytes.
    pub fn i_block_offset(&self) -> u64 {
        self.offset + std::mem::offset_of!(layout::Inode, i_block) as u64
    }

    /// The kind of node. Fails if the mode has none of the seven types: the inode is free or damaged.
    pub fn kind(&self) -> Result<Kind> {
        Ok(match self.mode & mode::TYPE {
            mode::FILE => Kind::File,
            mode::DIRECTORY => Kind::Directory,
            mode::SYMLINK => Kind::Symlink,
            mode::CHAR => Kind::CharDevice,
            mode::BLOCK => Kind::BlockDevice,
            mode::FIFO => Kind::Fifo,
            mode::SOCKET => Kind::Socket,
            other => return Err(corrupt!(format!("inode {}", self.number), self.offset, "file type {other:#x}")),
        })
    }

    /// The attributes as `stat` returns them.
    pub fn stat(&self) -> Result<Stat> {
        let kind = self.kind()?;
        // As the kernel: inline content of files counts as if it had blocks.
        let inline = if kind == Kind::File && self.has(inode_flags::INLINE_DATA) { self.size.div_ceil(512) } else { 0 };
        Ok(Stat {
            kind,
            generation: self.generation.into(),
            permissions: self.mode & !mode::TYPE,
            links: self.links.into(),
            owner: self.uid,
            group: self.gid,
            size: self.size,
            blocks: self.blocks.saturating_add(inline),
            device: match kind {
                Kind::CharDevice | Kind::BlockDevice => device(self.i_block()),
                _ => (0, 0),
            },
            accessed: self.accessed,
            modified: self.modified,
            changed: self.changed,
            created: self.created,
        })
    }
}

/// The record's checksum and what it must be; 16 bits where the record has no room for the upper half.
fn checksum(seed: u32, record: &[u8], raw: &layout::Inode, extra_size: u16) -> (u32, u32) {
    let crc = crc32c(crc32c(seed, &record[..CHECKSUM_LO_AT]), &[0, 0]);
    let low = u32::from(raw.l_i_checksum_lo.get());
    if usize::from(extra_size) < CHECKSUM_HI_AT + 2 - GOOD_OLD_INODE_SIZE {
        return (crc32c(crc, &record[CHECKSUM_LO_AT + 2..]) & 0xffff, low);
    }
    let crc = crc32c(crc32c(crc, &record[CHECKSUM_LO_AT + 2..CHECKSUM_HI_AT]), &[0, 0]);
    let high = u16::from_le_bytes([record[CHECKSUM_HI_AT], record[CHECKSUM_HI_AT + 1]]);
    (crc32c(crc, &record[CHECKSUM_HI_AT + 2..]), u32::from(high) << 16 | low)
}

/// A time of the inode: signed seconds, and in `extra` two more bits of seconds below thirty of nanoseconds.
fn time(seconds: u32, extra: u32) -> Time {
    let seconds = i64::from(seconds as i32) + (i64::from(extra & 3) << 32);
    Time { seconds, nanoseconds: (extra >> 2).min(999_999_999) }
}

/// Major and minor number: 8 bits each in the first word, or 12 and 20 in the second.
fn device(i_block: &[u8; 60]) -> (u32, u32) {
    let word = |at: usize| u32::from_le_bytes([i_block[at], i_block[at + 1], i_block[at + 2], i_block[at + 3]]);
    match (word(0), word(4)) {
        (0, new) => ((new >> 8) & 0xfff, (new & 0xff) | ((new >> 12) & 0xf_ff00)),
        (old, _) => ((old >> 8) & 0xff, old & 0xff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_34_bits_from_1901_to_2446() {
        let at = |seconds: i64| Time { seconds, nanoseconds: 0 };
        assert_eq!(time(0x8000_0000, 0), at(-0x8000_0000), "1901");
        assert_eq!(time(u32::MAX, 0), at(-1));
        assert_eq!(time(0x7fff_ffff, 0), at(0x7fff_ffff), "2038");
        assert_eq!(time(0x8000_0000, 1), at(0x8000_0000));
        assert_eq!(time(0x7fff_ffff, 3), at(0x3_7fff_ffff), "2446");
        assert_eq!(time(0, 999_999_999 << 2).nanoseconds, 999_999_999);
        assert_eq!(time(0, u32::MAX).nanoseconds, 999_999_999, "never a whole second");
    }

    #[test]
    fn device_numbers_old_and_new() {
        let mut i_block = [0; 60];
        i_block[..2].copy_from_slice(&0x0803u16.to_le_bytes());
        assert_eq!(device(&i_block), (8, 3));
        i_block[..2].fill(0);
        i_block[4..8].copy_from_slice(&0x1234_5678u32.to_le_bytes());
        assert_eq!(device(&i_block), (0x456, 0x1_2378));
    }
}
