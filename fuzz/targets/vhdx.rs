//! VHDX: headers, region tables and log entries with their checksums made right again, metadata and block tables.
#![no_main]

use std::sync::LazyLock;

use imgmount_fuzz::{Patched, Seeds, bounded, image};
use libfuzzer_sys::fuzz_target;

/// The log's sector, in bytes.
const SECTOR: u64 = 4096;
/// Entries of the log that are looked at.
const MOST_ENTRIES: u64 = 256;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("vhdx"));

fuzz_target!(|input: &[u8]| bounded(|| image(&SEEDS, &["vhdx"], make_right, input)));

fn make_right(file: &mut Patched) {
    for (at, len) in [(64 << 10, 4096), (128 << 10, 4096), (192 << 10, 65536), (256 << 10, 65536)] {
        checksum(file, at, len);
    }
    let Some(place) = file.get((64 << 10) + 68, 12) else { return };
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let (length, offset) = (number(&place[..4]), number(&place[4..]));
    for sector in 0..(length / SECTOR).min(MOST_ENTRIES) {
        let Some(at) = offset.checked_add(sector * SECTOR) else { return };
        if let Some(entry) = file.get(at, 12).filter(|entry| entry.starts_with(b"loge")) {
            checksum(file, at, number(&entry[8..]).min(1 << 20) as usize);
        }
    }
}

/// Each has its CRC-32C behind the signature, counted as zeros.
fn checksum(file: &mut Patched, at: u64, len: usize) {
    let Some(mut bytes) = file.get(at, len).filter(|bytes| bytes.len() >= 8) else { return };
    bytes[4..8].fill(0);
    file.set(at + 4, &crc32c::crc32c(&bytes).to_le_bytes());
}
