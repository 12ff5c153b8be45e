//! FAT12, FAT16 and FAT32, written: every kind of change, to a volume that lies.
#![no_main]

use std::sync::LazyLock;

use imgmount_fuzz::{Seeds, bounded, change, exercise};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("fat"));

/// The first bytes say what is done, the rest what the volume is.
const STEPS: usize = 80;

fuzz_target!(|input: &[u8]| bounded(|| run(input)));

fn run(input: &[u8]) {
    let Some((steps, rest)) = input.split_at_checked(STEPS) else { return };
    let Some(disk) = SEEDS.patched(rest) else { return };
    let Some(disk) = change::copy(&disk) else { return };
    change::contents(disk.clone(), steps);
    exercise::contents(disk);
}
