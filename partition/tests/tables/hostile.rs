//! Damaged and random tables: an answer or an error, never a panic, and soon.

use std::io::Cursor;
use std::time::{Duration, Instant};

use gpt::GptConfig;
use proptest::prelude::*;

use super::*;

/// Small, because it is copied very often.
const DISK_SIZE: usize = 128 << 10;

fn gpt_disk() -> Vec<u8> {
    let mut device = Cursor::new(vec![0; DISK_SIZE]);
    gpt::mbr::ProtectiveMBR::with_lb_size(255).overwrite_lba0(&mut device).unwrap();
    let mut disk = GptConfig::new().writable(true).create_from_device(device, None).unwrap();
    disk.add_partition_at("a", 1, 40, 20, gpt::partition_types::LINUX_FS, 0).unwrap();
    disk.add_partition_at("b", 2, 100, 50, gpt::partition_types::LINUX_FS, 0).unwrap();
    disk.write().unwrap().into_inner()
}

fn mbr_disk() -> Vec<u8> {
    let mut device = Cursor::new(vec![0; DISK_SIZE]);
    let mut mbr = mbrman::MBR::new_from(&mut device, 512, [1; 4]).unwrap();
    let extended =
        mbrman::MBRPartitionEntry { sys: 5, starting_lba: 1, sectors: 254, ..mbrman::MBRPartitionEntry::empty() };
    (mbr.align, mbr[1]) = (1, extended);
    for i in 0..8 {
        mbr.push(0x83, 1 + i * 30, 20).unwrap();
    }
    mbr.write_into(&mut device).unwrap();
    device.into_inner()
}

/// Reads the table, and the first and last byte of all that it says is there.
fn walk(bytes: &[u8]) {
    for disk in [memory(bytes), forced(bytes, 512), forced(bytes, 4096)] {
        for volume in table(disk).1.unwrap_or_default() {
            let Ok(part) = &volume.disk else { continue };
            assert_eq!(part.size(), volume.size);
            if let Some(last) = part.size().checked_sub(1) {
                part.read_at(&mut [0], 0).unwrap();
                part.read_at(&mut [0], last).unwrap();
            }
        }
    }
}

#[test]
fn every_truncation_has_an_answer() {
    for disk in [gpt_disk(), mbr_disk()] {
        let ends = (0..40).flat_map(|sector| [0, 1, 92, 511].map(|more| sector * 512 + more));
        for end in ends.chain([4096 + 91, 8191, 8192, disk.len() - 1, disk.len() - 512, disk.len() - 33 * 512]) {
            walk(&disk[..end]);
        }
    }
}

#[test]
fn every_flipped_bit_of_a_table_has_an_answer() {
    let started = Instant::now();
    for disk in [gpt_disk(), mbr_disk()] {
        for at in (440..604).chain(1024..1152).chain(31 * 512 + 440..32 * 512) {
            for bit in 0..8 {
                let mut bytes = disk.clone();
                bytes[at] ^= 1 << bit;
                for volume in table(memory(&bytes)).1.unwrap_or_default() {
                    assert!(volume.disk.is_err() || volume.size <= DISK_SIZE as u64);
                }
            }
        }
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}

fn fix_checksums(bytes: &mut [u8]) {
    let array = crc32fast::hash(&bytes[1024..1024 + (16 << 10)]);
    bytes[512 + 88..][..4].copy_from_slice(&array.to_le_bytes());
    bytes[528..532].fill(0);
    let len = u32::from_le_bytes(bytes[524..528].try_into().unwrap()) as usize;
    let header = crc32fast::hash(bytes.get(512..512usize.saturating_add(len)).unwrap_or_default());
    bytes[528..532].copy_from_slice(&header.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_patches(
        is_gpt: bool,
        good_checksums: bool,
        patches in prop::collection::vec((0usize..1152, prop::array::uniform8(prop::sample::select(
            vec![0u8, 0, 0, 1, 2, 5, 0x7f, 0x80, 0x83, 0xff, 0xff, 0xff]))), 1..12),
    ) {
        let mut bytes = if is_gpt { gpt_disk() } else { mbr_disk() };
        for (at, value) in &patches {
            // The interesting bytes: from the MBR's table to the first two entries.
            let at = 440 + at % (1280 - 440 - 8);
            bytes[at..][..8].copy_from_slice(value);
        }
        if good_checksums && is_gpt {
            fix_checksums(&mut bytes);
        }
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        walk(&bytes);
    }

    #[test]
    fn random_sectors(mut bytes in prop::collection::vec(any::<u8>(), 512..6000), records: [u8; 16]) {
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        for slot in 0..4 {
            bytes[446 + slot * 16] = records[slot] & 0x80;
            bytes[446 + slot * 16 + 4] = [0x05, 0x83, 0xee, 0x0f][usize::from(records[4 + slot] % 4)];
            bytes[446 + slot * 16 + 9..][..3].fill(0);
        }
        walk(&bytes);
    }
}
