//! A thin volume as a disk.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use images::disk::check_range;
use images::{Data, Disk, Extent, Properties, Result, Writer, corrupt, read_only};

use super::super::persistent::Tree;
use super::{Pool, Run};
use crate::amplification;

/// A volume whose blocks lie in a pool, or nowhere.
pub struct ThinVolume {
    name: String,
    pool: Arc<Pool>,
    mapping: Tree<8>,
    size: u64,
    /// What is read where the volume has no block of its own. May be shorter, and is then followed by zeros.
    origin: Option<Arc<dyn Disk>>,
    amplification: u64,
}

/// How many nodes of the mapping a read of a block may take that are not kept: a leaf, and the one above it.
const NODES: u64 = 2;

/// Where bytes of a volume come from, and how many of them.
enum Place<'v> {
    Pool(u64, u64),
    Origin(&'v dyn Disk, u64),
    Hole(u64),
}

impl ThinVolume {
    /// The device `id` of the pool, as a disk of `size` bytes.
    pub fn open(name: &str, pool: Arc<Pool>, id: u32, size: u64, origin: Option<Arc<dyn Disk>>) -> Result<Self> {
        let mapping = pool.device(name, id)?;
        let block = pool.data.amplification().max(origin.as_ref().map_or(1, |origin| origin.amplification()));
        let nodes = pool.metadata.amplification().saturating_mul(NODES);
        let amplification = amplification::bounded(name, block.saturating_add(nodes))?;
        Ok(Self { name: name.into(), pool, mapping, size, origin, amplification })
    }

    /// Where byte `offset` lies, and how many bytes this holds for; no more than about `most` are looked up.
    fn place(&self, offset: u64, most: u64) -> Result<Place<'_>> {
        let (block, inside) = (offset / self.pool.block_size, offset % self.pool.block_size);
        let Run { blocks, data } = self.pool.run(self.mapping, block, most / self.pool.block_size + 2)?;
        let len = blocks.saturating_mul(self.pool.block_size).saturating_sub(inside).min(self.size - offset);
        match (data, &self.origin) {
            (Some(data), _) => {
                let at = data.checked_mul(self.pool.block_size).and_then(|at| at.checked_add(inside));
                let whole = at.and_then(|at| at.checked_add(len)).is_some_and(|end| end <= self.pool.data.size());
                let at = at.filter(|_| whole).ok_or_else(|| {
                    corrupt!(self.name.as_str(), offset, "mapped to block {data:#x} of the pool, which ends before")
                })?;
                Ok(Place::Pool(at, len))
            }
            (None, Some(origin)) if offset < origin.size() => {
                Ok(Place::Origin(&**origin, len.min(origin.size() - offset)))
            }
            (None, _) => Ok(Place::Hole(len)),
        }
    }
}

impl fmt::Display for ThinVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Disk for ThinVolume {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        while !buf.is_empty() {
            let place = self.place(offset, buf.len() as u64)?;
            let (Place::Pool(_, len) | Place::Origin(_, len) | Place::Hole(len)) = place;
            let len = usize::try_from(len).unwrap_or(usize::MAX).min(buf.len());
            let (now, rest) = buf.split_at_mut(len);
            match place {
                Place::Pool(at, _) => self.pool.data.read_at(now, at)?,
                Place::Origin(origin, _) => origin.read_at(now, offset)?,
                Place::Hole(_) => now.fill(0),
            }
            buf = rest;
            offset += len as u64;
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        match self.place(offset, u64::MAX)? {
            Place::Pool(at, len) => Ok(self.pool.data.extent_at(at)?.at_most(len)),
            Place::Origin(origin, len) => Ok(origin.extent_at(offset)?.at_most(len)),
            Place::Hole(len) => Ok(Extent { len, data: Data::Hole }),
        }
    }

    fn properties(&self) -> Properties {
        Properties { amplification: self.amplification, ..self.pool.data.properties() }
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} is a thin volume: those cannot be written yet"))
    }
}
