//! The entries of a directory block, or of a part of an inline directory, as they change.

use images::{Result, corrupt};
use zerocopy::IntoBytes;

use crate::ext::checksum::crc32c;
use crate::ext::directory::{Dirent, Dirents, dx_entries, len_of, raw_rec_len};
use crate::ext::inode::Inode;
use crate::ext::layout::{DIR_TAIL_FILE_TYPE, DirEntry, DirEntryTail, DxEntry, DxTail};
use crate::ext::superblock::Superblock;

/// Where `inode`, `rec_len` and `name_len` lie in an entry, and the name behind them.
const REC_LEN_AT: usize = 4;
const FILE_TYPE_AT: usize = 7;
const NAME_AT: usize = size_of::<DirEntry>();

/// An entry that a directory gets.
#[derive(Clone, Copy, Debug)]
pub(in crate::ext) struct NewEntry<'a> {
    pub name: &'a [u8],
    pub inode: u32,
    /// As [`file_type`](crate::ext::directory::file_type) says; 0 where entries have none.
    pub file_type: u8,
}

/// An entry as it is in these bytes.
pub(super) fn as_new<'a>(bytes: &[u8], entry: &Dirent<'a>) -> NewEntry<'a> {
    NewEntry { name: entry.name, inode: entry.inode, file_type: bytes[entry.position + FILE_TYPE_AT] }
}

/// Bytes without an entry: behind one, or in place of one that is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// Where the entry starts that the gap belongs to, and where the one after it does.
    position: usize,
    next: usize,
    /// Bytes that the entry needs; 0 if it is not in use.
    used: usize,
}

/// The first gap that has room for so many bytes.
pub(super) fn gap(mut entries: Dirents<'_>, wanted: usize) -> Result<Option<Gap>> {
    while let Some(place) = entries.next_place() {
        let Dirent { position, next, inode, name, .. } = place?;
        let used = if inode == 0 { 0 } else { len_of(name) };
        if next - position >= used + wanted {
            return Ok(Some(Gap { position, next, used }));
        }
    }
    Ok(None)
}

/// Puts an entry into a gap that has room for it.
pub(super) fn put(bytes: &mut [u8], gap: Gap, block_size: u32, new: &NewEntry<'_>) {
    if gap.used > 0 {
        set_len(bytes, gap.position, gap.used, block_size);
    }
    let start = gap.position + gap.used;
    write(bytes, start, gap.next - start, block_size, new);
}

/// Writes an entry that takes `len` bytes from `start` on.
fn write(bytes: &mut [u8], start: usize, len: usize, block_size: u32, new: &NewEntry<'_>) {
    let header = DirEntry {
        inode: new.inode.into(),
        rec_len: raw_rec_len(len, block_size).into(),
        name_len: u8::try_from(new.name.len()).expect("a name has at most 255 bytes"),
        file_type: new.file_type,
    };
    bytes[start..][..NAME_AT].copy_from_slice(header.as_bytes());
    bytes[start + NAME_AT..][..new.name.len()].copy_from_slice(new.name);
}

/// Sets the length of the entry at `position`.
pub(super) fn set_len(bytes: &mut [u8], position: usize, len: usize, block_size: u32) {
    bytes[position + REC_LEN_AT..][..2].copy_from_slice(&raw_rec_len(len, block_size).to_le_bytes());
}

/// Lets the entry at `position` name another inode.
pub(super) fn set_inode(bytes: &mut [u8], position: usize, inode: u32, file_type: u8) {
    bytes[position..][..4].copy_from_slice(&inode.to_le_bytes());
    bytes[position + FILE_TYPE_AT] = file_type;
}

/// Takes out the entry at `position`: the one before it gets its room. Its name stays behind, as what is deleted does.
pub(super) fn remove(bytes: &mut [u8], directory: &Area<'_>, position: usize) -> Result<()> {
    let (mut before, mut end) = (None, None);
    let mut entries = directory.entries(bytes);
    while let Some(place) = entries.next_place() {
        let place = place?;
        if place.position == position {
            end = Some(place.next);
            break;
        }
        before = Some(place.position);
    }
    match (before, end) {
        (Some(before), Some(end)) => set_len(bytes, before, end - before, directory.superblock.block_size),
        (None, Some(_)) => bytes[position..][..4].fill(0),
        (_, None) => {
            let what = format!("directory entry of inode {}", directory.inode.number);
            return Err(corrupt!(what, directory.offset, "no entry starts at {position}"));
        }
    }
    Ok(())
}

/// Fills an area with these entries, which fit in it; the last one gets what is left.
pub(super) fn fill<'a>(bytes: &mut [u8], block_size: u32, entries: impl IntoIterator<Item = NewEntry<'a>>) {
    bytes.fill(0);
    let (mut last, mut end) = (0, 0);
    for entry in entries {
        let len = len_of(entry.name);
        write(bytes, end, len, block_size, &entry);
        (last, end) = (end, end + len);
    }
    set_len(bytes, last, bytes.len() - last, block_size);
}

/// Where entries lie, and whose they are.
#[derive(Clone, Copy)]
pub(super) struct Area<'a> {
    pub superblock: &'a Superblock,
    pub inode: &'a Inode,
    /// Where they start on the disk, in bytes.
    pub offset: u64,
}

impl<'a> Area<'a> {
    /// The entries of these bytes.
    pub fn entries<'b>(&self, bytes: &'b [u8]) -> Dirents<'b>
    where
        'a: 'b,
    {
        Dirents::new(self.superblock, self.inode, bytes, self.offset)
    }

    /// How many bytes of a block hold entries: all, but for the checksum.
    pub fn room(&self) -> usize {
        let tail = if self.superblock.checksum_seed.is_some() { size_of::<DirEntryTail>() } else { 0 };
        self.superblock.block_size as usize - tail
    }

    /// Computes the checksum of a block of the directory, where it has one.
    pub fn seal(&self, block: &mut [u8]) {
        if self.superblock.checksum_seed.is_none() {
            return;
        }
        match dx_entries(self.superblock, self.inode, block) {
            Some(start) => self.seal_node(block, start),
            None => self.seal_leaf(block),
        }
    }

    /// The same for a block that has names in it.
    pub fn seal_leaf(&self, block: &mut [u8]) {
        let room = self.room();
        if room == block.len() {
            return;
        }
        let tail = DirEntryTail {
            det_reserved_zero1: 0.into(),
            det_rec_len: (size_of::<DirEntryTail>() as u16).into(),
            det_reserved_zero2: 0,
            det_reserved_ft: DIR_TAIL_FILE_TYPE,
            det_checksum: crc32c(self.inode.seed, &block[..room]).into(),
        };
        block[room..].copy_from_slice(tail.as_bytes());
    }

    /// The same for a node of a hash tree, whose limit and count, at `start`, are sound.
    pub fn seal_node(&self, block: &mut [u8], start: usize) {
        if self.superblock.checksum_seed.is_none() {
            return;
        }
        let half = |at: usize| usize::from(u16::from_le_bytes([block[at], block[at + 1]]));
        let (limit, count) = (half(start), half(start + 2));
        let tail_at = start + limit * size_of::<DxEntry>();
        let Some(tail) = block.get(tail_at..).and_then(|tail| tail.first_chunk::<{ size_of::<DxTail>() }>()) else {
            return;
        };
        let used = crc32c(self.inode.seed, &block[..start + count * size_of::<DxEntry>()]);
        let crc = crc32c(crc32c(used, &tail[..4]), &[0; 4]);
        block[tail_at + 4..][..4].copy_from_slice(&crc.to_le_bytes());
    }
}
