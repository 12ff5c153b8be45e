//! ext2, ext3 and ext4: the tree as it is, and with its journal replayed.
#![no_main]

use std::sync::{Arc, LazyLock};

use filesystems::Options;
use imgmount_fuzz::{Seeds, bounded, exercise};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("ext"));

fuzz_target!(|input: &[u8]| bounded(|| run(input)));

fn run(input: &[u8]) {
    let Some((replay, input)) = input.split_first() else { return };
    let Some(disk) = SEEDS.patched(input) else { return };
    let mut options = Options::default();
    options.replay = replay % 4 != 0;
    match filesystems::ext::mount(Arc::new(disk), &options) {
        Ok(fs) => exercise::tree(&fs),
        Err(error) => exercise::one_line(&error),
    }
}
