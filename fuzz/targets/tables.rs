//! Partition tables: MBR with logical partitions, GPT with its checksums made right again.
#![no_main]

use std::sync::{Arc, LazyLock};

use images::Disk;
use imgmount_fuzz::{Patched, Seeds, exercise};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("tables"));

fuzz_target!(|input: &[u8]| {
    let Some((right, input)) = input.split_first() else { return };
    let Some(mut disk) = SEEDS.patched(input) else { return };
    if right % 4 != 0 {
        let size = disk.size();
        for sector in [512, 4096] {
            for at in [sector, (size / sector).saturating_sub(1) * sector] {
                make_right(&mut disk, at, sector);
            }
        }
    }
    let disks: [Arc<dyn Disk>; 1] = [Arc::new(disk)];
    for found in partition::discover(&disks, false).found {
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
});

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
