//! OVA, OVF and the descriptors of Parallels: archives, XML, and what the members of an archive name.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use images::{Disk, Error, FORMATS, Format, Opener, Request, Result};
use imgmount_fuzz::{Seeds, bounded, exercise};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("ova"));

/// Nothing lies beside the appliance.
struct Nothing;

impl Opener for Nothing {
    fn open(&self, name: &Path, _: Option<&str>) -> Result<Arc<dyn Disk>> {
        Err(Error::Usage(format!("{:?} is not here", name)))
    }

    fn formats(&self) -> &'static [Format] {
        FORMATS
    }
}

fuzz_target!(|input: &[u8]| bounded(|| run(input)));

fn run(input: &[u8]) {
    let Some((how, input)) = input.split_first() else { return };
    let Some(mut file) = SEEDS.patched(input) else { return };
    if how & 1 == 0 {
        repair(&mut file);
    }
    let file = Arc::new(file);
    for format in FORMATS.iter().filter(|format| matches!(format.name, "ova" | "ovf" | "parallels")) {
        let _ = (format.probe)(&*file);
        match (format.open)(
            file.clone(),
            &Request { opener: &Nothing, snapshot: None, budget: &images::Budget::default() },
        ) {
            Ok(disk) => exercise::disk(&*disk),
            Err(error) => exercise::one_line(&error),
        }
    }
}

/// Makes the checksums of the headers of an archive right.
fn repair(file: &mut imgmount_fuzz::Patched) {
    for at in (0..file.size()).step_by(512) {
        let Some(mut header) = file.get(at, 512).filter(|header| &header[257..262] == b"ustar") else { continue };
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        file.set(at + 148, format!("{sum:06o}\0 ").as_bytes());
    }
}
