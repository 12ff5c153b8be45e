//! ext4 file systems whose files claim the same few blocks over and over: a directory of millions of names, a journal of
//! billions of blocks.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::put;
use crate::command::{command, read, run};

const BLOCK: u64 = 1024;
/// How many extents a block of 1 KiB and an inode hold.
const IN_BLOCK: usize = 84;
const IN_INODE: usize = 4;
const JOURNAL_INODE: u64 = 8;
/// The first of the blocks that are used again and again, and the first of the extent tree's own: both far from what mke2fs
/// makes.
const SHARED: u32 = 40_000;
const TREE: u32 = 80_000;

/// A run of blocks: where it is in the file, its length, where it lies.
type Run = (u32, u16, u32);

/// A directory of `blocks` blocks that are the same `run` blocks over and over, each full of names.
pub fn directory(path: &Path, blocks: u32, run: u16) -> Result<()> {
    let tree = tempfile::tempdir()?;
    for name in ["many", "etc", "bin"] {
        fs::create_dir(tree.path().join(name))?;
    }
    for name in ["file", "etc/fstab"] {
        fs::write(tree.path().join(name), "")?;
    }
    let image = Image::new(path, Some(tree.path()), 6 << 30, "^has_journal,^dir_index")?;
    let mut names = Vec::new();
    for number in 0..85u16 {
        let name = format!("{number:04x}");
        let len = if number < 84 { 12 } else { BLOCK as u16 - 84 * 12 };
        let mut entry = vec![0; usize::from(len)];
        // Inode 12 is the first that is not reserved.
        put(&mut entry, 0, 12u32.to_le_bytes());
        put(&mut entry, 4, len.to_le_bytes());
        (entry[6], entry[7]) = (4, 1);
        entry[8..12].copy_from_slice(name.as_bytes());
        names.extend_from_slice(&entry);
    }
    image.file.write_all_at(&names.repeat(usize::from(run)), u64::from(SHARED) * BLOCK)?;
    let runs = (0..blocks).step_by(usize::from(run));
    let runs: Vec<Run> = runs.map(|at| (at, run.min((blocks - at).min(0x7fff) as u16), SHARED)).collect();
    let stat = read(command("debugfs", ["-R", "stat /many"]).arg(path))?;
    let number = stat.split("Inode:").nth(1).and_then(|rest| rest.split_whitespace().next());
    image.map(number.context("debugfs names no inode")?.parse()?, &runs, u64::from(blocks) * BLOCK)
}

/// A journal that needs recovery, of `times` times the same 32,766 blocks of descriptors; with checksums of version 1 or none.
pub fn journal(path: &Path, times: u32, checksums: bool) -> Result<()> {
    const RUN: u16 = 32_766;
    const TAGS: usize = 126;
    /// The superblock and what lies before the first run.
    const START: u16 = 127;
    let image = Image::new(path, None, 128 << 20, "has_journal")?;
    let blocks = u32::from(START) + times * u32::from(RUN);
    let inode = image.inode(JOURNAL_INODE)?;
    let old = u32::from_le_bytes(inode[60..64].try_into()?);
    let mut superblock = [0; BLOCK as usize];
    image.file.read_exact_at(&mut superblock, u64::from(old) * BLOCK)?;
    put(&mut superblock, 16, blocks.to_be_bytes());
    put(&mut superblock, 20, 1u32.to_be_bytes());
    put(&mut superblock, 24, 7u32.to_be_bytes());
    put(&mut superblock, 28, u32::from(START).to_be_bytes());
    put(&mut superblock, 36, u32::from(checksums).to_be_bytes());
    put(&mut superblock, 40, [0; 8]);
    let first = SHARED - u32::from(START);
    image.file.write_all_at(&superblock, u64::from(first) * BLOCK)?;
    let mut descriptor = [0; BLOCK as usize];
    put(&mut descriptor, 0, 0xc03b_3998u32.to_be_bytes());
    put(&mut descriptor, 4, 1u32.to_be_bytes());
    put(&mut descriptor, 8, 7u32.to_be_bytes());
    for tag in 0..TAGS {
        // The same UUID; the last one says so.
        let flags = if tag == TAGS - 1 { 10u16 } else { 2 };
        put(&mut descriptor, 12 + 8 * tag, (5000 + tag as u32).to_be_bytes());
        put(&mut descriptor, 12 + 8 * tag + 6, flags.to_be_bytes());
    }
    for at in (0..u32::from(RUN) - 126).step_by(TAGS + 1) {
        image.file.write_all_at(&descriptor, u64::from(SHARED + at) * BLOCK)?;
    }
    let runs = (0..times).map(|time| (u32::from(START) + time * u32::from(RUN), RUN, SHARED));
    let runs: Vec<Run> = [(0, START, first)].into_iter().chain(runs).collect();
    image.map(JOURNAL_INODE, &runs, u64::from(blocks) * BLOCK)?;
    // Needs recovery.
    let mut features = [0; 4];
    image.file.read_exact_at(&mut features, 1024 + 96)?;
    features[0] |= 4;
    Ok(image.file.write_all_at(&features, 1024 + 96)?)
}

/// An image that mke2fs made.
struct Image {
    file: File,
    inode_table: u64,
    inode_size: usize,
}

impl Image {
    /// Without checksums, of `size` bytes, filled from `tree`.
    fn new(path: &Path, tree: Option<&Path>, size: u64, features: &str) -> Result<Self> {
        File::create(path)?.set_len(size)?;
        let features = format!("^metadata_csum,^resize_inode,^64bit,{features}");
        let mut mke2fs = command("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "1024", "-N", "2000", "-O", &features]);
        if let Some(tree) = tree {
            mke2fs.arg("-d").arg(tree);
        } else {
            mke2fs.args(["-J", "size=4"]);
        }
        run(mke2fs.arg(path))?;
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let (mut size, mut group) = ([0; 2], [0; 32]);
        file.read_exact_at(&mut size, 1024 + 88)?;
        file.read_exact_at(&mut group, 2048)?;
        let table = u32::from_le_bytes(group[8..12].try_into()?);
        Ok(Self { file, inode_table: u64::from(table) * BLOCK, inode_size: u16::from_le_bytes(size).into() })
    }

    /// The inodes that are wanted are all in the first group.
    fn place(&self, inode: u64) -> u64 {
        self.inode_table + (inode - 1) * self.inode_size as u64
    }

    fn inode(&self, number: u64) -> Result<Vec<u8>> {
        let mut inode = vec![0; self.inode_size];
        self.file.read_exact_at(&mut inode, self.place(number))?;
        Ok(inode)
    }

    /// Gives an inode these runs and this size, in bytes.
    fn map(&self, number: u64, runs: &[Run], size: u64) -> Result<()> {
        let (mut free, mut depth) = (TREE, 0u16);
        let leaf = |run: &Run| {
            let mut entry = [0; 12];
            put(&mut entry, 0, run.0.to_le_bytes());
            put(&mut entry, 4, run.1.to_le_bytes());
            put(&mut entry, 8, run.2.to_le_bytes());
            (run.0, entry)
        };
        let mut level: Vec<(u32, [u8; 12])> = runs.iter().map(leaf).collect();
        while level.len() > IN_INODE {
            let mut above = Vec::new();
            for part in level.chunks(IN_BLOCK) {
                self.file.write_all_at(&node(part, IN_BLOCK, depth), u64::from(free) * BLOCK)?;
                let mut entry = [0; 12];
                put(&mut entry, 0, part[0].0.to_le_bytes());
                put(&mut entry, 4, free.to_le_bytes());
                above.push((part[0].0, entry));
                free += 1;
            }
            (level, depth) = (above, depth + 1);
        }
        let mut inode = self.inode(number)?;
        inode[40..100].fill(0);
        let root = node(&level, IN_INODE, depth);
        inode[40..40 + root.len()].copy_from_slice(&root);
        put(&mut inode, 4, (size as u32).to_le_bytes());
        put(&mut inode, 108, ((size >> 32) as u32).to_le_bytes());
        Ok(self.file.write_all_at(&inode, self.place(number))?)
    }
}

/// The node of an extent tree that holds these entries.
fn node(entries: &[(u32, [u8; 12])], most: usize, depth: u16) -> Vec<u8> {
    let mut node = vec![0; 12];
    put(&mut node, 0, 0xf30au16.to_le_bytes());
    put(&mut node, 2, (entries.len() as u16).to_le_bytes());
    put(&mut node, 4, (most as u16).to_le_bytes());
    put(&mut node, 6, depth.to_le_bytes());
    entries.iter().for_each(|(_, entry)| node.extend_from_slice(entry));
    node
}
