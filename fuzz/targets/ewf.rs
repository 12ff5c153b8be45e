//! EWF: sections, tables and chunks, of images that are one segment.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use images::{Disk, Error, FORMATS, Opener, Request, Result};
use imgmount_fuzz::{Seeds, bounded, exercise};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("ewf"));

/// There is no second segment.
struct Nothing;

impl Opener for Nothing {
    fn open(&self, name: &Path, _: Option<&str>) -> Result<Arc<dyn Disk>> {
        Err(Error::Usage(format!("{:?} is not here", name)))
    }
}

fuzz_target!(|input: &[u8]| bounded(|| run(input)));

fn run(input: &[u8]) {
    let Some(mut file) = SEEDS.patched(input) else { return };
    repair(&mut file);
    let file = Arc::new(file);
    let format = FORMATS.iter().find(|format| format.name == "ewf").expect("ewf is in the table");
    let _ = (format.probe)(&*file);
    match (format.open)(file, &Request { opener: &Nothing, snapshot: None, budget: &images::Budget::default() }) {
        Ok(disk) => exercise::disk(&*disk),
        Err(error) => exercise::one_line(&error),
    }
}

/// Makes the checksums of descriptors, of the volume and of the headers of tables right, so that changes get past them.
fn repair(file: &mut imgmount_fuzz::Patched) {
    let mut at = 13;
    for _ in 0..64 {
        sum(file, at, 72);
        let Some(descriptor) = file.get(at, 24) else { return };
        let data = at + 76;
        let kind = descriptor[..16].split(|byte| *byte == 0).next().unwrap_or_default();
        let next = u64::from_le_bytes(descriptor[16..24].try_into().expect("eight bytes"));
        match kind {
            b"volume" if next.saturating_sub(data) < 1052 => sum(file, data, 90),
            b"volume" => sum(file, data, 1048),
            b"table" | b"table2" => {
                sum(file, data, 20);
                if let Some(count) = file.get(data, 4) {
                    let count = u32::from_le_bytes(count.try_into().expect("four bytes"));
                    sum(file, data + 24, 4 * count.min(4096) as usize);
                }
            }
            b"hash" => sum(file, data, 32),
            b"digest" => sum(file, data, 76),
            b"error2" => sum(file, data, 516),
            _ => {}
        }
        if next <= at {
            return;
        }
        at = next;
    }
}

/// Puts the Adler-32 of these bytes behind them.
fn sum(file: &mut imgmount_fuzz::Patched, at: u64, len: usize) {
    if at < 1 << 40
        && let Some(bytes) = file.get(at, len)
    {
        file.set(at + len as u64, &adler2::adler32_slice(&bytes).to_le_bytes());
    }
}
