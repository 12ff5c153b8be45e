//! LVM2 against its own tools: they make the disks and tell where every extent lies, we must read the same.
//!
//! Needs root (loop devices) and the packages `lvm2` and `util-linux`. The kernel's device mapper is not used, and LVM
//! sees only the loop devices of each test and a configuration of its own.

#[path = "lvm/lab.rs"]
mod lab;

use std::sync::Arc;

use images::disk::{Memory, View};
use images::{Budget, Data, Disk, Error};
use lab::{Lab, find};
use partition::lvm::{describe, dm_uuid, probe, volumes};
use partition::{Name, SCHEMES};

const MIB: u64 = 1 << 20;

#[test]
fn linear_striped_and_mixed_segments() {
    let lab = Lab::new(&[48, 48, 48]);
    lab.lvm(&["vgcreate", "-s", "1M", "vg", &lab.device(0), &lab.device(1), &lab.device(2)]);
    lab.create(&["-l", "5", "-n", "root", "vg"]);
    lab.create(&["-i", "3", "-I", "64k", "-l", "9", "-n", "three", "vg"]);
    lab.create(&["-i", "2", "-I", "4k", "-l", "4", "-n", "two", "vg", &lab.device(2), &lab.device(0)]);
    lab.create(&["-i", "2", "-I", "512k", "-l", "6", "-n", "wide", "vg"]);
    lab.lvm(&["lvextend", "-l", "+7", "vg/root", &lab.device(1)]);
    lab.lvm(&["lvextend", "-i", "1", "-l", "+2", "vg/three", &lab.device(2)]);
    lab.lvm(&["lvextend", "-i", "2", "-I", "8k", "-l", "+4", "vg/root", &lab.device(0), &lab.device(2)]);
    let checked = lab.check();
    assert_eq!(checked.volumes, 4);
    assert_eq!(checked.segments, 7);

    let found = volumes(&lab.disks(), &Budget::default()).unwrap();
    assert_eq!(find(&found, "vg/root").kind, "linear, striped");
    assert_eq!(find(&found, "vg/three").kind, "striped, linear");
    assert_eq!(find(&found, "vg/two").members, [0, 2]);
}

#[test]
fn many_segments() {
    let lab = Lab::new(&[64]);
    lab.lvm(&["vgcreate", "-s", "256k", "vg", &lab.device(0)]);
    lab.create(&["-l", "1", "-n", "a", "vg"]);
    lab.create(&["-l", "1", "-n", "b", "vg"]);
    for _ in 0..20 {
        lab.lvm(&["lvextend", "-l", "+1", "vg/a"]);
        lab.lvm(&["lvextend", "-l", "+2", "vg/b"]);
    }
    let checked = lab.check();
    assert!(checked.segments >= 40, "{}", checked.segments);
}

#[test]
fn every_extent_size() {
    for (size, extents) in [("1k", "5000"), ("4k", "777"), ("384k", "20"), ("4M", "5"), ("32M", "1")] {
        let lab = Lab::new(&[72]);
        lab.lvm(&["vgcreate", "-s", size, "vg", &lab.device(0)]);
        lab.create(&["-l", "1", "-n", "first", "vg"]);
        lab.create(&["-l", extents, "-n", "second", "vg"]);
        assert_eq!(lab.check().volumes, 2, "extents of {size}");
    }
}

#[test]
fn labels_in_every_sector_and_other_layouts() {
    for sector in 0..4 {
        let lab = Lab::new(&[32]);
        let number = sector.to_string();
        lab.lvm(&[
            "pvcreate",
            "--labelsector",
            &number,
            "--dataalignment",
            "3M",
            "--metadatacopies",
            "2",
            &lab.device(0),
        ]);
        lab.lvm(&["vgcreate", "-s", "1M", "vg", &lab.device(0)]);
        lab.create(&["-l", "6", "-n", "root", "vg"]);
        assert_eq!(lab.check().volumes, 1, "label in sector {sector}");
        assert_eq!(lab.label(0).sector, sector);
        assert_eq!(lab.label(0).metadata_areas.len(), 2);
    }
    let lab = Lab::new(&[32]);
    lab.lvm(&["pvcreate", "--bootloaderareasize", "1M", "--dataalignmentoffset", "7s", &lab.device(0)]);
    lab.lvm(&["vgcreate", "-s", "1M", "vg", &lab.device(0)]);
    lab.create(&["-l", "6", "-n", "root", "vg"]);
    lab.check();
    let extension = lab.label(0).extension.unwrap();
    assert!(extension.used && extension.bootloader_areas.len() == 1, "{extension:?}");
}

#[test]
fn sectors_of_4096_bytes() {
    let lab = Lab::with_sectors(&[64, 64], 4096);
    lab.lvm(&["vgcreate", "-s", "1M", "vg", &lab.device(0), &lab.device(1)]);
    lab.create(&["-i", "2", "-l", "8", "-n", "root", "vg"]);
    assert_eq!(lab.check().volumes, 1);
}

#[test]
fn the_ring_wraps() {
    let lab = Lab::new(&[32]);
    lab.lvm(&["pvcreate", "--metadatasize", "40k", "--dataalignment", "64k", &lab.device(0)]);
    lab.lvm(&["vgcreate", "-s", "1M", "vg", &lab.device(0)]);
    lab.create(&["-l", "3", "-n", "root", "vg"]);
    let mut wrapped = 0;
    for round in 0..80 {
        // First the text grows, so that it seldom ends where the ring does; then it is written again and again.
        if round < 15 {
            lab.create(&["-l", "1", "-n", &format!("volume{round}"), "vg"]);
        } else {
            lab.lvm(&["lvchange", if round % 2 == 0 { "--addtag" } else { "--deltag" }, "again", "vg/root"]);
        }
        if !lab.area(0, 0).text_ranges()[1].is_empty() {
            wrapped += 1;
            assert_eq!(lab.check().volumes, 16.min(round + 2));
        }
        if wrapped == 2 {
            return;
        }
    }
    panic!("wrapped {wrapped} times: {:?}", lab.area(0, 0));
}

#[test]
fn the_newest_sound_copy_holds() {
    let lab = Lab::new(&[32, 32, 32]);
    lab.lvm(&["pvcreate", "--metadatacopies", "2", &lab.device(0)]);
    lab.lvm(&["pvcreate", "--metadatacopies", "0", &lab.device(1)]);
    lab.lvm(&["pvcreate", &lab.device(2)]);
    lab.lvm(&["vgcreate", "-s", "1M", "vg", &lab.device(0), &lab.device(1), &lab.device(2)]);
    lab.create(&["-l", "4", "-n", "old", "vg", &lab.device(1)]);
    assert_eq!(lab.label(1).metadata_areas, []);
    let before = lab.read(2, 0, MIB);
    lab.create(&["-l", "6", "-n", "new", "vg", &lab.device(2)]);
    assert_eq!(lab.check().volumes, 2);

    // The third disk's area falls back in time.
    let after = lab.read(2, 0, MIB);
    lab.write(2, 0, &before);
    assert_eq!(names(&lab), ["vg/old", "vg/new"]);
    // And is all that there is: the first disk's copies are damaged, one in the header and one in the text.
    let saved = lab.read(0, 0, 32 * MIB);
    let [first, second] = [lab.area(0, 0), lab.area(0, 1)];
    lab.flip(0, first.start + 30);
    assert_eq!(names(&lab), ["vg/old", "vg/new"], "the second copy on the first disk");
    lab.flip(0, second.text_ranges()[0].start + 300);
    assert_eq!(names(&lab), ["vg/old"]);
    // With the third disk back, it alone has the new text, and the volume without any area is found through it.
    lab.write(2, 0, &after);
    assert_eq!(names(&lab), ["vg/old", "vg/new"]);
    lab.flip(2, lab.area(2, 0).text_ranges()[0].start);
    let error = volumes(&lab.disks(), &Budget::default()).err().expect("no copy is sound");
    assert!(error.to_string().contains("checksum"), "{error}");
    lab.write(0, 0, &saved);
    assert_eq!(names(&lab), ["vg/old", "vg/new"]);

    let alone = volumes(&[lab.disk(1)], &Budget::default()).err().expect("no metadata at all").to_string();
    assert!(alone.contains("belongs to a volume group that none of the disks tells of"), "{alone}");
}

#[test]
fn ignored_areas_count_only_where_there_is_nothing_else() {
    let lab = Lab::new(&[32, 32]);
    lab.lvm(&["vgcreate", "-s", "1M", "vg", &lab.device(0), &lab.device(1)]);
    lab.create(&["-l", "4", "-n", "old", "vg", &lab.device(1)]);
    lab.lvm(&["pvchange", "--metadataignore", "y", &lab.device(1)]);
    lab.create(&["-l", "4", "-n", "new", "vg", &lab.device(1)]);
    assert!(lab.area(1, 0).ignored);
    assert_eq!(lab.check().volumes, 2);
    let found = volumes(&[lab.disk(1)], &Budget::default()).unwrap();
    assert_eq!(found.len(), 1);
    assert!(find(&found, "vg/old").disk.is_ok());
}

#[test]
fn a_missing_disk_takes_only_its_volumes() {
    let lab = Lab::new(&[32, 32, 32]);
    lab.lvm(&["vgcreate", "-s", "1M", "vg", &lab.device(0), &lab.device(1), &lab.device(2)]);
    lab.create(&["-l", "4", "-n", "first", "vg", &lab.device(0)]);
    lab.create(&["-l", "4", "-n", "second", "vg", &lab.device(1)]);
    lab.create(&["-i", "2", "-l", "4", "-n", "both", "vg", &lab.device(1), &lab.device(2)]);
    lab.create(&["-i", "2", "-l", "4", "-n", "others", "vg", &lab.device(0), &lab.device(2)]);
    let members = [lab.disk(2), lab.disk(0)];
    let found = volumes(&members, &Budget::default()).unwrap();
    assert_eq!(find(&found, "vg/others").members, [0, 1]);
    for name in ["vg/first", "vg/others"] {
        assert!(find(&found, name).disk.is_ok(), "{name}");
    }
    for name in ["vg/second", "vg/both"] {
        let error = find(&found, name).disk.as_ref().err().expect("its disk is missing").to_string();
        assert!(error.contains(&lab.label(1).uuid.to_string()) && error.contains(&lab.device(1)), "{error}");
        assert_eq!(find(&found, name).size, 4 * MIB);
    }
    let description = describe(&members, &Budget::default());
    assert!(!description.groups[0].complete);
    assert_eq!(
        description.physical.iter().map(|physical| physical.member).collect::<Vec<_>>(),
        [Some(1), None, Some(0)]
    );
    assert_eq!(description.physical[1].size, 32 * MIB);
}

#[test]
fn equal_names_and_copies_of_disks() {
    let (one, other) = (Lab::new(&[32]), Lab::new(&[32]));
    for lab in [&one, &other] {
        lab.lvm(&["vgcreate", "-s", "1M", "vg", &lab.device(0)]);
        lab.create(&["-l", "3", "-n", "root", "vg"]);
    }
    other.create(&["-l", "2", "-n", "home", "vg"]);
    let group = other.report(&["vgs", "-o", "vg_uuid"])[0][0].clone();
    let found = volumes(&[one.disk(0), other.disk(0)], &Budget::default()).unwrap();
    let second = format!("vg@{}", &group[..6]);
    assert!(find(&found, "vg/root").disk.is_ok());
    assert_eq!(find(&found, "vg/root").members, [0]);
    assert_eq!(find(&found, &format!("{second}/root")).members, [1]);
    assert!(find(&found, &format!("{second}/home")).disk.is_ok());

    // The same file twice is one disk; a copy of it is another that claims to be the same.
    let twice = volumes(&[one.disk(0), one.disk(0), other.disk(0)], &Budget::default()).unwrap();
    assert!(twice.iter().all(|volume| volume.disk.is_ok()), "one disk, given twice");
    let copy: Arc<dyn Disk> = Arc::new(Memory::new("copy", one.read(0, 0, 32 * MIB)));
    let members = [one.disk(0), copy, other.disk(0)];
    let found = volumes(&members, &Budget::default()).unwrap();
    let error = find(&found, "vg/root").disk.clone().err().expect("which of the two?");
    assert!(matches!(*error, Error::Ambiguous(_)) && error.to_string().contains("copy"), "{error}");
    assert!(find(&found, &format!("{second}/root")).disk.is_ok());
    assert_eq!(describe(&members, &Budget::default()).physical.len(), 3);
}

#[test]
fn exported_groups_and_volumes_without_bytes() {
    let lab = Lab::new(&[32]);
    lab.lvm(&["vgcreate", "-s", "1M", "vg", &lab.device(0)]);
    lab.create(&["-l", "3", "-n", "root", "vg"]);
    lab.create(&["--type", "zero", "-l", "3", "-n", "nothing", "vg"]);
    lab.create(&["--type", "error", "-l", "3", "-n", "bad", "vg"]);
    assert_eq!(lab.check().volumes, 1);
    lab.lvm(&["vgexport", "vg"]);
    let members = lab.disks();
    let found = volumes(&members, &Budget::default()).unwrap();
    let mut bytes = vec![1; 3 * MIB as usize];
    let nothing = find(&found, "vg/nothing").disk.as_ref().unwrap();
    nothing.read_at(&mut bytes, 0).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert!(matches!(nothing.extent_at(5).unwrap().data, Data::Hole));
    assert!(find(&found, "vg/bad").disk.as_ref().unwrap().read_at(&mut bytes, 0).is_err());
    assert!(find(&found, "vg/root").disk.is_ok());
    assert!(describe(&members, &Budget::default()).groups[0].status.iter().any(|flag| flag == "EXPORTED"));
}

/// LVM accepts this text, so what it says is what LVM would have written: thin, raid, mirror, snapshot, cache.
#[test]
fn volumes_that_were_never_active() {
    let lab = Lab::new(&[64, 64]);
    lab.lvm(&["vgcreate", "-s", "1M", "vg", &lab.device(0), &lab.device(1)]);
    lab.create(&["-l", "3", "-n", "plain", "vg"]);
    lab.restore("vg", include_str!("lvm/other-types.vg"));
    let shown = lab.report(&["lvs", "-o", "lv_name,segtype"]);
    let members = lab.disks();
    let found = volumes(&members, &Budget::default()).unwrap();
    let mut listed: Vec<String> = found.iter().map(|volume| name(&volume.name)).collect();
    let mut visible: Vec<String> = shown.iter().map(|row| format!("vg/{}", row[0])).collect();
    listed.sort();
    visible.sort();
    visible.dedup();
    assert_eq!(listed, visible, "what lvs shows without -a");
    let kinds = [("raid", "raid1"), ("mirror", "mirror"), ("snap", "snapshot"), ("cached", "cache"), ("thin", "thin")];
    for (volume, kind) in kinds.into_iter().chain([("pool", "thin-pool")]) {
        assert_eq!(find(&found, &format!("vg/{volume}")).kind, kind);
    }
    // Nothing was ever written to these, so that there is nothing between them and what they lie on.
    for (volume, extents) in [("raid", 4), ("mirror", 2), ("snap", 5), ("cached", 4), ("moving", 4), ("origin", 5)] {
        let disk = find(&found, &format!("vg/{volume}")).disk.as_ref().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(disk.size(), extents * MIB);
        disk.read_at(&mut [0; 4096], extents * MIB - 4096).unwrap();
    }
    for (volume, want) in [
        ("pool", "vg/pool: a thin pool has no content of its own, its thin volumes have"),
        ("thin", "vg/pool: the thin pool was never in use, or its metadata was wiped: it is all zeros"),
    ] {
        let error = find(&found, &format!("vg/{volume}")).disk.clone().err().expect("not readable");
        assert!(matches!(*error, Error::Unsupported(_)), "{error}");
        assert_eq!(error.to_string(), want);
    }
    let free: u64 = lab.report(&["vgs", "-o", "vg_free_count"])[0][0].parse().unwrap();
    assert_eq!(describe(&members, &Budget::default()).groups[0].free_extents, free);
}

#[test]
fn the_description_is_what_the_tools_say() {
    let lab = Lab::new(&[32, 48, 16]);
    lab.lvm(&["vgcreate", "-s", "512k", "vg", &lab.device(0), &lab.device(1)]);
    lab.lvm(&["pvcreate", &lab.device(2)]);
    lab.create(&["-l", "5", "-n", "a", "vg"]);
    lab.create(&["-i", "2", "-l", "8", "-n", "b", "vg"]);
    let members = lab.disks();
    let description = describe(&members, &Budget::default());
    let group = &description.groups[0];
    let columns = "vg_name,vg_uuid,vg_extent_size,vg_extent_count,vg_free_count,vg_seqno";
    let ours = [
        group.name.clone(),
        group.uuid.clone(),
        group.extent_size.to_string(),
        group.extents.to_string(),
        group.free_extents.to_string(),
        group.seqno.to_string(),
    ];
    assert_eq!(lab.report(&["vgs", "-o", columns])[0], ours);
    let columns = "pv_uuid,vg_name,pv_pe_count,pv_pe_alloc_count,dev_size";
    let mut theirs = lab.report(&["pvs", "-o", columns]);
    let mut ours: Vec<Vec<String>> = Vec::new();
    for physical in &description.physical {
        ours.push(vec![
            physical.uuid.clone().unwrap(),
            physical.group.clone().unwrap_or_default(),
            physical.extents.to_string(),
            (physical.extents - physical.free_extents).to_string(),
            physical.size.to_string(),
        ]);
    }
    theirs.sort();
    ours.sort();
    assert_eq!(theirs, ours);

    let full = lab.report(&["lvs", "-o", "vg_uuid,lv_uuid", "vg/a"]);
    let found = volumes(&members, &Budget::default()).unwrap();
    let a = find(&found, "vg/a").uuid.clone().unwrap();
    assert_eq!(a, full[0][1]);
    assert_eq!(dm_uuid(&group.uuid, &a).len(), "LVM-".len() + 64);
}

#[test]
fn members_are_found_by_probing() {
    let lab = Lab::new(&[32]);
    lab.lvm(&["pvcreate", "--labelsector", "3", &lab.device(0)]);
    let scheme = SCHEMES.iter().find(|scheme| scheme.name == "lvm").unwrap();
    assert!(scheme.shares() && (scheme.probe)(&*lab.disk(0)).unwrap());
    assert!(volumes(&lab.disks(), &Budget::default()).unwrap().is_empty(), "no group yet");
    lab.flip(0, 3 * 512 + 40);
    assert!(!probe(&*lab.disk(0)).unwrap(), "a damaged label");
    assert!(!probe(&Memory::new("zeros", vec![0; 4096])).unwrap());
    assert!(!probe(&Memory::new("short", vec![0; 100])).unwrap());
}

#[test]
fn a_truncated_disk_is_an_error_of_the_volume() {
    let lab = Lab::new(&[32]);
    lab.lvm(&["vgcreate", "-s", "1M", "vg", &lab.device(0)]);
    lab.create(&["-l", "3", "-n", "first", "vg"]);
    lab.create(&["-l", "20", "-n", "second", "vg"]);
    let short: Arc<dyn Disk> = Arc::new(View::new("short", lab.disk(0), 0, 10 * MIB).unwrap());
    let found = volumes(&[short], &Budget::default()).unwrap();
    assert!(find(&found, "vg/first").disk.is_ok());
    let error = find(&found, "vg/second").disk.as_ref().err().unwrap().to_string();
    assert!(error.contains("short ends at byte 0xa00000"), "{error}");
    for size in [2048, 4096, 4097, 4608, 4700, 5000] {
        let short: Arc<dyn Disk> = Arc::new(View::new("short", lab.disk(0), 0, size).unwrap());
        let text = volumes(&[short], &Budget::default());
        assert!(text.is_err() || text.unwrap().iter().all(|volume| volume.disk.is_err()), "{size} bytes");
    }
}

fn name(name: &Name) -> String {
    match name {
        Name::InGroup(group, volume) => format!("{group}/{volume}"),
        other => panic!("{other:?}"),
    }
}

fn names(lab: &Lab) -> Vec<String> {
    let found = volumes(&lab.disks(), &Budget::default()).expect("volumes");
    found.iter().map(|volume| name(&volume.name)).collect()
}
