//! Old-style snapshots: an origin, and a store with the chunks that differ from it.
//!
//! The store is that of Linux's `drivers/md/dm-snap-persistent.c`,
//! <https://docs.kernel.org/admin-guide/device-mapper/snapshot.html>: a header in the first chunk, then areas of one
//! chunk with exceptions, each followed by the chunks that these tell of. The first exception without a chunk is the end.

use std::sync::Arc;

use images::length::in_memory;
use images::{Disk, Result, corrupt, unsupported};
use zerocopy::byteorder::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::bounds::Bounds;
use super::remap::{Copies, Runs};

/// `SNAP_MAGIC`: `SnAp`.
const MAGIC: u32 = 0x7041_6e53;
/// `SNAPSHOT_DISK_VERSION`.
const VERSION: u32 = 1;
/// The largest chunk in sectors: 16 MiB. Ours: LVM2's tools make at most 512 KiB.
const MAX_CHUNK_SECTORS: u32 = 1 << 15;
/// How many bytes of exceptions are read at once, at most.
const BATCH: u64 = 64 << 10;

/// `disk_header`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Header {
    magic: U32,
    valid: U32,
    version: U32,
    /// In sectors.
    chunk_size: U32,
}

/// `disk_exception`.
#[derive(FromBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Exception {
    old_chunk: U64,
    new_chunk: U64,
}

const _: () = assert!(size_of::<Header>() == 16 && size_of::<Exception>() == 16);

/// What the snapshot `name` reads from this store in place of its origin; `None` if the store was never in use.
pub fn open(name: &str, store: Arc<dyn Disk>, bounds: &Arc<Bounds>) -> Result<Option<Arc<Copies>>> {
    const WHAT: &str = "header of a snapshot's store";
    let mut header = [0; size_of::<Header>()];
    bounds.count(&*store, 0)?;
    store.read_at(&mut header, 0)?;
    let (header, _) = Header::ref_from_prefix(&header).map_err(|_| corrupt!(WHAT, 0u32, "it is cut off"))?;
    let [magic, version, sectors] = [header.magic, header.version, header.chunk_size].map(U32::get);
    // A store that was never in use was wiped at its start, and the kernel makes the header.
    if magic == 0 {
        return Ok(None);
    }
    if magic != MAGIC {
        return Err(corrupt!(WHAT, 0u32, "magic {magic:#x}, want {MAGIC:#x}"));
    }
    if version != VERSION {
        return Err(unsupported!("{name}: snapshot of version {version}, the known one is {VERSION}"));
    }
    if header.valid.get() == 0 {
        return Err(unsupported!(
            "{name}: the snapshot is invalid: its store was full, so that the old content is lost"
        ));
    }
    if !sectors.is_power_of_two() || sectors > MAX_CHUNK_SECTORS {
        return Err(corrupt!(WHAT, 0u32, "chunks of {sectors} sectors, want a power of two up to {MAX_CHUNK_SECTORS}"));
    }
    let chunk_size = u64::from(sectors) * 512;
    let (disk, bounds) = (store.clone(), bounds.clone());
    Ok(Some(Copies::new(store, Box::new(move || exceptions(&*disk, chunk_size, &bounds)))))
}

/// All exceptions of a store.
fn exceptions(store: &dyn Disk, chunk_size: u64, bounds: &Bounds) -> Result<Runs> {
    const WHAT: &str = "exceptions of a snapshot";
    let per_area = chunk_size / size_of::<Exception>() as u64;
    let chunks = store.size() / chunk_size;
    let mut runs = Runs::new(chunk_size, &bounds.budget);
    // Areas are as long as chunks, and both are powers of two.
    let mut batch = vec![0; in_memory(BATCH.min(chunk_size))];
    let batches = (1..chunks).step_by(in_memory(per_area) + 1).flat_map(|chunk| {
        let area = chunk * chunk_size..(chunk + 1) * chunk_size;
        area.step_by(in_memory(BATCH.min(chunk_size)))
    });
    for at in batches {
        bounds.count(store, batch.len() as u64)?;
        store.read_at(&mut batch, at)?;
        let exceptions = <[Exception]>::ref_from_bytes(&batch).map_err(|_| corrupt!(WHAT, at, "an odd size"))?;
        for exception in exceptions {
            let (old, new) = (exception.old_chunk.get(), exception.new_chunk.get());
            if new == 0 {
                return Ok(runs);
            }
            if new >= chunks || new % (per_area + 1) == 1 {
                return Err(corrupt!(
                    WHAT,
                    at,
                    "chunk {new:#x}, of {chunks:#x} with an area in every {:#x}th",
                    per_area + 1
                ));
            }
            runs.push(old, new * chunk_size)?;
        }
    }
    Err(corrupt!(WHAT, store.size(), "they do not end inside the store"))
}
