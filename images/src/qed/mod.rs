//! QED: QEMU's short-lived rival of qcow2, with two levels of tables and no refcounts.

mod layout;

use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use layout::*;

use crate::block_map::{Map, Mapped, Mapping, Run};
use crate::cache::TABLE_PAGE;
use crate::disk::Cached;
use crate::format::{RAW, Request};
use crate::{Disk, Format, Result, corrupt, structure, unsupported};

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format::new("qed", probe, open);

const WHAT: &str = "QED header";

fn probe(file: &dyn Disk) -> Result<bool> {
    let mut magic = [0; MAGIC.len()];
    if file.size() < magic.len() as u64 {
        return Ok(false);
    }
    file.read_at(&mut magic, 0)?;
    Ok(magic == MAGIC)
}

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    request.refuse_snapshot("QED")?;
    let raw: Header = structure::read(&*file, WHAT, 0)?;
    let map = Tables::new(request.budget.tables(file.clone(), TABLE_PAGE), &raw)?;
    let features = raw.features.get();
    if features & FEATURE_NEED_CHECK != 0 {
        // The bit guards writing: tables are written before what points to them, so that reading is safe.
        log::warn!("{file}: not closed properly; it is read as it is (qemu-img check tells more)");
    }
    let parent = if features & FEATURE_BACKING_FILE == 0 {
        None
    } else {
        let (at, len) = (raw.backing_filename_offset.get(), raw.backing_filename_size.get());
        if len == 0 || len > MAX_BACKING_NAME {
            return Err(corrupt!(WHAT, 60u64, "backing file name of {len} bytes, want 1 to {MAX_BACKING_NAME}"));
        }
        let mut name = vec![0; len as usize];
        structure::fill(&*file, "QED backing file name", &mut name, at.into())?;
        let format = (features & FEATURE_BACKING_FORMAT_NO_PROBE != 0).then_some(RAW);
        Some(request.opener.open(Path::new(OsStr::from_bytes(&name)), format)?)
    };
    Ok(Arc::new(Mapped { parent, ..Mapped::new(file, raw.image_size.get(), map) }))
}

/// Both levels of tables.
struct Tables {
    tables: Cached,
    /// Where the L1 table lies; long enough for the disk.
    l1: u64,
    /// A power of two from 4 KiB to 64 MiB.
    cluster_size: u64,
    /// Entries of a table: a power of two, at most 2^27.
    entries: u64,
}

impl Tables {
    fn new(tables: Cached, raw: &Header) -> Result<Self> {
        if raw.magic != MAGIC {
            return Err(corrupt!(WHAT, 0u64, "no magic, want QED"));
        }
        let known = FEATURE_BACKING_FILE | FEATURE_NEED_CHECK | FEATURE_BACKING_FORMAT_NO_PROBE;
        let unknown = raw.features.get() & !known;
        if unknown != 0 {
            return Err(unsupported!("the image uses QED features that are not supported: bits {unknown:#x}"));
        }
        let (cluster_size, table_size) = (u64::from(raw.cluster_size.get()), u64::from(raw.table_size.get()));
        if !cluster_size.is_power_of_two() || !(MIN_CLUSTER_SIZE..=MAX_CLUSTER_SIZE).contains(&cluster_size) {
            return Err(corrupt!(WHAT, 4u64, "clusters of {cluster_size} bytes, want a power of two up to 64 MiB"));
        }
        if !table_size.is_power_of_two() || table_size > MAX_TABLE_SIZE {
            return Err(corrupt!(WHAT, 8u64, "tables of {table_size} clusters, want a power of two up to 16"));
        }
        let entries = table_size * cluster_size / ENTRY_SIZE;
        let (l1, size) = (raw.l1_table_offset.get(), raw.image_size.get());
        // At most 2^27 * 2^27 * 2^26 bytes do not fit 64 bits.
        let most = (entries * cluster_size).saturating_mul(entries).min(i64::MAX as u64);
        if size > most || size % 512 != 0 {
            return Err(corrupt!(WHAT, 48u64, "a disk of {size} bytes, want whole sectors, at most {most} bytes"));
        }
        if l1 == 0 || l1 % cluster_size != 0 {
            return Err(corrupt!(WHAT, 40u64, "L1 table at byte {l1:#x}, want a multiple of the cluster size"));
        }
        structure::check_table(&tables, "QED L1 table", l1, entries, ENTRY_SIZE)?;
        Ok(Self { tables, l1, cluster_size, entries })
    }

    /// The entry `index` of the table at `table`: 0, 1 where `zero` allows it, or the offset of a cluster.
    fn entry(&self, what: &str, table: u64, index: u64, zero: bool) -> Result<u64> {
        let at = table.saturating_add(index * ENTRY_SIZE);
        match structure::read(&self.tables, what, at).map(u64::from_le_bytes)? {
            ZERO_CLUSTER if zero => Ok(ZERO_CLUSTER),
            entry if entry % self.cluster_size == 0 && entry <= i64::MAX as u64 => Ok(entry),
            entry => Err(corrupt!(what, at, "offset {entry:#x}, want a multiple of the cluster size")),
        }
    }
}

impl Map for Tables {
    const FORMAT: &'static str = "QED";
    const BLOCK: &'static str = "cluster";

    type Packed = Infallible;

    fn run_at(&self, offset: u64, _: u64) -> Result<Run> {
        let covered = self.entries * self.cluster_size;
        let (index, in_table) = (offset / covered, offset % covered);
        let l2 = self.entry("QED L1 table", self.l1, index, false)?;
        if l2 == 0 {
            return Ok(Run { len: covered - in_table, mapping: Mapping::Parent });
        }
        let (cluster, inside) = (in_table / self.cluster_size, in_table % self.cluster_size);
        let mapping = match self.entry("QED L2 table", l2, cluster, true)? {
            0 => Mapping::Parent,
            ZERO_CLUSTER => Mapping::Zero,
            start => Mapping::Data(start + inside),
        };
        Ok(Run { len: self.cluster_size - inside, mapping })
    }

    fn unpack(&self, packed: Infallible, _: &mut [u8], _: u64) -> Result<()> {
        match packed {}
    }
}
