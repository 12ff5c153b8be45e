//! VMDK: descriptors, headers of every kind of extent, grain directories, tables and compressed grains.
#![no_main]

use std::sync::LazyLock;

use imgmount_fuzz::{Seeds, bounded, image};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("vmdk"));

fuzz_target!(|input: &[u8]| bounded(|| image(&SEEDS, &["vmdk"], |_| (), input)));
