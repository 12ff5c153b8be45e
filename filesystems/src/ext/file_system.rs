//! The tree of an ext file system, as the rest of the program sees it.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, RwLockReadGuard};

use images::{Budget, Disk, Error, Extent, Reservation, Result, corrupt, read_only, unsupported};

use super::attribute_names::attribute_names;
use super::deleted::DeletedNodes;
use super::features::incompat;
use super::layout::{NAME_LEN, ROOT_INO};
use super::node::Node;
use super::superblock::Superblock;
use super::volume::Volume;
use super::write::Writing;
use super::write::held::Held;
use super::write::transaction::Transaction;
use super::{overhead, xattr};
use crate::node::{Entry, Kind, NodeId, Stat};
use crate::tree::{FileSystem, Holds, Properties, Space};
use crate::{Deleted, FileSystemMut, Forensics, Identity};

/// `s_state`: the guest's kernel found errors.
const STATE_ERRORS: u16 = 2;

/// How many entries of a directory are listed at once where the tree may change in between (ours).
const LISTED_AT_ONCE: usize = 256;

/// An open ext2, ext3 or ext4. A node's id is its inode number.
pub struct Ext {
    volume: Volume,
    properties: Properties,
    overhead: OnceLock<u64>,
    /// The names of all extended attributes, once they were asked for; `None` where they cannot be told.
    attribute_names: OnceLock<Option<HashSet<Vec<u8>>>>,
    deleted: DeletedNodes,
    /// The write half, or why there is none.
    pub(super) writing: std::result::Result<Writing, String>,
    /// The nodes that somebody holds, if it is written.
    pub(super) held: Held,
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
            writing: Err("it was opened for reading".into()),
            held: Held::new(budget),
            _held: held,
        })
    }

    /// With the write half of its volume, or the reason why there is none.
    pub(super) fn written(self, writing: std::result::Result<Writing, String>) -> Self {
        Self { writing, ..self }
    }

    /// Keeps the tree from changing as long as it is there, if it can change.
    fn reading(&self) -> Option<RwLockReadGuard<'_, Transaction>> {
        self.writing.as_ref().ok().map(Writing::reading)
    }

    /// The entries of a directory after `from`, as many as are listed at once while the tree does not change. All are held.
    fn some_entries(&self, dir: NodeId, from: u64) -> Result<Vec<(Vec<u8>, NodeId, Option<Kind>, u64)>> {
        let (mut entries, mut full) = (Vec::new(), Ok(()));
        let _reading = self.reading();
        let listed = self.each_entry(dir, from, &mut |entry| {
            full = self.hold_found(entry.node);
            if full.is_ok() {
                entries.push((entry.name.to_vec(), entry.node, entry.kind, entry.next));
            }
            full.is_ok() && entries.len() < LISTED_AT_ONCE
        });
        // What was listed before an error is given all the same.
        match listed.and(full) {
            Err(error) if entries.is_empty() => Err(error),
            _ => Ok(entries),
        }
    }

    /// A node was found, and is held if the tree can change.
    fn hold_found(&self, node: NodeId) -> Result<()> {
        match (&self.writing, u32::try_from(node.0)) {
            (Ok(_), Ok(number)) => self.held.add(number),
            _ => Ok(()),
        }
    }

    fn each_entry(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        match self.directory(dir)? {
            Node::Live(inode) => self.volume.list(&inode, from, each),
            Node::Version(_) => self.deleted.entries(&self.volume, dir, from, each),
        }
    }

    /// The volume below.
    pub fn volume(&self) -> &Volume {
        &self.volume
    }

    /// The node with this id: here it is decided whether it lives.
    pub(super) fn node(&self, id: NodeId) -> Result<Node> {
        if let Some(version) = self.deleted.version(&self.volume, id)? {
            return Ok(Node::Version(version));
        }
        let number = u32::try_from(id.0).map_err(|_| Error::NotFound)?;
        if number != ROOT_INO && number < self.volume.superblock().first_inode {
            return Err(corrupt!(format!("inode {number}"), 0u64, "a directory entry names a reserved inode"));
        }
        self.volume.inode(number).map(Node::Live)
    }

    fn directory(&self, id: NodeId) -> Result<Node> {
        let node = self.node(id)?;
        if node.inode().kind()? == Kind::Directory { Ok(node) } else { Err(Error::NotDirectory) }
    }

    /// A regular file whose content can be read.
    fn file(&self, id: NodeId) -> Result<Node> {
        let node = self.node(id)?;
        node.check_file()?;
        Ok(node)
    }
}

fn properties(superblock: &Superblock, notes: Vec<String>) -> Properties {
    let kind = superblock.features.kind();
    Properties {
        identity: Identity { kind: kind.into(), label: superblock.label(), uuid: superblock.uuid() },
        name_max: NAME_LEN as u32,
        case_insensitive: superblock.features.has_incompat(incompat::CASEFOLD),
        notes,
    }
}

impl FileSystem for Ext {
    fn properties(&self, _: NodeId) -> &Properties {
        &self.properties
    }

    fn space(&self, _: NodeId) -> Result<Space> {
        let _reading = self.reading();
        let superblock = self.volume.superblock();
        let raw = self.volume.superblock_now()?;
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
        let _reading = self.reading();
        self.node(node)?.inode().stat()
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let _reading = self.reading();
        let directory = self.directory(dir)?;
        if name.len() > NAME_LEN {
            return Err(Error::NameTooLong);
        }
        let mut found = None;
        match directory {
            Node::Live(inode) => found = self.volume.find(&inode, name)?.map(|inode| NodeId(inode.into())),
            Node::Version(_) => self.deleted.entries(&self.volume, dir, 0, &mut |entry| {
                found = (entry.name == name).then_some(entry.node);
                found.is_none()
            })?,
        }
        let found = found.ok_or(Error::NotFound)?;
        self.hold_found(found)?;
        Ok(found)
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        if self.writing.is_err() {
            return self.each_entry(dir, from, each);
        }
        // `each` may ask for more, and what keeps the tree from changing cannot be taken twice.
        let mut from = from;
        loop {
            let mut entries = self.some_entries(dir, from)?.into_iter();
            if entries.len() == 0 {
                return Ok(());
            }
            while let Some((name, node, kind, next)) = entries.next() {
                if !each(Entry { name: &name, node, kind, next }) {
                    entries.for_each(|(_, node, ..)| self.forget(node, 1));
                    return Ok(());
                }
                from = next;
            }
        }
    }

    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        let _reading = self.reading();
        self.file(file)?.read(&self.volume, buf, offset)
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        let _reading = self.reading();
        self.node(link)?.target(&self.volume)
    }

    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        let _reading = self.reading();
        self.file(file)?.extent_at(&self.volume, offset)
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let _reading = self.reading();
        xattr::list(&self.volume, self.node(node)?.inode())
    }

    fn may_have_xattr(&self, name: &[u8]) -> bool {
        if self.writing.is_ok() {
            return true;
        }
        let names = self.attribute_names.get_or_init(|| {
            attribute_names(&self.volume).inspect_err(|error| log::debug!("{}: {error}", self.volume.disk())).ok()
        });
        names.as_ref().is_none_or(|names| names.contains(name))
    }

    fn holds(&self) -> Option<&dyn Holds> {
        self.writing.is_ok().then_some(self)
    }

    fn forensics(&self) -> Result<&dyn Forensics> {
        match self.writing {
            Ok(_) => Err(unsupported!("what was deleted is not looked for in a file system that is written")),
            Err(_) => Ok(self),
        }
    }

    fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
        match &self.writing {
            Ok(writing) => writing.check().map(|()| self as &dyn FileSystemMut),
            Err(why) => Err(read_only!("{} is read-only here: {why}", self.properties.identity.kind)),
        }
    }
}

impl Forensics for Ext {
    fn deleted(&self) -> Result<Arc<[Deleted]>> {
        self.deleted.all(&self.volume)
    }

    fn versions(&self, id: NodeId, each: &mut dyn FnMut(&Deleted) -> bool) -> Result<()> {
        let node = self.node(id)?;
        let inode = node.inode();
        let list = match &node {
            Node::Live(inode) => self.deleted.of_living(&self.volume, inode.number)?,
            Node::Version(_) => self.deleted.all(&self.volume)?,
        };
        let identity = (u64::from(inode.number), Some(inode.generation));
        let is_other = |other: &&Deleted| (other.number, other.generation) == identity && other.node != id;
        // Until the caller has enough.
        list.iter().filter(is_other).all(each);
        Ok(())
    }

    fn unallocated(&self) -> Result<Arc<dyn Disk>> {
        self.deleted.unallocated(&self.volume)
    }
}
