//! Hash trees of directories, as they grow: <https://docs.kernel.org/filesystems/ext4/directory.html#hash-tree-directories>.

use images::{Error, Result, corrupt, unsupported};

use super::directory_block::{append, block_of, dots, edit, gap_in, inode, leaf, number_of, put};
use super::entries::{self, Area, NewEntry, set_len};
use super::operation::Operation;
use super::record::Record;
use crate::ext::directory::{DX_NODE_ENTRIES, DX_ROOT_ENTRIES, SMALLEST, len_of};
use crate::ext::features::{compat, incompat};
use crate::ext::hash::NameHash;
use crate::ext::htree::{
    INDIRECT_LEVELS_AT, Level, MAX_INDIRECT_LEVELS, MAX_INDIRECT_LEVELS_LARGE, ROOT_INFO_AT, Search,
};
use crate::ext::inode::Inode;
use crate::ext::layout::{DxEntry, DxRootInfo, inode_flags};
use crate::ext::superblock::Superblock;
use crate::ext::volume::Block;

/// Bytes of an entry of a node.
const ENTRY_SIZE: usize = size_of::<DxEntry>();
/// The lowest bit of a hash in a node: the leaf before ends with names of the same hash.
const CONTINUED: u32 = 1;

/// A search that finds the leaf of a name. Fails if the tree cannot be used: to change a directory, it must be.
pub(super) fn search<'a>(op: &Operation<'a>, inode: &'a Inode, name: &[u8]) -> Result<Search<'a>> {
    let unknown = || unsupported!("directory inode {}: the hash function of its tree is not known", inode.number);
    Search::new(op.volume, inode, name)?.ok_or_else(unknown)
}

/// The hash function that new trees get, and its number.
fn default_hash(superblock: &Superblock) -> Option<(NameHash, u8)> {
    let raw = &superblock.raw;
    let version = raw.s_def_hash_version;
    let seed = raw.s_hash_seed.map(|word| word.get());
    // The unsigned variants have numbers of their own, but no tree begins with one: `s_flags` says which it is.
    let known = NameHash::new(version, raw.s_flags.get(), seed).filter(|_| version < 3);
    Some((known?, version))
}

/// Whether directories of this file system get hash trees.
pub(super) fn is_possible(superblock: &Superblock) -> bool {
    superblock.features.has_compat(compat::DIR_INDEX) && default_hash(superblock).is_some()
}

/// Whether a directory has a hash tree that is used.
pub(super) fn is_used(op: &Operation<'_>, dir: &Record) -> bool {
    dir.has(inode_flags::INDEX) && op.superblock().features.has_compat(compat::DIR_INDEX)
}

/// Gives a directory of one block a hash tree: its names go to the second block, and the first becomes the root.
pub(super) fn create(op: &mut Operation<'_>, dir: &mut Record) -> Result<()> {
    let superblock = op.superblock();
    let (old, Some((_, version))) = (inode(op, dir)?, default_hash(superblock)) else { return Err(Error::Invalid) };
    let first = op.volume.directory_block(&old, 0)?;
    let area = Area { superblock, inode: &old, offset: first.offset() };
    let [_, dotdot] = dots(&area, &first)?;
    let mut names = Vec::new();
    for entry in area.entries(&first[..area.room()]).skip(2) {
        names.push(entries::as_new(&first, &entry?));
    }
    let leaf = block_of(op, &old, names);
    let (mut root, block_size) = (first.to_vec(), superblock.block_size);
    root[DX_ROOT_ENTRIES - size_of::<DxRootInfo>()..].fill(0);
    set_len(&mut root, 0, SMALLEST, block_size);
    let rest = root.len() - SMALLEST;
    set_len(&mut root, dotdot.position, rest, block_size);
    root[ROOT_INFO_AT + std::mem::offset_of!(DxRootInfo, hash_version)] = version;
    root[ROOT_INFO_AT + std::mem::offset_of!(DxRootInfo, info_length)] = size_of::<DxRootInfo>() as u8;

    dir.set_flag(inode_flags::INDEX, true);
    let number = append(op, dir, leaf)?;
    write_node(superblock, &mut root, DX_ROOT_ENTRIES, &[(0, number)]);
    area.seal_node(&mut root, DX_ROOT_ENTRIES);
    op.replace(number_of(op, &first), root)
}

/// Gives a name to an inode. What is full on the way to its leaf is split.
pub(super) fn insert(op: &mut Operation<'_>, dir: &mut Record, new: &NewEntry<'_>) -> Result<()> {
    loop {
        let inode = inode(op, dir)?;
        let search = search(op, &inode, new.name)?;
        let leaf = leaf(op, &inode, &search)?;
        if let Some(gap) = gap_in(op.superblock(), &inode, &leaf, new)? {
            return put(op, &inode, number_of(op, &leaf), gap, new);
        }
        // Each of these gives room to one level, so the next round comes further down.
        let levels = search.levels();
        match levels.iter().rposition(Level::has_room) {
            Some(level) if level + 1 == levels.len() => split_leaf(op, dir, &inode, (&search, &leaf), new)?,
            Some(level) => split_node(op, dir, &inode, &levels[level], &levels[level + 1])?,
            None => grow(op, dir, &inode, levels)?,
        }
    }
}

/// Moves the upper half of a leaf's names, by their hashes, to a new one at the end. The others stay where they are, so that whoever
/// lists the directory at this time misses none.
fn split_leaf(
    op: &mut Operation<'_>,
    dir: &mut Record,
    inode: &Inode,
    (search, leaf): (&Search<'_>, &Block),
    new: &NewEntry<'_>,
) -> Result<()> {
    let area = Area { superblock: op.superblock(), inode, offset: leaf.offset() };
    let mut names = Vec::new();
    for entry in area.entries(&leaf[..area.room()]) {
        let entry = entry?;
        names.push((search.function().of(entry.name), entry.position, entries::as_new(leaf, &entry)));
    }
    names.sort_by_key(|(hash, ..)| *hash);
    let at = middle(&names, leaf.len());
    if at == 0 || at >= names.len() {
        let what = format!("directory inode {}", inode.number);
        return Err(corrupt!(what, leaf.offset(), "a block of {} names has no room for one more", names.len()));
    }
    let (stay, go) = names.split_at(at);
    let continued = if stay[at - 1].0 == go[0].0 { CONTINUED } else { 0 };
    let block = |half: &[(u32, usize, NewEntry<'_>)]| block_of(op, inode, half.iter().map(|(.., entry)| *entry));
    let (together, upper) = (block(stay), block(go));
    let mut lower = leaf.to_vec();
    for (_, position, _) in go {
        entries::remove(&mut lower[..area.room()], &area, *position)?;
    }
    area.seal_leaf(&mut lower);
    if entries::gap(area.entries(&lower[..area.room()]), len_of(new.name))?.is_none() {
        lower = together;
    }
    let number = append(op, dir, upper)?;
    op.replace(number_of(op, leaf), lower)?;
    match search.levels().last() {
        Some(level) => add(op, inode, level, go[0].0 | continued, number),
        None => Ok(()),
    }
}

/// Where a list of names is split, so that both halves take about the same.
fn middle(names: &[(u32, usize, NewEntry<'_>)], block_size: usize) -> usize {
    let (mut upper, mut at) = (0, names.len());
    for (.., entry) in names.iter().rev() {
        let len = len_of(entry.name);
        if upper + len / 2 > block_size / 2 {
            break;
        }
        upper += len;
        at -= 1;
    }
    // Few long names between gaps may all go.
    if at == 0 { names.len() / 2 } else { at }
}

/// Moves the upper half of a node's entries to a new one.
fn split_node(op: &mut Operation<'_>, dir: &mut Record, inode: &Inode, above: &Level, node: &Level) -> Result<()> {
    let superblock = op.superblock();
    let entries = node.entries();
    let (stay, go) = entries.split_at(entries.len() / 2);
    let number = append(op, dir, node_of(superblock, inode, go))?;
    edit(op, inode, number_of(op, &node.block), |_, block| {
        write_node(superblock, block, node.start, stay);
        Ok(())
    })?;
    add(op, inode, above, go[0].0, number)
}

/// Puts one more level below the root: it gets one entry, and its entries go to a new node.
fn grow(op: &mut Operation<'_>, dir: &mut Record, inode: &Inode, levels: &[Level]) -> Result<()> {
    let superblock = op.superblock();
    let large = superblock.features.has_incompat(incompat::LARGEDIR);
    let most = usize::from(if large { MAX_INDIRECT_LEVELS_LARGE } else { MAX_INDIRECT_LEVELS });
    let Some(root) = levels.first().filter(|_| levels.len() <= most) else { return Err(Error::NoSpace) };
    let number = append(op, dir, node_of(superblock, inode, &root.entries()))?;
    edit(op, inode, number_of(op, &root.block), |_, block| {
        write_node(superblock, block, root.start, &[(0, number)]);
        block[INDIRECT_LEVELS_AT] += 1;
        Ok(())
    })
}

/// A node below the root, with these entries.
fn node_of(superblock: &Superblock, inode: &Inode, entries: &[(u32, u32)]) -> Vec<u8> {
    let mut block = vec![0; superblock.block_size as usize];
    let len = block.len();
    set_len(&mut block, 0, len, superblock.block_size);
    write_node(superblock, &mut block, DX_NODE_ENTRIES, entries);
    Area { superblock, inode, offset: 0 }.seal_node(&mut block, DX_NODE_ENTRIES);
    block
}

/// Writes limit, count and entries (hash and block) of a node. The first hash has no place: it is the lowest.
fn write_node(superblock: &Superblock, block: &mut [u8], start: usize, entries: &[(u32, u32)]) {
    let limit = (block.len() - start) / ENTRY_SIZE - usize::from(superblock.checksum_seed.is_some());
    let half = |count: usize| u16::try_from(count).expect("a node has at most 8191 entries").to_le_bytes();
    for (index, (hash, number)) in entries.iter().enumerate() {
        let entry = &mut block[start + index * ENTRY_SIZE..][..ENTRY_SIZE];
        entry[..4].copy_from_slice(&hash.to_le_bytes());
        entry[4..].copy_from_slice(&number.to_le_bytes());
    }
    block[start..][..2].copy_from_slice(&half(limit));
    block[start + 2..][..2].copy_from_slice(&half(entries.len()));
}

/// Adds an entry to a node that has room, behind the one that a search took.
fn add(op: &mut Operation<'_>, inode: &Inode, node: &Level, hash: u32, number: u32) -> Result<()> {
    let superblock = op.superblock();
    let mut entries = node.entries();
    entries.insert(node.taken + 1, (hash, number));
    edit(op, inode, number_of(op, &node.block), |_, block| {
        write_node(superblock, block, node.start, &entries);
        Ok(())
    })
}
