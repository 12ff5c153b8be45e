//! A GUID partition table of very many partitions, which may all be the same sectors.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Result;

use super::put;

const SECTOR: u64 = 512;
const ENTRY: u64 = 128;

/// `count` partitions that all hold `content`.
pub fn partitions(path: &Path, count: u32, content: &[u8]) -> Result<()> {
    let table = (u64::from(count) * ENTRY).div_ceil(SECTOR);
    let first = 2 + table;
    let last = first + (content.len() as u64).div_ceil(SECTOR) - 1;
    let sectors = last + 1 + table + 1;
    let mut entries = vec![0; (u64::from(count) * ENTRY) as usize];
    for (number, entry) in (1u32..).zip(entries.chunks_exact_mut(ENTRY as usize)) {
        // Linux file system data, and an identifier that no other has.
        put(entry, 0, *b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4");
        put(entry, 16, number.to_le_bytes());
        put(entry, 32, first.to_le_bytes());
        put(entry, 40, last.to_le_bytes());
        for (at, letter) in format!("partition {number} of many").encode_utf16().enumerate() {
            put(entry, 56 + 2 * at, letter.to_le_bytes());
        }
    }
    let file = File::create(path)?;
    file.set_len(sectors * SECTOR)?;
    let header = |own: u64, other: u64, table: u64| {
        let mut header = [0; SECTOR as usize];
        put(&mut header, 0, *b"EFI PART");
        put(&mut header, 8, 0x1_0000u32.to_le_bytes());
        put(&mut header, 12, 92u32.to_le_bytes());
        put(&mut header, 24, own.to_le_bytes());
        put(&mut header, 32, other.to_le_bytes());
        put(&mut header, 40, first.to_le_bytes());
        put(&mut header, 48, last.to_le_bytes());
        put(&mut header, 56, [7; 16]);
        put(&mut header, 72, table.to_le_bytes());
        put(&mut header, 80, count.to_le_bytes());
        put(&mut header, 84, (ENTRY as u32).to_le_bytes());
        put(&mut header, 88, crc32fast::hash(&entries).to_le_bytes());
        let sum = crc32fast::hash(&header[..92]);
        put(&mut header, 16, sum.to_le_bytes());
        header
    };
    let mut protective = [0; SECTOR as usize];
    protective[450] = 0xee;
    put(&mut protective, 454, 1u32.to_le_bytes());
    put(&mut protective, 458, u32::try_from(sectors - 1)?.to_le_bytes());
    put(&mut protective, 510, [0x55, 0xaa]);
    file.write_all_at(&protective, 0)?;
    file.write_all_at(&header(1, sectors - 1, 2), SECTOR)?;
    file.write_all_at(&entries, 2 * SECTOR)?;
    file.write_all_at(content, first * SECTOR)?;
    file.write_all_at(&entries, (last + 1) * SECTOR)?;
    file.write_all_at(&header(sectors - 1, 1, last + 1), (sectors - 1) * SECTOR)?;
    Ok(())
}
