//! A member's superblock, found and checked: what it says of the array and of the member.

use std::ops::Range;

use images::{Disk, Result, corrupt, unsupported};
use zerocopy::FromBytes;

use super::layout::{
    DISK_ACTIVE, DISK_FAULTY, DISK_SYNC, FEATURE_BAD_BLOCKS, FEATURE_JOURNAL, FEATURE_RAID0_LAYOUT,
    FEATURE_RECOVERY_OFFSET, FEATURE_REPLACEMENT, FEATURE_RESHAPE_ACTIVE, FEATURES, IN_SYNC, MAGIC, MAX_DISKS_1,
    MINOR_RESHAPE, RESERVED_SIZE, ROLE_FAULTY, ROLE_JOURNAL, ROLE_SPARE, SECTOR_SIZE, STATE_CLEAN, SUPERBLOCK_SIZE,
    Superblock1, Superblock90,
};

/// How long the list of bad blocks may be, in sectors; the kernel's, one page.
const MAX_BAD_BLOCK_SECTORS: u16 = 8;

/// The versions of the metadata: where the superblock is, and what it looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Near the end of the member, as in 1.0.
    V090,
    V10,
    /// At its start.
    V11,
    /// 4 KiB from its start.
    V12,
}

impl Version {
    const ALL: [Self; 4] = [Self::V12, Self::V11, Self::V10, Self::V090];

    /// Where the superblock is on a disk of this size, in bytes.
    fn place(self, disk_size: u64) -> Option<u64> {
        match self {
            Self::V090 => (disk_size / RESERVED_SIZE * RESERVED_SIZE).checked_sub(RESERVED_SIZE),
            Self::V10 => disk_size.checked_sub(8 << 10).map(|at| at / 4096 * 4096),
            Self::V11 => Some(0),
            Self::V12 => Some(4096),
        }
    }

    /// Whether the data comes first, so that the member begins like the array.
    pub fn is_last(self) -> bool {
        matches!(self, Self::V090 | Self::V10)
    }
}

/// What a member is in its array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its place, from 0.
    Active(u32),
    Spare,
    Faulty,
    Journal,
}

/// A superblock whose checksum is right.
pub struct Superblock {
    pub version: Version,
    /// Where it lies on the member, in bytes.
    pub at: u64,
    pub array_uuid: [u8; 16],
    /// With the host's name before it; empty in version 0.90.
    pub name: String,
    /// The number that version 0.90 holds.
    pub minor: Option<u32>,
    pub level: i32,
    pub layout: u32,
    /// Whether `layout` says how RAID 0 with members of different sizes is laid out.
    pub has_raid0_layout: bool,
    /// In bytes.
    pub chunk: u64,
    pub raid_disks: u32,
    /// How much of each member is used, in bytes, in levels in which that is the same for all.
    pub used_size: u64,
    pub events: u64,
    pub is_reshaping: bool,
    /// Whether all parities and copies were right when it was written.
    pub is_in_sync: bool,
    pub has_journal: bool,
    /// Whether this member stands in for another one of its role.
    pub is_replacement: bool,
    /// The number of this member in the table of roles.
    pub number: u32,
    roles: Vec<Role>,
    /// Where the member's data begins and how long it is, in bytes.
    pub data_start: u64,
    pub data_size: u64,
    /// How much of the data is up to date, in bytes, where a recovery was not finished; of a journal, where its tail is.
    pub progress: Option<u64>,
    /// Where the list of bad blocks is, in bytes, and the size of a block.
    bad_blocks: Option<(Range<u64>, u64)>,
}

impl Superblock {
    /// The superblock of a disk, whichever version it has. `None` if there is none that is sound; a damaged one is
    /// warned of. Fails if the disk cannot be read, or with what is not supported.
    pub fn find(disk: &dyn Disk) -> Result<Option<Self>> {
        for version in Version::ALL {
            let place = version.place(disk.size());
            let fits = |at: &u64| at.saturating_add(SUPERBLOCK_SIZE as u64) <= disk.size();
            let Some(at) = place.filter(fits) else { continue };
            let mut bytes = [0; SUPERBLOCK_SIZE];
            disk.read_at(&mut bytes, at)?;
            let found = match version {
                Version::V090 => Self::parse_90(disk, &bytes, at)?,
                _ => Self::parse_1(disk, &bytes, at, version)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn parse_90(disk: &dyn Disk, bytes: &[u8; SUPERBLOCK_SIZE], at: u64) -> Result<Option<Self>> {
        let raw = Superblock90::read_from_bytes(bytes).expect("as long as the structure");
        if raw.md_magic.get() == MAGIC.swap_bytes() && raw.major_version.get() == 0 {
            return Err(unsupported!(
                "{disk}: member of an MD array whose metadata is in big-endian byte order, which is not supported"
            ));
        }
        let minor_version = raw.minor_version.get();
        if raw.md_magic.get() != MAGIC || raw.major_version.get() != 0 || !matches!(minor_version, 90 | 91) {
            return Ok(None);
        }
        // In 16 bits, as the kernel compares it, for there were two ways to add.
        let own = u64::from(raw.sb_csum.get());
        if fold(fold(sum(bytes) - own, 32), 16) != fold(own, 16) {
            log::warn!("{disk}: no member of an MD array, because its superblock at byte {at:#x} has a wrong checksum");
            return Ok(None);
        }
        let role = |state: u32, place: u32| match state {
            _ if state & DISK_FAULTY != 0 => Role::Faulty,
            _ if state & DISK_SYNC != 0 && state & DISK_ACTIVE != 0 => Role::Active(place),
            _ => Role::Spare,
        };
        let mut array_uuid = [0; 16];
        let parts = [raw.set_uuid0, raw.set_uuid1, raw.set_uuid2, raw.set_uuid3];
        for (to, part) in array_uuid.chunks_exact_mut(4).zip(parts) {
            // Four numbers, of which each is printed from its highest digit on.
            to.copy_from_slice(&u32::from_le_bytes(part).to_be_bytes());
        }
        Ok(Some(Self {
            version: Version::V090,
            at,
            array_uuid,
            name: String::new(),
            minor: Some(raw.md_minor.get()),
            level: raw.level.get().cast_signed(),
            layout: raw.layout.get(),
            has_raid0_layout: false,
            chunk: raw.chunk_size.get().into(),
            raid_disks: raw.raid_disks.get(),
            used_size: u64::from(raw.size.get()) * 1024,
            events: raw.events.get(),
            is_reshaping: minor_version == MINOR_RESHAPE,
            is_in_sync: raw.state.get() & STATE_CLEAN != 0,
            has_journal: false,
            is_replacement: false,
            number: raw.this_disk.number.get(),
            roles: raw.disks.iter().map(|disk| role(disk.state.get(), disk.raid_disk.get())).collect(),
            data_start: 0,
            data_size: at,
            progress: None,
            bad_blocks: None,
        }))
    }

    fn parse_1(disk: &dyn Disk, bytes: &[u8; SUPERBLOCK_SIZE], at: u64, version: Version) -> Result<Option<Self>> {
        let (raw, roles) = Superblock1::read_from_prefix(bytes).expect("longer than the structure");
        let is_one = raw.magic.get() == MAGIC && raw.major_version.get() == 1;
        if !is_one || raw.super_offset.get() != at / SECTOR_SIZE {
            return Ok(None);
        }
        let count = raw.max_dev.get() as usize;
        let damaged = |why: &str| {
            log::warn!("{disk}: no member of an MD array, because its superblock at byte {at:#x} {why}");
            Ok(None)
        };
        if count > MAX_DISKS_1 {
            return damaged(&format!("has {count} roles, want at most {MAX_DISKS_1}"));
        }
        let (own, size) = (u64::from(raw.sb_csum.get()), size_of::<Superblock1>() + 2 * count);
        if fold(sum(&bytes[..size]) - own, 32) != own {
            return damaged("has a wrong checksum");
        }
        let features = raw.feature_map.get();
        if features & !FEATURES != 0 || raw.pad0.get() != 0 || raw.pad3.iter().any(|byte| *byte != 0) {
            let unknown = features & !FEATURES;
            return Err(unsupported!("{disk}: member of an MD array with features that are not known ({unknown:#x})"));
        }
        let has = |feature: u32| features & feature != 0;
        let roles = roles.chunks_exact(2).take(count).map(|role| match u16::from_le_bytes([role[0], role[1]]) {
            ROLE_FAULTY => Role::Faulty,
            ROLE_JOURNAL => Role::Journal,
            ROLE_SPARE => Role::Spare,
            place => Role::Active(place.into()),
        });
        let in_bytes = |what: &str, sectors: u64| {
            let size = sectors.checked_mul(SECTOR_SIZE);
            size.ok_or_else(|| corrupt!("MD superblock", at, "{what} of {sectors:#x} sectors"))
        };
        let roles: Vec<Role> = roles.collect();
        let number = raw.dev_number.get();
        let is_journal = roles.get(number as usize) == Some(&Role::Journal);
        let progress = (has(FEATURE_RECOVERY_OFFSET) || is_journal).then(|| raw.recovery_offset.get());
        let name = raw.set_name.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut found = Self {
            version,
            at,
            array_uuid: raw.set_uuid,
            name: String::from_utf8_lossy(name).into_owned(),
            minor: None,
            level: raw.level.get().cast_signed(),
            layout: raw.layout.get(),
            has_raid0_layout: has(FEATURE_RAID0_LAYOUT),
            chunk: u64::from(raw.chunksize.get()) * SECTOR_SIZE,
            raid_disks: raw.raid_disks.get(),
            used_size: in_bytes("size", raw.size.get())?,
            events: raw.events.get(),
            is_reshaping: has(FEATURE_RESHAPE_ACTIVE),
            is_in_sync: raw.resync_offset.get() == IN_SYNC,
            has_journal: has(FEATURE_JOURNAL),
            is_replacement: has(FEATURE_REPLACEMENT),
            number,
            roles,
            data_start: in_bytes("data offset", raw.data_offset.get())?,
            data_size: in_bytes("data size", raw.data_size.get())?,
            progress: progress.map(|sectors| sectors.saturating_mul(SECTOR_SIZE)),
            bad_blocks: None,
        };
        if has(FEATURE_BAD_BLOCKS) {
            let (sectors, shift) = (raw.bblog_size.get(), raw.bblog_shift);
            let offset = i64::from(raw.bblog_offset.get().cast_signed()) * SECTOR_SIZE as i64;
            let start = at.checked_add_signed(offset).filter(|_| offset != 0 && sectors <= MAX_BAD_BLOCK_SECTORS);
            let Some(start) = start.filter(|_| shift < 32) else {
                return Err(corrupt!(
                    "MD superblock",
                    at,
                    "bad blocks in {sectors} sectors at {offset}, times 2^{shift}"
                ));
            };
            found.bad_blocks =
                Some((start..start.saturating_add(u64::from(sectors) * SECTOR_SIZE), SECTOR_SIZE << shift));
        }
        Ok(Some(found))
    }

    /// What it takes in memory, in bytes.
    pub fn bytes(&self) -> u64 {
        (size_of::<Self>() + size_of_val(&*self.roles) + self.name.len()) as u64
    }

    /// What this superblock says of the member with this number.
    pub fn role_of(&self, number: u32) -> Role {
        match self.roles.get(number as usize) {
            Some(Role::Active(place)) if *place >= self.raid_disks => Role::Spare,
            Some(role) => *role,
            None => Role::Spare,
        }
    }

    /// What this member is by its own superblock.
    pub fn role(&self) -> Role {
        self.role_of(self.number)
    }

    /// The array's UUID as mdadm prints it.
    pub fn uuid(&self) -> String {
        let words = self.array_uuid.chunks_exact(4).map(|word| word.iter().map(|byte| format!("{byte:02x}")).collect());
        words.collect::<Vec<String>>().join(":")
    }

    /// The places of the member that are known to be bad, in bytes from the start of its data.
    pub fn bad_ranges(&self, disk: &dyn Disk) -> Result<Vec<Range<u64>>> {
        let Some((list, block)) = &self.bad_blocks else { return Ok(Vec::new()) };
        let len = usize::try_from(list.end - list.start).expect("at most MAX_BAD_BLOCK_SECTORS");
        let mut bytes = vec![0; len];
        disk.read_at(&mut bytes, list.start)?;
        let entries = bytes.chunks_exact(8).map(|entry| u64::from_le_bytes(entry.try_into().expect("eight bytes")));
        let entries = entries.take_while(|entry| *entry != u64::MAX);
        // The first block in 54 bits and the number of blocks in 10; they count from the start of the member.
        let ranges = entries.map(|entry| {
            let (start, count) = ((entry >> 10).saturating_mul(*block), (entry & 0x3ff).saturating_mul(*block));
            start.saturating_sub(self.data_start)..start.saturating_add(count).saturating_sub(self.data_start)
        });
        Ok(ranges.filter(|range| !range.is_empty()).collect())
    }
}

/// The sum of the 32-bit words, and of the 16-bit word that may be left.
fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(4);
    let rest = words.remainder();
    let rest = if let [low, high] = rest { u64::from(u16::from_le_bytes([*low, *high])) } else { 0 };
    words.map(|word| u64::from(u32::from_le_bytes(word.try_into().expect("four bytes")))).sum::<u64>() + rest
}

/// Adds what is above so many bits to what is below, until nothing is above.
fn fold(mut sum: u64, bits: u32) -> u64 {
    while sum >> bits != 0 {
        sum = (sum & ((1 << bits) - 1)) + (sum >> bits);
    }
    sum
}
