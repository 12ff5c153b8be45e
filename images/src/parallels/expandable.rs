//! An expandable image: clusters that lie anywhere in its file.

use std::convert::Infallible;
use std::sync::Arc;

use super::layout::*;

use crate::block_map::{Map, Mapped, Mapping, Run};
use crate::cache::TABLE_PAGE;
use crate::disk::Cached;
use crate::{Budget, Disk, Result, corrupt, structure, unsupported};

/// Whether `file` starts like one.
pub fn probe(file: &dyn Disk) -> Result<bool> {
    let mut magic = [0; MAGIC.len()];
    if file.size() < magic.len() as u64 {
        return Ok(false);
    }
    file.read_at(&mut magic, 0)?;
    Ok(magic == MAGIC || magic == MAGIC_EXTENDED)
}

/// The disk in `file`; what it does not have, `parent` has.
pub fn open(file: Arc<dyn Disk>, parent: Option<Arc<dyn Disk>>, budget: &Budget) -> Result<Arc<dyn Disk>> {
    const WHAT: &str = "Parallels header";
    let raw: Header = structure::read(&*file, WHAT, 0)?;
    let (extended, sectors) = match raw.magic {
        // The upper half of the number is not written by those who made the older kind.
        MAGIC => (false, raw.nb_sectors.get() & u64::from(u32::MAX)),
        MAGIC_EXTENDED => (true, raw.nb_sectors.get()),
        _ => return Err(corrupt!(WHAT, 0u64, "no magic, want WithoutFreeSpace or WithouFreSpacExt")),
    };
    if raw.version.get() != VERSION {
        return Err(unsupported!("Parallels version {} is not supported, only {VERSION}", raw.version));
    }
    let cluster_size = u64::from(raw.tracks.get()) * SECTOR;
    if cluster_size == 0 {
        return Err(corrupt!(WHAT, 28u64, "clusters of 0 sectors"));
    }
    let entries = u64::from(raw.nb_bat_entries.get());
    let size = match sectors.checked_mul(SECTOR) {
        Some(size) if size <= i64::MAX as u64 && size.div_ceil(cluster_size) <= entries => size,
        _ => return Err(corrupt!(WHAT, 36u64, "a disk of {sectors} sectors, but {entries} clusters")),
    };
    let tables = budget.tables(file.clone(), TABLE_PAGE);
    let table = size_of::<Header>() as u64;
    structure::check_table(
        &tables,
        "Parallels block allocation table",
        table,
        size.div_ceil(cluster_size),
        ENTRY_SIZE,
    )?;
    if raw.inuse.get() == IN_USE {
        log::warn!("{file}: not closed properly, or in use; it is read as it is");
    }
    let map = Table { tables, table, cluster_size, unit: if extended { cluster_size } else { SECTOR } };
    Ok(Arc::new(Mapped { parent, ..Mapped::new(file, size, map) }))
}

/// The block allocation table.
struct Table {
    tables: Cached,
    table: u64,
    /// Not zero; less than 2^41.
    cluster_size: u64,
    /// What the entries count, in bytes.
    unit: u64,
}

impl Map for Table {
    const FORMAT: &'static str = "Parallels";
    const BLOCK: &'static str = "cluster";

    type Packed = Infallible;

    fn run_at(&self, offset: u64, _: u64) -> Result<Run> {
        let (cluster, inside) = (offset / self.cluster_size, offset % self.cluster_size);
        const WHAT: &str = "Parallels block allocation table";
        let at = self.table + cluster * ENTRY_SIZE;
        let mapping = match structure::read(&self.tables, WHAT, at).map(u32::from_le_bytes)? {
            0 => Mapping::Parent,
            entry => match u64::from(entry).checked_mul(self.unit) {
                Some(start) if start <= i64::MAX as u64 => Mapping::Data(start + inside),
                _ => return Err(corrupt!(WHAT, at, "cluster {entry} lies past the end of every file")),
            },
        };
        Ok(Run { len: self.cluster_size - inside, mapping })
    }

    fn unpack(&self, packed: Infallible, _: &mut [u8], _: u64) -> Result<()> {
        match packed {}
    }
}
