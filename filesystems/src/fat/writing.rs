//! What the write half of a FAT file system has to remember.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use images::{Budget, Disk, Reservation, Result, Writer, read_only};

use super::geometry::Geometry;
use super::write::space::Space;
use crate::{Interned, NodeId};

/// What changed entries of the FAT and changed sectors take in memory, with the trees that they are in, in bytes.
const CHANGES_SIZE: u64 = 12 << 20;

/// The bit of a key that is no place in a directory: the node has no name any more.
pub(super) const ORPHAN: u64 = 1 << 62;

/// What is being written.
pub(super) struct Writing {
    /// None once it was closed.
    pub(super) writer: Option<Writer>,
    /// Why nothing can be written any more.
    pub(super) ended: Option<String>,
    /// Whether the disk said that it was clean before the first change.
    pub(super) was_clean: Option<bool>,
    /// Whether it says that it is being written.
    pub(super) is_marked: bool,
    /// Whether anything was written since the last flush.
    pub(super) is_unflushed: bool,
    /// Whether more than times of nodes has changed and is not written.
    pub(super) is_essential: bool,
    /// Whether the last commit was not done to its end.
    pub(super) is_repeated: bool,
    /// Clusters whose entries in the FAT have changed.
    pub(super) touched: BTreeSet<u32>,
    /// Clusters that are free as soon as what was changed is on the disk, as runs.
    pub(super) freed: Vec<(u32, u32)>,
    pub(super) space: Option<Space>,
    /// By the key of a directory: where it has room.
    pub(super) rooms: HashMap<u64, Room>,
    /// Where the old entry of a name lies that has moved to another sector, in bytes: this sector goes first.
    pub(super) moved: Option<u64>,
    /// Files that may have clusters behind their end.
    pub(super) preallocated: HashSet<NodeId>,
    /// How many nodes have lost their last name.
    pub(super) orphans: u64,
    pub(super) _held: Reservation,
}

impl Writing {
    /// Takes the writer of a disk. Fails with `ReadOnly` if there is none, or if the volume cannot be written.
    pub(super) fn new(disk: &dyn Disk, geometry: &Geometry, budget: &Budget) -> Result<Self> {
        if geometry.end > disk.size() {
            return Err(read_only!("{disk} ends before the file system on it does"));
        }
        Ok(Self {
            writer: Some(disk.writer(0..disk.size())?),
            ended: None,
            was_clean: None,
            is_marked: false,
            is_unflushed: false,
            is_essential: false,
            is_repeated: false,
            touched: BTreeSet::new(),
            freed: Vec::new(),
            space: None,
            rooms: HashMap::new(),
            moved: None,
            preallocated: HashSet::new(),
            orphans: 0,
            _held: budget.take(CHANGES_SIZE, "what is to be written to a FAT file system")?,
        })
    }
}

/// The slots of a directory that are free.
#[derive(Default)]
pub struct Room {
    /// Where slots are free before the end: the first, and how many.
    pub(super) holes: BTreeMap<u32, u32>,
    /// The slot from which on none was ever used.
    pub(super) end: u32,
    /// How many slots there are.
    pub(super) all: u32,
}

/// The nodes that are held, by where their entries lie.
pub(super) type Nodes = Interned<u64>;
