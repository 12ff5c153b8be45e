//! Groups that LVM2's tools do not make: circles, contradictions, damage. Disks in memory, of sixteen extents.

use std::sync::Arc;

use images::disk::{Counting, Faulty, Memory};
use images::{Budget, Disk, Error};
use lvm2_parser::checksum;
use proptest::prelude::*;

use super::*;
use crate::Name;

/// Where the ring of texts lies and ends, and with it the extents start.
const AREA: usize = 4096;
const EXTENTS: usize = 32 << 10;
const EXTENT: usize = 4096;

/// An identifier that ends in this number.
fn uuid(number: usize) -> String {
    format!("uuuuuu-uuuu-uuuu-uuuu-uuuu-uuuu-uu{number:04}")
}

/// The text of a group of these physical volumes, `pv0` and on, and with these logical volumes.
fn text(name: &str, id: usize, seqno: u32, physical: &[usize], logical: &str) -> String {
    let mut text = format!(
        "{name} {{ id = \"{}\" seqno = {seqno} status = [\"READ\"] extent_size = 8\nphysical_volumes {{\n",
        uuid(id)
    );
    for (index, physical) in physical.iter().enumerate() {
        let id = uuid(*physical);
        text += &format!("pv{index} {{ id = \"{id}\" device = \"/dev/sd{index}\" pe_start = 64 pe_count = 16 }}\n");
    }
    text + &format!("}}\nlogical_volumes {{\n{logical}}}\n}}\ncontents = \"Text Format Volume Group\" version = 1\n\0")
}

/// A logical volume of linear segments: extents on a volume from a first one.
fn linear(name: &str, id: usize, status: &str, segments: &[(u32, &str, u32)]) -> String {
    let mut start = 0;
    let mut text = format!("{name} {{ id = \"{}\" status = [{status}] segment_count = {}\n", uuid(id), segments.len());
    for (index, (extents, on, first)) in segments.iter().enumerate() {
        text += &format!(
            "segment{index} {{ start_extent = {start} extent_count = {extents} type = \"striped\" stripe_count = 1 \
             stripes = [\"{on}\", {first}] }}\n"
        );
        start += extents;
    }
    text + "}\n"
}

/// The bytes of a physical volume that holds this text, if any. Each extent is filled with its number, counted from
/// sixteen times `fill`.
fn physical(id: usize, text: Option<&str>, ignored: bool, fill: u8) -> Vec<u8> {
    let mut bytes = vec![0; EXTENTS];
    bytes[512..520].copy_from_slice(b"LABELONE");
    bytes[520] = 1;
    bytes[532] = 32;
    bytes[536..544].copy_from_slice(b"LVM2 001");
    bytes[544..576].copy_from_slice(uuid(id).replace('-', "").as_bytes());
    let mut number = |at: usize, value: usize| bytes[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
    number(576, EXTENTS + 16 * EXTENT);
    number(584, EXTENTS);
    number(616, AREA);
    number(624, EXTENTS - AREA);
    number(AREA + 24, AREA);
    number(AREA + 32, EXTENTS - AREA);
    // The text starts near the end of the ring, so that it wraps.
    let first = 1024;
    if let Some(text) = text {
        number(AREA + 40, EXTENTS - AREA - first);
        number(AREA + 48, text.len());
        number(AREA + 56, checksum(text.as_bytes()) as usize | usize::from(ignored) << 32);
        let text = text.as_bytes();
        let split = first.min(text.len());
        bytes[EXTENTS - first..][..split].copy_from_slice(&text[..split]);
        bytes[AREA + 512..][..text.len() - split].copy_from_slice(&text[split..]);
    }
    bytes[AREA + 4..AREA + 20].copy_from_slice(b" LVM2 x[5A%r0N*>");
    bytes[AREA + 20] = 1;
    seal(&mut bytes);
    bytes.extend((0..16u8).flat_map(|extent| [fill * 16 + extent; EXTENT]));
    bytes
}

/// Makes the checksums of label, header and text right.
fn seal(bytes: &mut [u8]) {
    let crc = checksum(&bytes[532..1024]);
    bytes[528..532].copy_from_slice(&crc.to_le_bytes());
    let header: [u8; 512] = bytes[AREA..AREA + 512].try_into().unwrap();
    let [offset, size] = [40, 48].map(|at| u64::from_le_bytes(header[at..at + 8].try_into().unwrap()) as usize);
    let ring = EXTENTS - AREA - 512;
    if (512..EXTENTS - AREA).contains(&offset) && size <= ring {
        let text: Vec<u8> = (0..size).map(|at| bytes[AREA + 512 + (offset - 512 + at) % ring]).collect();
        bytes[AREA + 56..AREA + 60].copy_from_slice(&checksum(&text).to_le_bytes());
    }
    let crc = checksum(&bytes[AREA + 4..AREA + 512]);
    bytes[AREA..AREA + 4].copy_from_slice(&crc.to_le_bytes());
}

fn memory(name: &str, bytes: Vec<u8>) -> Arc<dyn Disk> {
    Arc::new(Memory::new(name, bytes))
}

fn disk(name: &str, id: usize, text: &str) -> Arc<dyn Disk> {
    memory(name, physical(id, Some(text), false, 0))
}

/// The extents of a volume by what they are filled with.
fn content(volume: &Volume) -> Vec<u8> {
    let disk = volume.disk.as_ref().unwrap_or_else(|error| panic!("{error}"));
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
        .chunks(EXTENT)
        .map(|extent| if extent.iter().all(|byte| *byte == extent[0]) { extent[0] } else { 255 })
        .collect()
}

fn error(volume: &Volume) -> String {
    volume.disk.as_ref().err().expect("a volume that cannot be used").to_string()
}

fn name(volume: &Volume) -> String {
    match &volume.name {
        Name::InGroup(group, volume) => format!("{group}/{volume}"),
        other => panic!("{other:?}"),
    }
}

const VISIBLE: &str = "\"READ\", \"VISIBLE\"";

#[test]
fn volumes_on_volumes() {
    let logical = linear("below", 1, "\"READ\"", &[(2, "pv0", 9), (3, "pv1", 4)])
        + &linear("top", 2, VISIBLE, &[(3, "below", 1), (1, "pv0", 0), (1, "below", 4)]);
    let text = text("vg", 0, 1, &[10, 11], &logical);
    let members = [memory("a", physical(11, None, false, 1)), disk("b", 10, &text)];
    let found = volumes(&members, &Budget::default()).unwrap();
    assert_eq!(found.iter().map(name).collect::<Vec<_>>(), ["vg/top"], "the other is hidden");
    assert_eq!(content(&found[0]), [10, 16 + 4, 16 + 5, 0, 16 + 6]);
    assert_eq!(found[0].members, [0, 1]);
    let alone = volumes(&members[1..], &Budget::default()).unwrap();
    let why = error(&alone[0]);
    assert!(why.contains("vg/below") && why.contains(&uuid(11)) && why.contains("/dev/sd1"), "{why}");
    assert_eq!(alone[0].members, [0]);
}

#[test]
fn what_a_text_says_does_not_talk_to_the_terminal() {
    let odd = linear("odd", 1, VISIBLE, &[(1, "pv0", 0)]).replace("\"striped\"", "\"s\r\x1b[2Ktriped\"");
    let logical = odd + &linear("away", 2, VISIBLE, &[(1, "pv1", 0)]);
    let text = text("vg", 0, 1, &[10, 11], &logical).replace("/dev/sd1", "/dev/\nsd1");
    let found = volumes(&[disk("a", 10, &text)], &Budget::default()).unwrap();
    assert_eq!(error(&found[0]), r"vg/odd: LVM segment type s\r\u{1b}[2Ktriped is not supported");
    assert!(error(&found[1]).contains(r"last seen as /dev/\nsd1: "), "{}", error(&found[1]));
}

#[test]
fn circles_and_towers_are_bounded() {
    let mut logical = linear("a", 1, VISIBLE, &[(1, "b", 0)])
        + &linear("b", 2, VISIBLE, &[(1, "a", 0)])
        + &linear("own", 3, VISIBLE, &[(2, "own", 0)]);
    for layer in (0..40).rev() {
        let below = if layer == 0 { "pv0".into() } else { format!("layer{}", layer - 1) };
        // Twice the volume below: without memory this would be built a million times.
        logical += &linear(&format!("layer{layer}"), 100 + layer, VISIBLE, &[(1, &below, 0), (1, &below, 0)]);
    }
    let found = volumes(&[disk("a", 10, &text("vg", 0, 1, &[10], &logical))], &Budget::default()).unwrap();
    for volume in &found {
        let name = name(volume);
        match name.strip_prefix("vg/layer").map(|layer| layer.parse::<usize>().unwrap()) {
            Some(layer) if layer <= 16 => assert_eq!(content(volume), [0, 0], "{name}"),
            _ => assert!(error(volume).contains("more than 16 logical volumes lie on each other"), "{name}"),
        }
    }
    assert_eq!(found.len(), 43);
}

/// The text of a segment type and its values, as a volume of its own.
fn segment(name: &str, id: usize, status: &str, extents: u32, values: &str) -> String {
    format!(
        "{name} {{ id = \"{}\" status = [{status}] segment_count = 1 segment1 {{ start_extent = 0 \
         extent_count = {extents} {values} }} }}\n",
        uuid(id)
    )
}

/// What is in extents 2 to 4, of a chunk each: a store whose last chunk replaces the second one of the origin.
fn store(bytes: &mut [u8]) {
    let store = &mut bytes[EXTENTS + 2 * EXTENT..];
    store[..2 * EXTENT].fill(0);
    for (at, value) in [(0, 0x7041_6e53u32), (4, 1), (8, 1), (12, 8), (EXTENT, 1), (EXTENT + 8, 2)] {
        store[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

#[test]
fn a_merging_snapshot_is_what_its_origin_reads_as() {
    let logical = linear("origin", 1, VISIBLE, &[(2, "pv0", 0)])
        + &linear("store", 2, VISIBLE, &[(3, "pv0", 2)])
        + &linear("other", 3, VISIBLE, &[(2, "pv0", 6)]);
    let tie = |key: &str| {
        let values = format!("type = \"snapshot\" chunk_size = 8 origin = \"origin\" {key} = \"store\"");
        // LVM2 says so of these too.
        segment("snapshot0", 4, VISIBLE, 2, &values)
    };
    let found = |tie: String, patch: fn(&mut [u8])| {
        let mut bytes = physical(10, Some(&text("vg", 0, 1, &[10], &(logical.clone() + &tie))), false, 0);
        store(&mut bytes);
        patch(&mut bytes[EXTENTS + 2 * EXTENT..]);
        volumes(&[memory("a", bytes)], &Budget::default()).unwrap()
    };
    let merging = found(tie("merging_store"), |_| ());
    assert_eq!(merging.iter().map(name).collect::<Vec<_>>(), ["vg/origin", "vg/other"]);
    assert_eq!((content(&merging[0]), content(&merging[1])), (vec![0, 4], vec![6, 7]));
    let kept = found(tie("cow_store"), |_| ());
    assert_eq!(kept.iter().map(name).collect::<Vec<_>>(), ["vg/origin", "vg/store", "vg/other"]);
    assert_eq!((content(&kept[0]), content(&kept[1])), (vec![0, 1], vec![0, 4]));
    assert_eq!((kept[1].kind.as_str(), kept[1].size), ("snapshot", 2 * EXTENT as u64));

    // Before the first use the start of the store is wiped.
    assert_eq!(content(&found(tie("cow_store"), |store| store[0..16].fill(0))[1]), [0, 1]);
    let open = |patch| error(&found(tie("cow_store"), patch)[1]);
    assert!(open(|store| store[4] = 0).contains("vg/store: the snapshot is invalid: its store was full"));
    assert!(open(|store| store[8] = 2).contains("vg/store: snapshot of version 2"));
    assert!(open(|store| store[12] = 9).contains("chunks of 9 sectors, want a power of two"));
    assert!(open(|store| store[1] = 0).contains("magic"));
    let read = |patch| {
        let found = found(tie("cow_store"), patch);
        found[1].disk.as_ref().unwrap().read_at(&mut [0; 10], 0).unwrap_err().to_string()
    };
    assert!(read(|store| store[EXTENT + 8] = 3).contains("chunk 0x3, of 0x3 "), "outside of the store");
    assert!(read(|store| store[EXTENT + 8] = 1).contains("chunk 0x1, of 0x3 "), "an area");
    let twice = |store: &mut [u8]| store.copy_within(EXTENT..EXTENT + 16, EXTENT + 16);
    assert!(read(twice).contains("block 0x1 is replaced twice"));
    let endless = |store: &mut [u8]| {
        for (number, exception) in store[EXTENT..2 * EXTENT].chunks_mut(16).enumerate() {
            exception.fill(0);
            exception[..2].copy_from_slice(&(number as u16).to_le_bytes());
            exception[8] = 2;
        }
    };
    assert!(read(endless).contains("do not end inside the store"));
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let logical = segment("vdo", 1, VISIBLE, 2, "type = \"vdo\" vdo_pool = \"vpool\" vdo_offset = 0")
        + &segment("leg", 2, "\"READ\"", 2, "type = \"integrity+INTEGRITY_BLOCK_SIZE\" origin = \"x\"")
        + &linear("meta", 3, "\"READ\"", &[(1, "pv0", 0)])
        + &segment("raid", 4, VISIBLE, 2, "type = \"raid1\" device_count = 1 raids = [\"meta\", \"leg\"]")
        + &segment("shape", 5, VISIBLE, 2, "type = \"raid1+NEW\" raids = [\"meta\", \"meta\"]");
    let found = volumes(&[disk("a", 10, &text("vg", 0, 1, &[10], &logical))], &Budget::default()).unwrap();
    assert_eq!(
        found.iter().map(error).collect::<Vec<_>>(),
        [
            "vg/vdo: LVM segment type vdo is not supported",
            "vg/raid: vg/leg: LVM segment type integrity (integrity+INTEGRITY_BLOCK_SIZE) is not supported",
            "vg/shape: LVM segment type raid1 (raid1+NEW) is not supported",
        ]
    );
}

#[test]
fn circles_through_every_kind_of_segment_are_bounded() {
    let on = |values: &str| values.replace('@', "\"a\"");
    for values in [
        "type = \"thin\" thin_pool = @ device_id = 1",
        "type = \"thin-pool\" metadata = @ pool = @ transaction_id = 1 chunk_size = 128",
        "type = \"raid1\" device_count = 1 raids = [@, @]",
        "type = \"mirror\" mirror_count = 1 mirrors = [@, 0] mirror_log = @",
        "type = \"cache\" origin = @ cache_pool = @",
        "type = \"cache-pool\" metadata = @ data = @",
        "type = \"writecache\" origin = @ writecache = @ writecache_block_size = 4096",
        "type = \"snapshot\" chunk_size = 8 origin = @ cow_store = @",
    ] {
        let logical = segment("a", 1, VISIBLE, 2, &on(values)) + &segment("b", 2, VISIBLE, 2, &on(values));
        for volume in volumes(&[disk("a", 10, &text("vg", 0, 1, &[10], &logical))], &Budget::default()).unwrap() {
            let why = error(&volume);
            let named = why.contains("more than 16 logical volumes") || why.contains("is not supported");
            assert!(named || why.contains("is no cache pool"), "{values}: {why}");
        }
    }
}

#[test]
fn groups_of_one_name_have_different_ones() {
    let root = linear("root", 1, VISIBLE, &[(1, "pv0", 0)]);
    let members: Vec<_> = [10, 11, 12].iter().map(|id| disk("d", *id, &text("vg", *id, 1, &[*id], &root))).collect();
    let names: Vec<_> = volumes(&members, &Budget::default()).unwrap().iter().map(name).collect();
    assert_eq!(names, ["vg/root".into(), "vg@uuuuuu/root".into(), format!("vg@{}/root", uuid(12))]);
    let described: Vec<_> =
        describe(&members, &Budget::default()).groups.into_iter().map(|group| (group.name, group.uuid)).collect();
    assert_eq!(described[2], (format!("vg@{}", uuid(12)), uuid(12)));
}

#[test]
fn copies_that_disagree() {
    let old = text("vg", 0, 4, &[10, 11], &linear("old", 1, VISIBLE, &[(1, "pv0", 0)]));
    let new = text("vg", 0, 5, &[10, 11], &linear("new", 1, VISIBLE, &[(1, "pv1", 3)]));
    let other = text("vg", 0, 5, &[10, 11], &linear("other", 1, VISIBLE, &[(1, "pv1", 7)]));
    let names =
        |members: &[Arc<dyn Disk>]| volumes(members, &Budget::default()).unwrap().iter().map(name).collect::<Vec<_>>();
    assert_eq!(names(&[disk("a", 10, &old), disk("b", 11, &new)]), ["vg/new"]);
    assert_eq!(names(&[disk("b", 11, &new), disk("a", 10, &old)]), ["vg/new"]);
    let members = [disk("a", 10, &new), disk("b", 11, &other)];
    assert_eq!(names(&members), ["vg/new"], "the first of equals");
    let said: Vec<_> = Scan::new(&members, &Budget::default()).problems.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with("b: ") && said[0].contains("same seqno 5"), "{}", said[0]);
    // An ignored copy loses even if it is newer: nobody says that it is complete.
    let ignored = memory("b", physical(11, Some(&new), true, 1));
    assert_eq!(names(&[disk("a", 10, &old), ignored.clone()]), ["vg/old"]);
    assert_eq!(names(&[ignored]), ["vg/new"]);
    // A copy on a volume that is none of the group's.
    let error = volumes(&[disk("c", 12, &new)], &Budget::default()).err().unwrap().to_string();
    assert!(error.contains("does not list the physical volume that holds it"), "{error}");
}

#[test]
fn one_bad_disk_does_not_hide_the_others() {
    let root = linear("root", 1, VISIBLE, &[(1, "pv0", 0)]);
    let good = disk("good", 10, &text("vg", 0, 1, &[10], &root));
    let bad = text("bad", 1, 1, &[11], "nothing {}");
    let names =
        |members: &[Arc<dyn Disk>]| volumes(members, &Budget::default()).unwrap().iter().map(name).collect::<Vec<_>>();
    assert_eq!(names(&[disk("bad", 11, &bad), good.clone()]), ["vg/root"]);
    let error = volumes(&[disk("bad", 11, &bad)], &Budget::default()).err().unwrap().to_string();
    assert!(error.starts_with("bad: LVM metadata at byte 0x7c00: metadata text, line "), "{error}");

    let inner = disk("faulty", 12, &text("x", 2, 1, &[12], &root));
    let everything = 0..inner.size();
    let faulty: Arc<dyn Disk> = Arc::new(Faulty::new(inner, vec![everything]));
    assert_eq!(names(&[faulty.clone(), good.clone()]), ["vg/root"]);
    assert!(matches!(volumes(&[faulty], &Budget::default()).err().unwrap().root(), Error::Io { .. }));
}

#[test]
fn older_formats_are_refused_by_name() {
    let root = linear("root", 1, VISIBLE, &[(1, "pv0", 0)]);
    let good = disk("good", 10, &text("vg", 0, 1, &[10], &root));
    let mut lvm1 = vec![0; 8192];
    lvm1[..12].copy_from_slice(b"HM\x01\0\0\0\0\0\0\x04\0\0");
    let mut pool = vec![0; 8192];
    pool[5..8].copy_from_slice(&[0x01, 0x16, 0x70]);
    for (bytes, want) in [(lvm1, "LVM1"), (pool, "GFS pool")] {
        let disk = memory("old", bytes);
        assert!(probe(disk.as_ref()).unwrap());
        let error = volumes(std::slice::from_ref(&disk), &Budget::default()).err().unwrap();
        assert!(matches!(error, Error::Unsupported(_)));
        assert_eq!(error.to_string(), format!("old: physical volume of {want}, which is not supported"));
        let members = [disk, good.clone()];
        assert_eq!(volumes(&members, &Budget::default()).unwrap().len(), 1);
        assert_eq!(describe(&members, &Budget::default()).physical[1].format, want);
    }
}

#[test]
fn a_physical_volume_costs_few_reads() {
    let root = linear("root", 1, VISIBLE, &[(1, "pv0", 0)]);
    let counting = Arc::new(Counting::new(disk("a", 10, &text("vg", 0, 1, &[10], &root))));
    let member: Arc<dyn Disk> = counting.clone();
    assert!(probe(member.as_ref()).unwrap());
    assert_eq!(counting.take(), (1, 2048));
    assert_eq!(volumes(&[member], &Budget::default()).unwrap().len(), 1);
    assert_eq!(counting.take().0, 3, "label, header of the area, text");
}

/// A disk with something of everything, to be damaged.
fn rich() -> (Vec<u8>, Vec<u8>) {
    let logical = linear("below", 1, "\"READ\"", &[(2, "pv0", 9), (3, "pv1", 4)])
        + &linear("top", 2, VISIBLE, &[(3, "below", 1), (1, "pv0", 0), (1, "below", 4)])
        + &format!(
            "stripes {{ id = \"{}\" status = [{VISIBLE}] segment_count = 2\n\
             segment1 {{ start_extent = 0 extent_count = 4 type = \"striped\" stripe_count = 2 stripe_size = 2 \
             stripes = [\"pv0\", 2, \"pv1\", 0] }}\n\
             segment2 {{ start_extent = 4 extent_count = 1 type = \"zero\" }} }}\n",
            uuid(3)
        );
    let text = text("vg", 0, 1, &[10, 11], &logical);
    (physical(10, Some(&text), false, 0), physical(11, Some(&text), false, 1))
}

#[test]
fn the_disk_to_be_damaged_is_sound() {
    let (one, other) = rich();
    let found = volumes(&[memory("a", one), memory("b", other)], &Budget::default()).unwrap();
    assert_eq!(found.iter().map(|volume| volume.disk.is_ok()).collect::<Vec<_>>(), [true, true]);
    let mut bytes = vec![0; 3 * 1024];
    found[1].disk.as_ref().unwrap().read_at(&mut bytes, 0).unwrap();
    assert_eq!((bytes[0], bytes[1023], bytes[1024], bytes[2047], bytes[2048]), (2, 2, 16, 16, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_does_no_harm(
        patches in prop::collection::vec((0..EXTENTS, any::<u8>()), 1..6),
        near in prop::collection::vec((prop::sample::select(vec![512..720usize, AREA..AREA + 80, EXTENTS - 1024..EXTENTS]), any::<u16>(), any::<u8>()), 0..4),
        cut in 0usize..100_000,
        sealed in any::<bool>(),
    ) {
        let (mut one, other) = rich();
        for (at, byte) in patches {
            one[at] = byte;
        }
        for (range, at, byte) in near {
            one[range.start + usize::from(at) % range.len()] = byte;
        }
        if sealed {
            seal(&mut one);
        }
        one.truncate(cut.max(1));
        for members in [vec![memory("a", one.clone())], vec![memory("a", one), memory("b", other)]] {
            let _ = describe(&members, &Budget::default());
            for volume in volumes(&members, &Budget::default()).into_iter().flatten() {
                let Ok(disk) = volume.disk else { continue };
                prop_assert_eq!(volume.size, disk.size());
                let mut at = 0;
                let mut buf = [0; 1000];
                while at + 1000 <= disk.size().min(1 << 17) {
                    let _ = disk.read_at(&mut buf, at);
                    prop_assert!(disk.extent_at(at).is_ok_and(|extent| extent.len > 0));
                    at += 1000;
                }
            }
        }
    }
}
