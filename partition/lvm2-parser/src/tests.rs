//! What LVM2's tools wrote (`golden/`), the same damaged, and random bytes.

use proptest::prelude::*;
use zerocopy::IntoBytes;

use crate::layout::LABEL_CRC_START;
use crate::*;

/// The first 2048 bytes of a physical volume.
const START: &[u8; 2048] = include_bytes!("../golden/start.bin");
/// The header of its metadata area, at byte 4096.
const AREA: &[u8; 512] = include_bytes!("../golden/area.bin");
/// The text in that area.
const TEXT: &[u8] = include_bytes!("../golden/linear-striped.vg");

/// The text without the NUL at its end.
fn text() -> String {
    std::str::from_utf8(TEXT).unwrap().trim_end_matches('\0').into()
}

fn group(text: &str) -> Result<VolumeGroup> {
    VolumeGroup::parse(text.as_bytes())
}

/// The message that the text with `old` replaced by `new`, where it first occurs behind `after`, gives.
fn why(after: &str, old: &str, new: &str) -> String {
    let text = text();
    let at = text.find(after).expect("in the text");
    let at = at + text[at..].find(old).expect("behind that");
    let patched = format!("{}{new}{}", &text[..at], &text[at + old.len()..]);
    group(&patched).expect_err(&format!("{old} replaced by {new}")).to_string()
}

#[test]
fn the_label_of_a_real_volume() {
    let label = Label::find(START).unwrap().unwrap();
    assert_eq!((label.sector, label.device_size), (1, 96 << 20));
    assert_eq!(label.uuid.to_string(), "p4t1EY-yhDs-f5T3-V60L-T7d0-hE1F-00NMcZ");
    assert_eq!(label.data_areas, [Location { offset: 1 << 20, size: 0 }]);
    assert_eq!(label.metadata_areas, [Location { offset: 4096, size: (1 << 20) - 4096 }]);
    assert_eq!(label.extension, Some(Extension { version: 2, used: true, bootloader_areas: vec![] }));
}

#[test]
fn a_label_counts_only_in_its_own_sector() {
    let mut moved = [0; 2048];
    moved[1024..1536].copy_from_slice(&START[512..1024]);
    let error = Label::find(&moved).unwrap_err();
    assert_eq!(error.to_string(), "label at byte 0x400: written for sector 1, found in sector 2");
    // A copy elsewhere does not hide the one that is where it should be.
    let mut both = *START;
    both.copy_within(512..1024, 0);
    assert_eq!(Label::find(&both).unwrap().unwrap().sector, 1);
}

#[test]
fn every_damaged_byte_of_a_label_is_noticed() {
    for at in 512..1024 {
        let mut bytes = *START;
        bytes[at] ^= 1;
        let found = Label::find(&bytes);
        if at < 520 { assert_eq!(found, Ok(None)) } else { assert!(found.is_err(), "byte {at}") }
    }
}

#[test]
fn lists_of_a_label_must_end_in_it() {
    let mut bytes = *START;
    bytes[512 + 72..1024].fill(1);
    seal_label(&mut bytes);
    let error = Label::find(&bytes).unwrap_err().to_string();
    assert!(error.contains("list of data areas") && error.contains("does not fit"), "{error}");
    for offset in [0u32, 31, 480, 512, u32::MAX] {
        let mut bytes = *START;
        bytes[512 + 20..][..4].copy_from_slice(&offset.to_le_bytes());
        seal_label(&mut bytes);
        assert!(Label::find(&bytes).is_err(), "header at {offset}");
    }
}

#[test]
fn the_area_and_the_text_of_a_real_volume() {
    let area = MetadataArea::parse(AREA, 4096).unwrap();
    assert_eq!((area.start, area.size, area.ignored), (4096, (1 << 20) - 4096, false));
    let text = area.text.unwrap();
    assert_eq!((text.size, text.checksum), (TEXT.len() as u64, checksum(TEXT)));
    let [first, second] = area.text_ranges();
    assert_eq!((first, second), (4096 + text.offset..4096 + text.offset + text.size, 4608..4608));
    assert!(MetadataArea::parse(AREA, 8192).unwrap_err().to_string().contains("written for byte 0x1000"));
    for at in 0..512 {
        let mut bytes = *AREA;
        bytes[at] ^= 1;
        assert!(MetadataArea::parse(&bytes, 4096).is_err(), "byte {at}");
    }
}

#[test]
fn a_text_wraps_in_its_ring() {
    let area = |size: u64, offset: u64, len: u64| {
        let mut bytes = *AREA;
        bytes[32..40].copy_from_slice(&size.to_le_bytes());
        bytes[40..48].copy_from_slice(&offset.to_le_bytes());
        bytes[48..56].copy_from_slice(&len.to_le_bytes());
        seal_area(&mut bytes);
        MetadataArea::parse(&bytes, 4096)
    };
    let ring = 4096 + 512;
    assert_eq!(area(8192, 8000, 300).unwrap().text_ranges(), [12096..12288, ring..ring + 108]);
    assert_eq!(area(8192, 512, 7680).unwrap().text_ranges(), [ring..12288, ring..ring]);
    assert_eq!(area(8192, 0, 0).unwrap().text, None);
    assert_eq!(area(8192, 0, 0).unwrap().text_ranges(), [ring..ring, ring..ring]);
    for (size, offset, len) in [
        (511, 512, 1),
        (8192, 511, 1),
        (8192, 8192, 1),
        (8192, 512, 7681),
        (u64::MAX, 512, 1),
        (1 << 40, 512, MAX_TEXT_SIZE + 1),
        (8192, u64::MAX, u64::MAX),
    ] {
        assert!(area(size, offset, len).is_err(), "{len} bytes at {offset} of {size}");
    }
}

#[test]
fn the_group_of_a_real_volume() {
    let group = VolumeGroup::parse(TEXT).unwrap();
    assert_eq!((group.name.as_str(), group.seqno, group.extent_size), ("golden", 11, 2048));
    assert_eq!(group.uuid.to_string(), "keWTIX-BFmf-miz8-a5wo-r0RK-i2VM-xbhf2R");
    assert_eq!(group.status, ["RESIZEABLE", "READ", "WRITE"]);
    assert_eq!((group.creation_host.as_deref(), group.creation_time), (Some("vm"), Some(1795247001)));
    let names: Vec<_> = group.logical_volumes.iter().map(|volume| volume.name.as_str()).collect();
    assert_eq!(names, ["root", "stripes", "nothing", "cached", "bad"]);
    // As `lvs --segments -o +devices` printed it.
    let on = |index, start| Area { target: Target::Physical(index), start };
    let segment = |start, extents, mapping| Segment { start, extents, mapping };
    let [root, stripes, nothing, ..] = &group.logical_volumes[..] else { panic!() };
    assert_eq!(root.segments, [segment(0, 5, Mapping::Linear(on(0, 0))), segment(5, 7, Mapping::Linear(on(1, 3)))]);
    assert_eq!((root.extents, root.is_visible()), (12, true));
    let areas = vec![on(0, 5), on(1, 0), on(2, 0)];
    let striped = Mapping::Striped { stripe_size: 128, areas };
    assert_eq!(stripes.segments, [segment(0, 9, striped), segment(9, 2, Mapping::Linear(on(2, 3)))]);
    assert_eq!(nothing.segments, [segment(0, 3, Mapping::Zero)]);
    assert_eq!(group.logical_volumes[4].segments[0].mapping, Mapping::Error);
    assert_eq!(group.free_extents(), [95 - 11, 95 - 10, 95 - 5]);
    assert_eq!(group.extent_offset(1, 3), Some((2048 + 3 * 2048) * 512));
    assert_eq!(group.extent_offset(3, 0), None);
}

#[test]
fn segments_may_come_in_any_order() {
    let text = text();
    let swapped = text
        .replacen("start_extent = 0\nextent_count = 5", "start_extent = 7\nextent_count = 5", 1)
        .replacen("start_extent = 5\nextent_count = 7", "start_extent = 0\nextent_count = 7", 1);
    let group = group(&swapped).unwrap();
    let starts: Vec<_> = group.logical_volumes[0].segments.iter().map(|segment| segment.start).collect();
    assert_eq!(starts, [0, 7]);
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (after, old, new, want) in [
        ("contents", "Text Format", "Other Format", "contents \"Other Format Volume Group\""),
        ("\nversion", "= 1", "= 2", "version 2, want 1"),
        ("golden", "golden {", "\"gol/den\" {", "no name for a volume"),
        ("golden", "golden {", "\"..\" {", "no name for a volume"),
        ("golden", "golden {", "other { }\ngolden {", "two volume groups"),
        ("golden", "keWTIX-", "keWTIX_", "no LVM2 UUID"),
        ("golden", "extent_size = 2048", "extent_size = 0", "extents of size zero"),
        ("golden", "extent_size = 2048", "extent_size = 4294967296", "out of range"),
        ("golden", "seqno = 11", "seqno = -1", "out of range"),
        ("pv0", "pe_count = 95", "pe_count = 4", "5 extents from 0 on pv0, which has 4"),
        ("pv0", "pe_start = 2048", "pe_start = 9223372036854775807", "over 2^64 bytes"),
        ("root {", "start_extent = 0", "start_extent = 1", "segment starts at extent 1, the one before ends at 0"),
        ("root {", "start_extent = 5", "start_extent = 4", "segment starts at extent 4, the one before ends at 5"),
        ("root {", "start_extent = 5", "start_extent = 6", "segment starts at extent 6, the one before ends at 5"),
        ("root {", "extent_count = 7", "extent_count = 0", "segment of 0 extents"),
        ("root {", "extent_count = 7", "extent_count = 4294967295", "segment of 4294967295 extents"),
        ("root {", "segment_count = 2", "segment_count = 3", "segment_count 3, but there are 2"),
        ("root {", "\"pv0\", 0", "\"pv9\", 0", "no volume \"pv9\""),
        ("root {", "\"pv0\", 0", "\"pv0\", 91", "5 extents from 91 on pv0, which has 95"),
        ("root {", "\"pv0\", 0", "\"pv0\", 4294967295", "5 extents from 4294967295"),
        ("root {", "\"pv0\", 0", "\"pv0\", -1", "extent -1 is out of range"),
        ("root {", "\"pv0\", 0", "\"pv0\"", "not a list of names and extents"),
        ("root {", "\"pv0\", 0", "", "stripe_count 1, but there are 0"),
        ("root {", "type = \"striped\"", "type = 5", "no string \"type\""),
        ("stripes {", "stripe_count = 3", "stripe_count = 2", "stripe_count 2, but there are 3"),
        ("stripes {", "stripe_size = 128", "stripe_size = 0", "stripe size 0"),
        ("stripes {", "stripe_size = 128", "stripe_size = 5", "no multiple"),
        ("logical_volumes", "stripes {", "root {", "a second \"root\""),
        ("golden", "physical_volumes {", "no_volumes {", "no physical volumes"),
    ] {
        let error = why(after, old, new);
        assert!(error.contains(want), "{old} replaced by {new}: {error}");
        assert!(error.starts_with("metadata text, line "), "{error}");
    }
}

#[test]
fn stripes_share_evenly() {
    let uneven = text().replacen("extent_count = 9", "extent_count = 10", 1).replacen(
        "start_extent = 9",
        "start_extent = 10",
        1,
    );
    let error = group(&uneven).unwrap_err().to_string();
    assert!(error.contains("10 extents cannot be shared by 3 stripes"), "{error}");
}

#[test]
fn other_types_are_kept() {
    let text = text().replacen("type = \"zero\"", "type = \"cache+METADATA_FORMAT\"\norigin = \"x\"", 1);
    let group = group(&text).unwrap();
    let mapping = &group.logical_volumes[2].segments[0].mapping;
    assert_eq!((mapping.kind(), mapping.areas()), ("cache", &[][..]));
    let Mapping::Other { kind, section } = mapping else { panic!("{mapping:?}") };
    assert_eq!((kind.as_str(), section.string("origin")), ("cache+METADATA_FORMAT", Ok("x")));
}

#[test]
fn a_text_that_ends_early_is_an_error() {
    let whole = TEXT.len() - 1;
    // Behind "version = 1" everything that counts was said, but values and strings must end.
    let enough = text().find("version = 1").unwrap() + "version = 1".len();
    for len in 0..whole {
        let parsed = VolumeGroup::parse(&TEXT[..len]);
        assert!(parsed.is_err() || len >= enough, "{len} of {whole} bytes");
    }
}

fn seal_label(bytes: &mut [u8; 2048]) {
    let crc = checksum(&bytes[512 + LABEL_CRC_START..1024]);
    bytes[512 + 16..][..4].copy_from_slice(crc.to_le_bytes().as_bytes());
}

fn seal_area(bytes: &mut [u8; 512]) {
    let crc = checksum(&bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
}

/// Tokens of the grammar, and what it does not know.
fn tokens() -> impl Strategy<Value = String> {
    let token = prop_oneof![
        prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            "=",
            "#",
            "\n",
            "\"",
            "'",
            "\\",
            "\0",
            "id",
            "vg {",
            "status = [",
            "segment1 {",
            "stripes = [",
            "extent_count = ",
            "physical_volumes {",
            "0",
            "-1",
            "99999999999999999999",
            "1.5",
            "\"pv0\"",
        ])
        .prop_map(String::from),
        "\\PC{0,4}",
    ];
    prop::collection::vec(token, 0..60).prop_map(|tokens| tokens.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_text_does_no_harm(text in tokens(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = config::Section::parse(text.as_bytes());
        let _ = VolumeGroup::parse(&bytes);
    }

    #[test]
    fn patched_text_does_no_harm(
        patches in prop::collection::vec((0..TEXT.len(), any::<u8>()), 1..4),
        number in prop::sample::select(vec!["0", "1", "4294967295", "4294967296", "9223372036854775807", "-1", "\"x\"", "[]"]),
        which in 0usize..80,
    ) {
        let mut bytes = TEXT.to_vec();
        for (at, byte) in patches {
            bytes[at] = byte;
        }
        let _ = VolumeGroup::parse(&bytes).map(|group| inspect(&group));
        // And with one value replaced.
        let text = text();
        let values: Vec<_> = text.match_indices(" = ").collect();
        let start = values[which % values.len()].0 + 3;
        let end = start + text[start..].find('\n').unwrap();
        let _ = group(&format!("{}{number}{}", &text[..start], &text[end..])).map(|group| inspect(&group));
    }

    #[test]
    fn patched_structures_do_no_harm(
        at in 512usize..1024, in_area in 4usize..512, value in any::<u64>(), small in 0u64..2000,
    ) {
        for value in [value, small] {
            let mut start = *START;
            let len = (1024 - at).min(8);
            start[at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
            seal_label(&mut start);
            let _ = Label::find(&start);
            let mut area = *AREA;
            let len = (512 - in_area).min(8);
            area[in_area..in_area + len].copy_from_slice(&value.to_le_bytes()[..len]);
            seal_area(&mut area);
            if let Ok(area) = MetadataArea::parse(&area, 4096) {
                let [first, second] = area.text_ranges();
                prop_assert!(first.end <= area.start + area.size && second.end <= area.start + area.size);
                let len = (first.end - first.start) + (second.end - second.start);
                prop_assert_eq!(len, area.text.map_or(0, |text| text.size));
            }
        }
    }
}

/// What a sound group promises.
fn inspect(group: &VolumeGroup) {
    let _ = group.free_extents();
    for volume in &group.logical_volumes {
        assert_eq!(volume.segments.iter().map(|segment| segment.extents).sum::<u32>(), volume.extents);
        for area in volume.segments.iter().flat_map(|segment| segment.mapping.areas()) {
            match area.target {
                Target::Physical(index) => {
                    let start = group.extent_offset(index, area.start).unwrap();
                    let pv = &group.physical_volumes[index];
                    assert!(start < group.extent_offset(index, pv.pe_count).unwrap());
                }
                Target::Logical(index) => assert!(area.start < group.logical_volumes[index].extents),
            }
        }
    }
}
