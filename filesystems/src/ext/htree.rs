//! Hash trees: finding a name in a large directory by reading a few blocks.
//!
//! <https://docs.kernel.org/filesystems/ext4/directory.html#hash-tree-directories>

use images::{Result, corrupt};
use smallvec::SmallVec;
use zerocopy::FromBytes;

use super::directory::{DX_NODE_ENTRIES, DX_ROOT_ENTRIES, check_dx_tail, dx_entries};
use super::features::incompat;
use super::hash::NameHash;
use super::inode::Inode;
use super::layout::{DxEntry, DxRootInfo};
use super::volume::{Block, Volume};

/// Where `dx_root_info` lies, behind `.` and `..`.
pub(super) const ROOT_INFO_AT: usize = 24;
/// Where `indirect_levels` lies.
pub(super) const INDIRECT_LEVELS_AT: usize = ROOT_INFO_AT + std::mem::offset_of!(DxRootInfo, indirect_levels);
/// The kernel's limit of levels below the root, and the same with large_dir.
pub(super) const MAX_INDIRECT_LEVELS: u8 = 1;
pub(super) const MAX_INDIRECT_LEVELS_LARGE: u8 = 2;

/// A node of the tree and the entry in it that the search took.
pub(super) struct Level {
    pub block: Block,
    /// Where its entries start.
    pub start: usize,
    count: usize,
    limit: usize,
    pub taken: usize,
}

impl Level {
    /// Whether the node has room for one more entry.
    pub fn has_room(&self) -> bool {
        self.count < self.limit
    }

    /// The hash and the block of each entry; the first hash is the lowest.
    pub fn entries(&self) -> Vec<(u32, u32)> {
        let entry = |index| self.entry(index).map(|entry| (self.hash(index), entry.block.get()));
        (0..self.count).filter_map(entry).collect()
    }

    fn entry(&self, index: usize) -> Option<&DxEntry> {
        let bytes = self.block.get(self.start + index * size_of::<DxEntry>()..)?;
        DxEntry::ref_from_prefix(bytes).ok().map(|(entry, _)| entry)
    }

    /// The lowest hash below an entry; that of the first is not stored.
    fn hash(&self, index: usize) -> u32 {
        if index == 0 { 0 } else { self.entry(index).map_or(u32::MAX, |entry| entry.hash.get()) }
    }

    fn taken_block(&self) -> u32 {
        self.entry(self.taken).map_or(0, |entry| entry.block.get())
    }
}

/// A search for the leaf blocks that may hold a name.
pub(super) struct Search<'a> {
    volume: &'a Volume,
    directory: &'a Inode,
    function: NameHash,
    hash: u32,
    /// Without an allocation: a search for a name that is not there is what many programs do most.
    levels: SmallVec<[Level; MAX_INDIRECT_LEVELS_LARGE as usize + 1]>,
    /// How many more leaves may be asked for: no more than the directory has blocks that lie somewhere.
    left: u64,
}

impl<'a> Search<'a> {
    /// Starts a search; `name` is what was hashed when the entry was made. `None` if the hash function is not known.
    /// Fails with `Corrupt` if the tree is damaged.
    pub(super) fn new(volume: &'a Volume, directory: &'a Inode, name: &[u8]) -> Result<Option<Self>> {
        let superblock = volume.superblock();
        let root = volume.directory_block(directory, 0)?;
        let what = || format!("hash tree root of inode {}", directory.number);
        let info = match dx_entries(superblock, directory, &root) {
            Some(DX_ROOT_ENTRIES) => DxRootInfo::ref_from_prefix(&root[ROOT_INFO_AT..]).ok(),
            _ => None,
        };
        let Some((info, _)) = info else {
            return Err(corrupt!(what(), root.offset(), "not the root of a hash tree"));
        };
        let most = if superblock.features.has_incompat(incompat::LARGEDIR) {
            MAX_INDIRECT_LEVELS_LARGE
        } else {
            MAX_INDIRECT_LEVELS
        };
        if info.indirect_levels > most || info.info_length != 8 || info.unused_flags & 1 != 0 {
            let why = format!("{} levels, length {}", info.indirect_levels, info.info_length);
            return Err(corrupt!(what(), root.offset(), "{why}"));
        }
        let seed = superblock.raw.s_hash_seed.map(|word| word.get());
        let Some(function) = NameHash::new(info.hash_version, superblock.raw.s_flags.get(), seed) else {
            return Ok(None);
        };
        let depth = usize::from(info.indirect_levels);
        let left = volume.known(directory)?.stored;
        let mut search = Self { volume, directory, function, hash: function.of(name), levels: SmallVec::new(), left };
        search.enter(root, DX_ROOT_ENTRIES, false)?;
        for _ in 0..depth {
            search.descend(false)?;
        }
        Ok(Some(search))
    }

    /// Takes, in a new lowest node, the first entry or the last one whose hash is not above the one searched for.
    fn enter(&mut self, block: Block, start: usize, first: bool) -> Result<()> {
        let half =
            |at: usize| block.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |half| u16::from_le_bytes(*half));
        let (limit, count) = (usize::from(half(start)), usize::from(half(start + 2)));
        let checked = self.volume.superblock().checksum_seed.is_some();
        let room = (block.len() - start) / size_of::<DxEntry>() - usize::from(checked);
        if count == 0 || count > limit || limit != room {
            let what = format!("hash tree block of inode {}", self.directory.number);
            return Err(corrupt!(what, block.offset(), "{count} of {limit} entries, with room for {room}"));
        }
        if checked {
            check_dx_tail(self.directory, &block, block.offset(), start, limit, count)?;
        }
        let mut level = Level { block, start, count, limit, taken: 0 };
        if !first {
            // The first entry whose hash is above; the entries are sorted.
            let (mut low, mut high) = (1, count);
            while low < high {
                let middle = low + (high - low) / 2;
                if level.hash(middle) > self.hash { high = middle } else { low = middle + 1 }
            }
            level.taken = low - 1;
        }
        self.levels.push(level);
        Ok(())
    }

    /// Goes one level down, to the node that the lowest one points to.
    fn descend(&mut self, first: bool) -> Result<()> {
        let child = self.levels.last().map_or(0, Level::taken_block);
        let block = self.volume.directory_block(self.directory, child.into())?;
        match dx_entries(self.volume.superblock(), self.directory, &block) {
            Some(DX_NODE_ENTRIES) => self.enter(block, DX_NODE_ENTRIES, first),
            _ => {
                let what = format!("hash tree block of inode {}", self.directory.number);
                Err(corrupt!(what, block.offset(), "not a node of a hash tree"))
            }
        }
    }

    /// The nodes on the way to the leaf, the root first.
    pub(super) fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// What the tree hashes names with.
    pub(super) fn function(&self) -> NameHash {
        self.function
    }

    /// The leaf that the search stands at: a block number in the directory.
    pub(super) fn leaf(&self) -> u64 {
        self.levels.last().map_or(0, Level::taken_block).into()
    }

    /// Goes on to the next leaf if names of the same hash may be in it: they overflow into it.
    pub(super) fn advance(&mut self) -> Result<bool> {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return Ok(false);
        }
        let depth = self.levels.len();
        while let Some(level) = self.levels.last_mut() {
            level.taken += 1;
            if level.taken < level.count {
                break;
            }
            self.levels.pop();
        }
        let Some(level) = self.levels.last() else { return Ok(false) };
        if level.hash(level.taken) & !1 != self.hash {
            return Ok(false);
        }
        while self.levels.len() < depth {
            self.descend(true)?;
        }
        Ok(true)
    }
}
