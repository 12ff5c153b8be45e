//! The record of an inode, as it is changed and written.

use images::{Error, Result};
use zerocopy::FromBytes;
use zerocopy::little_endian::{U16, U32};

use crate::ext::checksum::{crc32c, inode_seed};
use crate::ext::features::{incompat, ro_compat};
use crate::ext::inode::Inode;
use crate::ext::layout::{self, GOOD_OLD_INODE_SIZE, InodeExtra, inode_flags};
use crate::ext::superblock::Superblock;
use crate::node::Time;

/// Where `i_checksum_lo` and `i_checksum_hi` lie in the record.
const CHECKSUM_LO_AT: usize = 0x7c;
const CHECKSUM_HI_AT: usize = 0x82;

/// The bytes of an inode.
#[derive(Clone, Debug)]
pub(in crate::ext) struct Record {
    pub number: u32,
    /// Where it lies on the disk, in bytes.
    pub offset: u64,
    bytes: Vec<u8>,
}

impl Record {
    /// The record with these bytes, at least 128.
    pub fn of(number: u32, offset: u64, bytes: Vec<u8>) -> Self {
        Self { number, offset, bytes }
    }

    /// A record of zeros, with the room for times and a project that new inodes get, and a generation.
    pub fn new(superblock: &Superblock, number: u32, offset: u64, generation: u32) -> Self {
        let mut record = Self::of(number, offset, vec![0; superblock.inode_size.into()]);
        let room = record.bytes.len() - GOOD_OLD_INODE_SIZE;
        if room >= size_of::<InodeExtra>() {
            let wanted = superblock.raw.s_want_extra_isize.get().max(superblock.raw.s_min_extra_isize.get());
            let size = match usize::from(wanted) {
                size @ 4.. if size <= room && size.is_multiple_of(4) => wanted,
                _ => size_of::<InodeExtra>() as u16,
            };
            record.bytes[GOOD_OLD_INODE_SIZE..][..2].copy_from_slice(&size.to_le_bytes());
        }
        record.raw_mut().i_generation = generation.into();
        record
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What lies after the fixed fields: the room for extended attributes, where it has any.
    pub fn tail(&self) -> &[u8] {
        self.bytes.get(GOOD_OLD_INODE_SIZE + self.extra_size()..).unwrap_or_default()
    }

    /// The same, to be changed.
    pub fn tail_mut(&mut self) -> &mut [u8] {
        let start = GOOD_OLD_INODE_SIZE + self.extra_size();
        self.bytes.get_mut(start..).unwrap_or_default()
    }

    /// The first 128 bytes.
    pub fn raw(&self) -> &layout::Inode {
        layout::Inode::ref_from_prefix(&self.bytes).expect("a record has 128 bytes at least").0
    }

    /// The same, to be changed.
    pub fn raw_mut(&mut self) -> &mut layout::Inode {
        layout::Inode::mut_from_prefix(&mut self.bytes).expect("a record has 128 bytes at least").0
    }

    /// `i_extra_isize`, or 0 where there is none.
    fn extra_size(&self) -> usize {
        let size = self.bytes.get(GOOD_OLD_INODE_SIZE..).and_then(|rest| rest.first_chunk());
        size.map_or(0, |size| u16::from_le_bytes(*size).into())
    }

    /// The inode as it is read.
    pub fn inode(&self, superblock: &Superblock) -> Result<Inode> {
        let mut sealed = self.clone();
        sealed.seal(superblock);
        Inode::parse(superblock, self.number, self.offset, &sealed.bytes)
    }

    /// Whether a flag of `i_flags` is set.
    pub fn has(&self, flag: u32) -> bool {
        self.raw().i_flags.get() & flag != 0
    }

    /// Fails if its flags forbid every change of it.
    pub fn check_changeable(&self) -> Result<()> {
        if self.has(inode_flags::IMMUTABLE) { Err(Error::NotPermitted) } else { Ok(()) }
    }

    /// Sets or clears a flag of `i_flags`.
    pub fn set_flag(&mut self, flag: u32, on: bool) {
        let flags = self.raw().i_flags.get();
        self.raw_mut().i_flags = (if on { flags | flag } else { flags & !flag }).into();
    }

    /// `i_mode`.
    pub fn mode(&self) -> u16 {
        self.raw().i_mode.get()
    }

    pub fn set_mode(&mut self, mode: u16) {
        self.raw_mut().i_mode = mode.into();
    }

    /// How many names it has.
    pub fn links(&self) -> u16 {
        self.raw().i_links_count.get()
    }

    pub fn set_links(&mut self, links: u16) {
        self.raw_mut().i_links_count = links.into();
    }

    /// The size in bytes; of a directory only the lower half counts unless they can be larger.
    pub fn size(&self) -> u64 {
        u64::from(self.raw().i_size_high.get()) << 32 | u64::from(self.raw().i_size_lo.get())
    }

    pub fn set_size(&mut self, size: u64) {
        let [low, high] = halves(size);
        let raw = self.raw_mut();
        (raw.i_size_lo, raw.i_size_high) = (low, high);
    }

    /// The owner and the group.
    pub fn owner(&self) -> (u32, u32) {
        let (raw, wide) = (self.raw(), |high: U16, low: U16| u32::from(high.get()) << 16 | u32::from(low.get()));
        (wide(raw.l_i_uid_high, raw.i_uid), wide(raw.l_i_gid_high, raw.i_gid))
    }

    pub fn set_owner(&mut self, uid: u32, gid: u32) {
        let raw = self.raw_mut();
        ([raw.i_uid, raw.l_i_uid_high], [raw.i_gid, raw.l_i_gid_high]) = (quarters(uid), quarters(gid));
    }

    /// The space in units of 512 bytes, however it is written.
    pub fn blocks(&self, superblock: &Superblock) -> u64 {
        let raw = self.raw();
        let mut blocks = u64::from(raw.i_blocks_lo.get());
        if superblock.features.has_ro_compat(ro_compat::HUGE_FILE) {
            blocks |= u64::from(raw.l_i_blocks_high.get()) << 32;
            if self.has(inode_flags::HUGE_FILE) {
                blocks *= u64::from(superblock.block_size / 512);
            }
        }
        blocks
    }

    /// The same, to be written. Space that 48 bits do not hold is counted in blocks; without huge_file 32 bits are all.
    pub fn set_blocks(&mut self, superblock: &Superblock, blocks: u64) {
        let in_blocks = blocks >> 48 != 0;
        self.set_flag(inode_flags::HUGE_FILE, in_blocks);
        let count = if in_blocks { blocks / u64::from(superblock.block_size / 512) } else { blocks };
        let [low, high] = halves(count);
        let raw = self.raw_mut();
        raw.i_blocks_lo = low;
        if superblock.features.has_ro_compat(ro_compat::HUGE_FILE) {
            raw.l_i_blocks_high = quarters(high.get())[0];
        }
    }

    /// The block with extended attributes, or 0.
    pub fn file_acl(&self, superblock: &Superblock) -> u64 {
        let is_wide = superblock.features.has_incompat(incompat::SIXTY_FOUR_BIT);
        let high = if is_wide { self.raw().l_i_file_acl_high.get() } else { 0 };
        u64::from(high) << 32 | u64::from(self.raw().i_file_acl_lo.get())
    }

    pub fn set_file_acl(&mut self, block: u64) {
        let [low, high] = halves(block);
        let raw = self.raw_mut();
        (raw.i_file_acl_lo, raw.l_i_file_acl_high) = (low, quarters(high.get())[0]);
    }

    pub fn set_accessed(&mut self, time: Time) {
        let time = self.kept(time);
        self.raw_mut().i_atime = seconds(time);
        self.set_extra(std::mem::offset_of!(InodeExtra, i_atime_extra), extra(time));
    }

    pub fn set_modified(&mut self, time: Time) {
        let time = self.kept(time);
        self.raw_mut().i_mtime = seconds(time);
        self.set_extra(std::mem::offset_of!(InodeExtra, i_mtime_extra), extra(time));
    }

    pub fn set_changed(&mut self, time: Time) {
        let time = self.kept(time);
        self.raw_mut().i_ctime = seconds(time);
        self.set_extra(std::mem::offset_of!(InodeExtra, i_ctime_extra), extra(time));
    }

    pub fn set_created(&mut self, time: Time) {
        self.set_extra(std::mem::offset_of!(InodeExtra, i_crtime), seconds(time));
        self.set_extra(std::mem::offset_of!(InodeExtra, i_crtime_extra), extra(time));
    }

    /// A time as the record keeps it: without room for more bits than 32 none after 2038.
    fn kept(&self, time: Time) -> Time {
        let is_wide = self.extra_size() >= std::mem::offset_of!(InodeExtra, i_crtime);
        if is_wide { time } else { Time { seconds: time.seconds.min(i32::MAX.into()), ..time } }
    }

    /// When it was deleted: the lower 32 bits of the seconds, and never 0.
    pub fn set_deleted(&mut self, time: Time) {
        self.raw_mut().i_dtime = seconds(time).get().max(1).into();
    }

    /// Sets a field behind byte 128 if the inode has room for it.
    fn set_extra(&mut self, at: usize, value: U32) {
        if at + 4 <= self.extra_size() {
            self.bytes[GOOD_OLD_INODE_SIZE + at..][..4].copy_from_slice(&value.to_bytes());
        }
    }

    /// What the checksums of the inode's own blocks start from; 0 without metadata_csum.
    pub fn seed(&self, superblock: &Superblock) -> u32 {
        superblock.checksum_seed.map_or(0, |seed| inode_seed(seed, self.number, self.raw().i_generation.get()))
    }

    /// Computes the checksum, where the file system has one.
    pub fn seal(&mut self, superblock: &Superblock) {
        if superblock.checksum_seed.is_none() {
            return;
        }
        let has_high = self.extra_size() >= CHECKSUM_HI_AT + 2 - GOOD_OLD_INODE_SIZE;
        self.raw_mut().l_i_checksum_lo = 0.into();
        if has_high {
            self.bytes[CHECKSUM_HI_AT..][..2].fill(0);
        }
        let [low, high] = quarters(crc32c(self.seed(superblock), &self.bytes));
        self.bytes[CHECKSUM_LO_AT..][..2].copy_from_slice(&low.to_bytes());
        if has_high {
            self.bytes[CHECKSUM_HI_AT..][..2].copy_from_slice(&high.to_bytes());
        }
    }
}

/// The lower and the upper 32 bits.
pub(in crate::ext) fn halves(value: u64) -> [U32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [U32::from_bytes([a, b, c, d]), U32::from_bytes([e, f, g, h])]
}

/// The lower and the upper 16 bits.
pub(in crate::ext) fn quarters(value: u32) -> [U16; 2] {
    let [a, b, c, d] = value.to_le_bytes();
    [U16::from_bytes([a, b]), U16::from_bytes([c, d])]
}

/// The last and the first second of times that the record holds: 2446 and 1901.
const LAST_SECOND: i64 = 0x3_7fff_ffff;
const FIRST_SECOND: i64 = -0x8000_0000;

/// The lower 32 bits of the seconds.
fn seconds(time: Time) -> U32 {
    halves(time.seconds.clamp(FIRST_SECOND, LAST_SECOND).cast_unsigned())[0]
}

/// Two more bits of the seconds below thirty of the nanoseconds: how far the seconds are from the signed lower 32 bits.
fn extra(time: Time) -> U32 {
    let clamped = time.seconds.clamp(FIRST_SECOND, LAST_SECOND);
    let [low, _] = halves(clamped.cast_unsigned());
    let epoch = (clamped - i64::from(low.get().cast_signed())) >> 32;
    let epoch = u32::try_from(epoch).expect("two bits, for the seconds are clamped");
    (time.nanoseconds.min(999_999_999) << 2 | epoch).into()
}
