//! The tree of an ext file system, as the rest of the program sees it.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use images::{Budget, Data, Disk, Error, Extent, Reservation, Result, corrupt, unsupported};

use super::attribute_names::attribute_names;
use super::deleted::DeletedNodes;
use super::features::incompat;
use super::inode::Inode;
use super::layout::{NAME_LEN, ROOT_INO, inode_flags};
use super::superblock::Superblock;
use super::volume::Volume;
use super::{inline, overhead, xattr};
use crate::tree::{Entry, FileSystem, Kind, NodeId, Properties, Space, Stat};
use crate::{Deleted, Identity};

/// `s_state`: the guest's kernel found errors.
const STATE_ERRORS: u16 = 2;
/// The kernel's longest target that lies in `i_block`.
const FAST_SYMLINK_MAX: u64 = 59;

/// An open ext2, ext3 or ext4. A node's id is its inode number.
pub struct Ext {
    volume: Volume,
    properties: Properties,
    overhead: OnceLock<u64>,
    /// The names of all extended attributes, once they were asked for; `None` where they cannot be told.
    attribute_names: OnceLock<Option<HashSet<Vec<u8>>>>,
    deleted: DeletedNodes,
    /// What the volume's disk takes in memory.
    _held: Reservation,
}

impl Ext {
    /// The tree of a volume; `notes` are what was found while opening, `held` is what the volume's disk takes in memory,
    /// and `budget` is for what is found later. Fails if the root directory is damaged.
    pub fn new(volume: Volume, mut notes: Vec<String>, budget: &Budget, held: Reservation) -> Result<Self> {
        let superblock = volume.superblock();
        let (wanted, have) = (superblock.blocks * volume.block_size(), volume.disk().size());
        if have < wanted {
            let note = format!("the volume is truncated: {have} of {wanted} bytes; what lies after cannot be read");
            log::warn!("{}: {note}", volume.disk());
            notes.push(note);
        }
        if superblock.raw.s_state.get() & STATE_ERRORS != 0 {
            notes.push("the file system is marked as having errors: it should be checked with e2fsck".into());
        }
        let root = volume.inode(ROOT_INO)?;
        if root.kind()? != Kind::Directory {
            return Err(corrupt!("root inode", root.offset, "mode {:#o} is not a directory's", root.mode));
        }
        let properties = properties(superblock, notes);
        Ok(Self {
            volume,
            properties,
            overhead: OnceLock::new(),
            attribute_names: OnceLock::new(),
            deleted: DeletedNodes::new(budget.clone()),
            _held: held,
        })
    }

    /// The volume below.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    fn inode(&self, node: NodeId) -> Result<Arc<Inode>> {
        let number = u32::try_from(node.0).map_err(|_| Error::NotFound)?;
        if number != ROOT_INO && number < self.volume.superblock().first_inode {
            return Err(corrupt!(format!("inode {number}"), 0u64, "a directory entry names a reserved inode"));
        }
        self.volume.inode(number)
    }

    fn directory(&self, node: NodeId) -> Result<Arc<Inode>> {
        let inode = self.inode(node)?;
        match inode.kind()? {
            Kind::Directory => Ok(inode),
            _ => Err(Error::NotDirectory),
        }
    }

    /// A regular file whose content can be read.
    fn file(&self, node: NodeId) -> Result<Arc<Inode>> {
        let inode = self.inode(node)?;
        readable_file(&inode)?;
        Ok(inode)
    }
}

fn properties(superblock: &Superblock, notes: Vec<String>) -> Properties {
    let kind = superblock.features.kind();
    let why = superblock.features.unknown_ro_compat();
    let why = why.unwrap_or_else(|| "this program does not write ext file systems".into());
    Properties {
        identity: Identity { kind: kind.into(), label: superblock.label(), uuid: superblock.uuid() },
        name_max: NAME_LEN as u32,
        case_insensitive: superblock.features.has_incompat(incompat::CASEFOLD),
        read_only: format!("{kind} is read-only here: {why}"),
        notes,
    }
}

/// Fails unless it is a regular file whose content can be read.
fn readable_file(inode: &Inode) -> Result<()> {
    match inode.kind()? {
        Kind::File => {}
        Kind::Directory => return Err(Error::IsDirectory),
        _ => return Err(Error::Invalid),
    }
    match inode.has(inode_flags::ENCRYPT | inode_flags::COMPRBLK) {
        true => Err(unreadable(inode)),
        false => Ok(()),
    }
}

/// Why content cannot be read although the image is sound.
fn unreadable(inode: &Inode) -> Error {
    match inode.has(inode_flags::ENCRYPT) {
        true => {
            unsupported!("inode {} is encrypted by fscrypt: its content cannot be read without the key", inode.number)
        }
        false => unsupported!("inode {} is compressed by e2compr, which is not supported", inode.number),
    }
}

impl FileSystem for Ext {
    fn properties(&self, _: NodeId) -> &Properties {
        &self.properties
    }

    fn space(&self, _: NodeId) -> Result<Space> {
        let superblock = self.volume.superblock();
        let raw = &superblock.raw;
        let overhead = *self.overhead.get_or_init(|| overhead::blocks(&self.volume));
        let is_wide = superblock.features.has_incompat(incompat::SIXTY_FOUR_BIT);
        let count = |low: u32, high: u32| if is_wide { u64::from(high) << 32 | u64::from(low) } else { low.into() };
        let free = count(raw.s_free_blocks_count_lo.get(), raw.s_free_blocks_count_hi.get());
        let reserved = count(raw.s_r_blocks_count_lo.get(), raw.s_r_blocks_count_hi.get());
        Ok(Space {
            block_size: superblock.block_size,
            blocks: superblock.blocks.saturating_sub(overhead),
            blocks_free: free,
            blocks_available: free.saturating_sub(reserved.saturating_add(overhead::reserved_blocks(superblock))),
            files: superblock.inodes.into(),
            files_free: raw.s_free_inodes_count.get().into(),
        })
    }

    fn root(&self) -> NodeId {
        NodeId(ROOT_INO.into())
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        if let Some(version) = self.deleted.get(&self.volume, node)? {
            return version.inode().stat();
        }
        self.inode(node)?.stat()
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        if self.deleted.get(&self.volume, dir)?.is_some() {
            let (all, children) = self.deleted.children(&self.volume, dir)?;
            let mut children = children.iter().filter_map(|index| all.get(*index));
            let found = children.find(|child| child.name.as_deref() == Some(name));
            return found.map(|child| child.node).ok_or(Error::NotFound);
        }
        let directory = self.directory(dir)?;
        if name.len() > NAME_LEN {
            return Err(Error::NameTooLong);
        }
        match self.volume.find(&directory, name)? {
            Some(inode) => Ok(NodeId(inode.into())),
            None => Err(Error::NotFound),
        }
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        if self.deleted.get(&self.volume, dir)?.is_some() {
            let (all, children) = self.deleted.children(&self.volume, dir)?;
            for (next, index) in (1..).zip(children).skip(usize::try_from(from).unwrap_or(usize::MAX)) {
                let Some((child, name)) = all.get(*index).and_then(|child| Some((child, child.name.as_deref()?)))
                else {
                    continue;
                };
                if !each(Entry { name, node: child.node, kind: None, next }) {
                    break;
                }
            }
            return Ok(());
        }
        self.volume.list(&*self.directory(dir)?, from, each)
    }

    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        if let Some(version) = self.deleted.get(&self.volume, file)? {
            readable_file(version.inode())?;
            return version.read(&self.volume, buf, offset);
        }
        let inode = self.file(file)?;
        match inode.has(inode_flags::INLINE_DATA) {
            true => inline::read(&inode, buf, offset),
            false => self.volume.read(&inode, buf, offset),
        }
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        if let Some(version) = self.deleted.get(&self.volume, link)? {
            return version.read_link(&self.volume);
        }
        let inode = self.inode(link)?;
        if inode.kind()? != Kind::Symlink {
            return Err(Error::Invalid);
        }
        if inode.has(inode_flags::ENCRYPT | inode_flags::COMPRBLK) {
            return Err(unreadable(&inode));
        }
        let block_size = self.volume.block_size();
        if inode.size == 0 || inode.size > block_size {
            let what = format!("symbolic link, inode {}", inode.number);
            return Err(corrupt!(what, inode.offset, "{} bytes long, want 1 to {block_size}", inode.size));
        }
        let mut target = vec![0; inode.size as usize];
        // A short target's only blocks are those of its extended attributes.
        let superblock = self.volume.superblock();
        let xattr_blocks =
            if inode.file_acl == 0 { 0 } else { block_size / 512 * u64::from(superblock.cluster_blocks) };
        if inode.has(inode_flags::INLINE_DATA) {
            inline::read(&inode, &mut target, 0)?;
        } else if inode.size <= FAST_SYMLINK_MAX && inode.blocks == xattr_blocks {
            target.copy_from_slice(&inode.i_block()[..inode.size as usize]);
        } else {
            self.volume.read(&inode, &mut target, 0)?;
        }
        // The kernel takes the target as a string that ends at the first NUL.
        let end = target.iter().position(|byte| *byte == 0).unwrap_or(target.len());
        target.truncate(end);
        Ok(target)
    }

    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        if let Some(version) = self.deleted.get(&self.volume, file)? {
            readable_file(version.inode())?;
            return version.extent_at(&self.volume, offset);
        }
        let inode = self.file(file)?;
        if offset >= inode.size {
            return Err(Error::Invalid);
        }
        match inode.has(inode_flags::INLINE_DATA) {
            true => Ok(Extent { len: inode.size - offset, data: Data::Opaque }),
            false => self.volume.extent_at(&inode, offset),
        }
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        if let Some(version) = self.deleted.get(&self.volume, node)? {
            return xattr::list(&self.volume, version.inode());
        }
        xattr::list(&self.volume, &*self.inode(node)?)
    }

    fn may_have_xattr(&self, name: &[u8]) -> bool {
        let names = self.attribute_names.get_or_init(|| {
            attribute_names(&self.volume).inspect_err(|error| log::debug!("{}: {error}", self.volume.disk())).ok()
        });
        names.as_ref().is_none_or(|names| names.contains(name))
    }

    fn deleted(&self) -> Result<Arc<[Deleted]>> {
        self.deleted.all(&self.volume)
    }

    fn versions(&self, node: NodeId) -> Result<Vec<Deleted>> {
        if let Some(version) = self.deleted.get(&self.volume, node)? {
            let inode = version.inode();
            let is_other = |other: &&Deleted| {
                let same = other.number == u64::from(inode.number) && other.generation == Some(inode.generation);
                same && other.node != node
            };
            return Ok(self.deleted.all(&self.volume)?.iter().filter(is_other).cloned().collect());
        }
        let inode = self.inode(node)?;
        Ok(self.deleted.of_living(&self.volume, inode.number)?.to_vec())
    }

    fn unallocated(&self) -> Result<Arc<dyn Disk>> {
        self.deleted.unallocated(&self.volume)
    }
}
