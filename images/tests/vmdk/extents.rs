//! Extents against `qemu-img map`: data, zero, and the very byte of the host file.

use std::os::unix::fs::FileExt;

use images::Data;
use serde_json::Value;

use crate::tools::*;

/// Compares the extents of an image with QEMU's map of it, and the bytes where they say that they lie.
pub fn check(folder: &Folder, image: &str) {
    let disk = folder.open(image);
    let map: Value = serde_json::from_str(&folder.run(&format!("qemu-img map --output=json {image}"))).unwrap();
    let (mut at, mut hosts) = (0, 0);
    for entry in map.as_array().unwrap() {
        let (start, len) = (entry["start"].as_u64().unwrap(), entry["length"].as_u64().unwrap());
        let flag = |name: &str| entry[name].as_bool().unwrap_or(false);
        assert_eq!(start, at);
        while at < start + len {
            let extent = disk.extent_at(at).unwrap();
            assert!(extent.len > 0 && at + extent.len <= disk.size());
            let end = (at + extent.len).min(start + len);
            let place = format!("{image}: {:?} at {at:#x}, qemu-img says {entry}", extent.data);
            let bytes = (end - at <= 16 << 20).then(|| read(&*disk, at, (end - at) as usize));
            if extent.data.reads_zero() != flag("zero") {
                // QEMU does not look for holes in the files of sparse extents.
                assert!(matches!(extent.data, Data::Hole), "{place}");
                assert!(bytes.iter().flatten().all(|byte| *byte == 0), "{place}");
            }
            match extent.data {
                Data::Host(file, offset) => {
                    assert_eq!(Some(offset), entry["offset"].as_u64().map(|offset| offset + (at - start)), "{place}");
                    let bytes = bytes.unwrap();
                    let mut there = vec![0; bytes.len()];
                    file.read_exact_at(&mut there, offset).unwrap();
                    assert!(there == bytes, "{place}");
                    hosts += 1;
                }
                Data::Opaque => assert!(flag("compressed"), "{place}"),
                // Zeros that hide the parent's bytes are in the map as such.
                Data::Zero => assert!(flag("zero"), "{place}"),
                Data::Hole => {}
            }
            at = end;
        }
    }
    assert_eq!(at, disk.size());
    // A mapping that is never in one piece would pass the rest and be slow.
    assert!(hosts <= 200, "{image}: {hosts} host extents");
}

#[test]
fn holes_zeros_and_data_are_told_apart() {
    let folder = Folder::new();
    folder.run("qemu-img create -f vmdk -o zeroed_grain=on image 10M");
    folder.io("image", &["write -P 1 1M 1M".into(), "write -z 3M 64k".into()]);
    let disk = folder.open("image");
    let kind = |at: u64| match disk.extent_at(at).unwrap() {
        images::Extent { len, data: Data::Hole } => ("hole", len),
        images::Extent { len, data: Data::Zero } => ("zero", len),
        images::Extent { len, data: Data::Host(..) } => ("host", len),
        images::Extent { len, data: Data::Opaque } => ("opaque", len),
    };
    assert_eq!(kind(0), ("hole", 1 << 20));
    assert_eq!(kind((1 << 20) + 5), ("host", (1 << 20) - 5), "sixteen grains in one piece");
    assert_eq!(kind(3 << 20), ("zero", 65536));
    assert_eq!(kind((3 << 20) + 65536), ("hole", (7 << 20) - 65536));
    check(&folder, "image");
}

#[test]
fn a_huge_empty_image_is_one_hole_and_little_work() {
    let folder = Folder::new();
    folder.run("qemu-img create -f vmdk image 256G");
    let disk = folder.open("image");
    let (mut at, mut calls) = (0, 0);
    while at < disk.size() {
        let extent = disk.extent_at(at).unwrap();
        assert!(matches!(extent.data, Data::Hole));
        at += extent.len;
        calls += 1;
    }
    assert!(calls < 200, "{calls} calls for {at} bytes");
}
