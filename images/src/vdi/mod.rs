//! VDI, VirtualBox's own format: one table of blocks; static, dynamic and differencing.
//!
//! A differencing image knows its parent by UUID only; VirtualBox keeps the file names in its registry. The parent is
//! therefore looked for under the name that VirtualBox gives differencing images, `{UUID}.vdi`, beside the image and
//! in the folder above; a base image is found once it, or a link to it, has that name.

mod layout;

use std::convert::Infallible;
use std::sync::Arc;

use uuid::Uuid;

use layout::*;

use crate::block_map::{Map, Mapped, Mapping, Run};
use crate::cache::TABLE_PAGE;
use crate::disk::Cached;
use crate::format::Request;
use crate::parent::Candidates;
use crate::{Disk, Format, Result, corrupt, structure, unsupported};

/// This format's line in [`FORMATS`](crate::FORMATS).
pub const FORMAT: Format = Format::new("vdi", probe, open);

fn probe(file: &dyn Disk) -> Result<bool> {
    let mut signature = [0; 4];
    if file.size() < size_of::<layout::Header>() as u64 {
        return Ok(false);
    }
    file.read_at(&mut signature, SIGNATURE_OFFSET)?;
    Ok(signature == SIGNATURE.to_le_bytes())
}

fn open(file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    request.refuse_snapshot("VDI")?;
    let tables = request.budget.tables(file.clone(), TABLE_PAGE);
    let header = Header::read(&tables)?;
    let parent = match header.parent {
        None => None,
        Some(parent) => Some(open_parent(parent, request)?),
    };
    let Header { size, table, block_size, block_extra, data, .. } = header;
    let map = Table { tables, table, block_size, block_extra, data };
    Ok(Arc::new(Mapped { parent, ..Mapped::new(file, size, map) }))
}

/// The identity of a parent.
#[derive(Clone, Copy)]
struct Parent {
    create: Uuid,
    /// What the parent's `uuid_modify` was when the image was made; nil if it was not recorded.
    modify: Uuid,
}

fn open_parent(parent: Parent, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let mut candidates = Candidates::default();
    candidates.push(format!("{{{}}}.vdi", parent.create));
    candidates.push(format!("../{{{}}}.vdi", parent.create));
    let wanted = format!("the VDI image with UUID {}", parent.create);
    candidates.open(request, FORMAT.name, &wanted, |file| {
        let header = Header::read(&request.budget.tables(file.clone(), TABLE_PAGE))?;
        Ok(if header.create != parent.create {
            Some(format!("its UUID is {}", header.create))
        } else if !parent.modify.is_nil() && header.modify != parent.modify {
            Some("it was written to since its child was made".into())
        } else {
            None
        })
    })
}

/// What the header says, within the bounds that the rest of this format relies on.
struct Header {
    /// The size of the guest's disk in bytes, a multiple of 512.
    size: u64,
    /// A power of two, at least 512.
    block_size: u64,
    /// Bytes in front of each block's data; less than a block.
    block_extra: u64,
    /// Where the block map lies: inside the file, with an entry for each block of `size`.
    table: u64,
    /// Where block 0 of the file lies.
    data: u64,
    create: Uuid,
    modify: Uuid,
    parent: Option<Parent>,
}

impl Header {
    fn read(file: &Cached) -> Result<Self> {
        let raw: layout::Header = structure::read(file, "VDI header", 0)?;
        if raw.signature.get() != SIGNATURE {
            return Err(corrupt!(
                "VDI header",
                SIGNATURE_OFFSET,
                "signature {:#x}, want {SIGNATURE:#x}",
                raw.signature
            ));
        }
        let version = raw.version.get();
        if version != VERSION_1_1 {
            return Err(unsupported!("VDI version {}.{} is not supported", version >> 16, version & 0xffff));
        }
        let block_size = u64::from(raw.block_size.get());
        if !block_size.is_power_of_two() || block_size < 512 {
            return Err(corrupt!("VDI header", 0x178u64, "blocks of {block_size} bytes, want a power of two from 512"));
        }
        let block_extra = u64::from(raw.block_extra.get());
        if block_extra >= block_size {
            return Err(corrupt!("VDI header", 0x17cu64, "{block_extra} bytes in front of blocks of {block_size}"));
        }
        let blocks = u64::from(raw.blocks.get());
        let size = raw.disk_size.get();
        if size > blocks * block_size {
            return Err(corrupt!(
                "VDI header",
                0x170u64,
                "a disk of {size} bytes, but {blocks} blocks of {block_size} bytes"
            ));
        }
        // QEMU's: some tools wrote odd sizes.
        let size = size.next_multiple_of(512);
        let table = raw.offset_blocks.get().into();
        structure::check_table(file, "VDI block map", table, size.div_ceil(block_size), ENTRY_SIZE)?;
        // Each field in the byte order of Windows.
        let [create, modify, linkage, parent_modify] =
            [raw.uuid_create, raw.uuid_modify, raw.uuid_linkage, raw.uuid_parent_modify].map(Uuid::from_bytes_le);
        let parent = Parent { create: linkage, modify: parent_modify };
        let parent = match raw.image_type.get() {
            TYPE_NORMAL | TYPE_FIXED if linkage.is_nil() => None,
            TYPE_NORMAL | TYPE_FIXED | TYPE_UNDO | TYPE_DIFFERENCING if !linkage.is_nil() => Some(parent),
            TYPE_UNDO | TYPE_DIFFERENCING => {
                return Err(corrupt!("VDI header", 0x1a8u64, "a differencing image without the UUID of its parent"));
            }
            other => return Err(unsupported!("VDI images of type {other} are not supported")),
        };
        Ok(Self { size, block_size, block_extra, table, data: raw.offset_data.get().into(), create, modify, parent })
    }
}

/// The block map.
struct Table {
    tables: Cached,
    table: u64,
    block_size: u64,
    block_extra: u64,
    data: u64,
}

impl Map for Table {
    const FORMAT: &'static str = "VDI";
    const BLOCK: &'static str = "block";

    type Packed = Infallible;

    fn run_at(&self, offset: u64, _: u64) -> Result<Run> {
        let (block, inside) = (offset / self.block_size, offset % self.block_size);
        let at = self.table + block * ENTRY_SIZE;
        let mapping = match structure::read(&self.tables, "VDI block map", at).map(u32::from_le_bytes)? {
            BLOCK_FREE => Mapping::Parent,
            BLOCK_ZERO => Mapping::Zero,
            // At most 2^32 times less than 2^32, and what is added is less than 2^34.
            entry => match u64::from(entry).checked_mul(self.block_size + self.block_extra) {
                Some(start) if start <= i64::MAX as u64 => Mapping::Data(start + self.data + self.block_extra + inside),
                _ => return Err(corrupt!("VDI block map", at, "block {entry} lies past the end of every file")),
            },
        };
        Ok(Run { len: self.block_size - inside, mapping })
    }

    fn unpack(&self, packed: Infallible, _: &mut [u8], _: u64) -> Result<()> {
        match packed {}
    }
}
