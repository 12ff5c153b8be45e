//! A new, empty image, and one that lies over another disk.

use std::sync::Arc;

use zerocopy::IntoBytes;
use zerocopy::big_endian::{U32, U64};

use super::header::{self, Header};
use super::layout::{self, *};
use super::mapping::Tables;
use crate::block_map::{Mapped, Writable};
use crate::cache::TABLE_PAGE;
use crate::{Budget, Disk, Result, read_only, unsupported};

/// Clusters of 64 KiB, as QEMU makes them.
const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// How much of the disk one L1 entry covers, in bytes.
const COVERED: u64 = CLUSTER / 8 * CLUSTER;
/// The refcount table, its first block, and the L1 table, by their clusters.
const TABLE: u64 = 1;
const BLOCK: u64 = 2;
const L1: u64 = 3;

/// Makes an empty image of `file`, which is empty, of version 3: a disk of `size` bytes, rounded up to sectors, over the image
/// of this name and format. It is durable on return.
pub fn create(file: &dyn Disk, size: u64, backing: Option<(&[u8], &str)>) -> Result<()> {
    let entries = size.div_ceil(COVERED);
    if entries * 8 > MAX_L1_BYTES {
        let most = MAX_L1_BYTES / 8 * COVERED;
        return Err(unsupported!("{file}: a disk of {size} bytes: with clusters of 64 KiB {most} is the most"));
    }
    let end = L1 + (entries * 8).div_ceil(CLUSTER).max(1);
    let (name, format) = backing.unwrap_or_default();
    let mut start = header(size.next_multiple_of(512), entries, name, format);
    start.resize(CLUSTER as usize, 0);
    let mut counts = vec![0; CLUSTER as usize];
    for count in counts.chunks_mut(2).take(end as usize) {
        count.copy_from_slice(&1u16.to_be_bytes());
    }
    let writer = file.writer(0..file.size())?;
    writer.grow(end * CLUSTER)?;
    writer.write_at(&(BLOCK * CLUSTER).to_be_bytes(), TABLE * CLUSTER)?;
    writer.write_at(&counts, BLOCK * CLUSTER)?;
    writer.write_at(&start, 0)?;
    writer.flush()
}

/// The header, the format's name and the name.
fn header(size: u64, entries: u64, name: &[u8], format: &str) -> Vec<u8> {
    let mut extensions = Vec::new();
    if !format.is_empty() {
        let length = U32::new(u32::try_from(format.len()).expect("the name of a format"));
        extensions.extend(ExtensionHeader { kind: U32::new(EXTENSION_BACKING_FORMAT), length }.as_bytes());
        extensions.extend(format.as_bytes());
        extensions.resize(extensions.len().next_multiple_of(8), 0);
    }
    extensions.extend(ExtensionHeader { kind: U32::new(EXTENSION_END), length: U32::new(0) }.as_bytes());
    let name_at = u64::from(HEADER_LENGTH_VERSION_3) + extensions.len() as u64;
    let start = layout::Header {
        magic: U32::new(MAGIC),
        version: U32::new(3),
        backing_file_offset: U64::new(if name.is_empty() { 0 } else { name_at }),
        backing_file_size: U32::new(u32::try_from(name.len()).expect("names are bounded where they are made")),
        cluster_bits: U32::new(CLUSTER_BITS),
        size: U64::new(size),
        crypt_method: U32::new(CRYPT_NONE),
        l1_size: U32::new(u32::try_from(entries).expect("the table is bounded")),
        l1_table_offset: U64::new(L1 * CLUSTER),
        refcount_table_offset: U64::new(TABLE * CLUSTER),
        refcount_table_clusters: U32::new(1),
        nb_snapshots: U32::new(0),
        snapshots_offset: U64::new(0),
    };
    let rest = HeaderVersion3 {
        incompatible_features: U64::new(0),
        compatible_features: U64::new(0),
        autoclear_features: U64::new(0),
        refcount_order: U32::new(REFCOUNT_ORDER_VERSION_2),
        header_length: U32::new(HEADER_LENGTH_VERSION_3),
    };
    [start.as_bytes(), rest.as_bytes(), &extensions, name].concat()
}

/// The name of the image below, and its format, as they are recorded.
pub fn backing(file: &dyn Disk) -> Result<Option<(Vec<u8>, Option<String>)>> {
    if !super::probe(file)? {
        return Ok(None);
    }
    Ok(Header::read(file)?.backing.map(|header::Backing { name, format }| (name, format)))
}

/// The image in `file`, which lies over `below` whatever name it has for that. Fails if it needs other files, or a key.
pub fn open_over(file: Arc<dyn Disk>, below: Arc<dyn Disk>, budget: &Budget) -> Result<Arc<dyn Disk>> {
    let header = Header::read(&budget.tables(file.clone(), TABLE_PAGE))?;
    if header.crypt_method != CRYPT_NONE || header.data_file.is_some() {
        return Err(read_only!("an overlay that is encrypted, or has its data in another file, is not written"));
    }
    let tables = Tables::new(&file, &header, header.l1, budget);
    let disk = Mapped { parent: Some(below), ..Mapped::new(file, header.size, tables) };
    Ok(Arc::new(Writable::new(disk)))
}
