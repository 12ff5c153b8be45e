//! Orphans: inodes that have no name any more but are in use, and files that are being cut off. Whoever opens the file system
//! after a crash frees the ones and finishes the others.
//!
//! They are in the orphan file, where the file system has one that is not full, or else in a list: the superblock has the first,
//! and each has the next one in its time of deletion.
//! <https://docs.kernel.org/filesystems/ext4/orphan.html>

use std::collections::HashSet;

use images::{Result, corrupt};

use super::operation::Operation;
use super::record::Record;
use crate::ext::checksum::{crc32c, inode_seed};
use crate::ext::features::compat;
use crate::ext::inode::Inode;
use crate::ext::run::State;
use crate::ext::volume::Volume;

/// `ob_magic`, in the tail of each block of the orphan file.
const MAGIC: u32 = 0x0b10_ca04;
/// Bytes of the tail: `ob_magic` and `ob_checksum`.
const TAIL: usize = 8;
/// The kernel's largest orphan file, in bytes.
const LARGEST_FILE: u64 = 8 << 20;

/// Makes an inode an orphan. It is for the caller to write the record.
pub(in crate::ext) fn add(op: &mut Operation<'_>, record: &mut Record) -> Result<()> {
    if find(op.volume, record.number)?.is_some() {
        return Ok(());
    }
    if let Some(slot) = find_slot(op.volume, record.number, 0)? {
        return set(op, &slot, record.number);
    }
    let number = record.number;
    let next = op.change_superblock(|raw| Ok(std::mem::replace(&mut raw.s_last_orphan, number.into())))?;
    record.raw_mut().i_dtime = next;
    Ok(())
}

/// Takes an inode from the orphans, if it is one. It is for the caller to write the record.
pub(in crate::ext) fn remove(op: &mut Operation<'_>, record: &mut Record) -> Result<()> {
    match find(op.volume, record.number)? {
        None => return Ok(()),
        Some(Place::File(slot)) => return set(op, &slot, 0),
        Some(Place::First) => {
            let next = record.raw().i_dtime;
            op.change_superblock(|raw| {
                raw.s_last_orphan = next;
                Ok(())
            })?;
        }
        Some(Place::After(number)) => {
            let mut before = op.record(number)?;
            before.raw_mut().i_dtime = record.raw().i_dtime;
            op.put(&mut before)?;
        }
    }
    record.raw_mut().i_dtime = 0.into();
    Ok(())
}

/// All orphans, those first that were added last. Fails with `Corrupt` if the list or the file is damaged.
pub(in crate::ext) fn all(volume: &Volume) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    each_listed(volume, |number| {
        all.push(number);
        true
    })?;
    each_slot(volume, 0, |slot, number| {
        if number != 0 {
            check(volume, number, slot.offset(volume))?;
            all.push(number);
        }
        Ok(true)
    })?;
    Ok(all)
}

/// Whether the orphan file has orphans.
pub(super) fn are_in_file(volume: &Volume) -> Result<bool> {
    let mut found = false;
    each_slot(volume, 0, |_, number| {
        found = number != 0;
        Ok(!found)
    })?;
    Ok(found)
}

/// Where an orphan is noted.
enum Place {
    File(Slot),
    /// It is the first of the list.
    First,
    /// It follows this one.
    After(u32),
}

/// An entry of the orphan file.
struct Slot {
    file: u32,
    generation: u32,
    block: u64,
    index: usize,
}

impl Slot {
    fn offset(&self, volume: &Volume) -> u64 {
        self.block * volume.block_size() + self.index as u64 * 4
    }
}

fn find(volume: &Volume, number: u32) -> Result<Option<Place>> {
    if let Some(slot) = find_slot(volume, number, number)? {
        return Ok(Some(Place::File(slot)));
    }
    let (mut before, mut found) = (None, None);
    each_listed(volume, |listed| {
        if listed == number {
            found = Some(before.map_or(Place::First, Place::After));
        }
        before = Some(listed);
        found.is_none()
    })?;
    Ok(found)
}

/// The entry with this content where a search for an inode comes to first.
fn find_slot(volume: &Volume, number: u32, content: u32) -> Result<Option<Slot>> {
    let mut found = None;
    each_slot(volume, number, |slot, now| {
        if now == content {
            found = Some(slot);
        }
        Ok(found.is_none())
    })?;
    Ok(found)
}

/// Calls `each` with the inodes of the list until it returns false.
fn each_listed(volume: &Volume, mut each: impl FnMut(u32) -> bool) -> Result<()> {
    let mut number = volume.superblock_now()?.s_last_orphan.get();
    let (mut at, mut seen) = (crate::ext::layout::SUPERBLOCK_OFFSET, HashSet::new());
    while number != 0 {
        check(volume, number, at)?;
        if !seen.insert(number) {
            return Err(corrupt!("list of orphans", at, "it leads to inode {number} again"));
        }
        if !each(number) {
            break;
        }
        let inode = volume.inode(number)?;
        (at, number) = (inode.offset, inode.raw.i_dtime.get());
    }
    Ok(())
}

/// Fails unless an orphan can have this number, which was found at byte `at`.
fn check(volume: &Volume, number: u32, at: u64) -> Result<()> {
    let superblock = volume.superblock();
    if number < superblock.first_inode || number > superblock.inodes {
        return Err(corrupt!(
            "list of orphans",
            at,
            "inode {number}, want {} to {}",
            superblock.first_inode,
            superblock.inodes
        ));
    }
    Ok(())
}

/// Calls `each` with the entries of the orphan file until it returns false, beginning with a block that the number decides.
fn each_slot(volume: &Volume, number: u32, mut each: impl FnMut(Slot, u32) -> Result<bool>) -> Result<()> {
    let superblock = volume.superblock();
    if !superblock.features.has_compat(compat::ORPHAN_FILE) {
        return Ok(());
    }
    let file = volume.inode(superblock.raw.s_orphan_file_inum.get())?;
    let blocks = blocks(volume, &file)?;
    let start = if blocks.is_empty() { 0 } else { number as usize % blocks.len() };
    for block in blocks[start..].iter().chain(&blocks[..start]) {
        let content = volume.block(*block)?;
        let (entries, tail) = content.split_at(content.len() - TAIL);
        let want = [MAGIC, checksum(volume, file.number, file.generation, *block, entries)];
        if word(tail, 0) != want[0] || superblock.checksum_seed.is_some() && word(tail, 1) != want[1] {
            let found = [word(tail, 0), word(tail, 1)];
            return Err(corrupt!("orphan file", content.offset(), "magic and checksum {found:x?}, want {want:x?}"));
        }
        for index in 0..entries.len() / 4 {
            let slot = Slot { file: file.number, generation: file.generation, block: *block, index };
            if !each(slot, word(entries, index))? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The blocks of the orphan file.
fn blocks(volume: &Volume, file: &Inode) -> Result<Vec<u64>> {
    if file.size > LARGEST_FILE {
        return Err(corrupt!("orphan file", file.offset, "{} bytes, at most {LARGEST_FILE}", file.size));
    }
    let (mut blocks, mut is_whole) = (Vec::new(), true);
    let count = file.size / volume.block_size();
    volume.map(file, 0, &mut |run| {
        match run.state {
            _ if run.logical >= count => return false,
            State::Written(physical) => {
                blocks.extend(physical..physical.saturating_add(run.len.min(count - run.logical)));
            }
            _ => is_whole = false,
        }
        is_whole
    })?;
    if is_whole { Ok(blocks) } else { Err(corrupt!("orphan file", file.offset, "it has a hole")) }
}

/// Writes an entry of the orphan file.
fn set(op: &mut Operation<'_>, slot: &Slot, number: u32) -> Result<()> {
    let volume = op.volume;
    op.change(slot.block, |block| {
        block[slot.index * 4..][..4].copy_from_slice(&number.to_le_bytes());
        let end = block.len();
        let crc = checksum(volume, slot.file, slot.generation, slot.block, &block[..end - TAIL]);
        if volume.superblock().checksum_seed.is_some() {
            block[end - 4..].copy_from_slice(&crc.to_le_bytes());
        }
        Ok(())
    })
}

/// The checksum of a block: over its number and its entries.
fn checksum(volume: &Volume, file: u32, generation: u32, block: u64, entries: &[u8]) -> u32 {
    let Some(seed) = volume.superblock().checksum_seed else { return 0 };
    crc32c(crc32c(inode_seed(seed, file, generation), &block.to_le_bytes()), entries)
}

fn word(bytes: &[u8], index: usize) -> u32 {
    bytes.get(index * 4..).and_then(|rest| rest.first_chunk()).map_or(0, |word| u32::from_le_bytes(*word))
}
