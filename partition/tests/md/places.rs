//! Whose superblock it is: of the disk or of its last partition, of the array's contents or of the member.

use std::fs;
use std::sync::Arc;

use images::disk::Memory;
use images::{Budget, Disk};
use partition::discover;

use crate::golden::{array, assert_content, folder};

/// The bytes of a member.
fn member(name: &str, at: usize) -> Vec<u8> {
    fs::read(folder(name).join(at.to_string())).unwrap()
}

fn disk(bytes: Vec<u8>) -> Arc<dyn Disk> {
    Arc::new(Memory::new("disk", bytes))
}

/// An MBR with one partition, in sectors.
fn put_mbr(bytes: &mut [u8], start: u32, size: u32) {
    let record = [&[0, 0, 2, 0, 0x83, 0xff, 0xff, 0xff][..], &start.to_le_bytes(), &size.to_le_bytes()].concat();
    bytes[..512].fill(0);
    bytes[446..462].copy_from_slice(&record);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
}

/// The schemes of a disk and of its first partition.
fn schemes(disk: &Arc<dyn Disk>) -> (Option<&'static str>, Option<&'static str>) {
    let name = |disk: &Arc<dyn Disk>| {
        let both = [false, true].map(|shares| {
            let found = discover(std::slice::from_ref(disk), shares, &Budget::default()).schemes.remove(0).unwrap();
            found.map(|scheme| scheme.name)
        });
        assert_eq!(both[0], both[1], "the answer does not depend on what is asked for");
        both[0]
    };
    let table = discover(std::slice::from_ref(disk), false, &Budget::default()).found.pop();
    let first = table.and_then(|found| found.volumes.unwrap().remove(0).disk.ok());
    (name(disk), first.as_ref().and_then(name))
}

#[test]
fn a_superblock_in_the_last_partition_is_not_the_disks() {
    for version in ["0.90", "1.0"] {
        let name = format!("version-{version}");
        let mut bytes = vec![0; 1 << 20];
        bytes.extend(member(&name, 0));
        let sectors = (bytes.len() - (1 << 20)) / 512;
        put_mbr(&mut bytes, 2048, sectors as u32);
        let whole = disk(bytes);
        assert_eq!(schemes(&whole), (Some("mbr"), Some("md")), "{version}");
        let partition = discover(std::slice::from_ref(&whole), false, &Budget::default())
            .found
            .remove(0)
            .volumes
            .unwrap()
            .remove(0);
        assert_content(&array(&[partition.disk.unwrap()]), 65_536, version);
    }
}

#[test]
fn half_a_mirror_with_a_table_is_a_member() {
    for version in ["0.90", "1.0"] {
        let name = format!("version-{version}");
        let mut bytes = member(&name, 1);
        put_mbr(&mut bytes, 8, 64);
        let whole = disk(bytes);
        assert_eq!(schemes(&whole), (Some("md"), None), "{version}");
        let array = array(&[whole]).disk.unwrap();
        assert_eq!(schemes(&array), (Some("mbr"), None), "{version}");
    }
    // Where the data does not come first, a table in its place is of another use of the disk.
    let mut bytes = member("version-1.2", 0);
    put_mbr(&mut bytes, 200, 64);
    assert_eq!(schemes(&disk(bytes)).0, Some("mbr"));
}

#[test]
fn a_member_is_no_physical_volume_whatever_it_begins_with() {
    for version in ["0.90", "1.0", "1.2"] {
        let mut bytes = member(&format!("version-{version}"), 0);
        // A label as LVM's tools write it, in sector 1.
        let label = {
            let mut sector = [0u8; 512];
            sector[..8].copy_from_slice(b"LABELONE");
            sector[8] = 1;
            sector[32..64].fill(b'A');
            sector[20..32].copy_from_slice(&[32, 0, 0, 0, b'L', b'V', b'M', b'2', b' ', b'0', b'0', b'1']);
            let crc = sector[20..].iter().fold(0xf597_a6cfu32, |crc, byte| {
                (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
            });
            sector[16..20].copy_from_slice(&crc.to_le_bytes());
            sector
        };
        bytes[512..1024].copy_from_slice(&label);
        assert!(partition::lvm::probe(&*disk(bytes.clone())).unwrap(), "the label is good");
        assert_eq!(schemes(&disk(bytes)).0, Some("md"), "{version}");
    }
}

#[test]
fn a_damaged_superblock_makes_no_member() {
    for (version, at) in [("0.90", 256 << 10), ("1.0", 312 << 10), ("1.1", 0), ("1.2", 4096)] {
        let good = member(&format!("version-{version}"), 0);
        assert_eq!(good[at..][..4], 0xa92b_4efcu32.to_le_bytes(), "{version}");
        for byte in [0, 4, 16, 40, 100, 200, 216, 250] {
            let mut bytes = good.clone();
            bytes[at + byte] ^= 0x40;
            assert_eq!(schemes(&disk(bytes)).0, None, "{version}: byte {byte}");
        }
    }
    // In the other byte order it is known for what it is.
    let mut bytes = member("version-0.90", 0);
    for word in bytes[256 << 10..][..4096].chunks_exact_mut(4) {
        word.reverse();
    }
    let discovery = discover(&[disk(bytes)], true, &Budget::default());
    let why = discovery.found[0].volumes.as_ref().err().unwrap().to_string();
    assert!(why.contains("big-endian byte order"), "{why}");
}
