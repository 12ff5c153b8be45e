//! Which extended attributes a file system has at all: one pass through its inode tables.

use std::collections::HashSet;

use images::{Result, corrupt, unsupported};
use zerocopy::FromBytes;

use super::layout::{self, XATTR_MAGIC};
use super::superblock::Superblock;
use super::volume::Volume;
use super::xattr::{HEADER_SIZE, full_name};
use super::xattr_entries::Entries;

/// How much of inode tables and attribute blocks one pass reads, in bytes (ours): the tables of 262,144 inodes that
/// were used once, and a few hundredths of a second.
const MOST_BYTES: u64 = 64 << 20;
/// How many groups it looks at (ours): those of 2 TiB.
const MOST_GROUPS: u32 = 1 << 14;
/// How many different names it keeps (ours); guests have a dozen.
const MOST_NAMES: usize = 1024;
/// How much of a table is read at once, in bytes (ours): a multiple of every inode's size.
const PIECE: usize = 256 << 10;

/// The full names of all attributes of all inodes that were ever used, as `listxattr` gives them.
///
/// An error where that cannot be said: damage, or more to read than the limits allow.
pub fn attribute_names(volume: &Volume) -> Result<HashSet<Vec<u8>>> {
    let superblock = volume.superblock();
    let mut pass = Pass { volume, names: HashSet::new(), bytes: 0, last_block: 0 };
    if superblock.groups > MOST_GROUPS {
        return Err(too_much());
    }
    let size = usize::from(superblock.inode_size);
    let mut piece = vec![0; PIECE];
    for number in 0..superblock.groups {
        let group = volume.group(number)?;
        let mut left = group.used_inodes(superblock) as usize * size;
        let mut at = superblock.block_offset(group.inode_table)?;
        while left > 0 {
            let piece = &mut piece[..left.min(PIECE)];
            pass.afford(piece.len())?;
            volume.disk().read_at(piece, at)?;
            for (record, offset) in piece.chunks_exact(size).zip((at..).step_by(size)) {
                pass.inode(record, offset)?;
            }
            left -= piece.len();
            at = at.saturating_add(piece.len() as u64);
        }
    }
    Ok(pass.names)
}

fn too_much() -> images::Error {
    unsupported!("a list of the extended attributes of more than {MOST_BYTES} bytes of inodes")
}

struct Pass<'a> {
    volume: &'a Volume,
    names: HashSet<Vec<u8>>,
    /// Read so far.
    bytes: u64,
    /// The attribute block that was looked at last: neighbours often share one.
    last_block: u64,
}

impl Pass<'_> {
    fn afford(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if self.bytes > MOST_BYTES { Err(too_much()) } else { Ok(()) }
    }

    /// Takes the names of one inode: those in its record, then those in its block.
    fn inode(&mut self, record: &[u8], offset: u64) -> Result<()> {
        let Ok((raw, rest)) = layout::Inode::ref_from_prefix(record) else { return Ok(()) };
        let extra_size = rest.first_chunk().map_or(0, |size| u16::from_le_bytes(*size));
        let tail = rest.get(usize::from(extra_size)..).unwrap_or_default();
        if let Some(entries) = tail.strip_prefix(&XATTR_MAGIC.to_le_bytes()) {
            self.entries(entries, offset)?;
        }
        let block = file_acl(self.volume.superblock(), raw);
        if block != 0 && block != self.last_block {
            self.afford(self.volume.superblock().block_size as usize)?;
            let bytes = self.volume.block(block)?;
            if !bytes.starts_with(&XATTR_MAGIC.to_le_bytes()) {
                return Err(corrupt!("extended attribute block", bytes.offset(), "it has no magic"));
            }
            self.entries(bytes.get(HEADER_SIZE..).unwrap_or_default(), bytes.offset())?;
            self.last_block = block;
        }
        Ok(())
    }

    /// Takes the names of an area of entries, which four zero bytes or its end close.
    fn entries(&mut self, area: &[u8], offset: u64) -> Result<()> {
        for found in Entries::new(area, offset) {
            let (entry, name, _) = found?;
            if let Some(full) = full_name(entry.e_name_index, name) {
                self.names.insert(full);
            }
            if self.names.len() > MOST_NAMES {
                return Err(unsupported!("more than {MOST_NAMES} names of extended attributes"));
            }
        }
        Ok(())
    }
}

/// The block with an inode's attributes, or 0.
fn file_acl(superblock: &Superblock, raw: &layout::Inode) -> u64 {
    let low = u64::from(raw.i_file_acl_lo.get());
    if superblock.features.has_incompat(super::features::incompat::SIXTY_FOUR_BIT) {
        low | u64::from(raw.l_i_file_acl_high.get()) << 32
    } else {
        low
    }
}
