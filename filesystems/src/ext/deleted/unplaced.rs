//! Copies of blocks of inode tables that neither a descriptor nor a checksum attributes: generations do.
//!
//! A generation is a number of 32 random bits that an inode gets when it is made. An inode of which one is known that
//! stands in the same place of its block, with the same generation, tells which block the copy is of, and that tells the
//! numbers of the others in it. This is no proof, and nothing that is found by it can be promised.

use std::collections::HashSet;

use zerocopy::FromBytes;

use super::candidates::Candidates;
use super::inodes::Inodes;
use super::scan::Copy;
use crate::ext::layout::{self, mode};
use crate::ext::superblock::Superblock;
use crate::room::Room;

/// How many such copies are kept track of (ours): 32 bytes each, and 4 for each inode in the block.
const MAX_COPIES: usize = 1 << 16;

/// Copies whose block is not known yet.
pub(super) struct Unplaced {
    room: Room,
    tables: Vec<Table>,
}

/// A copy of a block of an inode table.
struct Table {
    copy: Copy,
    /// By the place in the block; 0 where there is none.
    generations: Box<[u32]>,
}

impl Unplaced {
    /// None yet.
    pub(super) fn new(room: Room) -> Self {
        Self { room, tables: Vec::new() }
    }

    /// Takes a copy, if it can be of an inode table; returns whether it is looked at again.
    pub(super) fn add(&mut self, copy: &Copy, bytes: &[u8], inode_size: usize) -> bool {
        let generations: Option<Box<[u32]>> = bytes.chunks_exact(inode_size).map(generation).collect();
        let Some(generations) = generations.filter(|all| all.iter().any(|generation| *generation != 0)) else {
            return false;
        };
        let bytes = 2 * size_of::<Table>() + size_of_val(&*generations);
        if self.tables.len() >= MAX_COPIES || !self.room.take(bytes) {
            return false;
        }
        self.tables.push(Table { copy: *copy, generations });
        true
    }

    /// Attributes copies by the inodes that are known by other ways, and gives those, each with its block's first inode.
    pub(super) fn place(
        &mut self,
        superblock: &Superblock,
        inodes: &Inodes,
        candidates: &Candidates,
    ) -> Vec<(Copy, u32)> {
        let wanted = self.tables.iter().flat_map(|table| table.generations.iter().copied());
        let wanted = wanted.filter(|generation| *generation != 0).collect();
        let known = known_generations(&wanted, inodes, candidates);
        let mut placed = Vec::new();
        self.tables.retain(|table| {
            let first = first_of(superblock, &table.generations, &known);
            placed.extend(first.map(|first| (table.copy, first)));
            first.is_none()
        });
        placed
    }
}

/// The generation of the inode in a record, or 0; `None` if the record is none of an inode.
fn generation(record: &[u8]) -> Option<u32> {
    let (raw, _) = layout::Inode::ref_from_prefix(record).ok()?;
    match raw.i_mode.get() & mode::TYPE {
        0 => Some(0),
        mode::FILE | mode::DIRECTORY | mode::SYMLINK | mode::FIFO | mode::SOCKET | mode::CHAR | mode::BLOCK => {
            Some(raw.i_generation.get())
        }
        _ => None,
    }
}

/// Inodes that are known by other ways: generation and number, ascending.
fn known_generations(wanted: &HashSet<u32>, inodes: &Inodes, candidates: &Candidates) -> Vec<(u32, u32)> {
    let on_disk = inodes.all().map(|inode| (inode.generation, inode.number));
    let in_journal = candidates.nodes.keys().map(|(number, generation)| (*generation, *number));
    let mut known: Vec<(u32, u32)> =
        on_disk.chain(in_journal).filter(|(generation, _)| wanted.contains(generation)).collect();
    known.sort_unstable();
    known.dedup();
    known
}

/// The number of the first inode of a block, if all of its inodes that are known agree on it.
fn first_of(superblock: &Superblock, generations: &[u32], known: &[(u32, u32)]) -> Option<u32> {
    let per_block = superblock.block_size / u32::from(superblock.inode_size);
    let mut agreed = None;
    for (index, generation) in (0u32..).zip(generations).filter(|(_, generation)| **generation != 0) {
        let start = known.partition_point(|(known, _)| known < generation);
        let numbers = known[start..].iter().take_while(|(known, _)| known == generation).map(|(_, number)| *number);
        let in_place = |number: &u32| (number - 1) % superblock.inodes_per_group % per_block == index;
        let mut firsts = numbers.filter(|number| *number != 0).filter(in_place).map(|number| number - index);
        match (firsts.next(), firsts.next(), agreed) {
            (None, ..) => {}
            (Some(first), None, None) => agreed = Some(first),
            (Some(first), None, Some(before)) if first == before => {}
            _ => return None,
        }
    }
    agreed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_of_an_inode_table() {
        let copy = Copy { at: 0, block: None, sequence: None };
        let mut block = vec![0; 1024];
        let mut unplaced = Unplaced::new(Room::of(&images::Budget::new(1 << 20), 12));
        assert!(!unplaced.add(&copy, &block, 256), "no inode in it");
        (block[256], block[257]) = (0xa4, 0x81);
        assert!(!unplaced.add(&copy, &block, 256), "without a generation nothing tells it from others");
        block[256 + 100] = 7;
        assert!(unplaced.add(&copy, &block, 256));
        assert_eq!(*unplaced.tables[0].generations, [0, 7, 0, 0]);
        block[513] = 0x30;
        assert!(!unplaced.add(&copy, &block, 256), "there is no such kind of node");
    }
}
