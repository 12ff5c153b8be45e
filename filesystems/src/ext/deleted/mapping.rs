//! Where the content of one version of an inode lies, put together from all that is left of its map.

use std::cell::Cell;

use zerocopy::FromBytes;

use super::blocks::{BlockCopy, Blocks};
use super::candidates::Candidate;
use super::geometry::Geometry;
use crate::ext::checksum::crc32c;
use crate::ext::inode::Inode;
use crate::ext::layout::{
    DIRECT_BLOCKS, DIRECT_POINTERS, EXTENT_INIT_MAX_LEN, EXTENT_MAGIC, EXTENT_MAX_DEPTH, Extent, ExtentHeader,
    ExtentIdx, inode_flags, mode,
};
use crate::ext::run::{Run, State};
use crate::forensics::Evidence;

/// How many runs one version may have (ours): a file of 64 GiB in pieces of 128 KiB.
const MAX_RUNS: usize = 1 << 19;
/// How many blocks of a map are looked at (ours).
const MAX_NODES: u32 = 1 << 16;
/// How many blocks of all maps together are looked at, and how many runs kept (ours): 32 bytes each.
const MAX_ALL: usize = 1 << 20;

/// A version's map.
#[derive(Clone, Debug, Default)]
pub(super) struct Mapping {
    /// Written and unwritten runs, ascending and apart; between them are holes, unless they are missing.
    pub(super) runs: Vec<Run>,
    /// Blocks of the file whose place is not known, ascending and apart: start and end.
    pub(super) missing: Vec<(u64, u64)>,
    /// The blocks of the map itself.
    pub(super) nodes: Vec<u64>,
    /// How the blocks of the map are attributed.
    pub(super) evidence: Vec<Evidence>,
    /// The map contradicts itself, or the space that the inode has.
    pub(super) doubtful: bool,
}

/// Puts maps together.
pub(super) struct Mapper<'a> {
    pub(super) geometry: &'a Geometry<'a>,
    pub(super) blocks: &'a Blocks,
    /// How many runs and blocks of maps there were so far.
    pub(super) spent: Cell<usize>,
}

/// Which of several copies of a block of a map is taken first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefer {
    /// The newest up to the version's own transaction.
    OfItsTime,
    /// What lies on the disk.
    Disk,
    /// The next one after the version: a file that grew has in it all that it had before.
    Later,
}

struct Job<'a> {
    inode: &'a Inode,
    order: Option<i64>,
    prefer: Prefer,
    mapping: Mapping,
    looked_at: u32,
}

impl Mapper<'_> {
    /// The map of a version. Of the ways to put it together, the first that the inode's own block count confirms.
    pub(super) fn resolve(&self, candidate: &Candidate) -> Mapping {
        let inode = &*candidate.inode;
        let fast_symlink =
            inode.mode & mode::TYPE == mode::SYMLINK && inode.size < 60 && !inode.has(inode_flags::EXTENTS);
        let mapped = matches!(inode.mode & mode::TYPE, mode::FILE | mode::DIRECTORY | mode::SYMLINK);
        if !mapped || fast_symlink && self.own_blocks(inode) == 0 || inode.has(inode_flags::INLINE_DATA) {
            return Mapping::default();
        }
        let ways = match candidate.order {
            Some(_) => [Prefer::OfItsTime, Prefer::Disk, Prefer::Later],
            None => [Prefer::Disk, Prefer::OfItsTime, Prefer::Later],
        };
        let mut first: Option<Mapping> = None;
        for way in ways {
            let mut mapping = self.resolve_with(inode, candidate.order, way);
            if !mapping.doubtful || mapping.nodes.is_empty() {
                // What a later map says of an earlier version fits, and is no proof.
                mapping.doubtful |= way == Prefer::Later;
                return mapping;
            }
            first.get_or_insert(mapping);
        }
        first.unwrap_or_default()
    }

    fn resolve_with(&self, inode: &Inode, order: Option<i64>, prefer: Prefer) -> Mapping {
        let mut job = Job { inode, order, prefer, mapping: Mapping::default(), looked_at: 0 };
        let end = inode.size.div_ceil(self.geometry.volume.block_size());
        if inode.has(inode_flags::EXTENTS) {
            let depth = ExtentHeader::ref_from_prefix(inode.i_block()).map_or(0, |(header, _)| header.eh_depth.get());
            if depth > EXTENT_MAX_DEPTH || !self.extents(&mut job, inode.i_block(), depth, 0, 1 << 32) {
                job.mapping.doubtful = true;
                job.mapping.missing.push((0, end));
            }
        } else {
            self.block_map(&mut job);
        }
        let mut mapping = job.mapping;
        self.spent.set(self.spent.get().saturating_add(mapping.runs.len() + mapping.nodes.len()));
        let bytes = size_of_val(&*mapping.runs)
            + mapping.nodes.len() * (size_of::<u64>() + size_of::<Evidence>())
            + size_of_val(&*mapping.missing);
        if self.spent.get() > MAX_ALL || !self.geometry.room.take(2 * bytes) {
            mapping = Mapping { doubtful: true, ..Mapping::default() };
            mapping.missing.push((0, end));
        }
        mapping.normalise();
        if prefer == Prefer::Later {
            mapping.runs.retain(|run| run.logical < end);
            mapping.runs.iter_mut().for_each(|run| run.len = run.len.min(end - run.logical));
        }
        mapping.runs.shrink_to_fit();
        if mapping.missing.is_empty() && self.space(inode, &mapping) != self.own_blocks(inode) {
            mapping.doubtful = true;
        }
        mapping
    }

    /// What the inode says of its space, in clusters.
    fn own_blocks(&self, inode: &Inode) -> u64 {
        let superblock = self.geometry.volume.superblock();
        let cluster = u64::from(superblock.block_size / 512) * u64::from(superblock.cluster_blocks);
        inode.blocks.div_ceil(cluster).saturating_sub(u64::from(inode.file_acl != 0))
    }

    /// The space of a map in clusters.
    fn space(&self, _: &Inode, mapping: &Mapping) -> u64 {
        let cluster = u64::from(self.geometry.volume.superblock().cluster_blocks);
        let (mut count, mut last) = (mapping.nodes.len() as u64, None);
        let mut runs: Vec<(u64, u64)> = mapping.runs.iter().filter_map(physical).collect();
        runs.sort_unstable();
        for (start, end) in runs {
            let (mut first, after) = (start / cluster, end.div_ceil(cluster));
            if last.is_some_and(|last| last > first) {
                first = last.unwrap_or(first);
            }
            count += after.saturating_sub(first);
            last = Some(after.max(last.unwrap_or(0)));
        }
        count
    }

    /// Adds what a node of an extent tree maps; false if it is no such node.
    fn extents(&self, job: &mut Job<'_>, node: &[u8], depth: u16, from: u64, to: u64) -> bool {
        let superblock = self.geometry.volume.superblock();
        let Some(count) = extent_header(node, depth) else { return false };
        let entries = node.get(size_of::<ExtentHeader>()..).unwrap_or_default();
        let mut next = from;
        if depth == 0 {
            for entry in entries.chunks_exact(size_of::<Extent>()).take(count) {
                let Ok(extent) = Extent::ref_from_bytes(entry) else { return false };
                let start = u64::from(extent.ee_block.get());
                let (len, written) = match extent.ee_len.get() {
                    len if len <= EXTENT_INIT_MAX_LEN => (u64::from(len), true),
                    biased => (u64::from(biased - EXTENT_INIT_MAX_LEN), false),
                };
                let at = u64::from(extent.ee_start_hi.get()) << 32 | u64::from(extent.ee_start_lo.get());
                let sound = len != 0 && start >= next && start + len <= to && at != 0;
                if !sound || at + len > superblock.blocks || job.mapping.runs.len() >= MAX_RUNS {
                    job.mapping.doubtful = true;
                    job.mapping.missing.push((next, to));
                    return true;
                }
                let state = if written { State::Written(at) } else { State::Unwritten(at) };
                job.mapping.runs.push(Run { logical: start, len, state });
                next = start + len;
            }
            return true;
        }
        let indexes: Vec<&ExtentIdx> = entries
            .chunks_exact(size_of::<ExtentIdx>())
            .take(count)
            .filter_map(|entry| ExtentIdx::ref_from_bytes(entry).ok())
            .collect();
        for (number, index) in indexes.iter().enumerate() {
            let start = u64::from(index.ei_block.get());
            let end = indexes.get(number + 1).map_or(to, |index| u64::from(index.ei_block.get()));
            let child = u64::from(index.ei_leaf_hi.get()) << 32 | u64::from(index.ei_leaf_lo.get());
            if start < next || end <= start || end > to || child >= superblock.blocks {
                job.mapping.doubtful = true;
                job.mapping.missing.push((next, to));
                return true;
            }
            next = end;
            job.looked_at += 1;
            let depth = depth - 1;
            let found = if job.looked_at > MAX_NODES || self.spent.get() > MAX_ALL {
                None
            } else {
                self.extent_block(job, child, depth, start)
            };
            job.mapping.nodes.push(child);
            let done = found.is_some_and(|block| self.extents(job, &block, depth, start, end));
            if !done {
                job.mapping.missing.push((start, end));
            }
        }
        true
    }

    /// The block of an extent tree as it was at the time of the version.
    fn extent_block(&self, job: &mut Job<'_>, child: u64, depth: u16, first: u64) -> Option<Vec<u8>> {
        let has_checksums = self.geometry.volume.superblock().checksum_seed.is_some();
        let loose: Vec<BlockCopy> = self
            .blocks
            .by_seed
            .get(&job.inode.seed)
            .filter(|_| has_checksums)
            .map(|list| {
                let fits = list.iter().filter(|loose| loose.depth == depth && u64::from(loose.first) == first);
                fits.map(|loose| loose.copy).collect()
            })
            .unwrap_or_default();
        let seed = job.inode.seed;
        self.pick(job, child, &loose, "extent block", &|block| {
            let Some(_) = extent_header(block, depth) else { return false };
            !has_checksums || extent_tail(block, seed)
        })
    }

    /// The content of a block of a map: the newest copy up to the version's own transaction, what lies on the disk if
    /// the block is free, the next copy after, and at last copies whose place is not known.
    fn pick(
        &self,
        job: &mut Job<'_>,
        number: u64,
        loose: &[BlockCopy],
        what: &'static str,
        is_sound: &dyn Fn(&[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        let volume = self.geometry.volume;
        let has_checksums = volume.superblock().checksum_seed.is_some();
        let mut copies = self.blocks.by_block.get(&number).cloned().unwrap_or_default();
        copies.sort_by_key(|copy| std::cmp::Reverse(copy.order));
        let (after, before): (Vec<BlockCopy>, Vec<BlockCopy>) = match job.order {
            Some(order) => copies.into_iter().partition(|copy| copy.order > Some(order)),
            None => (Vec::new(), copies),
        };
        let offset = volume.superblock().block_offset(number).ok()?;
        let on_disk = BlockCopy { at: offset, order: None, sequence: None, in_journal: false };
        // Without checksums only a free block can be as it was left.
        let disk = (has_checksums || self.geometry.is_free(number)).then_some(on_disk);
        let mut list: Vec<BlockCopy> = Vec::new();
        let after = after.into_iter().rev();
        match job.prefer {
            Prefer::Disk => list.extend(disk.into_iter().chain(before).chain(after)),
            Prefer::OfItsTime => {
                list.extend(before.first());
                list.extend(disk);
                list.extend(before.into_iter().skip(1).chain(after));
            }
            Prefer::Later => list.extend(after.chain(disk).chain(before)),
        }
        list.extend(loose);
        for copy in list {
            let Some(bytes) = self.blocks.contents.read(&**volume.disk(), copy.at, volume.block_size()) else {
                continue;
            };
            if is_sound(&bytes) {
                job.mapping.evidence.push(Evidence {
                    what,
                    offset: copy.at,
                    transaction: copy.sequence.map(u64::from),
                    in_journal: copy.in_journal,
                    checksum: has_checksums.then_some(true),
                });
                return Some(bytes);
            }
        }
        None
    }

    fn block_map(&self, job: &mut Job<'_>) {
        let per_block = self.geometry.volume.block_size() / 4;
        let row = *job.inode.i_block();
        self.pointers(job, &row[..DIRECT_POINTERS * 4], 0);
        let (mut start, mut span) = (DIRECT_BLOCKS, per_block);
        for height in 1..=3usize {
            let at = (DIRECT_POINTERS - 1 + height) * 4;
            let pointer =
                row.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes));
            self.indirect(job, pointer, height, start, span);
            start += span;
            span = span.saturating_mul(per_block);
        }
    }

    fn indirect(&self, job: &mut Job<'_>, pointer: u32, height: usize, start: u64, span: u64) {
        let (superblock, number) = (self.geometry.volume.superblock(), u64::from(pointer));
        let end = job.inode.size.div_ceil(self.geometry.volume.block_size());
        if pointer == 0 {
            return;
        }
        job.looked_at += 1;
        if number >= superblock.blocks || job.looked_at > MAX_NODES || self.spent.get() > MAX_ALL || start >= 1 << 32 {
            job.mapping.doubtful = true;
            job.mapping.missing.push((start, start.saturating_add(span).min(end.max(start + 1))));
            return;
        }
        let blocks = superblock.blocks;
        let is_sound = |block: &[u8]| is_pointers(block, blocks);
        job.mapping.nodes.push(number);
        let Some(block) = self.pick(job, number, &[], "indirect block", &is_sound) else {
            job.mapping.missing.push((start, start.saturating_add(span).min(end.max(start + 1))));
            return;
        };
        if height == 1 {
            self.pointers(job, &block, start);
            return;
        }
        let span = span / (self.geometry.volume.block_size() / 4);
        for (index, word) in block.chunks_exact(4).enumerate() {
            let pointer = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            self.indirect(job, pointer, height - 1, start + index as u64 * span, span);
        }
    }

    /// Adds a row of pointers to data.
    fn pointers(&self, job: &mut Job<'_>, row: &[u8], start: u64) {
        for (index, word) in row.chunks_exact(4).enumerate() {
            let pointer = u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
            let logical = start + index as u64;
            if pointer == 0 {
                continue;
            }
            if pointer >= self.geometry.volume.superblock().blocks || job.mapping.runs.len() >= MAX_RUNS {
                job.mapping.doubtful = true;
                job.mapping.missing.push((logical, logical + 1));
                continue;
            }
            let follows =
                |last: &Run| last.end() == logical && last.state == State::Written(pointer.wrapping_sub(last.len));
            if let Some(last) = job.mapping.runs.last_mut().filter(|last| follows(last)) {
                last.len += 1;
                continue;
            }
            job.mapping.runs.push(Run { logical, len: 1, state: State::Written(pointer) });
        }
    }
}

impl Mapping {
    /// Brings runs and missing parts into order.
    fn normalise(&mut self) {
        self.runs.sort_by_key(|run| run.logical);
        let overlap = self.runs.windows(2).any(|pair| pair[0].end() > pair[1].logical);
        if overlap {
            self.doubtful = true;
            self.runs.dedup_by(|next, last| next.logical < last.end());
        }
        self.missing.sort_unstable();
    }

    /// The map of a file of which only leaves of its extent tree are left.
    pub(super) fn of_leaves(leaves: &[(Evidence, Vec<u8>)], blocks: u64) -> Self {
        let mut mapping = Self { doubtful: true, ..Self::default() };
        for (evidence, leaf) in leaves {
            let Some(count) = extent_header(leaf, 0) else { continue };
            mapping.evidence.push(evidence.clone());
            for entry in leaf[size_of::<ExtentHeader>()..].chunks_exact(size_of::<Extent>()).take(count) {
                let Ok(extent) = Extent::ref_from_bytes(entry) else { continue };
                let (len, written) = match extent.ee_len.get() {
                    len if len <= EXTENT_INIT_MAX_LEN => (u64::from(len), true),
                    biased => (u64::from(biased - EXTENT_INIT_MAX_LEN), false),
                };
                let at = u64::from(extent.ee_start_hi.get()) << 32 | u64::from(extent.ee_start_lo.get());
                if len == 0 || at == 0 || at + len > blocks || mapping.runs.len() >= MAX_RUNS {
                    continue;
                }
                let state = if written { State::Written(at) } else { State::Unwritten(at) };
                mapping.runs.push(Run { logical: extent.ee_block.get().into(), len, state });
            }
        }
        mapping.normalise();
        mapping
    }
}

/// Whether a block may be an indirect block: nothing but pointers.
pub(super) fn is_pointers(block: &[u8], blocks: u64) -> bool {
    let mut some = false;
    let sound = block.chunks_exact(4).all(|word| {
        let pointer = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        some |= pointer != 0;
        u64::from(pointer) < blocks
    });
    sound && some
}

/// The blocks of the disk that a run takes: start and end.
pub(super) fn physical(run: &Run) -> Option<(u64, u64)> {
    match run.state {
        State::Hole => None,
        State::Unwritten(block) | State::Written(block) => Some((block, block + run.len)),
    }
}

/// How many entries a node has, if it is a node of this depth.
pub(super) fn extent_header(node: &[u8], depth: u16) -> Option<usize> {
    let (header, rest) = ExtentHeader::ref_from_prefix(node).ok()?;
    let (count, most) = (header.eh_entries.get(), header.eh_max.get());
    let room = rest.len() / size_of::<Extent>();
    let sound = header.eh_magic.get() == EXTENT_MAGIC && count <= most && usize::from(most) <= room;
    (sound && header.eh_depth.get() == depth && (count > 0 || depth == 0)).then_some(count.into())
}

/// Whether the checksum behind the last possible entry starts from this seed.
fn extent_tail(node: &[u8], seed: u32) -> bool {
    let most = ExtentHeader::ref_from_prefix(node).map_or(0, |(header, _)| header.eh_max.get());
    let at = size_of::<ExtentHeader>() * (usize::from(most) + 1);
    let tail = node.get(at..).and_then(|tail| tail.first_chunk());
    tail.is_some_and(|want| crc32c(seed, &node[..at]) == u32::from_le_bytes(*want))
}
