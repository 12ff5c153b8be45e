//! VHD, which QEMU calls vpc: fixed, dynamic and differencing.

mod footer;
mod layout;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;

use zerocopy::IntoBytes;

use footer::{Footer, Kind, checksum};
use layout::*;

use crate::block_map::{Map, Mapped, Mapping, Run};
use crate::cache::TABLE_PAGE;
use crate::disk::{Cached, View};
use crate::format::Request;
use crate::length::at_most;
use crate::parent::{Candidates, MAX_PATH_BYTES, utf16, utf16_le};
use crate::{Disk, Format, Result, corrupt, structure};

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format { endings: &["vhd", "avhd"], ..Format::new("vpc", probe, open) };

/// Whether there is a sound footer, or a copy's cookie at the start. QEMU looks at the start only, so that it takes
/// fixed disks for raw ones with 512 bytes too many.
fn probe(file: &dyn Disk) -> Result<bool> {
    let mut cookie = [0; 8];
    if file.size() < OLD_FOOTER_SIZE as u64 {
        return Ok(false);
    }
    file.read_at(&mut cookie, 0)?;
    if cookie == COOKIE {
        return Ok(true);
    }
    // One short read for the many files that are no VHD.
    let mut end = [0; size_of::<layout::Footer>()];
    let len = at_most(file.size(), end.len());
    let end = &mut end[..len];
    file.read_at(end, file.size() - len as u64)?;
    let found = end.starts_with(&COOKIE) || end[len - OLD_FOOTER_SIZE..].starts_with(&COOKIE);
    Ok(found && Footer::read(file).is_ok())
}

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    request.refuse_snapshot("VHD")?;
    let footer = Footer::read(&*file)?;
    if footer.is_copy {
        log::warn!("{file}: the footer at its end is damaged or cut off, the copy at its start is used");
    }
    if footer.is_unsummed {
        log::warn!(
            "{file}: the checksum of its footer is wrong, in both copies in the same way: its writer made it so"
        );
    }
    if footer.kind == Kind::Fixed {
        return Ok(Arc::new(View::new(file.to_string(), file, 0, footer.size)?));
    }
    let header: DynamicHeader = structure::read(&*file, "VHD dynamic disk header", footer.data_offset)?;
    let tables = request.budget.tables(file.clone(), TABLE_PAGE);
    let differencing = footer.kind == Kind::Differencing;
    let map = Table::new(tables, &header, &footer)?;
    let parent = if differencing { Some(open_parent(&*file, &header, request)?) } else { None };
    Ok(Arc::new(Mapped { parent, ..Mapped::new(file, footer.size, map) }))
}

/// The parent by the relative paths first, then by its file name beside the image; its identity must fit.
fn open_parent(file: &dyn Disk, header: &DynamicHeader, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let mut candidates = Candidates::default();
    let locators = |code| header.parent_locators.iter().filter(move |locator| locator.platform_code == code);
    for locator in locators(PLATFORM_WINDOWS_RELATIVE) {
        if let Some(path) = utf16_le(&path_bytes(file, locator)?) {
            candidates.push_relative(&path);
        }
    }
    for locator in locators(PLATFORM_MAC) {
        if let Some(path) = file_address(&path_bytes(file, locator)?) {
            candidates.push(path);
        }
    }
    for locator in locators(PLATFORM_WINDOWS_ABSOLUTE) {
        if let Some(path) = utf16_le(&path_bytes(file, locator)?) {
            candidates.push_absolute(&path);
        }
    }
    let name = utf16(header.parent_unicode_name.iter().map(|unit| unit.get()));
    if let Some(name) = &name {
        candidates.push_absolute(name);
    }
    let id = uuid::Uuid::from_bytes(header.parent_unique_id);
    let wanted = match name.filter(|name| !name.is_empty()) {
        Some(name) => format!("the VHD image {} with UUID {id}", name.escape_debug()),
        None => format!("the VHD image with UUID {id}"),
    };
    candidates.open(request, FORMAT.name, &wanted, |file| {
        let own = uuid::Uuid::from_bytes(Footer::read(&**file)?.unique_id);
        Ok((own != id).then(|| format!("its UUID is {own}")))
    })
}

/// The path that a locator leads to.
fn path_bytes(file: &dyn Disk, locator: &ParentLocator) -> Result<Vec<u8>> {
    let (len, at) = (locator.platform_data_length.get(), locator.platform_data_offset.get());
    if len > MAX_PATH_BYTES {
        return Err(corrupt!("VHD parent locator", at, "a path of {len} bytes, {MAX_PATH_BYTES} is the most"));
    }
    let mut bytes = vec![0; len as usize];
    structure::fill(file, "VHD parent locator", &mut bytes, at)?;
    Ok(bytes)
}

/// The path of a `file://` address, with its `%` escapes undone.
fn file_address(bytes: &[u8]) -> Option<PathBuf> {
    let text = std::str::from_utf8(bytes).ok()?.trim_end_matches('\0').strip_prefix("file://")?;
    // What stands before the first slash is a host: this one, if anything.
    let path = &text[text.find('/')?..];
    let mut decoded = Vec::new();
    let mut rest = path.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |digit: u8| char::from(digit).to_digit(16);
                decoded.push(u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?);
                rest = after;
            }
            _ => decoded.push(*byte),
        }
    }
    (!decoded.contains(&0)).then(|| String::from_utf8(decoded).ok().map(PathBuf::from)).flatten()
}

/// The block allocation table, and the bitmap in front of each block.
struct Table {
    tables: Cached,
    /// Inside the file, with an entry for each block of the disk.
    table: u64,
    /// A power of two, at least 512.
    block_size: u64,
    /// The length of a block's bitmap in bytes, a multiple of 512.
    bitmap_size: u64,
    /// Whether the bitmap counts. In a dynamic disk a sector that is not marked reads as zeros, which is what lies
    /// there, and which QEMU, that reads no bitmaps, relies on.
    differencing: bool,
}

impl Table {
    fn new(tables: Cached, header: &DynamicHeader, footer: &Footer) -> Result<Self> {
        let at = footer.data_offset;
        if header.cookie != DYNAMIC_COOKIE {
            return Err(corrupt!("VHD dynamic disk header", at, "no cookie, want {:?}", "cxsparse"));
        }
        let sum = checksum(header.as_bytes(), DYNAMIC_CHECKSUM);
        if sum != header.checksum.get() {
            return Err(corrupt!(
                "VHD dynamic disk header",
                at,
                "checksum {:#x}, want {sum:#x}",
                header.checksum.get()
            ));
        }
        let block_size = u64::from(header.block_size.get());
        if !block_size.is_power_of_two() || block_size < SECTOR {
            return Err(corrupt!(
                "VHD dynamic disk header",
                at,
                "blocks of {block_size} bytes, want a power of two from 512"
            ));
        }
        let (entries, blocks) = (u64::from(header.max_table_entries.get()), footer.size.div_ceil(block_size));
        if entries < blocks {
            return Err(corrupt!(
                "VHD dynamic disk header",
                at,
                "{entries} table entries, but the disk has {blocks} blocks"
            ));
        }
        let table = header.table_offset.get();
        structure::check_table(&tables, "VHD block allocation table", table, blocks, ENTRY_SIZE)?;
        let bitmap_size = (block_size / SECTOR).div_ceil(8).next_multiple_of(SECTOR);
        Ok(Self { tables, table, block_size, bitmap_size, differencing: footer.kind == Kind::Differencing })
    }

    /// Whether the sector at `inside` bytes of a block is marked in the bitmap at `bitmap`, and how many bytes from
    /// there have the same answer; the first sector of a byte is its highest bit.
    fn marked(&self, bitmap: u64, inside: u64) -> Result<(bool, u64)> {
        let first = inside / SECTOR;
        // Bitmaps are padded to sectors, so that eight bytes at a multiple of eight are always there.
        let at = bitmap + first / 64 * 8;
        let word = structure::read(&self.tables, "VHD sector bitmap", at).map(u64::from_be_bytes)?;
        let bits = word << (first % 64);
        let marked = bits >> 63 == 1;
        let same = if marked { bits.leading_ones() } else { bits.leading_zeros() };
        // Zeros that the shift brought in are no sectors.
        let sectors = u64::from(same).min(64 - first % 64);
        Ok((marked, sectors * SECTOR - inside % SECTOR))
    }
}

impl Map for Table {
    const FORMAT: &'static str = "VHD";
    const BLOCK: &'static str = "block";

    type Packed = Infallible;

    fn run_at(&self, offset: u64, _: u64) -> Result<Run> {
        let (block, inside) = (offset / self.block_size, offset % self.block_size);
        let left = self.block_size - inside;
        let at = self.table + block * ENTRY_SIZE;
        let entry = structure::read(&self.tables, "VHD block allocation table", at).map(u32::from_be_bytes)?;
        if entry == UNUSED {
            return Ok(Run { len: left, mapping: Mapping::Parent });
        }
        let bitmap = u64::from(entry) * SECTOR;
        let data = Mapping::Data(bitmap + self.bitmap_size + inside);
        if !self.differencing {
            return Ok(Run { len: left, mapping: data });
        }
        let (marked, len) = self.marked(bitmap, inside)?;
        Ok(Run { len: len.min(left), mapping: if marked { data } else { Mapping::Parent } })
    }

    fn unpack(&self, packed: Infallible, _: &mut [u8], _: u64) -> Result<()> {
        match packed {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_files() {
        let path = |text: &str| file_address(text.as_bytes()).map(|path| path.to_str().unwrap().to_owned());
        assert_eq!(path("file:///a%20b/c.vhd\0").unwrap(), "/a b/c.vhd");
        assert_eq!(path("file://localhost/c.vhd").unwrap(), "/c.vhd");
        assert_eq!(path("file:///%c3%a4%").unwrap(), "/ä%");
        for bad in ["http://x/y", "file://", "file:///a%00", "file:///%zz", "file:///%ff"] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}
