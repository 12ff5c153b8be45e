//! The metadata region of a VHDX file: what the disk is like, and where its parent is.

use uuid::Uuid;
use zerocopy::FromBytes;
use zerocopy::little_endian::{U32, U64};

use super::header::Region;
use super::layout::*;
use crate::parent::utf16_le;
use crate::{Disk, Result, corrupt, structure, unsupported};

const WHAT: &str = "VHDX metadata table";

/// What the metadata say, checked.
#[derive(Debug)]
pub struct Metadata {
    /// The size of the guest's disk in bytes, at most 64 TiB.
    pub size: u64,
    /// A power of two from 1 MiB to 256 MiB.
    pub block_size: u64,
    /// 512 or 4096.
    pub sector_size: u32,
    /// The parent, if the disk is a differencing one.
    pub parent: Option<ParentLocator>,
}

/// The keys and values that say where the parent is.
#[derive(Debug)]
pub struct ParentLocator(Vec<(String, String)>);

impl ParentLocator {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).map(|(_, value)| value.as_str())
    }

    /// The value of a key that holds a GUID, in braces or not.
    pub fn guid(&self, key: &str) -> Option<Uuid> {
        Uuid::try_parse(self.get(key)?.trim()).ok()
    }
}

/// Where an item lies in the file.
#[derive(Clone, Copy)]
struct Item {
    at: u64,
    length: u32,
}

impl Metadata {
    /// Reads the region; items that are unknown and required are refused.
    pub fn read(file: &dyn Disk, region: Region) -> Result<Self> {
        let items = Items::read(file, region)?;
        let parameters: FileParameters = items.structure(file, items.parameters, "file parameters")?;
        let size: U64 = items.structure(file, items.size, "virtual disk size")?;
        let sector_size: U32 = items.structure(file, items.sector_size, "logical sector size")?;

        let (size, block_size, sector_size) = (size.get(), u64::from(parameters.block_size.get()), sector_size.get());
        if !matches!(sector_size, 512 | 4096) {
            return Err(corrupt!(WHAT, region.offset, "logical sectors of {sector_size} bytes, want 512 or 4096"));
        }
        if !block_size.is_power_of_two() || !(MIB..=MAX_BLOCK_SIZE).contains(&block_size) {
            return Err(corrupt!(
                WHAT,
                region.offset,
                "blocks of {block_size} bytes, want a power of two from 1 to 256 MiB"
            ));
        }
        if size > MAX_DISK_SIZE || size % u64::from(sector_size) != 0 {
            return Err(corrupt!(WHAT, region.offset, "a disk of {size} bytes, want whole sectors, at most 64 TiB"));
        }
        let parent = match parameters.flags.get() & HAS_PARENT {
            0 => None,
            _ => Some(read_locator(file, items.found(items.locator, "parent locator")?)?),
        };
        Ok(Self { size, block_size, sector_size, parent })
    }
}

/// The items that matter.
struct Items {
    region: Region,
    parameters: Option<Item>,
    size: Option<Item>,
    sector_size: Option<Item>,
    locator: Option<Item>,
}

impl Items {
    fn read(file: &dyn Disk, region: Region) -> Result<Self> {
        if region.length < MIN_ITEM_OFFSET {
            return Err(corrupt!(WHAT, region.offset, "a region of {} bytes, want 64 KiB and items", region.length));
        }
        let header: MetadataTableHeader = structure::read(file, WHAT, region.offset)?;
        if header.signature != METADATA_SIGNATURE {
            return Err(corrupt!(WHAT, region.offset, "no signature, want {:?}", "metadata"));
        }
        let count = u32::from(header.entry_count.get());
        if count > MAX_ENTRIES {
            return Err(corrupt!(WHAT, region.offset, "{count} entries, {MAX_ENTRIES} is the most"));
        }
        let mut table = vec![0; count as usize * size_of::<MetadataTableEntry>()];
        structure::fill(file, WHAT, &mut table, region.offset + size_of::<MetadataTableHeader>() as u64)?;
        let mut items = Self { region, parameters: None, size: None, sector_size: None, locator: None };
        for entry in table.chunks_exact(size_of::<MetadataTableEntry>()) {
            let entry = MetadataTableEntry::read_from_bytes(entry).expect("the chunk has the structure's size");
            let id = Uuid::from_bytes_le(entry.item_id);
            let slot = match id {
                ITEM_FILE_PARAMETERS => &mut items.parameters,
                ITEM_VIRTUAL_DISK_SIZE => &mut items.size,
                ITEM_LOGICAL_SECTOR_SIZE => &mut items.sector_size,
                ITEM_PARENT_LOCATOR => &mut items.locator,
                ITEM_PHYSICAL_SECTOR_SIZE | ITEM_VIRTUAL_DISK_ID => continue,
                _ if entry.flags.get() & METADATA_REQUIRED != 0 => {
                    return Err(unsupported!("the VHDX file needs the unknown metadata item {id}: not supported"));
                }
                _ => continue,
            };
            let (offset, length) = (entry.offset.get(), entry.length.get());
            let inside = offset.checked_add(length).is_some_and(|end| end <= region.length);
            if !inside || offset < MIN_ITEM_OFFSET || length > MAX_ITEM_LENGTH {
                return Err(corrupt!(WHAT, region.offset, "item {id} has {length} bytes at {offset:#x} of the region"));
            }
            if slot.replace(Item { at: region.offset + u64::from(offset), length }).is_some() {
                return Err(corrupt!(WHAT, region.offset, "item {id} is there twice"));
            }
        }
        Ok(items)
    }

    fn found(&self, item: Option<Item>, name: &str) -> Result<Item> {
        item.ok_or_else(|| corrupt!(WHAT, self.region.offset, "no item for the {name}"))
    }

    /// The item as a structure, which it must be long enough for.
    fn structure<T: FromBytes + zerocopy::IntoBytes>(
        &self,
        file: &dyn Disk,
        item: Option<Item>,
        name: &str,
    ) -> Result<T> {
        let item = self.found(item, name)?;
        if (item.length as usize) < size_of::<T>() {
            return Err(corrupt!("VHDX metadata item", item.at, "{} bytes for the {name}", item.length));
        }
        structure::read(file, "VHDX metadata item", item.at)
    }
}

fn read_locator(file: &dyn Disk, item: Item) -> Result<ParentLocator> {
    const WHAT: &str = "VHDX parent locator";
    let mut bytes = vec![0; item.length as usize];
    structure::fill(file, WHAT, &mut bytes, item.at)?;
    let short = || corrupt!(WHAT, item.at, "{} bytes, which do not hold what it says", item.length);
    let (header, rest) = ParentLocatorHeader::read_from_prefix(&bytes).map_err(|_| short())?;
    let kind = Uuid::from_bytes_le(header.locator_type);
    if kind != LOCATOR_VHDX {
        return Err(unsupported!("the parent of the VHDX file is of the unknown type {kind}: not supported"));
    }
    let count = usize::from(header.key_value_count.get());
    // Each entry has bytes of its own, so that their number is bounded by the item's length.
    let entries = rest.get(..count * size_of::<ParentLocatorEntry>()).ok_or_else(short)?;
    let mut pairs = Vec::with_capacity(count.min(16));
    for entry in entries.chunks_exact(size_of::<ParentLocatorEntry>()) {
        let entry = ParentLocatorEntry::read_from_bytes(entry).expect("the chunk has the structure's size");
        let text = |offset: U32, length: u16| {
            let start = offset.get() as usize;
            let bytes = bytes.get(start..start + usize::from(length)).ok_or_else(short)?;
            utf16_le(bytes).ok_or_else(|| corrupt!(WHAT, item.at, "a key or value that is no UTF-16"))
        };
        // An unknown key is as good as none. Texts may share their bytes, so that only those that count are read.
        if usize::from(entry.key_length.get()) > MAX_KEY_LENGTH {
            continue;
        }
        let key = text(entry.key_offset, entry.key_length.get())?;
        if KEYS.iter().any(|known| known.eq_ignore_ascii_case(&key)) && pairs.len() < KEYS.len() {
            pairs.push((key, text(entry.value_offset, entry.value_length.get())?));
        }
    }
    Ok(ParentLocator(pairs))
}

/// The length of the longest of [`KEYS`] in bytes of UTF-16.
const MAX_KEY_LENGTH: usize = 2 * "absolute_win32_path".len();
/// The keys that the specification defines.
const KEYS: [&str; 5] = ["parent_linkage", "parent_linkage2", "relative_path", "volume_path", "absolute_win32_path"];
