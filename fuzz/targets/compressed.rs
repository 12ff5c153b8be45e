//! gzip, xz, zstd and bzip2: headers, indexes, seek tables and streams, to what comes out of them.
#![no_main]

use std::path::Path;
use std::sync::{Arc, LazyLock};

use images::{Disk, FORMATS, Opener, Request, Result, unsupported};
use imgmount_fuzz::{Patched, Seeds, bounded, exercise};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("compressed"));

struct Inside;

impl Opener for Inside {
    fn open(&self, _: &Path, _: Option<&str>) -> Result<Arc<dyn Disk>> {
        Err(unsupported!("no other file"))
    }

    fn open_inside(&self, inside: Arc<dyn Disk>, _: Option<&str>, _: Option<&str>) -> Result<Arc<dyn Disk>> {
        Ok(inside)
    }
}

/// Makes the checksums of xz right again: of the first block's header, the last index, and the header and footer of a
/// stream that is all of the file.
fn repair(file: &mut Patched) -> Option<()> {
    let sum = |file: &mut Patched, at: u64, len: u64, place: u64| {
        let crc = crc32fast::hash(&file.get(at, usize::try_from(len).ok()?)?);
        file.set(place, &crc.to_le_bytes());
        Some(())
    };
    let footer = file.size().checked_sub(12)?;
    sum(file, 6, 2, 8)?;
    let block = (u64::from(file.get(12, 1)?[0]) + 1) * 4;
    sum(file, 12, block - 4, 12 + block - 4)?;
    let backward = u32::from_le_bytes(file.get(footer + 4, 4)?.try_into().ok()?);
    let index = footer.checked_sub((u64::from(backward) + 1) * 4)?;
    sum(file, index, footer - 4 - index, footer - 4)?;
    sum(file, footer + 4, 6, footer)
}

fuzz_target!(|input: &[u8]| bounded(|| run(input)));

fn run(input: &[u8]) {
    let Some((repaired, input)) = input.split_first() else { return };
    let Some(mut file) = SEEDS.patched(input) else { return };
    // Seeds are called as their format, and what they have.
    let name = file.seed().split('-').next().unwrap_or_default().to_owned();
    if name == "xz" && repaired % 4 != 0 {
        repair(&mut file);
    }
    let file = Arc::new(file);
    for format in FORMATS.iter().filter(|format| ["gzip", "xz", "zstd", "bzip2"].contains(&format.name)) {
        let _ = (format.probe)(&*file);
        if format.name == name {
            match (format.open)(
                file.clone(),
                &Request { opener: &Inside, snapshot: None, budget: &images::Budget::default() },
            ) {
                Ok(disk) => exercise::disk(&*disk),
                Err(error) => exercise::one_line(&error),
            }
        }
    }
}
