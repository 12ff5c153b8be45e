//! Extents against `qemu-img map`: data, zero, and the very byte of the host file.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use images::Data;
use serde_json::Value;

use crate::tools::*;

/// Compares the extents of a qcow2 image without backing files, or with those of `check_chain`.
pub fn check(folder: &Folder, image: &str) {
    check_chain(folder, &[image]);
}

/// Compares the extents of `chain[0]`, whose backing files are the rest of `chain`.
pub fn check_chain(folder: &Folder, chain: &[&str]) {
    let disk = folder.open(chain[0]);
    let map: Value = serde_json::from_str(&folder.run(&format!("qemu-img map --output=json {}", chain[0]))).unwrap();
    let (mut at, mut hosts) = (0, 0);
    for entry in map.as_array().unwrap() {
        let (start, len) = (entry["start"].as_u64().unwrap(), entry["length"].as_u64().unwrap());
        let flag = |name: &str| entry[name].as_bool().unwrap_or(false);
        assert_eq!(start, at);
        while at < start + len {
            let extent = disk.extent_at(at).unwrap();
            assert!(extent.len > 0 && at + extent.len <= disk.size());
            let end = (at + extent.len).min(start + len);
            let place = format!("{}: {:?} at {at:#x}, qemu-img says {entry}", chain[0], extent.data);
            let depth = entry["depth"].as_u64().unwrap() as usize;
            let path = match folder.path(&format!("{}.data", chain[depth])) {
                data if data.exists() => data,
                _ => folder.path(chain[depth]),
            };
            let host = entry["offset"].as_u64().map(|offset| offset + (at - start));
            if extent.data.reads_zero() != flag("zero") {
                // QEMU looks for holes of the host file only where it thinks that an image was preallocated.
                assert!(matches!(extent.data, Data::Hole), "{place}");
                let mut bytes = vec![1; (end - at) as usize];
                File::open(&path).unwrap().read_exact_at(&mut bytes, host.unwrap()).unwrap();
                assert!(bytes.iter().all(|byte| *byte == 0), "{place}");
            }
            match extent.data {
                Data::Host(file, offset) => {
                    assert_eq!(file.metadata().unwrap().ino(), path.metadata().unwrap().ino(), "{place}");
                    assert_eq!(Some(offset), host, "{place}");
                    hosts += 1;
                }
                Data::Opaque => assert!(flag("compressed"), "{place}"),
                Data::Zero | Data::Hole => {}
            }
            at = end;
        }
    }
    assert_eq!(at, disk.size());
    // A mapping that is never in one piece would pass the rest and be slow.
    let clusters = disk.size() / 512;
    assert!(hosts <= 16 + clusters / 16, "{}: {hosts} host extents", chain[0]);
}

#[test]
fn holes_zeros_and_data_are_told_apart() {
    let folder = Folder::new();
    folder.run("qemu-img create -f qcow2 image 10M");
    folder.io("image", &["write -P 1 1M 1M".into(), "write -z 3M 64k".into(), "write -z -u 4M 64k".into()]);
    let disk = folder.open("image");
    let kind = |at: u64| match disk.extent_at(at).unwrap() {
        images::Extent { len, data: Data::Hole } => ("hole", len),
        images::Extent { len, data: Data::Zero } => ("zero", len),
        images::Extent { len, data: Data::Host(..) } => ("host", len),
        images::Extent { len, data: Data::Opaque } => ("opaque", len),
    };
    assert_eq!(kind(0), ("hole", 1 << 20));
    assert_eq!(kind((1 << 20) + 5), ("host", (1 << 20) - 5), "sixteen clusters in one piece");
    assert_eq!(kind(3 << 20), ("zero", 65536));
    assert_eq!(kind(4 << 20), ("zero", 65536));
    assert_eq!(kind((4 << 20) + 65536), ("hole", (6 << 20) - 65536));
    check(&folder, "image");
}

#[test]
fn a_huge_empty_image_is_one_hole_and_little_work() {
    let folder = Folder::new();
    folder.run("qemu-img create -f qcow2 -o cluster_size=512 small 20G");
    let disk = folder.open("small");
    let (mut at, mut calls) = (0, 0);
    while at < disk.size() {
        let extent = disk.extent_at(at).unwrap();
        assert!(matches!(extent.data, Data::Hole));
        at += extent.len;
        calls += 1;
    }
    assert!(calls < 200, "{calls} calls for {at} bytes");
}
