//! The GUID partition table: a header and an array of entries at the start of a disk, and a backup of both at its end.

mod kind;
mod layout;

use std::sync::Arc;

use images::disk::View;
use images::{Budget, Disk, Result, corrupt};
use uuid::Uuid;
use zerocopy::FromBytes;

use self::layout::{GptEntry, GptHeader, MIN_ENTRY_SIZE, PRIMARY_LBA, SIGNATURE};
use crate::mbr::BootSector;
use crate::{Name, Scheme, Volume};

/// The table of partitions of UEFI.
pub const SCHEME: Scheme = Scheme { precedence: 2, ..Scheme::new("gpt", probe, volumes) };

/// How large the array of entries may be in bytes; the kernel's (`KMALLOC_MAX_SIZE`). The usual size is 16 KiB.
const MAX_ARRAY_SIZE: u64 = 4 << 20;

/// Whether the disk has a GPT, as opposed to an MBR: a protective partition in its first sector, or a good header
/// where nothing but a GPT is. Fails only if the disk cannot be read.
fn probe(disk: &dyn Disk) -> Result<bool> {
    let Some(sector) = BootSector::read(disk)? else {
        return Ok(has_primary(disk));
    };
    if sector.protective().is_none() {
        // A header behind a good MBR, or behind a file system, is left from an earlier life of the disk.
        return Ok(!sector.has_partitions(disk) && !sector.is_file_system() && has_primary(disk));
    }
    // The other partitions of a hybrid MBR are all that is left if there is no GPT.
    Ok(!sector.has_partitions(disk) || find_header(disk).is_ok())
}

fn has_primary(disk: &dyn Disk) -> bool {
    sector_sizes(disk).into_iter().any(|sector_size| Header::read(disk, sector_size, PRIMARY_LBA).is_ok())
}

/// The sector sizes in bytes that come into question: the one that is forced, the one with which sector 1 starts as a
/// header does, or both that disks have.
fn sector_sizes(disk: &dyn Disk) -> Vec<u64> {
    if let Some(forced) = disk.sector_size() {
        return vec![forced.max(512).into()];
    }
    let mut start = [0; SIGNATURE.len()];
    let signed = |size: &u64| disk.read_at(&mut start, *size * PRIMARY_LBA).is_ok() && start == SIGNATURE;
    [512, 4096].into_iter().find(signed).map_or(vec![512, 4096], |size| vec![size])
}

/// A header that was checked.
struct Header {
    sector_size: u64,
    my_lba: u64,
    alternate_lba: u64,
    entry_lba: u64,
    entry_count: u32,
    entry_size: u32,
    array_crc32: u32,
}

impl Header {
    /// The header in sector `lba`.
    fn read(disk: &dyn Disk, sector_size: u64, lba: u64) -> Result<Self> {
        let Some(at) = lba.checked_mul(sector_size) else {
            return Err(corrupt!("GPT header", 0u64, "sector {lba:#x} is past the end of any disk"));
        };
        let mut sector = vec![0; usize::try_from(sector_size).expect("512 or 4096, or chosen by the user")];
        disk.read_at(&mut sector, at)?;
        Self::parse(&mut sector, sector_size, lba, at)
    }

    fn parse(sector: &mut [u8], sector_size: u64, lba: u64, at: u64) -> Result<Self> {
        let header = GptHeader::read_from_prefix(sector).expect("a sector is longer than the header").0;
        if header.signature != SIGNATURE {
            return Err(corrupt!("GPT header", at, "signature is not EFI PART"));
        }
        let size = header.header_size.get();
        if u64::from(size) < size_of::<GptHeader>() as u64 || u64::from(size) > sector_size {
            return Err(corrupt!("GPT header", at, "{size} bytes long, want 92 to {sector_size}"));
        }
        // The checksum is made with its own field zero, at bytes 16 to 19.
        sector[16..20].fill(0);
        let (found, want) = (crc32fast::hash(&sector[..size as usize]), header.header_crc32.get());
        if found != want {
            return Err(corrupt!("GPT header", at, "checksum {found:#x}, want {want:#x}"));
        }
        let my_lba = header.my_lba.get();
        if my_lba != lba {
            return Err(corrupt!("GPT header", at, "says that it is at sector {my_lba}, want {lba}"));
        }
        let (first, last) = (header.first_usable_lba.get(), header.last_usable_lba.get());
        if first > last.saturating_add(1) {
            return Err(corrupt!("GPT header", at, "the first usable sector {first} is behind the last, {last}"));
        }
        let entry_size = header.size_of_partition_entry.get();
        if !entry_size.is_power_of_two() || entry_size < MIN_ENTRY_SIZE {
            return Err(corrupt!("GPT header", at, "entries of {entry_size} bytes, want 128 times a power of two"));
        }
        let entry_count = header.number_of_partition_entries.get();
        if u64::from(entry_count) * u64::from(entry_size) > MAX_ARRAY_SIZE {
            return Err(corrupt!("GPT header", at, "{entry_count} entries of {entry_size} bytes, want at most 4 MiB"));
        }
        Ok(Self {
            sector_size,
            my_lba,
            alternate_lba: header.alternate_lba.get(),
            entry_lba: header.partition_entry_lba.get(),
            entry_count,
            entry_size,
            array_crc32: header.partition_entry_array_crc32.get(),
        })
    }

    fn array_size(&self) -> u64 {
        u64::from(self.entry_count) * u64::from(self.entry_size)
    }
}

/// The primary header or else its backup. If neither is good, says why the primary is not.
fn find_header(disk: &dyn Disk) -> Result<Header> {
    let sizes = sector_sizes(disk);
    let mut why = None;
    for sector_size in &sizes {
        match Header::read(disk, *sector_size, PRIMARY_LBA) {
            Ok(header) => return Ok(header),
            Err(error) => why = why.or(Some(error)),
        }
    }
    // The backup is in the last sector; on a disk that was enlarged since, in the last that the protective
    // partition covers.
    let covered = BootSector::read(disk)?.and_then(|sector| sector.protective()).map(u64::from);
    for sector_size in [512, 4096].into_iter().filter(|size| disk.sector_size().is_none() || sizes.contains(size)) {
        let last = (disk.size() / sector_size).checked_sub(1);
        for lba in [last, covered].into_iter().flatten().filter(|lba| *lba > PRIMARY_LBA) {
            if let Ok(header) = Header::read(disk, sector_size, lba) {
                return Ok(header);
            }
        }
    }
    Err(why.expect("there is at least one sector size, and none had a header"))
}

/// The array of entries that `header` describes: its own, or the other copy if that has the right checksum.
fn read_array(disk: &dyn Disk, header: &Header) -> Result<Vec<u8>> {
    let len = usize::try_from(header.array_size()).expect("at most MAX_ARRAY_SIZE");
    let sectors = header.array_size().div_ceil(header.sector_size);
    let is_primary = header.my_lba == PRIMARY_LBA;
    // Where the other copy is by its own header, and where it is if that is lost: after the primary header, before
    // the backup.
    let last = (disk.size() / header.sector_size).saturating_sub(1);
    let others = [header.alternate_lba, last].into_iter().filter(|_| is_primary);
    let other_headers = others.filter_map(|lba| match Header::read(disk, header.sector_size, lba) {
        Ok(other) if other.my_lba != header.my_lba => Some(other.entry_lba),
        _ => None,
    });
    let by_place = match is_primary {
        true => [header.alternate_lba.checked_sub(sectors), last.checked_sub(sectors)],
        false => [Some(PRIMARY_LBA + 1), None],
    };
    let mut why = None;
    let places = std::iter::once(header.entry_lba).chain(other_headers).chain(by_place.into_iter().flatten());
    for lba in places {
        let Some(at) = lba.checked_mul(header.sector_size) else { continue };
        let mut array = vec![0; len];
        let error = match disk.read_at(&mut array, at) {
            Ok(()) => match crc32fast::hash(&array) {
                crc if crc == header.array_crc32 => {
                    if let Some(error) = why {
                        log::warn!("{disk}: {error}; its other copy is read");
                    }
                    return Ok(array);
                }
                crc => corrupt!("GPT entries", at, "checksum {crc:#x}, want {:#x}", header.array_crc32),
            },
            Err(error) => error,
        };
        why = why.or(Some(error));
    }
    Err(why.unwrap_or_else(|| corrupt!("GPT entries", 0u64, "past the end of any disk")))
}

fn volumes(members: &[Arc<dyn Disk>], _: &Budget) -> Result<Vec<Volume>> {
    members.iter().enumerate().try_fold(Vec::new(), |mut volumes, (member, disk)| {
        let header = find_header(&**disk)?;
        if header.my_lba != PRIMARY_LBA {
            log::warn!("{disk}: the primary GPT header is damaged, its backup is read");
        }
        let array = read_array(&**disk, &header)?;
        for (bytes, number) in array.chunks_exact(header.entry_size as usize).zip(1..) {
            let entry = GptEntry::read_from_prefix(bytes).expect("an entry has at least 128 bytes").0;
            if entry.partition_type_guid != [0; 16] {
                volumes.push(volume(disk, member, number, &header, &entry));
            }
        }
        Ok(volumes)
    })
}

fn volume(disk: &Arc<dyn Disk>, member: usize, number: u32, header: &Header, entry: &GptEntry) -> Volume {
    let kind = Uuid::from_bytes_le(entry.partition_type_guid);
    let name: Vec<u16> = entry.partition_name.iter().map(|unit| unit.get()).take_while(|unit| *unit != 0).collect();
    let range = byte_range(header, number, entry);
    let size = range.as_ref().map_or(0, |(_, size)| *size);
    let start = range.as_ref().ok().map(|(start, _)| *start);
    let cut = range.and_then(|(start, size)| {
        View::new(format!("partition {number} of {disk}"), disk.clone(), start, size)
            .map(|view| Arc::new(view) as Arc<dyn Disk>)
    });
    Volume {
        name: Name::Number(number),
        members: vec![member],
        start,
        size,
        kind: kind::name(kind),
        kind_id: Some(kind.to_string()),
        label: (!name.is_empty()).then(|| String::from_utf16_lossy(&name)),
        uuid: Some(Uuid::from_bytes_le(entry.unique_partition_guid).to_string()),
        frame: false,
        disk: cut.map_err(Arc::new),
        mapped: None,
        shared_bytes: 0,
    }
}

/// Where a partition starts and how long it is, in bytes.
fn byte_range(header: &Header, number: u32, entry: &GptEntry) -> Result<(u64, u64)> {
    let (first, last) = (entry.starting_lba.get(), entry.ending_lba.get());
    let sectors = last.checked_sub(first).and_then(|len| len.checked_add(1));
    match (first.checked_mul(header.sector_size), sectors.and_then(|len| len.checked_mul(header.sector_size))) {
        (Some(start), Some(size)) if first > PRIMARY_LBA => Ok((start, size)),
        _ => {
            let at = header.entry_lba.saturating_mul(header.sector_size);
            let at = at.saturating_add(u64::from(number - 1) * u64::from(header.entry_size));
            Err(corrupt!("GPT entry", at, "partition {number} goes from sector {first} to {last}"))
        }
    }
}
