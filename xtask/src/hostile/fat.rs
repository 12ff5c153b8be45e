//! A FAT32 volume of directories full of one name again and again, deleted or not.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;

use super::put;
use crate::command::{command, run};

/// The most that a directory of FAT may hold, in bytes.
const DIRECTORY: usize = 2 << 20;
const CLUSTER: usize = 32 << 10;
/// The letters of the long name, which is near the longest.
const NAME: [u16; 247] = [0x4e00; 247];
const SHORT: &[u8; 11] = b"AAAAAA~1TXT";

/// `directories` of them, each as full as can be.
pub fn equal_names(path: &Path, directories: u32, deleted: bool) -> Result<()> {
    std::fs::File::create(path)?.set_len(4 << 30)?;
    run(command("mkfs.fat", ["-F", "32", "-s", "64"]).arg(path))?;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut start = [0; 512];
    file.read_exact_at(&mut start, 0)?;
    let word = |at: usize| u32::from_le_bytes(start[at..at + 4].try_into().expect("four bytes"));
    let (reserved, fats, fat_sectors) = (word(14) as u16, start[16], word(36));
    let fat = u64::from(reserved) * 512;
    let data = fat + u64::from(fats) * u64::from(fat_sectors) * 512;
    let cluster = |number: u32| data + u64::from(number - 2) * CLUSTER as u64;
    let content = full(deleted);
    let (mut next, mut root) = (3u32, Vec::new());
    for number in 0..directories {
        let first = next;
        next += (DIRECTORY / CLUSTER) as u32;
        let chain: Vec<u8> = (first + 1..next).chain([0x0fff_ffff]).flat_map(u32::to_le_bytes).collect();
        for copy in 0..u64::from(fats) {
            file.write_all_at(&chain, fat + copy * u64::from(fat_sectors) * 512 + u64::from(first) * 4)?;
        }
        file.write_all_at(&content, cluster(first))?;
        let name = format!("D{number:07}   ");
        root.extend_from_slice(&short_entry(name.as_bytes().try_into().expect("eleven letters"), 0x10, first, 0));
    }
    root.truncate(CLUSTER);
    file.write_all_at(&root, cluster(2))?;
    Ok(())
}

/// The bytes of one directory.
fn full(deleted: bool) -> Vec<u8> {
    let sum = SHORT.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let mut one = Vec::new();
    for (index, letters) in NAME.chunks(13).enumerate().rev() {
        let last = if index == NAME.len() / 13 { 0x40 } else { 0 };
        let mut entry = [0; 32];
        entry[0] = (index as u8 + 1) | last;
        (entry[11], entry[13]) = (0x0f, sum);
        let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
        let padded = letters.iter().copied().chain([0]).chain(std::iter::repeat(0xffff));
        places.zip(padded).for_each(|(at, letter)| put(&mut entry, at, letter.to_le_bytes()));
        one.extend_from_slice(&entry);
    }
    one.extend_from_slice(&short_entry(SHORT, 0x20, 9000, 10));
    if deleted {
        one.iter_mut().step_by(32).for_each(|byte| *byte = 0xe5);
    }
    let mut all = one.repeat(DIRECTORY / one.len());
    all.resize(DIRECTORY, 0);
    all
}

fn short_entry(name: &[u8; 11], attributes: u8, cluster: u32, size: u32) -> [u8; 32] {
    let mut entry = [0; 32];
    put(&mut entry, 0, *name);
    entry[11] = attributes;
    put(&mut entry, 20, ((cluster >> 16) as u16).to_le_bytes());
    put(&mut entry, 24, 0x5021u16.to_le_bytes());
    put(&mut entry, 26, (cluster as u16).to_le_bytes());
    put(&mut entry, 28, size.to_le_bytes());
    entry
}
