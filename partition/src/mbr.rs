//! The partition table of the PC: four primary partitions, and logical ones in a chain of extended boot records.

mod kind;
mod layout;

use std::collections::HashSet;
use std::sync::Arc;

use images::disk::View;
use images::{Budget, Disk, Error, Result, corrupt, unsupported};
use zerocopy::{FromBytes, IntoBytes};

use self::layout::{EXTENDED, GPT_PROTECTIVE, LegacyMbr, PartitionRecord, SIGNATURE};
use crate::{Name, Scheme, Volume, bsd};

/// The table of partitions of PCs. A GPT beside it counts instead.
pub const SCHEME: Scheme = Scheme { precedence: 1, ..Scheme::new("mbr", probe, volumes) };

/// Where the numbers of logical partitions start.
const FIRST_LOGICAL: u32 = 5;
/// How many partitions a disk may have; the kernel's (`DISK_MAX_PARTS`).
const MAX_PARTITIONS: u32 = 256;
/// How many boot records without a partition may follow one another; the kernel's, in `parse_extended`.
const MAX_EMPTY_RECORDS: usize = 100;

/// A boot sector with the MBR's signature. Whether it holds a partition table is another question.
pub(crate) struct BootSector(LegacyMbr);

impl BootSector {
    /// The first sector of a disk, or `None` if it has no signature. Fails only if it cannot be read.
    pub fn read(disk: &dyn Disk) -> Result<Option<Self>> {
        if disk.size() < size_of::<LegacyMbr>() as u64 {
            return Ok(None);
        }
        let sector = read_sector(disk, 0)?;
        Ok((sector.signature == SIGNATURE).then_some(Self(sector)))
    }

    /// The partition that covers a disk with a GPT: its size in sectors, which is the last sector's number.
    pub fn protective(&self) -> Option<u32> {
        self.used().find(|record| record.os_type == GPT_PROTECTIVE).map(|record| record.size_in_lba.get())
    }

    /// Whether the sector describes partitions beside the protective one.
    pub fn has_partitions(&self, disk: &dyn Disk) -> bool {
        self.is_table(disk) && self.used().any(|record| record.os_type != GPT_PROTECTIVE)
    }

    /// Whether this is the boot sector of a FAT, NTFS or exFAT file system: they begin with a jump over their
    /// parameters, of which those that are asked here are never zero.
    pub fn is_file_system(&self) -> bool {
        let code = &self.0.boot_code;
        let jumps = (code[0] == 0xeb && code[2] == 0x90) || code[0] == 0xe9;
        let sector_size = u16::from_le_bytes([code[11], code[12]]);
        let (cluster, reserved) = (code[13], u16::from_le_bytes([code[14], code[15]]));
        let (fats, media) = (code[16], code[21]);
        let is_fat = matches!(sector_size, 512 | 1024 | 2048 | 4096)
            && cluster.is_power_of_two()
            && reserved != 0
            && fats != 0
            && (media == 0xf0 || media >= 0xf8);
        jumps && (is_fat || matches!(&code[3..11], b"NTFS    " | b"EXFAT   "))
    }

    fn used(&self) -> impl Iterator<Item = &PartitionRecord> {
        self.0.partition_record.iter().filter(|record| is_used(record))
    }

    /// Whether the four records are a partition table and not code or text.
    fn is_table(&self, disk: &dyn Disk) -> bool {
        let records = &self.0.partition_record;
        let odd_flags = records.iter().filter(|record| !matches!(record.boot_indicator, 0 | 0x80)).count();
        let starts_inside = |record: &&PartitionRecord| {
            let start = u64::from(record.starting_lba.get());
            (1..disk.size() / 512).contains(&start) && record.os_type != 0 && matches!(record.boot_indicator, 0 | 0x80)
        };
        match odd_flags {
            0 if !self.is_file_system() => {
                self.used().any(|record| record.starting_lba.get() > 0 && record.os_type != 0)
            }
            // The boot sector of a file system on a partitioned disk: then nothing may be odd.
            0 => self.used().next().is_some() && self.used().all(|record| starts_inside(&record)),
            // One damaged flag must not lose the whole table, where the rest makes sense.
            1 if !self.is_file_system() => self.used().any(|record| starts_inside(&record)),
            _ => false,
        }
    }
}

/// As in the kernel: a record of type 0, which ISO images for USB sticks have, is a partition if it has a size.
fn is_used(record: &PartitionRecord) -> bool {
    record.size_in_lba.get() != 0
}

fn read_sector(disk: &dyn Disk, at: u64) -> Result<LegacyMbr> {
    let mut bytes = [0; size_of::<LegacyMbr>()];
    disk.read_at(&mut bytes, at)?;
    Ok(LegacyMbr::read_from_bytes(&bytes).expect("as long as the structure"))
}

/// Whether the disk has an MBR. Fails only if the disk cannot be read.
fn probe(disk: &dyn Disk) -> Result<bool> {
    Ok(BootSector::read(disk)?.is_some_and(|sector| sector.is_table(disk)))
}

fn volumes(members: &[Arc<dyn Disk>], _: &Budget) -> Result<Vec<Volume>> {
    members.iter().enumerate().try_fold(Vec::new(), |mut volumes, (member, disk)| {
        let Some(sector) = BootSector::read(&**disk)? else {
            return Err(corrupt!("MBR", 0u64, "no signature 0x55 0xaa"));
        };
        let sector_size = match disk.sector_size() {
            Some(size) => size.into(),
            None => detect_sector_size(&**disk, &sector)?,
        };
        let signature = sector.0.unique_mbr_disk_signature.get();
        let table = Table { disk, member, sector_size, signature };
        volumes.append(&mut table.volumes(&sector));
        Ok(volumes)
    })
}

/// An MBR does not say how large its sectors are. Sectors of 4096 bytes are believed where all partitions fit on the
/// disk with them, and more partitions have content at their start than with 512.
fn detect_sector_size(disk: &dyn Disk, sector: &BootSector) -> Result<u64> {
    let fit = sector.used().all(|record| {
        let end = u64::from(record.starting_lba.get()) + u64::from(record.size_in_lba.get());
        end * 4096 <= disk.size()
    });
    if !fit {
        return Ok(512);
    }
    let score = |sector_size: u64| {
        sector.used().try_fold(0, |score, record| {
            let start = u64::from(record.starting_lba.get()) * sector_size;
            let content = if EXTENDED.contains(&record.os_type) {
                read_sector(disk, start).map(|record| record.signature == SIGNATURE)
            } else {
                has_content(disk, start)
            };
            Ok::<_, Error>(score + usize::from(content?))
        })
    };
    Ok(if score(4096)? > score(512)? { 4096 } else { 512 })
}

/// Whether anything is at the start of a file system: some leave the first 64 KiB free, none leaves more.
fn has_content(disk: &dyn Disk, start: u64) -> Result<bool> {
    let mut bytes = vec![0; (disk.size().saturating_sub(start)).min(68 << 10) as usize];
    disk.read_at(&mut bytes, start)?;
    Ok(bytes.iter().any(|byte| *byte != 0))
}

/// The disk that a table lies on, and what all its partitions share.
struct Table<'a> {
    disk: &'a Arc<dyn Disk>,
    member: usize,
    sector_size: u64,
    signature: u32,
}

impl Table<'_> {
    /// All partitions by their numbers: a logical one comes last, wherever its extended partition stands.
    fn volumes(&self, sector: &BootSector) -> Vec<Volume> {
        let (mut volumes, mut logical) = (Vec::new(), Vec::new());
        for (record, number) in sector.0.partition_record.iter().zip(1..).filter(|(record, _)| is_used(record)) {
            let disk = if EXTENDED.contains(&record.os_type) {
                self.follow(record, &mut logical);
                Err(unsupported!("partition {number} of {} only holds the logical partitions", self.disk))
            } else {
                self.cut(number, record.starting_lba.get().into(), record)
            };
            volumes.push(self.volume(number, Some((record.starting_lba.get().into(), record)), disk));
        }
        volumes.append(&mut logical);
        self.add_slices(sector, &mut volumes);
        volumes
    }

    /// The partitions in those of the BSDs, which have a table of their own. They come last.
    fn add_slices(&self, sector: &BootSector, volumes: &mut Vec<Volume>) {
        let numbers = volumes.iter().map(|volume| if let Name::Number(number) = volume.name { number } else { 0 });
        let mut number = numbers.max().unwrap_or(0).max(FIRST_LOGICAL - 1);
        for record in sector.used().filter(|record| bsd::is_slice(record.os_type)) {
            let slice = bsd::Slice {
                os_type: record.os_type,
                start: record.starting_lba.get().into(),
                size: record.size_in_lba.get().into(),
                sector_size: self.sector_size,
            };
            // A slice that cannot be read says so in its own entry.
            for entry in bsd::entries(&**self.disk, &slice).unwrap_or_default() {
                number += 1;
                if number >= MAX_PARTITIONS {
                    return;
                }
                volumes.push(entry.volume(self.disk, self.member, number, self.sector_size));
            }
        }
    }

    /// Follows the chain of boot records in an extended partition. A bad one ends it, as an entry with the reason.
    fn follow(&self, extended: &PartitionRecord, logical: &mut Vec<Volume>) {
        let first = u64::from(extended.starting_lba.get());
        let end = first + u64::from(extended.size_in_lba.get());
        let (mut at, mut size) = (first, end - first);
        let mut seen = HashSet::new();
        let mut empty = 0;
        loop {
            let number = next_number(logical);
            let record = match self.boot_record(at, &mut seen, empty, number) {
                // An extended partition in which there was never a logical one.
                Ok(record) if at == first && record.as_bytes().iter().all(|byte| *byte == 0) => return,
                Ok(record) if record.signature == SIGNATURE => record,
                Ok(record) => {
                    let [low, high] = record.signature;
                    let why = corrupt!("EBR", at * self.sector_size, "signature {low:#x} {high:#x}, want 0x55 0xaa");
                    return logical.push(self.volume(number, None, Err(why)));
                }
                Err(why) => return logical.push(self.volume(number, None, Err(why))),
            };
            empty += 1;
            for (index, part) in record.partition_record.iter().enumerate() {
                let number = next_number(logical);
                if !is_used(part) || EXTENDED.contains(&part.os_type) || number >= MAX_PARTITIONS {
                    continue;
                }
                // Two records are in use; in the others some systems leave garbage, which the kernel tells so.
                let start = at + u64::from(part.starting_lba.get());
                let last = start + u64::from(part.size_in_lba.get());
                if index >= 2 && (last > at + size || last > end) {
                    continue;
                }
                logical.push(self.volume(number, Some((start, part)), self.cut(number, start, part)));
                empty = 0;
            }
            let link = record.partition_record.iter().find(|part| is_used(part) && EXTENDED.contains(&part.os_type));
            let Some(link) = link else { return };
            (at, size) = (first + u64::from(link.starting_lba.get()), link.size_in_lba.get().into());
        }
    }

    /// The boot record at sector `at`, unless the chain goes on for too long.
    fn boot_record(&self, at: u64, seen: &mut HashSet<u64>, empty: usize, number: u32) -> Result<LegacyMbr> {
        let offset = at * self.sector_size;
        if !seen.insert(at) {
            return Err(corrupt!("EBR", offset, "the chain leads back to it"));
        }
        if number >= MAX_PARTITIONS {
            return Err(unsupported!("more than {MAX_PARTITIONS} partitions, which is also the kernel's limit"));
        }
        if empty >= MAX_EMPTY_RECORDS {
            return Err(corrupt!("EBR", offset, "{MAX_EMPTY_RECORDS} before it hold no partition"));
        }
        read_sector(&**self.disk, offset)
    }

    fn cut(&self, number: u32, start: u64, record: &PartitionRecord) -> Result<Arc<dyn Disk>> {
        if record.starting_lba.get() == 0 {
            return Err(corrupt!("MBR", start * self.sector_size, "partition {number} starts at its own table"));
        }
        let (start, size) = (start * self.sector_size, u64::from(record.size_in_lba.get()) * self.sector_size);
        let view = View::new(format!("partition {number} of {}", self.disk), self.disk.clone(), start, size)?;
        Ok(Arc::new(view))
    }

    /// The entry of a partition, whose record says that it begins at this sector; without a record, of one that could
    /// not be found.
    fn volume(&self, number: u32, found: Option<(u64, &PartitionRecord)>, disk: Result<Arc<dyn Disk>>) -> Volume {
        let record = found.map(|(_, record)| record);
        Volume {
            name: Name::Number(number),
            members: vec![self.member],
            start: found.map(|(start, _)| start * self.sector_size),
            size: record.map_or(0, |record| u64::from(record.size_in_lba.get()) * self.sector_size),
            kind: record.map_or("unknown", |record| kind::name(record.os_type)).into(),
            kind_id: record.map(|record| format!("{:#04x}", record.os_type)),
            label: None,
            // As the kernel names it; without a signature it would be the same for every such disk.
            uuid: (self.signature != 0).then(|| format!("{:08x}-{number:02x}", self.signature)),
            frame: record.is_some_and(|record| EXTENDED.contains(&record.os_type)),
            disk: disk.map_err(Arc::new),
            mapped: None,
            shared_bytes: 0,
        }
    }
}

fn next_number(logical: &[Volume]) -> u32 {
    FIRST_LOGICAL + u32::try_from(logical.len()).expect("at most MAX_PARTITIONS of them, and an entry for each chain")
}
