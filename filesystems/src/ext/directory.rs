//! The entries of a directory block: <https://docs.kernel.org/filesystems/ext4/directory.html>.

use images::{Result, corrupt};
use zerocopy::FromBytes;

use super::checksum::crc32c;
use super::features::incompat;
use super::inode::Inode;
use super::layout::{DIR_TAIL_FILE_TYPE, DirEntry, DirEntryTail, DxTail, inode_flags, mode};
use super::superblock::Superblock;
use crate::node::Kind;

/// Bytes before the name.
const HEADER_SIZE: usize = size_of::<DirEntry>();
/// The smallest entry: a name of one to four bytes.
pub(in crate::ext) const SMALLEST: usize = 12;
/// Where the limit and count of a hash tree's root lie, behind `.`, `..` and `dx_root_info`; and of other nodes.
pub(super) const DX_ROOT_ENTRIES: usize = 32;
pub(super) const DX_NODE_ENTRIES: usize = 8;

/// An entry in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirent<'a> {
    /// Where it starts in its block.
    pub position: usize,
    /// Where the entry after it starts.
    pub next: usize,
    /// The inode that it names.
    pub inode: u32,
    /// The kind, if the entry says it.
    pub kind: Option<Kind>,
    /// The name as it is on the disk.
    pub name: &'a [u8],
}

/// The entries in use of a directory block, or of a part of an inline directory; after an error no more.
pub struct Dirents<'a> {
    superblock: &'a Superblock,
    directory: &'a Inode,
    bytes: &'a [u8],
    /// Where `bytes` start on the disk, for messages.
    offset: u64,
    position: usize,
}

impl<'a> Dirents<'a> {
    /// The entries in `bytes`, which lie at `offset` of the disk.
    pub fn new(superblock: &'a Superblock, directory: &'a Inode, bytes: &'a [u8], offset: u64) -> Self {
        Self { superblock, directory, bytes, offset, position: 0 }
    }

    /// The next entry, also one that is not in use, whose inode is 0.
    pub(in crate::ext) fn next_place(&mut self) -> Option<Result<Dirent<'a>>> {
        if self.position >= self.bytes.len() {
            return None;
        }
        let entry = self.entry();
        self.position = entry.as_ref().map_or(self.bytes.len(), |entry| entry.next);
        Some(entry)
    }

    fn entry(&self) -> Result<Dirent<'a>> {
        let (position, rest) = (self.position, &self.bytes[self.position..]);
        let at = self.offset + position as u64;
        let what = || format!("directory entry of inode {}", self.directory.number);
        let Ok((entry, names)) = DirEntry::ref_from_prefix(rest) else {
            return Err(corrupt!(what(), at, "{} bytes left, want {SMALLEST}", rest.len()));
        };
        let len = rec_len(entry.rec_len.get(), self.superblock.block_size);
        let name_len = usize::from(entry.name_len);
        if !len.is_multiple_of(4) || len < SMALLEST || len > rest.len() {
            return Err(corrupt!(what(), at, "rec_len {len} of {} bytes", rest.len()));
        }
        if name_len > len - HEADER_SIZE {
            return Err(corrupt!(what(), at, "name_len {name_len} in rec_len {len}"));
        }
        let (inode, name) = (entry.inode.get(), &names[..name_len]);
        if inode > self.superblock.inodes {
            return Err(corrupt!(what(), at, "inode {inode}, but there are {}", self.superblock.inodes));
        }
        let encrypted = self.directory.has(inode_flags::ENCRYPT);
        if inode != 0 && (name.is_empty() || !encrypted && name.iter().any(|byte| matches!(byte, 0 | b'/'))) {
            return Err(corrupt!(what(), at, "no name that a file can have: {:?}", String::from_utf8_lossy(name)));
        }
        let has_type = self.superblock.features.has_incompat(incompat::FILETYPE);
        let kind = if has_type { kind(entry.file_type) } else { None };
        Ok(Dirent { position, next: position + len, inode, kind, name })
    }
}

impl<'a> Iterator for Dirents<'a> {
    type Item = Result<Dirent<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_place()? {
                Ok(entry) if entry.inode == 0 => {}
                other => return Some(other),
            }
        }
    }
}

/// The file type in an entry, from the inode's mode.
pub(in crate::ext) fn file_type(inode_mode: u16) -> u8 {
    match inode_mode & mode::TYPE {
        mode::FILE => 1,
        mode::DIRECTORY => 2,
        mode::CHAR => 3,
        mode::BLOCK => 4,
        mode::FIFO => 5,
        mode::SOCKET => 6,
        mode::SYMLINK => 7,
        _ => 0,
    }
}

/// The length of an entry. Lengths are multiples of four, so in 64 KiB blocks the low two bits hold bits 16 and 17.
pub(in crate::ext) fn rec_len(raw: u16, block_size: u32) -> usize {
    if block_size < 65536 {
        return raw.into();
    }
    match u32::from(raw) {
        0 | 65535 => block_size as usize,
        len => (len & !3 | (len & 3) << 16) as usize,
    }
}

/// The same the other way round, of a multiple of four.
pub(in crate::ext) fn raw_rec_len(len: usize, block_size: u32) -> u16 {
    match u32::try_from(len) {
        Ok(len) if len >= 65536 && len == block_size => u16::MAX,
        Ok(len) => (len & 0xfffc | (len >> 16) & 3) as u16,
        Err(_) => u16::MAX,
    }
}

/// Bytes that an entry with a name of this length takes.
pub(in crate::ext) fn len_of(name: &[u8]) -> usize {
    (HEADER_SIZE + name.len()).next_multiple_of(4)
}

fn kind(file_type: u8) -> Option<Kind> {
    Some(match file_type {
        1 => Kind::File,
        2 => Kind::Directory,
        3 => Kind::CharDevice,
        4 => Kind::BlockDevice,
        5 => Kind::Fifo,
        6 => Kind::Socket,
        7 => Kind::Symlink,
        _ => return None,
    })
}

/// Where a block of an indexed directory has the limit and count of a hash tree's node, if it looks like one.
pub(super) fn dx_entries(superblock: &Superblock, directory: &Inode, block: &[u8]) -> Option<usize> {
    let at = |start: usize| DirEntry::ref_from_prefix(block.get(start..)?).ok().map(|(entry, _)| entry);
    let len = |entry: &DirEntry| rec_len(entry.rec_len.get(), superblock.block_size);
    let first = directory.has(inode_flags::INDEX).then(|| at(0))??;
    if first.inode.get() == 0 && len(first) == block.len() {
        return Some(DX_NODE_ENTRIES);
    }
    let root = len(first) == SMALLEST && len(at(SMALLEST)?) == block.len() - SMALLEST;
    root.then_some(DX_ROOT_ENTRIES)
}

/// Verifies the checksum entry at the end of a directory block that is not a node of a hash tree.
pub(super) fn check_tail(superblock: &Superblock, directory: &Inode, block: &[u8], offset: u64) -> Result<()> {
    if superblock.checksum_seed.is_none() {
        return Ok(());
    }
    let what = || format!("directory block of inode {}", directory.number);
    let content = &block[..block.len() - size_of::<DirEntryTail>()];
    let tail = DirEntryTail::ref_from_bytes(&block[content.len()..]).ok().filter(|tail| {
        tail.det_reserved_zero1.get() == 0
            && tail.det_rec_len.get() == 12
            && tail.det_reserved_zero2 == 0
            && tail.det_reserved_ft == DIR_TAIL_FILE_TYPE
    });
    let Some(tail) = tail else {
        return Err(corrupt!(what(), offset, "no checksum at its end"));
    };
    let (have, want) = (crc32c(directory.seed, content), tail.det_checksum.get());
    if have == want { Ok(()) } else { Err(corrupt!(what(), offset, "checksum {have:#010x}, want {want:#010x}")) }
}

/// Verifies the checksum of a node of a hash tree; its limit and count, at `entries`, must have been checked.
pub(super) fn check_dx_tail(
    directory: &Inode,
    block: &[u8],
    offset: u64,
    entries: usize,
    limit: usize,
    count: usize,
) -> Result<()> {
    let what = || format!("hash tree block of inode {}", directory.number);
    let used = block.get(..entries + count * 8);
    let tail = block.get(entries + limit * 8..).and_then(|tail| DxTail::ref_from_prefix(tail).ok());
    let (Some(used), Some((tail, _))) = (used, tail) else {
        return Err(corrupt!(what(), offset, "no room for a checksum after {limit} entries"));
    };
    let crc = crc32c(crc32c(directory.seed, used), &tail.dt_reserved.to_bytes());
    let (have, want) = (crc32c(crc, &[0; 4]), tail.dt_checksum.get());
    if have == want { Ok(()) } else { Err(corrupt!(what(), offset, "checksum {have:#010x}, want {want:#010x}")) }
}
