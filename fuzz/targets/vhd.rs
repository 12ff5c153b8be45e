//! VHD: footers and headers with their checksums made right again, block tables and bitmaps.
#![no_main]

use std::sync::LazyLock;

use images::Disk;
use imgmount_fuzz::{Patched, Seeds, bounded, image};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("vhd"));

fuzz_target!(|input: &[u8]| bounded(|| image(&SEEDS, &["vpc"], make_right, input)));

fn make_right(file: &mut Patched) {
    let end = file.size().saturating_sub(512);
    for (at, len, field) in [(0, 512, 64), (512, 1024, 36), (end, 512, 64)] {
        let Some(mut bytes) = file.get(at, len) else { continue };
        bytes[field..field + 4].fill(0);
        let sum = bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
        file.set(at + field as u64, &(!sum).to_be_bytes());
    }
}
