//! Names of deleted nodes: from every copy of a directory block, and from the gaps between living entries.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use zerocopy::FromBytes;

use super::blocks::BlockCopy;
use crate::ext::directory::{file_type, rec_len};
use crate::ext::features::incompat;
use crate::ext::layout::{DIR_TAIL_FILE_TYPE, DirEntry, DirEntryTail, NAME_LEN};
use crate::ext::superblock::Superblock;
use crate::forensics::Evidence;
use crate::room::Room;

/// What a name takes beside its bytes, about: in the list, which grows to twice its size, and by its hash.
const NAME: usize = 2 * size_of::<Name>() + 64;
/// What a block takes whose owner must be found by its place, with its owners.
const PLACE: usize = 96;
/// The smallest entry.
const SMALLEST: usize = 12;

/// What evidence calls an entry.
const ENTRY: &str = "directory entry";
const REMOVED: &str = "removed directory entry";

/// Whether this is where a name was found.
pub(super) fn is_of_name(evidence: &Evidence) -> bool {
    matches!(evidence.what, ENTRY | REMOVED)
}

/// What says which directory a block with names belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// The directory's inode, by its entry `.`, or because it was found through it.
    Inode(u32),
    /// The start of the block's checksum: made of the inode and its generation.
    Seed(u32),
    /// The block's place.
    Block(u64),
}

/// A name of an inode, as some directory block had it.
#[derive(Clone, Debug)]
pub(super) struct Name {
    /// Of which inode it is the name.
    inode: u32,
    pub(super) owner: Owner,
    /// `file_type`, 0 if there is none.
    pub(super) file_type: u8,
    pub(super) name: Arc<[u8]>,
    /// The oldest and the newest transaction in which it was seen; `None` on the disk.
    pub(super) first: Option<i64>,
    pub(super) last: Option<i64>,
    /// Where it was seen last.
    pub(super) at: u64,
    pub(super) sequence: Option<u32>,
    pub(super) in_journal: bool,
    pub(super) checksum: Option<bool>,
    /// It was in a gap: its entry was removed already.
    pub(super) gap: bool,
}

/// All names.
pub(super) struct Names {
    room: Room,
    /// Once they are complete, ascending by the inode.
    list: Vec<Name>,
    /// Where in the list each one is, by a hash of what it says; until they are complete.
    known: HashMap<u64, usize>,
    /// Blocks whose owner must be found by their place.
    pub(super) places: HashSet<u64>,
}

/// An entry of a directory block, in use or in a gap.
struct Raw<'a> {
    at: usize,
    inode: u32,
    file_type: u8,
    name: &'a [u8],
    len: usize,
}

/// Reads the entry at `at` with room up to `end`, if it makes sense.
fn entry<'a>(superblock: &Superblock, block: &'a [u8], at: usize, end: usize) -> Option<Raw<'a>> {
    let (raw, rest) = DirEntry::ref_from_prefix(block.get(at..end)?).ok()?;
    let len = rec_len(raw.rec_len.get(), superblock.block_size);
    let has_type = superblock.features.has_incompat(incompat::FILETYPE);
    let (name_len, file_type) = if has_type {
        (usize::from(raw.name_len), raw.file_type & 7)
    } else {
        (usize::from(u16::from_le_bytes([raw.name_len, raw.file_type])), 0)
    };
    let sound = len.is_multiple_of(4) && len >= SMALLEST && name_len <= NAME_LEN && name_len + 8 <= len;
    if !sound || raw.inode.get() > superblock.inodes {
        return None;
    }
    Some(Raw { at, inode: raw.inode.get(), file_type, name: rest.get(..name_len)?, len })
}

/// Whether the block is a row of entries from its start to its end.
fn is_directory(superblock: &Superblock, block: &[u8]) -> bool {
    let (mut at, mut names) = (0, 0);
    while at < block.len() {
        match entry(superblock, block, at, block.len()) {
            Some(raw) if at + raw.len <= block.len() => {
                if raw.inode != 0 && !is_name(raw.name) {
                    return false;
                }
                names += usize::from(raw.inode != 0);
                at += raw.len;
            }
            _ => return false,
        }
    }
    names > 0
}

fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// The checksum entry at the end of a directory block, and the body that it covers.
pub(super) fn tail(block: &[u8]) -> Option<(&[u8], u32)> {
    let (body, tail) = block.split_at_checked(block.len().checked_sub(size_of::<DirEntryTail>())?)?;
    let tail = DirEntryTail::ref_from_bytes(tail).ok()?;
    let sound = tail.det_reserved_zero1.get() == 0
        && tail.det_rec_len.get() == 12
        && tail.det_reserved_zero2 == 0
        && tail.det_reserved_ft == DIR_TAIL_FILE_TYPE;
    sound.then(|| (body, tail.det_checksum.get()))
}

impl Names {
    /// None yet. Those that the room does not hold are passed over.
    pub(super) fn new(room: Room) -> Self {
        Self { room, list: Vec::new(), known: HashMap::new(), places: HashSet::new() }
    }

    /// Takes the names in a directory block, those in use and those in gaps. `known` is the owner, where it is known
    /// already; `seed` the start of the block's checksum. Returns whether it was a directory block.
    pub(super) fn add_block(
        &mut self,
        superblock: &Superblock,
        block: &[u8],
        copy: &BlockCopy,
        number: Option<u64>,
        (known, seed): (Option<u32>, Option<u32>),
        only_gaps: bool,
    ) -> bool {
        let checked = superblock.checksum_seed.is_some();
        if checked && seed.is_none() && known.is_none() || !is_directory(superblock, block) {
            return false;
        }
        let dot = entry(superblock, block, 0, block.len()).filter(|raw| raw.name == b"." && raw.inode != 0);
        let owner = match (known, seed, dot, number) {
            (Some(inode), ..) => Owner::Inode(inode),
            (_, Some(seed), ..) => Owner::Seed(seed),
            (.., Some(dot), _) => Owner::Inode(dot.inode),
            (.., Some(number)) => {
                if !self.room.take(PLACE) {
                    return true;
                }
                self.places.insert(number);
                Owner::Block(number)
            }
            _ => return false,
        };
        let end = if checked && tail(block).is_some() { block.len() - SMALLEST } else { block.len() };
        self.add_entries(superblock, &block[..end], copy, owner, checked.then_some(seed.is_some()), only_gaps);
        true
    }

    /// Takes the names in a row of entries.
    pub(super) fn add_entries(
        &mut self,
        superblock: &Superblock,
        bytes: &[u8],
        copy: &BlockCopy,
        owner: Owner,
        checksum: Option<bool>,
        only_gaps: bool,
    ) {
        let mut at = 0;
        while let Some(raw) = entry(superblock, bytes, at, bytes.len()) {
            let next = (at + raw.len).min(bytes.len());
            let used = if raw.inode == 0 && at > 0 { 8 } else { 8 + raw.name.len() };
            if raw.inode != 0 && !only_gaps {
                self.add(&raw, copy, owner, checksum, false);
            }
            let mut gap = at + used.next_multiple_of(4);
            while gap + SMALLEST <= next {
                match entry(superblock, bytes, gap, next).filter(|raw| raw.inode != 0 && is_name(raw.name)) {
                    Some(old) => {
                        self.add(&old, copy, owner, checksum, true);
                        gap += (8 + old.name.len()).next_multiple_of(4);
                    }
                    None => gap += 4,
                }
            }
            at = next;
            if at >= bytes.len() {
                break;
            }
        }
    }

    /// Takes a name that a fast commit gave or removed.
    pub(super) fn add_operation(&mut self, parent: u32, inode: u32, name: &[u8], copy: &BlockCopy, gap: bool) {
        if name.len() <= NAME_LEN {
            let raw = Raw { at: 0, inode, file_type: 0, name, len: 0 };
            self.add(&raw, copy, Owner::Inode(parent), Some(true), gap);
        }
    }

    /// Says that no more names will be added: from now on they can be found.
    pub(super) fn complete(&mut self) {
        self.known = HashMap::new();
        self.list.sort_by_key(|name| name.inode);
    }

    fn add(&mut self, raw: &Raw<'_>, copy: &BlockCopy, owner: Owner, checksum: Option<bool>, gap: bool) {
        if matches!(raw.name, b"." | b"..") || !is_name(raw.name) {
            return;
        }
        let mut hasher = DefaultHasher::new();
        (owner, raw.inode, raw.name, gap).hash(&mut hasher);
        let hash = hasher.finish();
        if let Some(index) = self.known.get(&hash) {
            let same = &mut self.list[*index];
            if copy.order.is_some() && (same.first.is_none() || copy.order < same.first) {
                same.first = copy.order;
            }
            if copy.order > same.last {
                same.last = copy.order;
                (same.at, same.sequence, same.in_journal) = (copy.at + raw.at as u64, copy.sequence, copy.in_journal);
            }
            return;
        }
        if !self.room.take(NAME + raw.name.len()) {
            return;
        }
        self.known.insert(hash, self.list.len());
        self.list.push(Name {
            inode: raw.inode,
            owner,
            file_type: raw.file_type,
            name: raw.name.into(),
            first: copy.order,
            last: copy.order,
            at: copy.at + raw.at as u64,
            sequence: copy.sequence,
            in_journal: copy.in_journal,
            checksum,
            gap,
        });
    }

    /// The names of an inode with this `mode` that were seen in the transactions from `from` to `to`, the best `most` of
    /// them: those whose directory is known come first, then those that were there last. `directory` tells whose a name
    /// is; no directory has one twice.
    pub(super) fn best<D: PartialEq>(
        &self,
        inode: u32,
        mode: u16,
        (from, to): (Option<i64>, Option<i64>),
        most: usize,
        directory: &dyn Fn(&Name) -> Option<D>,
    ) -> Vec<&Name> {
        let fits = |name: &&Name| {
            let kind = file_type(mode);
            (name.file_type == 0 || name.file_type == kind)
                && (to.is_none() || name.first.is_none() || name.first < to)
                && (from.is_none() || name.last.is_none() || name.last >= from)
        };
        let first = self.list.partition_point(|name| name.inode < inode);
        let names = self.list[first..].iter().take_while(|name| name.inode == inode).filter(fits);
        let mut left: Vec<(Option<D>, &Name)> = names.map(|name| (directory(name), name)).collect();
        let mut best: Vec<(Option<D>, &Name)> = Vec::new();
        while best.len() < most {
            let worth = |(_, (directory, name)): &(usize, &(Option<D>, &Name))| {
                (directory.is_some(), !name.gap && name.last.is_some(), name.last, !name.gap, name.at)
            };
            let Some((at, _)) = left.iter().enumerate().max_by_key(worth) else { break };
            let (directory, name) = left.swap_remove(at);
            // A further name counts where it is known whose it is.
            let known = |(other, same): &(Option<D>, &Name)| same.name == name.name && *other == directory;
            if best.is_empty() || directory.is_some() && !best.iter().any(known) {
                best.push((directory, name));
            }
        }
        best.into_iter().map(|(_, name)| name).collect()
    }
}

impl Name {
    pub(super) fn evidence(&self) -> Evidence {
        Evidence {
            what: if self.gap { REMOVED } else { ENTRY },
            offset: self.at,
            transaction: self.sequence.map(u64::from),
            in_journal: self.in_journal,
            checksum: self.checksum,
        }
    }
}
