//! qcow, version 1: what qcow2 grew from; two levels of tables, compressed clusters, a backing file.

mod layout;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use layout::*;

use crate::block_map::{self, Encryption, Map, Mapped, Mapping};
use crate::cache::TABLE_PAGE;
use crate::crypt::{ImageKey, ImageLock};
use crate::description::{Description, Named};
use crate::disk::Cached;
use crate::format::Request;
use crate::qcow2::{Compressed, Compression, Descriptor};
use crate::{Budget, Disk, Format, Result, corrupt, structure, unsupported};

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format {
    endings: &["cow"],
    describe: Some(|file, request| describe(file, request.budget)),
    ..Format::new("qcow", probe, open)
};

const WHAT: &str = "qcow header";

fn probe(file: &dyn Disk) -> Result<bool> {
    let mut start = [0; 8];
    if file.size() < start.len() as u64 {
        return Ok(false);
    }
    file.read_at(&mut start, 0)?;
    Ok(start == [MAGIC.to_be_bytes(), VERSION.to_be_bytes()].concat()[..])
}

/// What the header says; neither a key nor another file is needed for that.
fn describe(file: &Arc<dyn Disk>, budget: &Budget) -> Result<Description> {
    let raw: Header = structure::read(&**file, WHAT, 0)?;
    Tables::new(file, &raw, budget)?;
    let backing = backing_name(&**file, &raw)?;
    Ok(Description {
        virtual_size: Some(raw.size.get()),
        cluster_size: Some(1 << raw.cluster_bits),
        encryption: match raw.crypt_method.get() {
            CRYPT_NONE => None,
            CRYPT_AES => Some("aes".to_owned()),
            method => Some(format!("method {method}")),
        },
        backing: backing.map(|name| Named { name, format: None }),
        ..Description::default()
    })
}

/// The name of the backing file, if there is one.
fn backing_name(file: &dyn Disk, raw: &Header) -> Result<Option<Vec<u8>>> {
    let (at, len) = (raw.backing_file_offset.get(), raw.backing_file_size.get());
    if at == 0 || len == 0 {
        return Ok(None);
    }
    if len > MAX_BACKING_NAME {
        return Err(corrupt!(WHAT, 16u64, "backing file name of {len} bytes, {MAX_BACKING_NAME} is the most"));
    }
    let mut name = vec![0; len as usize];
    structure::fill(file, "qcow backing file name", &mut name, at)?;
    Ok(Some(name))
}

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    request.refuse_snapshot("qcow")?;
    let raw: Header = structure::read(&*file, WHAT, 0)?;
    let map = Tables::new(&file, &raw, request.budget)?;
    let encryption = match raw.crypt_method.get() {
        CRYPT_NONE => None,
        CRYPT_AES => {
            let mut attempt = |secret: &[u8]| ImageKey::legacy_aes(secret).map(Some);
            let key = request.opener.unlock(&ImageLock::legacy_aes(), &mut attempt)?;
            Some(Encryption { key, by_host: false })
        }
        method => return Err(unsupported!("the image is encrypted by the unknown method {method}")),
    };
    let parent = match backing_name(&*file, &raw)? {
        Some(name) => Some(request.opener.open(Path::new(OsStr::from_bytes(&name)), None)?),
        None => None,
    };
    Ok(Arc::new(Mapped { parent, encryption, ..Mapped::new(file, raw.size.get(), map) }))
}

/// Both levels of tables, and the clusters that were unpacked.
struct Tables {
    tables: Cached,
    /// Where the L1 table lies; inside the file, and long enough for the disk.
    l1: u64,
    /// 9 to 16.
    cluster_bits: u32,
    /// 6 to 13.
    l2_bits: u32,
    compressed: Compressed,
}

impl Tables {
    fn new(file: &Arc<dyn Disk>, raw: &Header, budget: &Budget) -> Result<Self> {
        match (raw.magic.get(), raw.version.get()) {
            (MAGIC, VERSION) => {}
            (magic, version) => {
                return Err(corrupt!(WHAT, 0u64, "magic {magic:#x} and version {version}, want {MAGIC:#x} and 1"));
            }
        }
        if !CLUSTER_BITS.contains(&raw.cluster_bits) || !L2_BITS.contains(&raw.l2_bits) {
            let (cluster, l2) = (raw.cluster_bits, raw.l2_bits);
            return Err(corrupt!(WHAT, 32u64, "cluster_bits {cluster} and l2_bits {l2}, want 9 to 16 and 6 to 13"));
        }
        let (cluster_bits, l2_bits) = (u32::from(raw.cluster_bits), u32::from(raw.l2_bits));
        let (l1, size) = (raw.l1_table_offset.get(), raw.size.get());
        if size > i64::MAX as u64 {
            return Err(corrupt!(WHAT, 24u64, "a disk of {size} bytes"));
        }
        let entries = size.div_ceil(1 << (cluster_bits + l2_bits));
        structure::check_table(&**file, "qcow L1 table", l1, entries, ENTRY_SIZE)?;
        let compressed = Compressed::new(file.clone(), Compression::Deflate, 1 << cluster_bits, budget);
        Ok(Self { tables: budget.tables(file.clone(), TABLE_PAGE), l1, cluster_bits, l2_bits, compressed })
    }

    fn number(&self, what: &str, at: u64) -> Result<u64> {
        structure::read(&self.tables, what, at).map(u64::from_be_bytes)
    }

    /// Where the compressed cluster of `entry` lies. Below its top bit there are the length, less than a cluster, and the
    /// offset.
    fn descriptor(&self, entry: u64, at: u64) -> Result<Descriptor> {
        let shift = 63 - self.cluster_bits;
        let len = entry >> shift & ((1 << self.cluster_bits) - 1);
        if len == 0 {
            return Err(corrupt!("qcow L2 table", at, "a compressed cluster of no bytes"));
        }
        Ok(Descriptor { offset: entry & ((1 << shift) - 1), len })
    }
}

impl Map for Tables {
    const FORMAT: &'static str = "qcow";
    const BLOCK: &'static str = "cluster";

    type Packed = Descriptor;

    fn run_at(&self, offset: u64, _: u64) -> Result<block_map::Run<Descriptor>> {
        let cluster_size = 1u64 << self.cluster_bits;
        let (covered, inside) = (cluster_size << self.l2_bits, offset % cluster_size);
        let in_table = offset % covered;
        let run = |len, mapping| Ok(block_map::Run { len, mapping });
        let l2 = self.number("qcow L1 table", self.l1 + offset / covered * ENTRY_SIZE)?;
        if l2 == 0 {
            return run(covered - in_table, Mapping::Parent);
        }
        let at = l2.saturating_add((in_table >> self.cluster_bits) * ENTRY_SIZE);
        let mapping = match self.number("qcow L2 table", at)? {
            0 => Mapping::Parent,
            entry if entry & COMPRESSED != 0 => Mapping::Packed(self.descriptor(entry, at)?),
            entry => match entry.checked_add(inside) {
                Some(host) => Mapping::Data(host),
                None => return Err(corrupt!("qcow L2 table", at, "cluster at byte {entry:#x}")),
            },
        };
        run(cluster_size - inside, mapping)
    }

    fn unpack(&self, at: Descriptor, buf: &mut [u8], offset: u64) -> Result<()> {
        self.compressed.read_at(at, buf, offset)
    }
}
