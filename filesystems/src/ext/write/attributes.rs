//! The extended attributes of a node as they are changed: taken from its inode and its block, and laid out there again.

use images::{Error, Result, corrupt, unsupported};
use zerocopy::{FromBytes, IntoBytes};

use super::operation::Operation;
use super::record::Record;
use super::{attribute_inode, blocks, mapping};
use crate::ext::features::compat;
use crate::ext::layout::{NAME_LEN, XATTR_MAGIC, XattrEntry};
use crate::ext::xattr::{HEADER_SIZE, INDEX_SYSTEM, MAX_VALUE, XattrHeader, block_checksum, check_block, entry_hash};
use crate::ext::xattr_entries::Entries;

/// The four zero bytes behind the last entry.
const END: usize = 4;
/// Values begin at multiples of so many bytes.
const VALUE_ALIGN: usize = 4;
/// The magic before the entries in an inode.
const INODE_HEADER: usize = 4;

/// One attribute.
#[derive(Clone, Debug)]
pub(in crate::ext) struct Attribute {
    /// `e_name_index`: the prefix of its name.
    pub index: u8,
    /// The rest of its name.
    pub name: Vec<u8>,
    pub value: Value,
    /// Whether it was in the inode, and not in the block.
    in_inode: bool,
}

/// Where a value is.
#[derive(Clone, Debug)]
pub(in crate::ext) enum Value {
    /// Beside its entry.
    Here(Vec<u8>),
    /// In an inode of its own.
    Inode {
        number: u32,
        /// In bytes.
        size: u32,
        /// That of the value.
        hash: u32,
    },
}

impl Attribute {
    pub fn new(index: u8, name: &[u8], value: Vec<u8>) -> Self {
        Self { index, name: name.to_vec(), value: Value::Here(value), in_inode: true }
    }

    /// What it takes of an area, in bytes.
    fn len(&self) -> usize {
        let value = match &self.value {
            Value::Here(value) => value.len().next_multiple_of(VALUE_ALIGN),
            Value::Inode { .. } => 0,
        };
        size_of::<XattrEntry>() + self.name.len().next_multiple_of(4) + value
    }

    /// The hash of its entry; that of one in an inode covers no value that is beside it, and is left out.
    fn hash(&self, in_inode: bool) -> u32 {
        let name = self.name.iter().map(|byte| u32::from(*byte));
        match &self.value {
            Value::Here(_) if in_inode => 0,
            Value::Here(value) => entry_hash(name, value.chunks(VALUE_ALIGN).map(word)),
            Value::Inode { hash, .. } => entry_hash(name, [*hash]),
        }
    }

    /// Whether it is the content of an inline file, which is nowhere but in its inode.
    pub fn is_inline_data(&self) -> bool {
        self.index == INDEX_SYSTEM && self.name == b"data"
    }
}

/// Up to four bytes, with zeros behind them.
fn word(bytes: &[u8]) -> u32 {
    let mut word = [0; 4];
    word[..bytes.len()].copy_from_slice(bytes);
    u32::from_le_bytes(word)
}

/// All attributes of an inode.
pub(in crate::ext) fn read(op: &Operation<'_>, record: &Record) -> Result<Vec<Attribute>> {
    let (mut all, block) = (Vec::new(), record.file_acl(op.superblock()));
    let at = record.offset;
    if let Some(entries) = record.tail().strip_prefix(&XATTR_MAGIC.to_le_bytes()) {
        take(op, entries, entries, at, true, &mut all)?;
    }
    if block != 0 {
        let content = op.block(block)?;
        let at = check_block(op.volume, block, &content)?;
        take(op, content.get(HEADER_SIZE..).unwrap_or_default(), &content, at, false, &mut all)?;
    }
    Ok(all)
}

fn take(
    op: &Operation<'_>,
    entries: &[u8],
    values: &[u8],
    at: u64,
    in_inode: bool,
    all: &mut Vec<Attribute>,
) -> Result<()> {
    for found in Entries::new(entries, at) {
        let (entry, name, at) = found?;
        let (size, number) = (entry.e_value_size.get(), entry.e_value_inum.get());
        let value = if number != 0 {
            // Its access time is the hash of the value.
            let hash = op.record(number)?.raw().i_atime.get();
            Value::Inode { number, size, hash }
        } else {
            let (from, len) = (usize::from(entry.e_value_offs.get()), size.min(MAX_VALUE) as usize);
            match values.get(from..).and_then(|rest| rest.get(..len)) {
                Some(value) if size <= MAX_VALUE => Value::Here(value.to_vec()),
                _ if size == 0 => Value::Here(Vec::new()),
                _ => return Err(corrupt!("extended attribute", at, "{size} bytes at {from}, outside of its area")),
            }
        };
        all.push(Attribute { index: entry.e_name_index, name: name.to_vec(), value, in_inode });
    }
    Ok(())
}

/// Gives an inode these attributes, as many as fit in the inode and the rest in a block. The record is not written. Fails with
/// `NoSpace` if they do not fit.
pub(in crate::ext) fn write(op: &mut Operation<'_>, record: &mut Record, all: Vec<Attribute>) -> Result<()> {
    if all.iter().any(|attribute| attribute.name.len() > NAME_LEN) {
        return Err(Error::NameTooLong);
    }
    if is_shared(op, record)? {
        // The values of the block are two inodes' from now on.
        for attribute in all.iter().filter(|attribute| !attribute.in_inode) {
            if let Value::Inode { number, .. } = attribute.value {
                attribute_inode::share(op, number)?;
            }
        }
    }
    let charged = in_inodes(op, &read(op, record)?);
    let room = record.tail().len().saturating_sub(INODE_HEADER + END);
    let (mut here, mut rest, mut used) = (Vec::new(), Vec::new(), 0);
    // Those that are in the inode stay there, as far as they fit, and content before all others.
    let mut all = all;
    all.sort_by_key(|attribute| (!attribute.is_inline_data(), !attribute.in_inode));
    for attribute in all {
        if used + attribute.len() <= room {
            used += attribute.len();
            here.push(attribute);
        } else if attribute.is_inline_data() {
            return Err(Error::NoSpace);
        } else {
            rest.push(attribute);
        }
    }
    let room = usize::try_from(op.volume.block_size()).unwrap_or(0).saturating_sub(HEADER_SIZE + END);
    let mut needed: usize = rest.iter().map(Attribute::len).sum();
    // The largest values go to inodes of their own, where the file system has them.
    while needed > room {
        let largest = rest.iter_mut().filter(|attribute| matches!(attribute.value, Value::Here(_)));
        let Some(largest) = largest.max_by_key(|attribute| attribute.len()) else { return Err(Error::NoSpace) };
        let before = largest.len();
        if let Value::Here(value) = &largest.value {
            let size = u32::try_from(value.len()).map_err(|_| Error::NoSpace)?;
            let (number, hash) = attribute_inode::create(op, record, value)?;
            largest.value = Value::Inode { number, size, hash };
        }
        needed -= before - largest.len();
    }
    let charge = in_inodes(op, &here).saturating_add(in_inodes(op, &rest));
    let space = record.blocks(op.superblock()).saturating_sub(charged).saturating_add(charge);
    record.set_blocks(op.superblock(), space);
    let tail = record.tail_mut();
    if here.is_empty() {
        tail.get_mut(..INODE_HEADER).unwrap_or_default().fill(0);
    } else {
        tail.fill(0);
        tail[..INODE_HEADER].copy_from_slice(&XATTR_MAGIC.to_le_bytes());
        lay_out(&here, &mut tail[INODE_HEADER..], 0, true);
    }
    write_block(op, record, rest)
}

/// What values in inodes of their own count for in the inode that has the attributes: whole clusters, in units of 512 bytes.
fn in_inodes(op: &Operation<'_>, attributes: &[Attribute]) -> u64 {
    let cluster = op.volume.block_size() * u64::from(op.superblock().cluster_blocks);
    let sizes = attributes.iter().filter_map(|attribute| match attribute.value {
        Value::Inode { size, .. } => Some(u64::from(size)),
        Value::Here(_) => None,
    });
    sizes.map(|size| size.next_multiple_of(cluster) / 512).sum()
}

/// Puts entries at the start of an area, from byte `start` on, and their values at its end. Gives the hash of all.
fn lay_out(attributes: &[Attribute], area: &mut [u8], start: usize, in_inode: bool) -> u32 {
    let (mut entry_at, mut value_at, mut hashes) = (start, area.len() / VALUE_ALIGN * VALUE_ALIGN, Some(0u32));
    for attribute in attributes {
        let hash = attribute.hash(in_inode);
        let (offset, size, number) = match &attribute.value {
            Value::Here(value) => {
                value_at -= value.len().next_multiple_of(VALUE_ALIGN);
                area[value_at..][..value.len()].copy_from_slice(value);
                (if value.is_empty() { 0 } else { value_at }, value.len(), 0)
            }
            Value::Inode { number, size, .. } => (0, *size as usize, *number),
        };
        let entry = XattrEntry {
            e_name_len: u8::try_from(attribute.name.len()).expect("names were checked"),
            e_name_index: attribute.index,
            e_value_offs: u16::try_from(offset).expect("an area has at most 64 KiB").into(),
            e_value_inum: number.into(),
            e_value_size: u32::try_from(size).expect("a value has at most 64 KiB").into(),
            e_hash: hash.into(),
        };
        let next = entry_at + size_of::<XattrEntry>();
        area[entry_at..next].copy_from_slice(entry.as_bytes());
        area[next..][..attribute.name.len()].copy_from_slice(&attribute.name);
        entry_at = next + attribute.name.len().next_multiple_of(4);
        // One entry without a hash leaves the block without one: it is not shared.
        hashes = hashes.filter(|_| hash != 0).map(|all| all.rotate_left(16) ^ hash);
    }
    hashes.unwrap_or(0)
}

/// Gives an inode a block with these attributes, or none if there are none. A block that others share stays theirs.
fn write_block(op: &mut Operation<'_>, record: &mut Record, mut attributes: Vec<Attribute>) -> Result<()> {
    let (old, shared) = (record.file_acl(op.superblock()), is_shared(op, record)?);
    if attributes.is_empty() {
        return drop_block(op, record);
    }
    // Such an old file system is not taken for one that has attributes.
    if op.superblock().raw.s_rev_level.get() == 0 {
        return Err(unsupported!("a file system of revision 0 has no blocks of extended attributes"));
    }
    let number = if old == 0 || shared {
        if shared {
            drop_block(op, record)?;
        }
        let goal = mapping::home(op.superblock(), record.number);
        let number = blocks::allocate(op, goal, 1)?.start;
        record.set_file_acl(number);
        add_blocks(op, record, true);
        number
    } else {
        old
    };
    // In the order in which the kernel looks for them.
    attributes.sort_by(|a, b| (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name)));
    let mut block = vec![0; usize::try_from(op.volume.block_size()).unwrap_or(0)];
    let hash = lay_out(&attributes, &mut block, HEADER_SIZE, false);
    let mut header = XattrHeader {
        h_magic: XATTR_MAGIC.into(),
        h_refcount: 1.into(),
        h_blocks: 1.into(),
        h_hash: hash.into(),
        h_checksum: 0.into(),
        h_reserved: [0.into(); 3],
    };
    block[..HEADER_SIZE].copy_from_slice(header.as_bytes());
    if let Some(seed) = op.superblock().checksum_seed {
        header.h_checksum = block_checksum(seed, number, &block).into();
        block[..HEADER_SIZE].copy_from_slice(header.as_bytes());
    }
    op.replace(number, block)?;
    mark_file_system(op)
}

/// Says that some inode has attributes in a block.
fn mark_file_system(op: &mut Operation<'_>) -> Result<()> {
    let raw = op.volume.superblock_now()?;
    if raw.s_feature_compat.get() & compat::EXT_ATTR != 0 {
        return Ok(());
    }
    op.change_superblock(|raw| {
        raw.s_feature_compat = (raw.s_feature_compat.get() | compat::EXT_ATTR).into();
        Ok(())
    })
}

/// Whether other inodes have the same attribute block.
pub(in crate::ext) fn is_shared(op: &Operation<'_>, record: &Record) -> Result<bool> {
    match record.file_acl(op.superblock()) {
        0 => Ok(false),
        block => Ok(sharers(&op.block(block)?) > 1),
    }
}

/// How many inodes share an attribute block.
fn sharers(block: &[u8]) -> u32 {
    XattrHeader::ref_from_prefix(block).map_or(0, |(header, _)| header.h_refcount.get())
}

/// Takes the block from an inode, and frees it if no other inode shares it. The record is not written.
fn drop_block(op: &mut Operation<'_>, record: &mut Record) -> Result<()> {
    let number = record.file_acl(op.superblock());
    if number == 0 {
        return Ok(());
    }
    let seed = op.superblock().checksum_seed;
    let count = sharers(&op.block(number)?);
    if count > 1 {
        op.change(number, |block| {
            let set = |block: &mut [u8], sum: u32| {
                if let Ok((header, _)) = XattrHeader::mut_from_prefix(block) {
                    header.h_refcount = (count - 1).into();
                    header.h_checksum = sum.into();
                }
            };
            set(block, 0);
            if let Some(seed) = seed {
                let sum = block_checksum(seed, number, block);
                set(block, sum);
            }
            Ok(())
        })?;
    } else {
        blocks::free(op, number..number + 1, true)?;
    }
    record.set_file_acl(0);
    add_blocks(op, record, false);
    Ok(())
}

/// Counts the attribute block among the inode's, or no more.
fn add_blocks(op: &Operation<'_>, record: &mut Record, more: bool) {
    let superblock = op.superblock();
    let unit = op.volume.block_size() / 512 * u64::from(superblock.cluster_blocks);
    let blocks = record.blocks(superblock);
    record.set_blocks(superblock, if more { blocks.saturating_add(unit) } else { blocks.saturating_sub(unit) });
}

/// Takes all attributes from an inode that ends, with what they take on the disk. The record is not written.
pub(in crate::ext) fn clear(op: &mut Operation<'_>, record: &mut Record) -> Result<()> {
    for attribute in read(op, record)? {
        release(op, record, &attribute)?;
    }
    drop_block(op, record)?;
    record.tail_mut().fill(0);
    Ok(())
}

/// Frees the inode of a value whose attribute ends.
pub(in crate::ext) fn release(op: &mut Operation<'_>, record: &Record, attribute: &Attribute) -> Result<()> {
    match attribute.value {
        // The values of a block that others share are theirs, too.
        Value::Inode { number, .. } if attribute.in_inode || !is_shared(op, record)? => {
            attribute_inode::release(op, number)
        }
        _ => Ok(()),
    }
}
