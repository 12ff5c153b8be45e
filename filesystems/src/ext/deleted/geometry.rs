//! Which blocks hold inode tables or other fixed metadata, and which are free.

use std::cell::{Cell, OnceCell, RefCell};

use crate::ext::checksum::crc32c;
use crate::ext::features::{incompat, ro_compat};
use crate::ext::group::{BLOCK_UNINIT, Group, INODE_UNINIT};
use crate::ext::volume::{Block, Volume};
use crate::room::Room;

/// How many groups are looked at (ours): 32 times those of a file system of 16 TiB. Nothing in the others counts as free.
const MAX_GROUPS: u32 = 1 << 22;
/// What is kept of a group, in bytes, about.
const GROUP: usize = 2 * (size_of::<Option<Group>>() + size_of::<Table>() + 4 * size_of::<(u64, u64)>());
/// How many blocks are looked up in bitmaps for all versions and claims together (ours): 4 TiB of 4 KiB blocks.
const MAX_LOOKUPS: u64 = 1 << 30;

/// A part of an inode table: blocks that lie together and hold inodes in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// The first block.
    pub(super) start: u64,
    /// How many.
    pub(super) blocks: u64,
    /// The first block's first inode.
    pub(super) first_inode: u32,
    /// How many inodes of the table may have been used.
    pub(super) used: u32,
}

/// The fixed places of a file system. Damaged groups are left out, and nothing in them counts as free.
pub(super) struct Geometry<'a> {
    pub(super) volume: &'a Volume,
    /// What the search may hold.
    pub(super) room: Room,
    /// By group, where it is sound.
    groups: Vec<Option<Group>>,
    /// By their first block.
    pub(super) tables: Vec<Table>,
    /// Blocks that never hold content, ascending: start and end.
    fixed: Vec<(u64, u64)>,
    bitmap: RefCell<Option<(u32, Bitmap)>>,
    lookups: Cell<u64>,
    /// Blocks that are in use and hold what was there before, ascending: start and end.
    reserved: OnceCell<Vec<(u64, u64)>>,
}

#[derive(Clone)]
enum Bitmap {
    Read(Block),
    /// Nothing but the fixed places is used.
    Uninit,
    /// Nothing is known.
    Damaged,
}

impl<'a> Geometry<'a> {
    pub(super) fn new(volume: &'a Volume, room: Room) -> Self {
        let superblock = volume.superblock();
        let per_block = volume.block_size() / u64::from(superblock.inode_size);
        let table_blocks = u64::from(superblock.inodes_per_group).div_ceil(per_block);
        let descs = u64::from(superblock.groups.div_ceil(superblock.descs_per_block()));
        let reserved = u64::from(superblock.raw.s_reserved_gdt_blocks.get());
        let meta_bg = superblock.features.has_incompat(incompat::META_BG);
        let (mut groups, mut tables, mut fixed) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..superblock.groups.min(MAX_GROUPS) {
            let start = group_start(volume, number);
            if start.saturating_mul(volume.block_size()) >= volume.disk().size() || !room.take(GROUP) {
                break;
            }
            if meta_bg {
                fixed.push((start, start.saturating_add(2)));
            } else if superblock.has_backup(number) {
                fixed.push((start, start.saturating_add(1 + descs + reserved)));
            }
            let group = volume.group(number).ok();
            if let Some(group) = &group {
                fixed.push((group.block_bitmap, group.block_bitmap.saturating_add(1)));
                fixed.push((group.inode_bitmap, group.inode_bitmap.saturating_add(1)));
                fixed.push((group.inode_table, group.inode_table.saturating_add(table_blocks)));
                let per_group = superblock.inodes_per_group;
                let used = group.used_inodes(superblock);
                if group.inode_table.checked_add(table_blocks).is_some_and(|end| end <= superblock.blocks) {
                    let first_inode = number * per_group + 1;
                    tables.push(Table { start: group.inode_table, blocks: table_blocks, first_inode, used });
                }
            }
            groups.push(group);
        }
        tables.sort_by_key(|table: &Table| table.start);
        // No block is read twice, however many groups say that it is theirs.
        tables.dedup_by(|next, last| next.start < last.start + last.blocks);
        fixed.sort_unstable();
        fixed.dedup_by(|next, last| {
            let joins = next.0 <= last.1;
            if joins {
                last.1 = last.1.max(next.1);
            }
            joins
        });
        Self {
            volume,
            room,
            groups,
            tables,
            fixed,
            bitmap: RefCell::new(None),
            lookups: Cell::new(0),
            reserved: OnceCell::new(),
        }
    }

    /// The number of the first inode in a block of an inode table.
    pub(super) fn first_inode(&self, block: u64) -> Option<u32> {
        let after = self.tables.partition_point(|table| table.start <= block);
        let table = self.tables.get(after.checked_sub(1)?)?;
        let inside = Some(block - table.start).filter(|inside| *inside < table.blocks)?;
        let per_block = self.volume.block_size() / u64::from(self.volume.superblock().inode_size);
        let number = u64::from(table.first_inode) + inside * per_block;
        u32::try_from(number).ok()
    }

    /// Whether so many more blocks may be looked up. After [`MAX_LOOKUPS`] nothing can be said of others.
    pub(super) fn afford(&self, blocks: u64) -> bool {
        self.lookups.set(self.lookups.get().saturating_add(blocks));
        self.lookups.get() <= MAX_LOOKUPS
    }

    /// Whether a block is free; one of which nothing is known is not.
    pub(super) fn is_free(&self, block: u64) -> bool {
        self.stretch(block, block.saturating_add(1)).0
    }

    /// The blocks from `from` to before `to` in stretches that are free, or not: each with its end.
    pub(super) fn stretches(&self, from: u64, to: u64) -> impl Iterator<Item = (bool, std::ops::Range<u64>)> {
        let mut at = from;
        std::iter::from_fn(move || {
            let start = at;
            let (free, mut end) = (start < to).then(|| self.stretch(start, to))?;
            while end < to {
                match self.stretch(end, to) {
                    (same, next) if same == free => end = next,
                    _ => break,
                }
            }
            at = end;
            Some((free, start..end))
        })
    }

    /// Whether a block is free, and up to where the same is known of those behind it, `to` at most.
    fn stretch(&self, block: u64, to: u64) -> (bool, u64) {
        let superblock = self.volume.superblock();
        let first = u64::from(superblock.first_data_block);
        let group_blocks = u64::from(superblock.blocks_per_group);
        let known = first.saturating_add(group_blocks.saturating_mul(self.groups.len() as u64)).min(superblock.blocks);
        if block >= known {
            return (false, to);
        }
        let Some(inside) = block.checked_sub(first) else { return (false, to.min(first)) };
        let after = self.fixed.partition_point(|(start, _)| *start <= block);
        if let Some((_, end)) = after.checked_sub(1).and_then(|at| self.fixed.get(at)).filter(|(_, end)| block < *end) {
            return (false, to.min(*end));
        }
        let (group, inside) = (inside / group_blocks, inside % group_blocks);
        let group = u32::try_from(group).expect("groups are counted in 32 bits");
        let to = to.min(known).min(block - inside + group_blocks);
        let to = self.fixed.get(after).map_or(to, |(start, _)| to.min(*start));
        let mut kept = self.bitmap.borrow_mut();
        let bitmap = match &*kept {
            Some((number, bitmap)) if *number == group => bitmap,
            _ => &kept.insert((group, self.bitmap(group))).1,
        };
        let cluster = u64::from(superblock.cluster_blocks);
        match bitmap {
            Bitmap::Read(bytes) => {
                let start = block - inside;
                let (free, bit) = same_bits(bytes, inside / cluster, (to - start).div_ceil(cluster));
                (free, to.min(start + bit * cluster))
            }
            Bitmap::Uninit => (true, to),
            Bitmap::Damaged => (false, to),
        }
    }

    /// Says which blocks are in use and hold what was there before, once they are known: ascending and apart.
    pub(super) fn reserve(&self, mut runs: Vec<(u64, u64)>) {
        runs.retain(|(start, end)| {
            let after = self.fixed.partition_point(|fixed| fixed.0 < *end);
            after.checked_sub(1).and_then(|at| self.fixed.get(at)).is_none_or(|fixed| fixed.1 <= *start)
        });
        // They are found once.
        let _ = self.reserved.set(runs);
    }

    /// The blocks from `from` to before `to` that are in use and, as far as is known, hold what was there before.
    pub(super) fn reserved_in(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
        let runs = self.reserved.get().map(Vec::as_slice).unwrap_or_default();
        let first = runs.partition_point(|(_, end)| *end <= from);
        let inside = runs[first..].iter().take_while(move |(start, _)| *start < to);
        inside.map(move |(start, end)| (from.max(*start), to.min(*end)))
    }

    fn bitmap(&self, number: u32) -> Bitmap {
        let superblock = self.volume.superblock();
        let Some(Some(group)) = self.groups.get(number as usize) else { return Bitmap::Damaged };
        if superblock.features.has_ro_compat(ro_compat::GDT_CSUM | ro_compat::METADATA_CSUM)
            && group.flags & BLOCK_UNINIT != 0
        {
            return Bitmap::Uninit;
        }
        let Ok(block) = self.volume.block(group.block_bitmap) else { return Bitmap::Damaged };
        if let Some(seed) = superblock.checksum_seed {
            let len = (superblock.blocks_per_group / superblock.cluster_blocks / 8) as usize;
            let have = crc32c(seed, block.get(..len).unwrap_or_default());
            let mask = if superblock.desc_size >= 64 { u32::MAX } else { 0xffff };
            if (have ^ group.block_bitmap_csum) & mask != 0 {
                return Bitmap::Damaged;
            }
        }
        Bitmap::Read(block)
    }

    /// Whether an inode is in use by its bitmap.
    pub(super) fn inode_in_use(&self, number: u32) -> bool {
        let per_group = self.volume.superblock().inodes_per_group;
        let Some(index) = number.checked_sub(1) else { return true };
        let Some(Some(group)) = self.groups.get((index / per_group) as usize) else { return true };
        if group.flags & INODE_UNINIT != 0 {
            return false;
        }
        let Ok(block) = self.volume.block(group.inode_bitmap) else { return true };
        let bit = (index % per_group) as usize;
        block.get(bit / 8).is_none_or(|byte| byte >> (bit % 8) & 1 == 1)
    }
}

/// Whether a bit of a bitmap is zero, and the number of the next that is not the same, `to` at most. Bits that the bitmap
/// does not have are ones.
fn same_bits(bitmap: &[u8], bit: u64, to: u64) -> (bool, u64) {
    let byte = |bit: u64| bitmap.get((bit / 8) as usize).copied().unwrap_or(!0);
    let is_zero = |bit: u64| byte(bit) >> (bit % 8) & 1 == 0;
    let (zero, mut at) = (is_zero(bit), bit + 1);
    let whole = if zero { 0 } else { !0 };
    while at < to {
        if at.is_multiple_of(8) && byte(at) == whole {
            at += 8;
        } else if is_zero(at) == zero {
            at += 1;
        } else {
            break;
        }
    }
    (zero, at.min(to))
}

fn group_start(volume: &Volume, number: u32) -> u64 {
    let superblock = volume.superblock();
    u64::from(superblock.first_data_block) + u64::from(number) * u64::from(superblock.blocks_per_group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_walked_in_stretches() {
        let bitmap = [0b1111_0000, 0, 0, 0b0000_0001, !0];
        let mut seen = Vec::new();
        let mut at = 0;
        while at < 48 {
            let (zero, next) = same_bits(&bitmap, at, 48);
            seen.push((zero, next));
            at = next;
        }
        assert_eq!(seen, [(true, 4), (false, 8), (true, 24), (false, 25), (true, 32), (false, 48)]);
        assert_eq!((same_bits(&bitmap, 9, 20), same_bits(&bitmap, 9, 10)), ((true, 20), (true, 10)));
    }
}
