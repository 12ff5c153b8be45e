//! Thin pools, and the thin volumes that share their blocks. Snapshots are volumes like any other.

mod layout;
#[cfg(test)]
mod tests;
mod volume;

use std::sync::Arc;

use images::{Disk, Result, corrupt, unsupported};
use zerocopy::FromBytes;

use super::bounds::Bounds;
use super::persistent::{Store, Tree};
use layout::{
    CSUM_XOR, DATA_BLOCK_MAX_SECTORS, DATA_BLOCK_MIN_SECTORS, MAGIC, MAX_VERSION, METADATA_BLOCK_SECTORS, NEEDS_CHECK,
    Superblock, TIME_BITS,
};
pub use volume::ThinVolume;

/// A pool that is open.
pub struct Pool {
    metadata: Store,
    data: Arc<dyn Disk>,
    /// In bytes.
    block_size: u64,
    /// From the identifiers of devices to the roots of their mappings.
    devices: Tree<8>,
    /// From the identifiers of devices to what else is known of them.
    details: Tree<24>,
}

/// So many blocks of a volume that lie, from this block on, one after the other in the pool, or nowhere.
struct Run {
    blocks: u64,
    data: Option<u64>,
}

impl Pool {
    /// The pool `name` with this metadata and these blocks. LVM says that they have `chunk_size` sectors, and that the
    /// set of volumes has changed `transaction_id` times.
    pub fn open(
        name: &str,
        metadata: Arc<dyn Disk>,
        data: Arc<dyn Disk>,
        chunk_size: u32,
        transaction_id: u64,
        bounds: &Arc<Bounds>,
    ) -> Result<Self> {
        const WHAT: &str = "superblock of a thin pool";
        let metadata = Store::new(metadata, bounds);
        let Some(block) = metadata.superblock(CSUM_XOR)? else {
            return Err(unsupported!(
                "{name}: the thin pool was never in use, or its metadata was wiped: it is all zeros"
            ));
        };
        let (superblock, _) = Superblock::ref_from_prefix(&block).map_err(|_| corrupt!(WHAT, 0u32, "it is cut off"))?;
        let (magic, blocknr) = (superblock.magic.get(), superblock.blocknr.get());
        if magic != MAGIC || blocknr != 0 {
            return Err(corrupt!(WHAT, 0u32, "magic {magic} for block {blocknr}, want {MAGIC} for 0"));
        }
        let (version, incompat) = (superblock.version.get(), superblock.incompat_flags.get());
        if version > MAX_VERSION {
            return Err(unsupported!("{name}: thin pool of version {version}, the newest known one is {MAX_VERSION}"));
        }
        if incompat != 0 {
            return Err(unsupported!("{name}: thin pool with incompatible features {incompat:#x}"));
        }
        let (size, metadata_size) = (superblock.data_block_size.get(), superblock.metadata_block_size.get());
        if metadata_size != METADATA_BLOCK_SECTORS {
            return Err(corrupt!(
                WHAT,
                0u32,
                "metadata blocks of {metadata_size} sectors, want {METADATA_BLOCK_SECTORS}"
            ));
        }
        if !(DATA_BLOCK_MIN_SECTORS..=DATA_BLOCK_MAX_SECTORS).contains(&size)
            || !size.is_multiple_of(DATA_BLOCK_MIN_SECTORS)
        {
            return Err(corrupt!(WHAT, 0u32, "blocks of {size} sectors, want a multiple of {DATA_BLOCK_MIN_SECTORS}"));
        }
        if size != chunk_size {
            return Err(corrupt!(WHAT, 0u32, "blocks of {size} sectors, but LVM says {chunk_size}"));
        }
        if superblock.flags.get() & NEEDS_CHECK != 0 {
            log::warn!("{name}: the kernel found faults in the metadata of this thin pool; what is read may be wrong");
        }
        let known = superblock.trans_id.get();
        if known != transaction_id {
            log::warn!(
                "{name}: the thin pool is at transaction {known}, but LVM at {transaction_id}: volumes may be missing or old"
            );
        }
        Ok(Self {
            metadata,
            data,
            block_size: u64::from(size) * 512,
            devices: Tree { root: superblock.data_mapping_root.get() },
            details: Tree { root: superblock.device_details_root.get() },
        })
    }

    /// The mapping of a device.
    fn device(&self, name: &str, id: u32) -> Result<Tree<8>> {
        self.metadata.count(1)?;
        let known = self.details.get(&self.metadata, id.into())?.is_some();
        match self.devices.get(&self.metadata, id.into())? {
            Some(root) if known => Ok(Tree { root: u64::from_le_bytes(root) }),
            _ => Err(unsupported!(
                "{name}: thin device {id} is not in the pool's metadata: it was never in use, or was deleted"
            )),
        }
    }

    /// Where a device's block lies, and how many blocks this holds for; of those in the pool at most `most` are counted.
    fn run(&self, mapping: Tree<8>, block: u64, most: u64) -> Result<Run> {
        let leaf = mapping.leaf(&self.metadata, block)?;
        let mut entries = leaf.entries();
        let of = |value: [u8; 8]| u64::from_le_bytes(value) >> TIME_BITS;
        match entries.next() {
            Some((key, value)) if key == block => {
                let first = of(value);
                let follows = |(blocks, (key, value)): &(u64, (u64, [u8; 8]))| {
                    *key == block.saturating_add(*blocks) && of(*value) == first.saturating_add(*blocks)
                };
                let more = (1..most).zip(entries).take_while(follows).count() as u64;
                Ok(Run { blocks: 1 + more, data: Some(first) })
            }
            // A node's keys may belong elsewhere in a damaged tree: this ends where the tree says, but is never empty.
            next => {
                let end = next.map_or(leaf.end, |(key, _)| key.min(leaf.end));
                Ok(Run { blocks: end.saturating_sub(block).max(1), data: None })
            }
        }
    }
}
