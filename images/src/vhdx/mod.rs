//! VHDX: fixed, dynamic and differencing, with its log replayed in memory.

mod header;
mod layout;
mod log;
mod metadata;

use std::convert::Infallible;
use std::sync::Arc;

use header::{Header, Region, Regions};
use layout::*;
use metadata::{Metadata, ParentLocator};

use crate::block_map::{Map, Mapped, Mapping, Run};
use crate::cache::TABLE_PAGE;
use crate::disk::Cached;
use crate::format::Request;
use crate::parent::Candidates;
use crate::{Budget, Disk, Format, Result, corrupt, structure, unsupported};

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format { endings: &["avhdx"], ..Format::new("vhdx", probe, open) };

fn probe(file: &dyn Disk) -> Result<bool> {
    let mut signature = [0; FILE_SIGNATURE.len()];
    if file.size() < signature.len() as u64 {
        return Ok(false);
    }
    file.read_at(&mut signature, 0)?;
    Ok(signature == FILE_SIGNATURE)
}

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    request.refuse_snapshot("VHDX")?;
    if !probe(&*file)? {
        return Err(corrupt!("VHDX file identifier", 0u64, "no signature, want {:?}", "vhdxfile"));
    }
    let header = Header::read(&*file)?;
    let file = log::replay(file, &header, request.budget)?;
    let regions = Regions::read(&*file)?;
    let metadata = Metadata::read(&*file, regions.metadata)?;
    let map = Bat::new(&file, regions.bat, &metadata, request.budget)?;
    let Metadata { size, sector_size, parent, .. } = metadata;
    let parent = parent.map(|locator| open_parent(&locator, request)).transpose()?;
    Ok(Arc::new(Mapped { parent, sector_size: Some(sector_size), ..Mapped::new(file, size, map) }))
}

/// The parent by its relative path first, then by its file name beside the image; its data must be what they were
/// when the image was made.
fn open_parent(locator: &ParentLocator, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let mut candidates = Candidates::default();
    if let Some(path) = locator.get("relative_path") {
        candidates.push_relative(path);
    }
    for key in ["volume_path", "absolute_win32_path"] {
        if let Some(path) = locator.get(key) {
            candidates.push_absolute(path);
        }
    }
    let guids = ["parent_linkage", "parent_linkage2"].map(|key| locator.guid(key));
    let Some(first) = guids.into_iter().flatten().next() else {
        return Err(unsupported!("the VHDX file has a parent, but does not say which: no parent_linkage"));
    };
    candidates.open(request, FORMAT.name, &format!("the VHDX image with data write GUID {first}"), |file| {
        let own = Header::read(&**file)?.data_write_guid;
        Ok((!guids.contains(&Some(own))).then(|| format!("its data write GUID is {own}")))
    })
}

/// The block allocation table: an entry for each payload block, and after those of a chunk one for its sector bitmap.
struct Bat {
    tables: Cached,
    /// Where the table starts in the file; all entries that are needed lie inside the region.
    offset: u64,
    /// A power of two from 1 MiB.
    block_size: u64,
    /// 512 or 4096.
    sector_size: u64,
    /// The number of payload blocks in a chunk, a power of two.
    chunk_ratio: u64,
    differencing: bool,
}

impl Bat {
    fn new(file: &Arc<dyn Disk>, region: Region, metadata: &Metadata, budget: &Budget) -> Result<Self> {
        let Metadata { size, block_size, sector_size, ref parent } = *metadata;
        let (sector_size, differencing) = (u64::from(sector_size), parent.is_some());
        let bat = Self {
            tables: budget.tables(file.clone(), TABLE_PAGE),
            offset: region.offset,
            block_size,
            sector_size,
            chunk_ratio: SECTORS_PER_BITMAP * sector_size / block_size,
            differencing,
        };
        let blocks = size.div_ceil(block_size);
        let chunks = blocks.div_ceil(bat.chunk_ratio);
        let entries = match blocks.checked_sub(1) {
            None => 0,
            Some(_) if differencing => chunks * (bat.chunk_ratio + 1),
            Some(last) => bat.payload_index(last) + 1,
        };
        if entries * BAT_ENTRY_SIZE > u64::from(region.length) {
            let length = region.length;
            return Err(corrupt!("VHDX BAT", region.offset, "{length} bytes long, but needs {entries} entries"));
        }
        Ok(bat)
    }

    fn payload_index(&self, block: u64) -> u64 {
        block + block / self.chunk_ratio
    }

    /// The state and the offset in the file of the entry with this index, and where the entry lies.
    fn entry(&self, index: u64) -> Result<(u64, u64, u64)> {
        let at = self.offset + index * BAT_ENTRY_SIZE;
        let entry = structure::read(&self.tables, "VHDX BAT", at).map(u64::from_le_bytes)?;
        Ok((entry & BAT_STATE, entry & BAT_OFFSET, at))
    }

    /// Whether the sector at `offset` of the disk is in this file, and how many bytes from there have the same answer;
    /// the first sector of a byte is its lowest bit.
    fn marked(&self, offset: u64) -> Result<(bool, u64)> {
        let chunk = offset / (SECTORS_PER_BITMAP * self.sector_size);
        let (state, bitmap, at) = self.entry(chunk * (self.chunk_ratio + 1) + self.chunk_ratio)?;
        if state != SB_BLOCK_PRESENT {
            return Err(corrupt!("VHDX BAT", at, "no sector bitmap for a block that is partially present"));
        }
        let sector = offset / self.sector_size;
        let word_at = bitmap.saturating_add(sector % SECTORS_PER_BITMAP / 64 * 8);
        let word = structure::read(&self.tables, "VHDX sector bitmap", word_at).map(u64::from_le_bytes)?;
        let bits = word >> (sector % 64);
        let marked = bits & 1 == 1;
        let same = if marked { bits.trailing_ones() } else { bits.trailing_zeros() };
        // Zeros that the shift brought in are no sectors.
        let sectors = u64::from(same).min(64 - sector % 64);
        Ok((marked, sectors * self.sector_size - offset % self.sector_size))
    }
}

impl Map for Bat {
    const FORMAT: &'static str = "VHDX";
    const BLOCK: &'static str = "block";

    type Packed = Infallible;

    fn run_at(&self, offset: u64, _: u64) -> Result<Run> {
        let (block, inside) = (offset / self.block_size, offset % self.block_size);
        let left = self.block_size - inside;
        let (state, start, at) = self.entry(self.payload_index(block))?;
        let data = || match start.checked_add(inside) {
            Some(host) if start >= MIB => Ok(Mapping::Data(host)),
            _ => Err(corrupt!("VHDX BAT", at, "block at byte {start:#x}, which is no place for one")),
        };
        let (mapping, len) = match state {
            PAYLOAD_BLOCK_NOT_PRESENT => (Mapping::Parent, left),
            PAYLOAD_BLOCK_UNDEFINED | PAYLOAD_BLOCK_ZERO | PAYLOAD_BLOCK_UNMAPPED | PAYLOAD_BLOCK_UNMAPPED_0_95 => {
                (Mapping::Zero, left)
            }
            PAYLOAD_BLOCK_FULLY_PRESENT => (data()?, left),
            PAYLOAD_BLOCK_PARTIALLY_PRESENT if self.differencing => match self.marked(offset)? {
                (true, len) => (data()?, len.min(left)),
                (false, len) => (Mapping::Parent, len.min(left)),
            },
            PAYLOAD_BLOCK_PARTIALLY_PRESENT => {
                return Err(corrupt!("VHDX BAT", at, "a block that is partially present, but no parent"));
            }
            other => return Err(corrupt!("VHDX BAT", at, "a block in the reserved state {other}")),
        };
        Ok(Run { len, mapping })
    }

    fn unpack(&self, packed: Infallible, _: &mut [u8], _: u64) -> Result<()> {
        match packed {}
    }
}
