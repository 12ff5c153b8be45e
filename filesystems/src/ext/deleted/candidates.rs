//! The versions of deleted inodes, wherever they were found.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use zerocopy::IntoBytes;

use super::scan::Copy;
use crate::ext::inode::Inode;
use crate::ext::layout::mode;
use crate::room::Room;

/// What a version takes in memory beside the inode's own attributes, in bytes, about: with its node, its map, and its
/// places in the lists by which it is found.
const VERSION: usize = size_of::<Inode>() + 4 * size_of::<Candidate>() + 2 * size_of::<Node>() + 384;
/// How many versions of one inode are kept (ours).
const MAX_VERSIONS: usize = 1000;
/// `i_dtime` is also the next inode of the orphan list; above this it is a time (ours: March 1973).
const MIN_TIME: u32 = 100_000_000;

/// What tells one inode from the next of the same number.
pub(super) type Identity = (u32, u32);

/// One version of an inode.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) inode: Arc<Inode>,
    /// The place in time of its transaction, the newest one if several have the same version; `None` on the disk.
    pub(super) order: Option<i64>,
    /// The oldest one of those.
    pub(super) oldest: Option<i64>,
    pub(super) sequence: Option<u32>,
    /// Whether the descriptor or the place on the disk says whose it is.
    pub(super) placed: bool,
    key: u64,
}

/// What is known of one deleted inode.
#[derive(Default)]
pub(super) struct Node {
    /// Its versions with content, the newest first once all are found.
    pub(super) versions: Vec<Candidate>,
    /// The inode as the delete left it; once all are found, only where there is no version.
    pub(super) remains: Option<Arc<Inode>>,
    /// When it was deleted, in seconds since 1970.
    pub(super) deleted: Option<u32>,
    /// The place in time of the first transaction in which it is seen deleted.
    pub(super) dead_since: Option<i64>,
    /// The most names that any of its copies had at a time.
    pub(super) links: u16,
    /// Whether the inode on the disk is still in use without a name.
    pub(super) orphan: bool,
}

/// All deleted inodes.
pub(super) struct Candidates {
    pub(super) nodes: BTreeMap<Identity, Node>,
    room: Room,
    /// Whether some were passed over, so that no promise can be made.
    pub(super) overflow: bool,
}

impl Candidates {
    /// None yet. Those that the room does not hold are passed over.
    pub(super) fn new(room: Room) -> Self {
        Self { nodes: BTreeMap::new(), room, overflow: false }
    }

    /// Takes an inode that is dead on the disk.
    pub(super) fn add_dead(&mut self, inode: Inode, orphan: bool) {
        if !self.fits(&inode) {
            return;
        }
        let node = self.nodes.entry((inode.number, inode.generation)).or_default();
        let time = inode.raw.i_dtime.get();
        (node.orphan, node.links) = (orphan, node.links.max(inode.links));
        if !orphan && time >= MIN_TIME {
            node.deleted = Some(time);
        }
        if has_content(&inode) {
            let key = key(&inode);
            let inode = Arc::new(inode);
            node.versions.push(Candidate { inode, order: None, oldest: None, sequence: None, placed: true, key });
        } else {
            node.remains = Some(Arc::new(inode));
        }
    }

    /// Takes a copy from the journal, `order` is its transaction's place in time.
    pub(super) fn add_copy(&mut self, inode: Inode, copy: &Copy, order: Option<i64>) {
        if !self.nodes.contains_key(&(inode.number, inode.generation)) && !self.fits(&inode) {
            return;
        }
        let node = self.nodes.entry((inode.number, inode.generation)).or_default();
        let time = inode.raw.i_dtime.get();
        node.links = node.links.max(inode.links);
        if inode.links == 0 && time >= MIN_TIME {
            node.deleted.get_or_insert(time);
            node.dead_since = node.dead_since.into_iter().chain(order).min();
        }
        if !has_content(&inode) {
            if node.remains.is_none() {
                node.remains = Some(Arc::new(inode));
            }
            return;
        }
        let key = key(&inode);
        if let Some(same) = node.versions.iter_mut().find(|version| version.key == key) {
            if order.is_some() && (same.order.is_none() || order < same.oldest) {
                same.oldest = order;
            }
            // An older copy on the disk is worth the least; a newer one has the later access time.
            let named = inode.links != 0 || same.inode.links == 0;
            if same.order.is_none() && order.is_some() || order > same.order {
                (same.order, same.sequence) = (order, copy.sequence);
                if named {
                    (same.inode, same.placed) = (Arc::new(inode), copy.block.is_some());
                }
            } else if same.inode.links == 0 && inode.links != 0 {
                (same.inode, same.placed) = (Arc::new(inode), copy.block.is_some());
            }
            return;
        }
        // The first is paid for with the node.
        let is_first = node.versions.is_empty() && node.remains.is_none();
        if node.versions.len() >= MAX_VERSIONS || !is_first && !self.room.take(VERSION + inode.tail.len()) {
            self.overflow = true;
            return;
        }
        let (placed, sequence) = (copy.block.is_some(), copy.sequence);
        node.versions.push(Candidate { inode: Arc::new(inode), order, oldest: order, sequence, placed, key });
    }

    fn fits(&mut self, inode: &Inode) -> bool {
        let fits = self.room.take(VERSION + inode.tail.len());
        self.overflow |= !fits;
        fits
    }

    /// Brings the versions of each node into order: the newest first.
    pub(super) fn sort(&mut self) {
        for node in self.nodes.values_mut() {
            // There are tens of thousands of them.
            node.versions.shrink_to_fit();
            if !node.versions.is_empty() {
                node.remains = None;
            }
            node.versions.sort_by_key(|version| {
                let inode = &version.inode;
                // What the delete left on the disk with its pointers is the newest.
                std::cmp::Reverse((
                    version.order.is_none() && version.oldest.is_none() && inode.links == 0,
                    version.order.unwrap_or(i64::MIN),
                    inode.changed,
                    inode.modified,
                ))
            });
        }
    }
}

/// Whether an inode is more than what a delete leaves behind: it has a name or a size.
fn has_content(inode: &Inode) -> bool {
    inode.links != 0 || inode.size != 0
}

/// Versions with the same key are one: all but the access time, the checksum and what the delete itself changes first.
fn key(inode: &Inode) -> u64 {
    let mut hasher = DefaultHasher::new();
    let (uid, gid) = (inode.uid, inode.gid);
    (inode.mode, uid, gid, inode.size, inode.blocks, inode.flags, inode.file_acl).hash(&mut hasher);
    (inode.modified.seconds, inode.modified.nanoseconds).hash(&mut hasher);
    inode.i_block().as_bytes().hash(&mut hasher);
    inode.tail.hash(&mut hasher);
    if inode.mode & mode::TYPE == mode::DIRECTORY {
        inode.links.hash(&mut hasher);
    }
    hasher.finish()
}

impl Node {
    /// Whether it is a directory.
    pub(super) fn is_directory(&self) -> bool {
        let inode = self.versions.first().map(|version| &version.inode).or(self.remains.as_ref());
        inode.is_some_and(|inode| inode.mode & mode::TYPE == mode::DIRECTORY)
    }
}

impl Candidates {
    /// Leaves out the versions that are the inode as it is now.
    pub(super) fn drop_current(&mut self, inode: &Inode) {
        let current = key(inode);
        if let Some(node) = self.nodes.get_mut(&(inode.number, inode.generation)) {
            node.versions.retain(|version| version.key != current);
            node.remains = None;
        }
        self.nodes.retain(|_, node| !node.versions.is_empty());
    }
}
