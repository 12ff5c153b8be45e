//! LVM2: labels, metadata areas, texts, and the metadata of pools and caches with their checksums made right again, and the
//! volumes that they make.
#![no_main]

use std::sync::{Arc, LazyLock};

use images::{Budget, Disk};
use imgmount_fuzz::{Patched, Seeds, bounded, exercise};
use libfuzzer_sys::fuzz_target;
use lvm2_parser::{Label, MetadataArea, checksum};

/// The blocks of thin pools' and caches' metadata, in bytes, and what their checksums are mixed with: nodes of trees, blocks of arrays,
/// the superblocks of pools and of caches.
const METADATA_BLOCK: u64 = 4096;
const MIXED: [u32; 4] = [121107, 595846735, 160774, 9031977];

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("lvm"));

fuzz_target!(|input: &[u8]| bounded(|| run(input)));

fn run(input: &[u8]) {
    let Some((right, input)) = input.split_first() else { return };
    let Some(mut disk) = SEEDS.patched(input) else { return };
    if right % 4 != 0 {
        make_right(&mut disk);
        make_metadata_right(&mut disk);
    }
    let mut disks: Vec<Arc<dyn Disk>> = vec![Arc::new(disk)];
    // The other physical volumes as they are.
    disks.extend((0..right / 4 % 3).filter_map(|which| Some(Arc::new(SEEDS.patched(&[which, 0])?) as _)));
    for disk in &disks {
        let _ = partition::lvm::probe(&**disk);
    }
    for volume in partition::lvm::volumes(&disks, &Budget::default()).into_iter().flatten() {
        match volume.disk {
            Ok(disk) => {
                assert_eq!(disk.size(), volume.size);
                exercise::disk(&*disk);
            }
            Err(error) => exercise::one_line(&error),
        }
    }
    let _ = partition::lvm::groups(&disks, &Budget::default());
    let _ = partition::lvm::describe(&disks, &Budget::default());
}

/// The checksums of every label, and of the areas and texts that the one which counts leads to.
fn make_right(disk: &mut Patched) {
    for sector in (0..2048).step_by(512) {
        if let Some(label) = disk.get(sector, 512).filter(|label| label.starts_with(b"LABELONE")) {
            disk.set(sector + 16, &checksum(&label[20..]).to_le_bytes());
        }
    }
    let start = disk.get(0, 2048).and_then(|start| <[u8; 2048]>::try_from(start).ok());
    let Some(Ok(Some(label))) = start.map(|start| Label::find(&start)) else { return };
    for location in label.metadata_areas.iter().take(4) {
        for _ in 0..2 {
            let header = disk.get(location.offset, 512).and_then(|header| <[u8; 512]>::try_from(header).ok());
            let Some(header) = header else { continue };
            disk.set(location.offset, &checksum(&header[4..]).to_le_bytes());
            // With the header right, its text's place is known; with the text's checksum in it, again.
            let mut right = header;
            right[..4].copy_from_slice(&checksum(&header[4..]).to_le_bytes());
            let Ok(area) = MetadataArea::parse(&right, location.offset) else { continue };
            let parts = area.text_ranges().map(|range| {
                let len = range.end.saturating_sub(range.start).min(1 << 20) as usize;
                disk.get(range.start, len).unwrap_or_default()
            });
            disk.set(location.offset + 40 + 16, &checksum(&parts.concat()).to_le_bytes());
        }
    }
}

/// The checksums of changed blocks of metadata, which were right in the seed.
fn make_metadata_right(disk: &mut Patched) {
    let sum = |block: &[u8]| !crc32c::crc32c(&block[4..]);
    let changed = disk.changed_blocks(METADATA_BLOCK).into_iter().filter_map(|(at, block)| {
        let stored = u32::from_le_bytes(block[..4].try_into().ok()?);
        MIXED.into_iter().find(|mixed| stored == sum(block) ^ mixed).map(|mixed| (at, mixed))
    });
    for (at, mixed) in changed.collect::<Vec<_>>() {
        if let Some(block) = disk.get(at, METADATA_BLOCK as usize) {
            disk.set(at, &(sum(&block) ^ mixed).to_le_bytes());
        }
    }
}
