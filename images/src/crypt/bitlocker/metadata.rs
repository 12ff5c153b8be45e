//! The metadata of a volume: three copies, of which the first that is whole is taken.

use zerocopy::{FromBytes, IntoBytes};

use super::entries::{Entry, entries};
use super::layout::*;
use crate::{Disk, Result, ResultExt, corrupt, unsupported};

/// The sizes of sectors that a volume may have, in bytes.
const SECTOR_SIZES: std::ops::RangeInclusive<u16> = 512..=4096;

/// What kind of volume header a disk starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Windows Vista's.
    Vista,
    /// That of Windows 7 and later, also on removable disks.
    Fixed,
    /// That of FAT volumes on removable disks.
    ToGo,
}

/// The kind of volume header at the start of `disk`, if it is BitLocker's.
pub(super) fn kind(disk: &dyn Disk) -> Result<Option<Kind>> {
    let mut sector = [0; 512];
    if disk.size() < sector.len() as u64 {
        return Ok(None);
    }
    disk.read_at(&mut sector, 0)?;
    let (header, _) = VolumeHeader::ref_from_prefix(&sector[..]).expect("a sector is longer");
    Ok(match (header.signature, header.boot_entry_point) {
        (SIGNATURE, VISTA_ENTRY) => Some(Kind::Vista),
        (SIGNATURE, _) => Some(Kind::Fixed),
        // The name alone is what FAT volumes carry too.
        (TO_GO, _) => (sector[INFORMATION_AT_TO_GO..][..IDENTIFIER.len()] == IDENTIFIER).then_some(Kind::ToGo),
        _ => None,
    })
}

/// The metadata, within the bounds that the rest of this container relies on.
pub(super) struct Metadata {
    /// The size of a sector in bytes: a power of two from 512 to 4096.
    pub(super) sector_size: u64,
    /// How much of the volume is encrypted, in bytes: whole sectors, and not more than the disk has.
    pub(super) size: u64,
    /// Where the copies of the metadata lie, in bytes; whole sectors.
    pub(super) blocks: [u64; BLOCKS],
    /// Where the encrypted start of the volume lies and how long it is, in bytes; whole sectors.
    pub(super) volume_header: (u64, u64),
    /// How the volume is encrypted.
    pub(super) method: u16,
    /// The entries, as bytes, and where they lie.
    bytes: Vec<u8>,
    at: u64,
}

impl Metadata {
    /// Reads and checks the metadata of the volume on `disk`.
    pub(super) fn read(disk: &dyn Disk) -> Result<Self> {
        let at = match kind(disk)? {
            Some(Kind::Fixed) => INFORMATION_AT,
            Some(Kind::ToGo) => INFORMATION_AT_TO_GO as u64,
            Some(Kind::Vista) => {
                return Err(unsupported!(
                    "BitLocker of Windows Vista (version 1) is not read, only that of Windows 7 and later"
                ));
            }
            None => return Err(corrupt!("BitLocker volume header", 0u32, "its signature is missing")),
        };
        let header: VolumeHeader = structure(disk, 0)?;
        let information: Information = structure(disk, at)?;
        match information.identifier {
            IDENTIFIER => {}
            IDENTIFIER_ENCRYPT_ON_WRITE => {
                return Err(unsupported!(
                    "a BitLocker volume of which only what was written lately is encrypted (encrypt-on-write) is not \
                     read"
                ));
            }
            other => return Err(unsupported!("a BitLocker volume of an unknown kind: identifier {other:02x?}")),
        }
        let sector_size = header.bytes_per_sector.get();
        if !SECTOR_SIZES.contains(&sector_size) || !sector_size.is_power_of_two() {
            return Err(corrupt!("BitLocker volume header", 11u32, "sectors of {sector_size} bytes, want 512 to 4096"));
        }
        let mut failed = None;
        for offset in information.block_offsets {
            match Self::read_block(disk, sector_size.into(), offset.get()) {
                Ok(metadata) => return Ok(metadata),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.expect("there are three copies"))
    }

    fn read_block(disk: &dyn Disk, sector_size: u64, at: u64) -> Result<Self> {
        const WHAT: &str = "BitLocker metadata block";
        if at.checked_add(BLOCK_LEN).is_none_or(|end| end > disk.size()) {
            return Err(corrupt!(WHAT, at, "lies past the end of {disk} at byte {:#x}", disk.size()));
        }
        let block: BlockHeader = structure(disk, at)?;
        if block.signature != SIGNATURE {
            return Err(corrupt!(WHAT, at, "its signature is missing"));
        }
        if block.version.get() != 2 {
            return Err(unsupported!("BitLocker metadata of version {}, only 2 is read", block.version));
        }
        let size = usize::from(block.size.get()) * SIZE_UNIT;
        let start = size_of::<BlockHeader>() + size_of::<MetadataHeader>();
        if size < start || (size + size_of::<Validation>()) as u64 > BLOCK_LEN {
            return Err(corrupt!(WHAT, at, "{size} bytes long, want at least {start} and less than {BLOCK_LEN}"));
        }
        let mut bytes = vec![0; size];
        disk.read_at(&mut bytes, at)?;
        let validation: Validation = structure(disk, at + size as u64)?;
        let crc = crc32fast::hash(&bytes);
        if crc != validation.crc.get() {
            return Err(corrupt!(WHAT, at, "its checksum is {crc:#x}, and {:#x} is recorded", validation.crc));
        }
        let (header, _) = MetadataHeader::read_from_prefix(&bytes[size_of::<BlockHeader>()..]).expect("it is longer");
        let end = size_of::<BlockHeader>().saturating_add(header.size.get() as usize);
        if header.version.get() != 1 || end < start || end > size {
            let (version, len) = (header.version, header.size);
            return Err(corrupt!(WHAT, at, "metadata of version {version}, {len} bytes long, in a block of {size}"));
        }
        bytes.truncate(end);
        bytes.drain(..start);
        let at = at + start as u64;
        let mut metadata = Self {
            sector_size,
            size: block.encrypted_volume_size.get(),
            blocks: block.block_offsets.map(Into::into),
            volume_header: (block.volume_header_offset.get(), 0),
            method: header.encryption_method.get(),
            bytes,
            at,
        };
        let sectors = u64::from(block.volume_header_sectors.get());
        metadata.volume_header.1 = sectors * sector_size;
        metadata.check(disk, &block)?;
        Ok(metadata)
    }

    /// Checks what the segments of the volume are made from.
    fn check(&mut self, disk: &dyn Disk, block: &BlockHeader) -> Result<()> {
        let (current, next) = (block.current_state.get(), block.next_state.get());
        if (current, next) != (STATE_ENCRYPTED, STATE_ENCRYPTED) {
            return Err(unsupported!(
                "a BitLocker volume that is not encrypted as a whole (state {current}, then {next}) is not read; let \
                 Windows finish its work on it"
            ));
        }
        // Windows 8 and later say it once more, in an entry, and there in bytes.
        let entries = self.entries()?;
        if let Some(entry) = entries.iter().find(|entry| entry.is(ENTRY_VOLUME_HEADER, VALUE_OFFSET_SIZE)) {
            let (place, _) = entry.structure::<OffsetSize>()?;
            self.volume_header = (place.offset.get(), place.size.get());
        }
        self.size -= self.size % self.sector_size;
        if self.size > disk.size() {
            let (size, there) = (self.size, disk.size());
            return Err(corrupt!("BitLocker volume", 0u32, "{size} bytes, but {disk} has {there}: truncated?"));
        }
        let (at, len) = self.volume_header;
        let headers = self.blocks.iter().map(|&block| (block, BLOCK_LEN)).chain([(at, len)]);
        for (at, len) in headers {
            let inside = at.checked_add(len).is_some_and(|end| end <= self.size);
            if !inside || len == 0 || at % self.sector_size != 0 || len % self.sector_size != 0 {
                let size = self.size;
                return Err(corrupt!("BitLocker metadata", at, "an area of {len} bytes on a volume of {size}"));
            }
            if at < self.volume_header.1 {
                return Err(corrupt!("BitLocker metadata", at, "an area that overlaps the start of the volume"));
            }
        }
        Ok(())
    }

    /// The entries.
    pub(super) fn entries(&self) -> Result<Vec<Entry<'_>>> {
        entries(&self.bytes, self.at)
    }
}

fn structure<T: FromBytes + IntoBytes>(disk: &dyn Disk, at: u64) -> Result<T> {
    let mut value = T::new_zeroed();
    disk.read_at(value.as_mut_bytes(), at).within("BitLocker metadata")?;
    Ok(value)
}
