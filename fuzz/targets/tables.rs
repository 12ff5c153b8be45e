//! Partition tables of every kind, and members of MD arrays: with the checksums of GPT and MD made right again.
#![no_main]

use std::sync::{Arc, LazyLock};

use images::{Budget, Disk};
use imgmount_fuzz::{Patched, Seeds, bounded, exercise};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("tables"));

fuzz_target!(|input: &[u8]| bounded(|| run(input)));

fn run(input: &[u8]) {
    let Some((right, input)) = input.split_first() else { return };
    let Some(mut disk) = SEEDS.patched(input) else { return };
    if right % 4 != 0 {
        let size = disk.size();
        // Where the superblocks of version 1.1, 1.2, 1.0 and 0.90 are.
        for at in [0, 4096, size.saturating_sub(8 << 10) & !0xfff, size.saturating_sub(64 << 10) & !0xffff] {
            seal_superblock(&mut disk, at);
        }
        for sector in [512, 4096] {
            for at in [sector, (size / sector).saturating_sub(1) * sector] {
                make_right(&mut disk, at, sector);
            }
        }
    }
    // The seeds that follow as they are: of an array, the other members.
    let which = input.first().copied().unwrap_or_default();
    let mut disks: Vec<Arc<dyn Disk>> = vec![Arc::new(disk)];
    disks.extend((1..=2).filter_map(|next: u8| Some(Arc::new(SEEDS.patched(&[which.wrapping_add(next), 0])?) as _)));
    let tables = partition::discover(&disks[..1], false, &Budget::default()).found;
    for found in tables.into_iter().chain(partition::discover(&disks, true, &Budget::default()).found) {
        let volumes = match found.volumes {
            Ok(volumes) => volumes,
            Err(error) => return exercise::one_line(&error),
        };
        for volume in volumes {
            match volume.disk {
                Ok(disk) => {
                    assert_eq!(disk.size(), volume.size);
                    exercise::disk(&*disk);
                }
                Err(error) => exercise::one_line(&error),
            }
        }
    }
}

/// The checksum of the MD superblock at `at`.
fn seal_superblock(disk: &mut Patched, at: u64) {
    let Some(bytes) = disk.get(at, 4096).filter(|bytes| bytes.starts_with(&0xa92b_4efcu32.to_le_bytes())) else {
        return;
    };
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
    let (place, size) = match word(&bytes[4..8]) {
        0 => (152, 4096),
        _ => (216, (256 + 2 * word(&bytes[220..224]) as usize).min(4096)),
    };
    let sum: u64 = bytes[..size].chunks(4).map(word).sum::<u64>() - word(&bytes[place..place + 4]);
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    disk.set(at + place as u64, &(sum as u32).to_le_bytes());
}

/// Both checksums of the GPT header at `at`.
fn make_right(disk: &mut Patched, at: u64, sector: u64) {
    let number = |bytes: &[u8], at: usize, len: usize| {
        bytes[at..at + len].iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let Some(header) = disk.get(at, 512) else { return };
    if !header.starts_with(b"EFI PART") {
        return;
    }
    let (entries, count, size) = (number(&header, 72, 8), number(&header, 80, 4), number(&header, 84, 4));
    if let Some(len) = count.checked_mul(size).filter(|len| *len < 1 << 20)
        && let Some(array) = entries.checked_mul(sector).and_then(|at| disk.get(at, len as usize))
    {
        disk.set(at + 88, &crc32fast::hash(&array).to_le_bytes());
    }
    disk.set(at + 16, &[0; 4]);
    let len = number(&header, 12, 4).min(sector) as usize;
    if let Some(header) = disk.get(at, len) {
        disk.set(at + 16, &crc32fast::hash(&header).to_le_bytes());
    }
}
