//! FAT12, FAT16 and FAT32.
#![no_main]

use std::sync::{Arc, LazyLock};

use imgmount_fuzz::{Seeds, bounded, exercise};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("fat"));

fuzz_target!(|input: &[u8]| bounded(|| run(input)));

fn run(input: &[u8]) {
    if let Some(disk) = SEEDS.patched(input) {
        exercise::contents(Arc::new(disk));
    }
}
