//! The search: every source is read once, in the order of the disk, and then put together.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use images::Result;
use zerocopy::FromBytes;

use super::blocks::{BlockCopy, Blocks, Loose};
use super::candidates::{Candidates, Identity};
use super::claims::{Claims, METADATA, POINTED_TO};
use super::directories::Directories;
use super::geometry::Geometry;
use super::inodes::Inodes;
use super::mapping::is_pointers;
use super::names::{self, Names, Owner};
use super::orphans::Orphans;
use super::reserved::Reserved;
use super::scan::{Copy, walk};
use super::transactions::Transactions;
use super::unplaced::Unplaced;
use crate::ext::checksum::{crc32c, inode_seed};
use crate::ext::features::compat;
use crate::ext::inode::Inode;
use crate::ext::journal::fast_commit::{self, Operation};
use crate::ext::journal::{self, Log};
use crate::ext::layout::{self, GOOD_OLD_INODE_SIZE, ROOT_INO, inode_flags, mode};
use crate::ext::volume::Volume;
use crate::ext::{inline, layout::InodeExtra};
use crate::length::in_memory;
use crate::stored::Stored;

/// How much free space is read at once, in bytes (ours).
const CHUNK: u64 = 1 << 20;
/// What an orphan, and a living inode of which the journal tells, take in memory, in bytes, about.
const ORPHAN: usize = 128;
const LIVE: usize = 48;
/// Where `i_checksum_lo` and `i_checksum_hi` lie in the record.
const CHECKSUM_LO_AT: usize = 0x7c;
const CHECKSUM_HI_AT: usize = 0x82;
/// How often copies that are not placed yet are gone through (ours): what one tells may attribute the next.
const MAX_PASSES: usize = 4;
/// Where the record begins in a tag of a fast commit, in bytes: behind the tag's own head and the inode's number.
const INODE_TAG: u64 = 8;

/// All that was found, before it is judged.
pub(super) struct Search<'a> {
    pub(super) geometry: &'a Geometry<'a>,
    pub(super) inodes: Inodes,
    /// Where the directories that live have their entries.
    pub(super) directories: Directories,
    pub(super) orphans: Orphans,
    pub(super) candidates: Candidates,
    pub(super) unplaced: Unplaced,
    pub(super) claims: Claims,
    pub(super) blocks: Blocks,
    pub(super) names: Names,
    pub(super) transactions: Option<Transactions>,
    /// The first transaction in which a living inode was seen, by number.
    pub(super) live_since: HashMap<u32, i64>,
    /// Whether changes can be in the journal outside of transactions.
    pub(super) fast_commits: bool,
}

impl<'a> Search<'a> {
    /// Reads the inode tables and the journal. With `only`, the versions of this living inode are what is looked for.
    pub(super) fn new(geometry: &'a Geometry<'a>, log: Option<&Log>, only: Option<u32>) -> Result<Self> {
        let volume = geometry.volume;
        let superblock = volume.superblock();
        let mut candidates = Candidates::new(geometry.room.clone());
        let orphan_file = superblock.features.has_compat(compat::ORPHAN_FILE);
        let orphan_file = orphan_file.then(|| superblock.raw.s_orphan_file_inum.get());
        let mut orphans = Orphans::default();
        let mut directories = Directories::new(superblock, geometry.room.clone());
        let mut reserved = Reserved::new(geometry.room.clone());
        let inodes = Inodes::read(geometry, &mut |current, at, record| {
            let number = current.number;
            let is_reserved = number < superblock.first_inode && number != ROOT_INO;
            let is_orphan_file = orphan_file == Some(number);
            if current.live && number >= superblock.first_inode && !is_orphan_file {
                reserved.add(volume, number, at, record);
            }
            if is_reserved || current.live && !current.directory && !is_orphan_file {
                return;
            }
            let Ok(inode) = Inode::parse(superblock, number, at, record) else { return };
            if current.live && is_orphan_file {
                orphans.read(volume, &inode);
            } else if current.live {
                directories.add(volume, &inode);
            } else if only.is_none() {
                let in_use = geometry.inode_in_use(number);
                if in_use && geometry.room.take(ORPHAN) {
                    orphans.add_link(&inode);
                }
                candidates.add_dead(inode, in_use);
            }
        })?;
        orphans.follow(volume);
        geometry.reserve(reserved.into_runs());
        let mut search = Self {
            geometry,
            inodes,
            directories,
            orphans,
            candidates,
            unplaced: Unplaced::new(geometry.room.clone()),
            claims: Claims::default(),
            blocks: Blocks::new(geometry.room.clone()),
            names: Names::new(geometry.room.clone()),
            transactions: None,
            live_since: HashMap::new(),
            fast_commits: log.is_some_and(|log| log.superblock.fast_commit_end.is_some()),
        };
        if let Some(log) = log {
            let reference = log.superblock.sequence;
            let transactions = walk(log, &mut |copy, bytes| search.take(copy, bytes, reference, only))?;
            fast_commit::scan(log, &mut |sequence, at, operation| {
                search.take_operation(sequence, at, operation, reference, only);
            });
            search.transactions = Some(transactions);
            search.place_tables(log, only);
        }
        search.candidates.sort();
        Ok(search)
    }

    /// The journal of a volume, if it has one that can be opened; `exact` is the same volume, read block by block.
    pub(super) fn log(volume: &Volume, exact: &Volume) -> Option<Log> {
        if !volume.superblock().features.has_compat(compat::HAS_JOURNAL) {
            return None;
        }
        match journal::open_by(volume, exact) {
            Ok(mut log) => {
                if volume.superblock().features.has_compat(compat::FAST_COMMIT) {
                    log.superblock.set_fast_commits_apart();
                }
                Some(log)
            }
            Err(error) => {
                log::warn!("{}: deleted files are looked for without the journal: {error}", volume.disk());
                None
            }
        }
    }

    /// Takes one copy from the journal.
    fn take(&mut self, copy: &Copy, bytes: &[u8], reference: u32, only: Option<u32>) {
        let order = copy.sequence.map(|sequence| order(sequence, reference));
        let superblock = self.geometry.volume.superblock();
        let first = match copy.block {
            Some(block) => self.geometry.first_inode(block),
            None => self.table_block(bytes),
        };
        if let Some(first) = first {
            return self.take_table(copy, first, bytes, reference, only);
        }
        if copy.block.is_none() && self.unplaced.add(copy, bytes, superblock.inode_size.into()) {
            self.blocks.contents.keep(copy.at, bytes);
        }
        let block_copy = BlockCopy { at: copy.at, order, sequence: copy.sequence, in_journal: true };
        if let Some(block) = copy.block {
            if block >= superblock.blocks {
                return;
            }
            self.claims.add(self.geometry, block, block + 1, order, METADATA);
            if self.orphans.take(self.geometry.volume, block, bytes, &block_copy) {
                return;
            }
            self.blocks.add_copy(block, block_copy);
        }
        if let Some((seed, depth, first)) = self.blocks.extent_seed(bytes) {
            self.blocks.contents.keep(copy.at, bytes);
            if superblock.checksum_seed.is_some() && copy.block.is_none() {
                self.blocks.add_loose(seed, Loose { copy: block_copy, depth, first });
            }
            self.claims.add_leaf(self.geometry, bytes, order, (seed, 0));
            return;
        }
        let seed = match (superblock.checksum_seed, names::tail(bytes)) {
            (Some(_), Some((body, checksum))) => Some(self.blocks.start(body, checksum)),
            _ => None,
        };
        let is_directory = self.names.add_block(superblock, bytes, &block_copy, copy.block, (None, seed), false);
        if !is_directory && copy.block.is_some() && is_pointers(bytes, superblock.blocks) {
            self.blocks.contents.keep(copy.at, bytes);
            if superblock.checksum_seed.is_none() {
                self.claim_pointers(bytes, order);
            }
        }
    }

    /// Attributes the copies that are not placed yet, and takes what is in them.
    fn place_tables(&mut self, log: &Log, only: Option<u32>) {
        let volume = self.geometry.volume;
        for _ in 0..MAX_PASSES {
            let placed = self.unplaced.place(volume.superblock(), &self.inodes, &self.candidates);
            if placed.is_empty() {
                return;
            }
            for (copy, first) in placed {
                if let Some(bytes) = self.blocks.contents.read(&*log.disk, copy.at, volume.block_size()) {
                    self.take_table(&copy, first, &bytes, log.superblock.sequence, only);
                }
            }
        }
    }

    /// Takes a copy of a block of an inode table that begins with inode `first`.
    fn take_table(&mut self, copy: &Copy, first: u32, bytes: &[u8], reference: u32, only: Option<u32>) {
        let order = copy.sequence.map(|sequence| order(sequence, reference));
        let size = usize::from(self.geometry.volume.superblock().inode_size);
        for (index, record) in (0u32..).zip(bytes.chunks_exact(size)) {
            if let Some(number) = first.checked_add(index) {
                self.take_inode(copy, number, record, copy.at + u64::from(index) * size as u64, order, only);
            }
        }
    }

    /// Takes what a fast commit says of an inode or a name.
    fn take_operation(&mut self, sequence: u32, at: u64, operation: &Operation, reference: u32, only: Option<u32>) {
        let superblock = self.geometry.volume.superblock();
        let order = Some(order(sequence, reference));
        let copy = |at| BlockCopy { at, order, sequence: Some(sequence), in_journal: true };
        match operation {
            Operation::Inode { inode, record } => {
                // The attributes behind the fields are left out: their checksum is right only where there are none.
                let mut whole = record.clone();
                whole.resize(superblock.inode_size.into(), 0);
                let found = Copy { at, block: Some(0), sequence: Some(sequence) };
                self.take_inode(&found, *inode, &whole, at + INODE_TAG, order, only);
            }
            Operation::Create { parent, inode, name } | Operation::Link { parent, inode, name } => {
                self.names.add_operation(*parent, *inode, name, &copy(at), false);
            }
            Operation::Unlink { parent, inode, name } => {
                self.names.add_operation(*parent, *inode, name, &copy(at), true);
            }
            // What an inode maps by itself is in its record.
            Operation::AddRange { .. } | Operation::DelRange { .. } => {}
        }
    }

    /// What may be an indirect block claims the blocks it points to.
    fn claim_pointers(&mut self, bytes: &[u8], order: Option<i64>) {
        let mut run: Option<(u64, u64)> = None;
        for word in bytes.chunks_exact(4) {
            let pointer = u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            run = match run {
                Some((start, end)) if end == pointer => Some((start, end + 1)),
                other => {
                    if let Some((start, end)) = other {
                        self.claims.add(self.geometry, start, end, order, POINTED_TO);
                    }
                    (pointer != 0).then_some((pointer, pointer + 1))
                }
            };
        }
        if let Some((start, end)) = run {
            self.claims.add(self.geometry, start, end, order, POINTED_TO);
        }
    }

    fn take_inode(&mut self, copy: &Copy, number: u32, record: &[u8], at: u64, order: Option<i64>, only: Option<u32>) {
        let superblock = self.geometry.volume.superblock();
        let Ok((raw, _)) = layout::Inode::ref_from_prefix(record) else { return };
        if raw.i_mode.get() & mode::TYPE == 0 || number > superblock.inodes {
            return;
        }
        self.claims.add_inode(self.geometry, raw, order, number);
        if number < superblock.first_inode && number != ROOT_INO {
            return;
        }
        let (generation, flags) = (raw.i_generation.get(), raw.i_flags.get());
        let inline_directory =
            raw.i_mode.get() & mode::TYPE == mode::DIRECTORY && flags & inode_flags::INLINE_DATA != 0;
        let lives = self.inodes.lives(number, generation);
        if let Some(order) = order.filter(|_| lives) {
            match self.live_since.entry(number) {
                Entry::Occupied(mut since) => *since.get_mut() = order.min(*since.get()),
                Entry::Vacant(since) if self.geometry.room.take(LIVE) => {
                    since.insert(order);
                }
                Entry::Vacant(_) => {}
            }
        }
        let wanted = match only {
            Some(only) => only == number && lives,
            None => !lives && number >= superblock.first_inode,
        };
        if !wanted && !inline_directory {
            return;
        }
        let Ok(inode) = Inode::parse(superblock, number, at, record) else { return };
        if inline_directory && only.is_none() {
            self.take_inline_names(&inode, copy, order);
        }
        if wanted {
            self.candidates.add_copy(inode, copy, order);
        }
    }

    fn take_inline_names(&mut self, inode: &Inode, copy: &Copy, order: Option<i64>) {
        let superblock = self.geometry.volume.superblock();
        let Ok([(first, first_at), (second, second_at)]) = inline::parts(inode) else { return };
        let checksum = superblock.checksum_seed.map(|_| true);
        // The first part begins with the parent's inode.
        for (bytes, at) in [(first.get(4..).unwrap_or_default(), first_at + 4), (second, second_at)] {
            let copy = BlockCopy { at, order, sequence: copy.sequence, in_journal: true };
            self.names.add_entries(superblock, bytes, &copy, Owner::Inode(inode.number), checksum, false);
        }
    }

    /// The first inode of a block of an inode table whose descriptor is gone, computed from the inodes' checksums.
    ///
    /// Each inode's checksum gives one number; it counts if it fits the inode's place in the block and two inodes
    /// agree. A record of 128 bytes has half a checksum only, from which nothing can be computed.
    fn table_block(&mut self, bytes: &[u8]) -> Option<u32> {
        let superblock = self.geometry.volume.superblock();
        let seed = superblock.checksum_seed?;
        let size = usize::from(superblock.inode_size);
        if size < GOOD_OLD_INODE_SIZE + size_of::<InodeExtra>() {
            return None;
        }
        let per_block = superblock.block_size / u32::from(superblock.inode_size);
        let mut agreed: Option<u32> = None;
        for (index, record) in (0u32..).zip(bytes.chunks_exact(size)) {
            let (raw, rest) = layout::Inode::ref_from_prefix(record).ok()?;
            let (extra, _) = InodeExtra::ref_from_prefix(rest).ok()?;
            if raw.i_mode.get() & mode::TYPE == 0 || extra.i_extra_isize.get() < 4 {
                continue;
            }
            let mut body = record.to_vec();
            for at in [CHECKSUM_LO_AT, CHECKSUM_HI_AT] {
                body.get_mut(at..at + 2)?.fill(0);
            }
            let checksum = u32::from(extra.i_checksum_hi.get()) << 16 | u32::from(raw.l_i_checksum_lo.get());
            let after_generation = self.blocks.start(&body, checksum);
            let after_number = self.blocks.before(after_generation, &raw.i_generation.get().to_le_bytes());
            let number = self.blocks.before(after_number, &[0; 4]) ^ seed;
            let place = number.checked_sub(1)? % superblock.inodes_per_group % per_block;
            if number > superblock.inodes || place != index {
                return None;
            }
            let first = number - index;
            match agreed {
                None => agreed = Some(first),
                Some(before) if before == first => return Some(first),
                Some(_) => return None,
            }
        }
        agreed
    }

    /// Reads the free space for extent blocks that verify for one of `seeds`; what was read already is known by its place.
    pub(super) fn free_space(&mut self, seeds: &HashSet<u32>) {
        let volume = self.geometry.volume;
        let (disk, size) = (volume.disk(), volume.block_size());
        let mut buffer = Vec::new();
        let end = volume.superblock().blocks.min(disk.size() / size);
        let known = self.blocks.contents.places().into_iter().filter(|at| self.geometry.is_free(at / size));
        for at in known.collect::<Vec<u64>>() {
            if let Some(bytes) = self.blocks.contents.read(&**disk, at, size) {
                self.take_free(&bytes, at, seeds);
            }
        }
        let mut stored = Stored::new(&**disk);
        let mut block = u64::from(volume.superblock().first_data_block);
        while block < end {
            let Ok(extent) = disk.extent_at(block * size) else { return };
            let whole = (extent.len / size).max(1).min(end - block);
            if extent.data.reads_zero() {
                block += whole;
                continue;
            }
            let mut count = whole.min((CHUNK / size).max(1));
            // Neither what is full nor what was read already.
            let wanted = |block: &u64| self.geometry.is_free(*block) && !self.blocks.contents.has(*block * size);
            let Some(start) = (block..block + count).find(wanted) else {
                block += count;
                continue;
            };
            count = (start..block + count).take_while(wanted).count() as u64;
            block = start;
            // What an image shows in many places was read in the first.
            if stored.count(block * size, count * size) < count * size {
                block += count;
                continue;
            }
            buffer.resize(in_memory(count * size), 0);
            if disk.read_at(&mut buffer, block * size).is_ok() {
                for (index, bytes) in (0u64..).zip(buffer.chunks_exact(in_memory(size))) {
                    self.take_free(bytes, (block + index) * size, seeds);
                }
            }
            block += count;
        }
    }

    fn take_free(&mut self, bytes: &[u8], at: u64, seeds: &HashSet<u32>) {
        match self.blocks.extent_seed(bytes) {
            Some((seed, depth, first)) if seeds.contains(&seed) => {
                self.blocks.contents.keep(at, bytes);
                let copy = BlockCopy { at, order: None, sequence: None, in_journal: false };
                self.blocks.add_loose(seed, Loose { copy, depth, first });
            }
            // It may be looked for as a deleted directory's.
            None if names::tail(bytes).is_some() => self.blocks.contents.keep(at, bytes),
            _ => {}
        }
    }

    /// The directories by the seed of their blocks' checksums.
    pub(super) fn directory_seeds(&self) -> HashMap<u32, Identity> {
        let Some(seed) = self.geometry.volume.superblock().checksum_seed else { return HashMap::new() };
        let known = self.inodes.directories().map(|inode| (inode.number, inode.generation));
        let deleted =
            self.candidates.nodes.iter().filter(|(_, node)| node.is_directory()).map(|(identity, _)| *identity);
        known
            .chain(deleted)
            .map(|(number, generation)| (inode_seed(seed, number, generation), (number, generation)))
            .collect()
    }

    /// For each number the deleted inodes that had it, with the transactions in which each was seen.
    pub(super) fn spans(&self) -> BTreeMap<u32, Vec<(u32, Option<i64>, Option<i64>)>> {
        let mut spans: BTreeMap<u32, Vec<_>> = BTreeMap::new();
        for ((number, generation), node) in &self.candidates.nodes {
            let first = node.versions.iter().filter_map(|version| version.oldest).min();
            let last = node.versions.iter().filter_map(|version| version.order).max();
            // Nearly always the only one.
            spans.entry(*number).or_insert_with(|| Vec::with_capacity(1)).push((*generation, first, last));
        }
        spans
    }
}

/// A transaction's place in time: its number wraps.
fn order(sequence: u32, reference: u32) -> i64 {
    i64::from(sequence.wrapping_sub(reference) as i32)
}

/// Whether a directory block verifies for a seed.
pub(super) fn verifies(block: &[u8], seed: u32) -> bool {
    names::tail(block).is_some_and(|(body, checksum)| crc32c(seed, body) == checksum)
}
