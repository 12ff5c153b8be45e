//! The older formats of QEMU and Parallels: headers and both levels of tables.
#![no_main]

use std::sync::LazyLock;

use imgmount_fuzz::{Seeds, bounded, image};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("older"));

fuzz_target!(|input: &[u8]| bounded(|| image(&SEEDS, &["qcow", "qed", "parallels"], |_| (), input)));
