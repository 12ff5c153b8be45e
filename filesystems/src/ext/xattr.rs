//! Extended attributes: behind the inode's fields, in a block of their own, and large values in inodes of their own.
//!
//! Specification: <https://docs.kernel.org/filesystems/ext4/attributes.html>

use images::{Result, corrupt, unsupported};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum::crc32c;
use super::features::incompat;
use super::inode::Inode;
use super::layout::{XATTR_MAGIC, XattrEntry, inode_flags};
use super::superblock::Superblock;
use super::volume::Volume;
use super::xattr_entries::Entries;

/// The longest value in an inode of its own: the kernel's limit for any value (`XATTR_SIZE_MAX`), in bytes.
pub(super) const MAX_VALUE: u32 = 64 * 1024;
/// All values of a node together, in bytes: ours. Many attributes may share one inode for their value, so that a small
/// image could otherwise ask for gigabytes.
const MAX_VALUES: usize = 16 << 20;

/// `e_name_index` of the attributes of the kernel's own, such as the remainder of an inline file.
pub(super) const INDEX_SYSTEM: u8 = 7;
pub(super) const INDEX_ACL_ACCESS: u8 = 2;
pub(super) const INDEX_ACL_DEFAULT: u8 = 3;
/// What a name of each `e_name_index` begins with, in the kernel and in e2fsprogs.
const PREFIXES: &[(u8, &str)] = &[
    (1, "user."),
    (INDEX_ACL_ACCESS, "system.posix_acl_access"),
    (INDEX_ACL_DEFAULT, "system.posix_acl_default"),
    (4, "trusted."),
    (6, "security."),
    (INDEX_SYSTEM, "system."),
    (8, "system.richacl"),
    (10, "gnu."),
];

/// Bytes in an attribute block before its entries.
pub(super) const HEADER_SIZE: usize = 32;

/// The start of an attribute block.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct XattrHeader {
    pub h_magic: U32,
    /// How many inodes share the block.
    pub h_refcount: U32,
    pub h_blocks: U32,
    pub h_hash: U32,
    pub h_checksum: U32,
    pub h_reserved: [U32; 3],
}
const _: () = assert!(size_of::<XattrHeader>() == HEADER_SIZE);

/// The attributes with their full names, in the order of the disk: first those in the inode, then those in the block.
///
/// Without those that the kernel does not list: `system.data` of inline files, encryption contexts, and those of a
/// name index that has no meaning. ACLs are in the format of `getxattr`.
pub fn list(volume: &Volume, inode: &Inode) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut attributes = Attributes { volume, inode, size: 0, list: Vec::new() };
    if let Some(entries) = inode.tail.get(4..) {
        // Offsets of values count from the first entry.
        attributes.add(Area { entries, values: entries, at: inode.tail_offset.saturating_add(4) })?;
    }
    if inode.file_acl != 0 {
        let block = volume.block(inode.file_acl)?;
        let at = check_block(volume, inode.file_acl, &block)?;
        let entries = block.get(size_of::<XattrHeader>()..).unwrap_or_default();
        attributes.add(Area { entries, values: &block, at: at.saturating_add(size_of::<XattrHeader>() as u64) })?;
    }
    Ok(attributes.list)
}

/// Checks the header of an attribute block and its checksum, and returns where it lies in bytes.
pub(super) fn check_block(volume: &Volume, number: u64, block: &[u8]) -> Result<u64> {
    const WHAT: &str = "extended attribute block";
    let at = volume.superblock().block_offset(number)?;
    let Ok((header, _)) = XattrHeader::ref_from_prefix(block) else {
        return Err(corrupt!(WHAT, at, "{} bytes long", block.len()));
    };
    if header.h_magic.get() != XATTR_MAGIC || header.h_blocks.get() != 1 {
        let (magic, blocks) = (header.h_magic, header.h_blocks);
        return Err(corrupt!(WHAT, at, "magic {magic:#x} and {blocks} blocks, want {XATTR_MAGIC:#x} and 1"));
    }
    if let Some(seed) = volume.superblock().checksum_seed {
        let want = block_checksum(seed, number, block);
        let found = header.h_checksum.get();
        if found != want {
            return Err(corrupt!(WHAT, at, "checksum {found:#x}, want {want:#x}"));
        }
    }
    Ok(at)
}

/// The checksum of an attribute block: of its number, and of the block with zeros in the checksum's place.
pub(super) fn block_checksum(seed: u32, number: u64, block: &[u8]) -> u32 {
    let (before, after) = (block.get(..16).unwrap_or_default(), block.get(20..).unwrap_or_default());
    let crc = crc32c(crc32c(seed, &number.to_le_bytes()), before);
    crc32c(crc32c(crc, &[0; 4]), after)
}

/// Where entries lie, and what the offsets of their values count from.
struct Area<'a> {
    entries: &'a [u8],
    values: &'a [u8],
    /// Where the entries lie on the disk, in bytes.
    at: u64,
}

/// The attributes found so far.
struct Attributes<'a> {
    volume: &'a Volume,
    inode: &'a Inode,
    size: usize,
    list: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes<'_> {
    /// Adds the entries of an area; each takes at least 16 bytes of it.
    fn add(&mut self, area: Area<'_>) -> Result<()> {
        for found in Entries::new(area.entries, area.at) {
            let (entry, name, at) = found?;
            let Some(full) = full_name(entry.e_name_index, name) else { continue };
            let value = self.value(entry, name, area.values, at)?;
            let value = match entry.e_name_index {
                INDEX_ACL_ACCESS | INDEX_ACL_DEFAULT => match acl(&value, at)? {
                    Some(acl) => acl,
                    None => continue,
                },
                _ => value,
            };
            self.size = self.size.saturating_add(full.len()).saturating_add(value.len());
            if self.size > MAX_VALUES {
                return Err(unsupported!("more than {MAX_VALUES} bytes of extended attributes at one node"));
            }
            self.list.push((full, value));
        }
        Ok(())
    }

    fn value(&self, entry: &XattrEntry, name: &[u8], values: &[u8], at: u64) -> Result<Vec<u8>> {
        let (offset, size) = (usize::from(entry.e_value_offs.get()), entry.e_value_size.get());
        if entry.e_value_inum.get() != 0 {
            return self.value_in_inode(entry, name, at);
        }
        if size == 0 {
            return Ok(Vec::new());
        }
        let end = usize::try_from(size).ok().and_then(|size| offset.checked_add(size));
        match end.and_then(|end| values.get(offset..end)) {
            Some(value) => Ok(value.to_vec()),
            None => Err(corrupt!("extended attribute", at, "value of {size} bytes at {offset}, outside of its area")),
        }
    }

    /// Reads a value from an inode of its own, which holds a hash of the value in place of its access time; the
    /// entry's hash covers the name and that hash.
    fn value_in_inode(&self, entry: &XattrEntry, name: &[u8], at: u64) -> Result<Vec<u8>> {
        const WHAT: &str = "extended attribute";
        let superblock = self.volume.superblock();
        let (number, size) = (entry.e_value_inum.get(), entry.e_value_size.get());
        if !superblock.features.has_incompat(incompat::EA_INODE) {
            return Err(corrupt!(WHAT, at, "value in inode {number}, but the file system has no feature ea_inode"));
        }
        if size > MAX_VALUE {
            return Err(corrupt!(WHAT, at, "value of {size} bytes, at most {MAX_VALUE}"));
        }
        if self.size.saturating_add(size as usize) > MAX_VALUES {
            return Err(unsupported!("more than {MAX_VALUES} bytes of extended attributes at one node"));
        }
        let inode = self.volume.inode(number)?;
        if inode.flags & inode_flags::EA_INODE == 0 || inode.size != u64::from(size) {
            let (flags, found) = (inode.flags, inode.size);
            return Err(corrupt!(WHAT, at, "value of {size} bytes in inode {number}: size {found}, flags {flags:#x}"));
        }
        let mut value = vec![0; size as usize];
        let read = self.volume.read(&inode, &mut value, 0)?;
        if read != value.len() {
            return Err(corrupt!(WHAT, at, "inode {number} holds {read} bytes of a value of {size}"));
        }
        // Lustre's own values have no hash; their modification time is the number of the inode that they belong to.
        let (raw, owner) = (&inode.raw, self.inode);
        let lustre = raw.i_mtime.get() == owner.number && inode.generation == owner.generation;
        let (hash, stored) = (value_hash(superblock, &value), raw.i_atime.get());
        let hashes = [entry_hash(name.iter().map(|byte| u32::from(*byte)), [hash]), {
            // Older kernels on machines with signed characters.
            entry_hash(name.iter().map(|byte| *byte as i8 as u32), [hash])
        }];
        if !lustre && (hash != stored || !hashes.contains(&entry.e_hash.get())) {
            return Err(corrupt!(WHAT, at, "the value in inode {number} does not match its hash"));
        }
        Ok(value)
    }
}

/// The hash of a value that is in an inode. Its seed is the same with and without metadata_csum.
pub(super) fn value_hash(superblock: &Superblock, value: &[u8]) -> u32 {
    let seed = if superblock.features.has_incompat(incompat::CSUM_SEED) {
        superblock.raw.s_checksum_seed.get()
    } else {
        crc32c(!0, &superblock.raw.s_uuid)
    };
    crc32c(seed, value)
}

/// The hash of an entry: of its name, and of its value, which is given in words, or by its own hash if it is in an inode.
pub(super) fn entry_hash(name: impl Iterator<Item = u32>, value: impl IntoIterator<Item = u32>) -> u32 {
    let hash = name.fold(0u32, |hash, byte| hash.rotate_left(5) ^ byte);
    value.into_iter().fold(hash, |hash, word| hash.rotate_left(16) ^ word)
}

/// The index and the rest of a full name; `None` if the file system cannot have it.
pub(super) fn split_name(full: &[u8]) -> Option<(u8, &[u8])> {
    let of = |(index, prefix): &(u8, &str)| Some((*index, full.strip_prefix(prefix.as_bytes())?));
    let (index, name) = match PREFIXES.iter().filter(|(index, _)| *index != INDEX_SYSTEM).find_map(of)? {
        // The whole name is the prefix.
        (index @ (INDEX_ACL_ACCESS | INDEX_ACL_DEFAULT), []) => (index, &[][..]),
        (1 | 4 | 6, []) | (INDEX_ACL_ACCESS | INDEX_ACL_DEFAULT | 8 | 10, _) => return None,
        other => other,
    };
    Some((index, name))
}

/// The name as `listxattr` gives it; `None` if it is not to be listed.
pub(super) fn full_name(index: u8, name: &[u8]) -> Option<Vec<u8>> {
    let (_, prefix) = PREFIXES.iter().find(|(known, _)| *known == index)?;
    if index == INDEX_SYSTEM && name == b"data" {
        return None;
    }
    Some([prefix.as_bytes(), name].concat())
}

/// An ACL as `getxattr` gives it (version 2), from what the disk has (version 1); `None` if it has no entries.
///
/// Both are a version and entries of tag, permissions and id; on the disk only named users and groups have an id.
pub(super) fn acl(disk: &[u8], at: u64) -> Result<Option<Vec<u8>>> {
    /// The tags of the file's owner and group, of all others, and the mask.
    const WITHOUT_ID: [u16; 4] = [0x01, 0x04, 0x10, 0x20];
    const UNDEFINED_ID: u32 = u32::MAX;
    const WHAT: &str = "access control list";
    let (version, mut rest) = match U32::read_from_prefix(disk) {
        Ok((version, rest)) => (version.get(), rest),
        Err(_) => return Err(corrupt!(WHAT, at, "{} bytes long", disk.len())),
    };
    if version != 1 {
        return Err(corrupt!(WHAT, at, "version {version}, want 1"));
    }
    let mut acl = 2u32.to_le_bytes().to_vec();
    while !rest.is_empty() {
        let Ok((&[tag, permissions], after)) = <[U16; 2]>::ref_from_prefix(rest) else {
            return Err(corrupt!(WHAT, at, "{} bytes behind its last entry", rest.len()));
        };
        let (id, after) = match tag.get() {
            USER | GROUP => match U32::read_from_prefix(after) {
                Ok((id, after)) => (id.get(), after),
                Err(_) => return Err(corrupt!(WHAT, at, "the last entry has no id")),
            },
            tag if WITHOUT_ID.contains(&tag) => (UNDEFINED_ID, after),
            tag => return Err(corrupt!(WHAT, at, "tag {tag:#x} of an entry")),
        };
        acl.extend(tag.get().to_le_bytes());
        acl.extend(permissions.get().to_le_bytes());
        acl.extend(id.to_le_bytes());
        rest = after;
    }
    Ok((acl.len() > 4).then_some(acl))
}

/// The tags of ACL entries that have an id.
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;

/// A valid ACL as the disk has it, from what `getxattr` gives.
pub(super) fn acl_on_disk(value: &[u8]) -> Vec<u8> {
    let mut disk = 1u32.to_le_bytes().to_vec();
    let (entries, _) = value.get(4..).unwrap_or_default().as_chunks::<8>();
    for [a, b, c, d, id @ ..] in entries {
        disk.extend([a, b, c, d]);
        if matches!(u16::from_le_bytes([*a, *b]), USER | GROUP) {
            disk.extend(id);
        }
    }
    disk
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_get_their_prefix() {
        assert_eq!(full_name(1, b"x").unwrap(), b"user.x");
        assert_eq!(full_name(2, b"").unwrap(), b"system.posix_acl_access");
        assert_eq!(full_name(7, b"other").unwrap(), b"system.other");
        assert_eq!(full_name(7, b"data"), None, "the remainder of an inline file");
        assert_eq!(full_name(9, b"c"), None, "an encryption context");
        assert_eq!(full_name(0, b"x"), None);
    }

    #[test]
    fn acls_are_converted() {
        let disk = [1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 7, 0, 0xe8, 3, 0, 0, 4, 0, 4, 0, 0x10, 0, 7, 0, 0x20, 0, 4, 0];
        let acl_v2 = acl(&disk, 0).unwrap().unwrap();
        assert_eq!(acl_v2.len(), 4 + 5 * 8);
        assert_eq!(acl_v2[..12], [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255]);
        assert_eq!(acl_v2[12..20], [2, 0, 7, 0, 0xe8, 3, 0, 0]);
        assert_eq!(acl(&disk[..4], 0).unwrap(), None);
        assert_eq!(acl_on_disk(&acl_v2), disk);
        let cuts = (0..disk.len()).filter(|len| acl(&disk[..*len], 0).is_err()).count();
        assert_eq!(cuts, disk.len() - 5, "only whole entries are taken");
        assert!(acl(&[2, 0, 0, 0], 0).unwrap_err().to_string().contains("version 2, want 1"));
        assert!(acl(&[1, 0, 0, 0, 3, 0, 7, 0], 0).is_err(), "no such tag");
    }
}
