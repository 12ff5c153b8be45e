//! qcow, version 1: what qcow2 grew from; two levels of tables, compressed clusters, a backing file.

mod layout;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use layout::*;

use crate::blocks::{self, Blocks, Map, Mapping, Run};
use crate::crypt::{ImageKey, ImageLock};
use crate::disk::Cached;
use crate::format::Request;
use crate::info::{Description, Named};
use crate::qcow2::{Compressed, Compression, Descriptor};
use crate::{Budget, Disk, Format, Result, corrupt, unsupported};

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format { name: "qcow", probe, open };

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
pub fn describe(file: &Arc<dyn Disk>, budget: &Budget) -> Result<Description> {
    let raw: Header = blocks::structure(&**file, WHAT, 0)?;
    Tables::new(file.clone(), &raw, budget)?;
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
    blocks::read(file, "qcow backing file name", &mut name, at)?;
    Ok(Some(name))
}

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    request.refuse_snapshot("qcow")?;
    let raw: Header = blocks::structure(&*file, WHAT, 0)?;
    let mut map = Box::new(Tables::new(file.clone(), &raw, request.budget)?);
    match raw.crypt_method.get() {
        CRYPT_NONE => {}
        CRYPT_AES => {
            let mut attempt = |secret: &[u8]| ImageKey::legacy_aes(secret).map(Some);
            map.key = Some(request.opener.unlock(&ImageLock::legacy_aes(), &mut attempt)?);
        }
        method => return Err(unsupported!("the image is encrypted by the unknown method {method}")),
    }
    let parent = match backing_name(&*file, &raw)? {
        Some(name) => Some(request.opener.open(Path::new(OsStr::from_bytes(&name)), None)?),
        None => None,
    };
    Ok(Arc::new(Blocks { file, parent, size: raw.size.get(), sector_size: None, map }))
}

/// Both levels of tables, and the clusters that were unpacked.
struct Tables {
    file: Arc<dyn Disk>,
    tables: Cached,
    /// Where the L1 table lies; inside the file, and long enough for the disk.
    l1: u64,
    /// 9 to 16.
    cluster_bits: u32,
    /// 6 to 13.
    l2_bits: u32,
    compressed: Compressed,
    /// Of clusters that are not compressed; sectors are numbered by their place on the guest's disk.
    key: Option<ImageKey>,
}

impl Tables {
    fn new(file: Arc<dyn Disk>, raw: &Header, budget: &Budget) -> Result<Self> {
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
        blocks::check_table(&*file, "qcow L1 table", l1, entries, ENTRY_SIZE)?;
        let compressed = Compressed::new(Compression::Deflate, 1 << cluster_bits, budget);
        let tables = blocks::tables(file.clone(), budget);
        Ok(Self { tables, file, l1, cluster_bits, l2_bits, compressed, key: None })
    }

    /// The L2 entry for `offset` and where it lies, or the number of bytes from there that have no L2 table.
    fn entry(&self, offset: u64) -> Result<std::result::Result<(u64, u64), u64>> {
        let covered = 1u64 << (self.cluster_bits + self.l2_bits);
        let l2 = self.number("qcow L1 table", self.l1 + offset / covered * ENTRY_SIZE)?;
        if l2 == 0 {
            return Ok(Err(covered - offset % covered));
        }
        let at = l2.saturating_add(((offset % covered) >> self.cluster_bits) * ENTRY_SIZE);
        Ok(Ok((self.number("qcow L2 table", at)?, at)))
    }

    fn number(&self, what: &str, at: u64) -> Result<u64> {
        let mut bytes = [0; ENTRY_SIZE as usize];
        blocks::read(&self.tables, what, &mut bytes, at)?;
        Ok(u64::from_be_bytes(bytes))
    }
}

impl Tables {
    /// Fills `buf` from `offset` (bytes) in the encrypted cluster at `cluster`, which the entry at `at` names.
    fn decrypt(&self, buf: &mut [u8], offset: u64, cluster: u64, at: u64) -> Result<()> {
        let Some(key) = &self.key else {
            return Err(corrupt!("qcow L2 table", at, "changed while it was read"));
        };
        let cluster_size = 1 << self.cluster_bits;
        // Whole sectors are read, and QEMU writes whole clusters.
        match cluster.checked_add(cluster_size) {
            Some(end) if end <= self.file.size() => {
                key.read_at(&*self.file, buf, cluster + offset % cluster_size, offset)
            }
            _ => Err(corrupt!(
                "qcow L2 table",
                at,
                "an encrypted cluster at byte {cluster:#x}, past the end: truncated?"
            )),
        }
    }
}

impl Map for Tables {
    fn run_at(&self, offset: u64) -> Result<Run> {
        let (entry, at) = match self.entry(offset)? {
            Ok(found) => found,
            Err(len) => return Ok(Run { len, mapping: Mapping::Parent }),
        };
        let inside = offset % (1 << self.cluster_bits);
        let mapping = match entry {
            0 => Mapping::Parent,
            entry if entry & COMPRESSED != 0 || self.key.is_some() => Mapping::Packed,
            entry => match entry.checked_add(inside) {
                Some(host) => Mapping::Data(host),
                None => return Err(corrupt!("qcow L2 table", at, "cluster at byte {entry:#x}")),
            },
        };
        Ok(Run { len: (1 << self.cluster_bits) - inside, mapping })
    }

    /// Encrypted clusters are decrypted here, cluster by cluster: their sectors' numbers are not those of the file.
    /// Below its top bit the entry of a compressed cluster holds the length, less than a cluster, and the offset.
    fn unpack(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let (entry, at) = match self.entry(offset)? {
            Ok((entry, at)) if entry & COMPRESSED != 0 => (entry, at),
            Ok((entry, at)) if entry != 0 => return self.decrypt(buf, offset, entry, at),
            _ => return Err(corrupt!("qcow L2 table", self.l1, "changed while it was read")),
        };
        let shift = 63 - self.cluster_bits;
        let len = entry >> shift & ((1 << self.cluster_bits) - 1);
        let place = entry & ((1 << shift) - 1);
        if len == 0 {
            return Err(corrupt!("qcow L2 table", at, "a compressed cluster of no bytes"));
        }
        let inside = (offset % (1 << self.cluster_bits)) as usize;
        self.compressed.read_at(&*self.file, Descriptor { offset: place, len }, buf, inside)
    }
}
