//! The extents of a disk against `qemu-img map`: data, zeros, and the very byte of the host file.

use std::os::unix::fs::FileExt;

use images::{Data, Disk, Extent};
use serde_json::Value;

use super::{Folder, read};

/// The most bytes of one extent that are compared; longer ones are holes of empty images.
const COMPARED: u64 = 16 << 20;

/// Compares the extents of `image`, alone or with what is below it. `options` tell `qemu-img` what it cannot find out:
/// of a fixed VHD that it is one.
pub fn check(folder: &Folder, options: &str, image: &str) {
    let disk = folder.open(image);
    let map = folder.run(&format!("qemu-img map --output=json {options} {image}"));
    let map: Value = serde_json::from_str(&map).unwrap();
    let (mut at, mut hosts) = (0, 0);
    for entry in map.as_array().unwrap() {
        let (start, len) = (entry["start"].as_u64().unwrap(), entry["length"].as_u64().unwrap());
        assert_eq!(start, at);
        while at < start + len {
            let extent = disk.extent_at(at).unwrap();
            assert!(extent.len > 0 && at + extent.len <= disk.size());
            let end = (at + extent.len).min(start + len);
            let place = format!("{image}: {:?} at {at:#x}, qemu-img says {entry}", extent.data);
            let host = entry["offset"].as_u64().map(|offset| offset + (at - start));
            let bytes = (end - at <= COMPARED).then(|| read(&*disk, at, (end - at) as usize));
            hosts += u64::from(matches!(extent.data, Data::Host(..)));
            compare(extent.data, entry, host, bytes.as_deref(), &place);
            at = end;
        }
    }
    // QEMU counts in sectors.
    assert!(at == disk.size() || at == disk.size().next_multiple_of(512));
    // A mapping that is never in one piece would pass the rest and be slow.
    assert!(hosts <= 16 + disk.size() / 8192, "{image}: {hosts} host extents");
}

/// What lies at `at` of a disk, and how far.
pub fn kind(disk: &dyn Disk, at: u64) -> (&'static str, u64) {
    match disk.extent_at(at).unwrap() {
        Extent { len, data: Data::Hole } => ("hole", len),
        Extent { len, data: Data::Zero } => ("zero", len),
        Extent { len, data: Data::Host(..) } => ("host", len),
        Extent { len, data: Data::Opaque } => ("opaque", len),
    }
}

/// That a huge disk is one hole, and that it is little work to find this out.
pub fn is_one_hole(disk: &dyn Disk) {
    let (mut at, mut calls) = (0, 0);
    while at < disk.size() {
        let (kind, len) = kind(disk, at);
        assert_eq!(kind, "hole");
        at += len;
        calls += 1;
    }
    assert!(calls < 200, "{calls} calls for {at} bytes");
}

/// Compares what one extent is with QEMU's `entry`, by which it lies at `host`, and with its `bytes` as they are read.
fn compare(data: Data<'_>, entry: &Value, host: Option<u64>, bytes: Option<&[u8]>, place: &str) {
    let flag = |name: &str| entry[name].as_bool().unwrap_or(false);
    match data {
        // QEMU does not look for holes in every file. What is not allocated has no place, whether it is called zero or
        // not.
        Data::Hole => assert!(bytes.into_iter().flatten().all(|byte| *byte == 0), "{place}"),
        Data::Zero => {
            assert!(flag("zero") || host.is_none(), "{place}");
            assert!(bytes.into_iter().flatten().all(|byte| *byte == 0), "{place}");
        }
        Data::Host(file, offset) => {
            assert!(!flag("zero") && host.is_none_or(|host| host == offset), "{place}");
            let bytes = bytes.unwrap();
            let mut there = vec![0; bytes.len()];
            file.read_exact_at(&mut there, offset).unwrap();
            assert!(there == bytes, "{place}");
        }
        Data::Opaque => {
            assert!(!flag("zero") && entry["compressed"].as_bool().unwrap_or(host.is_none()), "{place}");
        }
    }
}
