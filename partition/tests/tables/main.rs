//! Partition tables that other programs wrote, and damaged ones, read through `discover`.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

mod gpt_table;
mod hostile;
mod mbr_table;
mod others;
mod tools;

use std::sync::Arc;

use images::disk::{Memory, View};
use images::{Budget, Disk};
use partition::{Name, Volume, discover};

const MIB: u64 = 1 << 20;

fn memory(bytes: &[u8]) -> Arc<dyn Disk> {
    Arc::new(Memory::new("disk", bytes.to_vec()))
}

/// The disk with a sector size that the user forces.
fn forced(bytes: &[u8], sector_size: u32) -> Arc<dyn Disk> {
    Arc::new(View::with_sector_size(memory(bytes), sector_size))
}

/// The scheme and the volumes of one disk.
fn table(disk: Arc<dyn Disk>) -> (Option<&'static str>, Result<Vec<Volume>, String>) {
    let mut answer = discover(&[disk], false, &Budget::default());
    let scheme = answer.schemes.remove(0).unwrap();
    match answer.found.pop() {
        Some(found) => {
            assert!(answer.found.is_empty() && found.members == [0]);
            (scheme.map(|scheme| scheme.name), found.volumes.map_err(|error| error.to_string()))
        }
        None => {
            assert!(scheme.is_none());
            (None, Ok(Vec::new()))
        }
    }
}

/// The volumes of a disk with a table of this scheme.
fn volumes(disk: Arc<dyn Disk>, scheme: &str) -> Vec<Volume> {
    let (found, volumes) = table(disk);
    assert_eq!(found, Some(scheme));
    volumes.unwrap()
}

fn number(volume: &Volume) -> u32 {
    match volume.name {
        Name::Number(number) => number,
        ref other => panic!("{other:?}"),
    }
}

/// Where a volume starts on its disk, in bytes: every sector of the disk has its own offset written in its first
/// bytes by [`stamp`].
fn start(volume: &Volume) -> u64 {
    let mut bytes = [0; 8];
    volume.disk.as_ref().unwrap().read_at(&mut bytes, 0).unwrap();
    u64::from_le_bytes(bytes)
}

/// Numbers, starts and sizes.
fn ranges(volumes: &[Volume]) -> Vec<(u32, u64, u64)> {
    let opened = volumes.iter().filter(|volume| volume.disk.is_ok());
    opened.map(|volume| (number(volume), start(volume), volume.size)).collect()
}

/// Writes into the zeroed sectors of a disk at which offset they are; tables are in its first and last MiB.
fn stamp(bytes: &mut [u8]) {
    let end = bytes.len() - MIB as usize;
    for (index, sector) in bytes[..end].chunks_mut(512).enumerate().skip(MIB as usize / 512) {
        if sector.iter().all(|byte| *byte == 0) {
            sector[..8].copy_from_slice(&(index as u64 * 512).to_le_bytes());
        }
    }
}

/// The text of why a volume cannot be opened.
fn reason(volume: &Volume) -> String {
    volume.disk.as_ref().err().unwrap().to_string()
}
