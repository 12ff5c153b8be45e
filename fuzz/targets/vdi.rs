//! VDI: headers and block maps, differencing images too.
#![no_main]

use std::sync::LazyLock;

use imgmount_fuzz::{Seeds, bounded, image};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("vdi"));

fuzz_target!(|input: &[u8]| bounded(|| image(&SEEDS, &["vdi"], |_| (), input)));
