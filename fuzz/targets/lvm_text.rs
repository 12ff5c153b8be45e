//! The text of a volume group, and labels and metadata areas as they are.
#![no_main]

use imgmount_fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use lvm2_parser::{Label, MetadataArea, VolumeGroup};

fuzz_target!(|input: &[u8]| bounded(|| run(input)));

fn run(input: &[u8]) {
    let start = |len: usize| input.iter().copied().chain(std::iter::repeat(0)).take(len).collect::<Vec<u8>>();
    let _ = Label::find(&start(2048).try_into().expect("2048 bytes"));
    if let Ok(area) = MetadataArea::parse(&start(512).try_into().expect("512 bytes"), 4096) {
        let [first, second] = area.text_ranges();
        assert!(first.start <= first.end && second.start <= second.end);
    }
    let Ok(group) = VolumeGroup::parse(input) else { return };
    let _ = group.free_extents();
    for volume in &group.logical_volumes {
        let _ = volume.is_visible();
        for segment in &volume.segments {
            let _ = (group.bytes(segment.extents), segment.mapping.kind(), segment.mapping.areas());
        }
    }
}
