//! qcow2: headers, tables, snapshots and compressed clusters, with a backing file where the image names one.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use images::disk::Memory;
use images::{Disk, FORMATS, Opener, Request, Result};
use imgmount_fuzz::{Seeds, bounded, exercise};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("qcow2"));

struct Short;

impl Opener for Short {
    fn open(&self, _: &Path, _: Option<&str>) -> Result<Arc<dyn Disk>> {
        Ok(Arc::new(Memory::new("backing", vec![7; 100_000])))
    }
}

fuzz_target!(|input: &[u8]| bounded(|| run(input)));

fn run(input: &[u8]) {
    let Some((snapshot, input)) = input.split_first() else { return };
    let Some(file) = SEEDS.patched(input) else { return };
    let file = Arc::new(file);
    let format = FORMATS.iter().find(|format| format.name == "qcow2").expect("qcow2 is in the table");
    let _ = (format.probe)(&*file);
    let snapshot = [None, None, Some("1"), Some("two")][usize::from(*snapshot) % 4];
    match (format.open)(file, &Request { opener: &Short, snapshot, budget: &images::Budget::default() }) {
        Ok(disk) => exercise::disk(&*disk),
        Err(error) => exercise::one_line(&error),
    }
}
