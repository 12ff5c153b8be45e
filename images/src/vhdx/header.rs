//! The header section of a VHDX file: which of the two headers counts, and the regions.

use uuid::Uuid;
use zerocopy::FromBytes;

use super::layout::{self, *};
use crate::{Disk, Result, ResultExt, corrupt, structure, unsupported};

/// What the current header says, checked.
#[derive(Debug)]
pub struct Header {
    /// Changes whenever the guest's bytes do; children name it.
    pub data_write_guid: Uuid,
    /// The log's identity; nil if there is nothing to replay.
    pub log_guid: Uuid,
    /// Where the log lies, in bytes.
    pub log_offset: u64,
    /// The log's length in bytes.
    pub log_length: u32,
}

/// A part of the file.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// In bytes; a multiple of 1 MiB.
    pub offset: u64,
    /// In bytes; the region lies inside the file.
    pub length: u32,
}

/// The two regions that every file has.
#[derive(Debug)]
pub struct Regions {
    /// The block allocation table.
    pub bat: Region,
    /// The metadata.
    pub metadata: Region,
}

impl Header {
    /// The header of the two that is sound and has the higher sequence number.
    pub fn read(file: &dyn Disk) -> Result<Self> {
        let [first, second] = HEADER_OFFSETS.map(|at| read_header(file, at));
        let raw = match (first, second) {
            (Ok(first), Ok(second)) => {
                if first.sequence_number.get() >= second.sequence_number.get() {
                    first
                } else {
                    second
                }
            }
            (Ok(header), Err(_)) | (Err(_), Ok(header)) => header,
            (Err(error), Err(_)) => return Err(error),
        };
        if raw.version.get() != 1 {
            return Err(unsupported!("VHDX version {} is not supported, only 1", raw.version));
        }
        let log_guid = Uuid::from_bytes_le(raw.log_guid);
        if !log_guid.is_nil() && raw.log_version.get() != 0 {
            return Err(unsupported!("VHDX log version {} is not supported, only 0", raw.log_version));
        }
        Ok(Self {
            data_write_guid: Uuid::from_bytes_le(raw.data_write_guid),
            log_guid,
            log_offset: raw.log_offset.get(),
            log_length: raw.log_length.get(),
        })
    }
}

fn read_header(file: &dyn Disk, at: u64) -> Result<layout::Header> {
    let mut bytes = [0; HEADER_SIZE];
    structure::fill(file, "VHDX header", &mut bytes, at)?;
    if bytes[..4] != HEADER_SIGNATURE {
        return Err(corrupt!("VHDX header", at, "no signature, want {:?}", "head"));
    }
    check_sum(&bytes, "VHDX header", at)?;
    let (header, _) = layout::Header::read_from_prefix(&bytes).expect("the buffer is longer than the structure");
    Ok(header)
}

/// Fails unless the CRC-32C of `bytes`, its own four bytes being zero, is the one that they hold.
pub fn check_sum(bytes: &[u8], what: &str, at: u64) -> Result<()> {
    let (before, rest) = bytes.split_at(CHECKSUM_OFFSET);
    let (sum, after) = rest.split_at(4);
    let sum = u32::from_le_bytes(sum.try_into().expect("four bytes"));
    let want = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(before), &[0; 4]), after);
    if sum == want { Ok(()) } else { Err(corrupt!(what, at, "checksum {sum:#x}, want {want:#x}")) }
}

impl Regions {
    /// The regions by the first of the two tables that is sound; `file` is the file after its log was replayed.
    pub fn read(file: &dyn Disk) -> Result<Self> {
        let [first, second] = REGION_TABLE_OFFSETS;
        read_regions(file, first).or_else(|error| match read_regions(file, second) {
            Err(other) if matches!(other.root(), crate::Error::Unsupported(_)) => Err(other),
            other => other.map_err(|_| error),
        })
    }
}

fn read_regions(file: &dyn Disk, at: u64) -> Result<Regions> {
    const WHAT: &str = "VHDX region table";
    let mut bytes = vec![0; REGION_TABLE_SIZE];
    structure::fill(file, WHAT, &mut bytes, at)?;
    let (header, rest) = RegionTableHeader::read_from_prefix(&bytes).expect("the buffer is longer than the structure");
    if header.signature != REGION_SIGNATURE {
        return Err(corrupt!(WHAT, at, "no signature, want {:?}", "regi"));
    }
    check_sum(&bytes, WHAT, at)?;
    let count = header.entry_count.get();
    if count > MAX_ENTRIES {
        return Err(corrupt!(WHAT, at, "{count} entries, {MAX_ENTRIES} is the most"));
    }
    let (mut bat, mut metadata) = (None, None);
    for entry in rest.chunks_exact(size_of::<RegionTableEntry>()).take(count as usize) {
        let entry = RegionTableEntry::read_from_bytes(entry).expect("the chunk has the structure's size");
        let guid = Uuid::from_bytes_le(entry.guid);
        let slot = match guid {
            REGION_BAT => &mut bat,
            REGION_METADATA => &mut metadata,
            _ if entry.required.get() & 1 != 0 => {
                return Err(unsupported!("the VHDX file needs the unknown region {guid}, which is not supported"));
            }
            _ => continue,
        };
        let region = Region { offset: entry.file_offset.get(), length: entry.length.get() };
        if region.offset < MIB || !region.offset.is_multiple_of(MIB) {
            return Err(corrupt!(WHAT, at, "region {guid} at byte {:#x}, want a multiple of 1 MiB", region.offset));
        }
        structure::check_table(file, "VHDX region", region.offset, region.length.into(), 1).within(WHAT)?;
        if slot.replace(region).is_some() {
            return Err(corrupt!(WHAT, at, "region {guid} is there twice"));
        }
    }
    match (bat, metadata) {
        (Some(bat), Some(metadata)) => Ok(Regions { bat, metadata }),
        (None, _) => Err(corrupt!(WHAT, at, "no region for the block allocation table")),
        (_, None) => Err(corrupt!(WHAT, at, "no region for metadata")),
    }
}
