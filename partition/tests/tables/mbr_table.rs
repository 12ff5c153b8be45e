//! MBRs that `mbrman` writes, and such that no tool would.

use std::io::Cursor;

use mbrman::{MBR, MBRPartitionEntry};

use super::*;

fn entry(sys: u8, starting_lba: u32, sectors: u32) -> MBRPartitionEntry {
    MBRPartitionEntry { sys, starting_lba, sectors, ..MBRPartitionEntry::empty() }
}

/// A disk with two primary and (in the second slot) an extended partition with three logical ones; sizes in MiB.
fn written(sector_size: usize) -> Vec<u8> {
    let mut device = Cursor::new(vec![0; 64 * MIB as usize]);
    let mut mbr = MBR::new_from(&mut device, sector_size as u32, [0x78, 0x56, 0x34, 0x12]).unwrap();
    let mib = MIB as u32 / sector_size as u32;
    mbr.align = mib;
    mbr[1] = entry(0x83, mib, 4 * mib);
    mbr[2] = entry(0x0f, 8 * mib, 40 * mib);
    mbr[4] = entry(0x8e, 50 * mib, 2 * mib);
    mbr.push(0x82, 8 * mib, 3 * mib).unwrap();
    mbr.push(0x83, 12 * mib, 5 * mib).unwrap();
    mbr.push(0x07, 20 * mib, 9 * mib).unwrap();
    mbr.write_into(&mut device).unwrap();
    let mut bytes = device.into_inner();
    for start in [1, 50, 9, 13, 21] {
        let at = start * MIB;
        bytes[at as usize..][..8].copy_from_slice(&at.to_le_bytes());
    }
    bytes
}

const WANT: [(u32, u64, u64); 5] =
    [(1, MIB, 4 * MIB), (4, 50 * MIB, 2 * MIB), (5, 9 * MIB, 2 * MIB), (6, 13 * MIB, 4 * MIB), (7, 21 * MIB, 8 * MIB)];

#[test]
fn primary_and_logical_partitions() {
    for sector_size in [512, 4096] {
        let bytes = written(sector_size);
        for disk in [memory(&bytes), forced(&bytes, sector_size as u32)] {
            let found = volumes(disk, "mbr");
            assert_eq!(ranges(&found), WANT, "sectors of {sector_size} bytes");
            let texts: Vec<_> = found
                .iter()
                .map(|v| (number(v), v.kind.as_str(), v.kind_id.as_deref().unwrap(), v.uuid.as_deref().unwrap()))
                .collect();
            assert_eq!(
                texts,
                [
                    (1, "Linux", "0x83", "12345678-01"),
                    (2, "extended, LBA", "0x0f", "12345678-02"),
                    (4, "Linux LVM", "0x8e", "12345678-04"),
                    (5, "Linux swap", "0x82", "12345678-05"),
                    (6, "Linux", "0x83", "12345678-06"),
                    (7, "NTFS or exFAT", "0x07", "12345678-07"),
                ]
            );
            assert_eq!(reason(&found[1]), "partition 2 of disk only holds the logical partitions");
        }
    }
}

#[test]
fn one_bad_boot_record_hides_only_what_follows() {
    let good = written(512);
    let ebr = 12 * MIB as usize;
    for (at, value, want) in [
        (510, 0x54, "EBR at byte 0xc00000: signature 0x54 0xaa, want 0x55 0xaa"),
        // The link of the first boot record: past the end, back to itself, and between partitions.
        (-(4 * MIB as isize) + 446 + 16 + 11, 0x7f, "disk at byte 0x"),
        (-(4 * MIB as isize) + 446 + 16 + 9, 0x00, "EBR at byte 0x800000: the chain leads back to it"),
        (-(4 * MIB as isize) + 446 + 16 + 8, 0x01, "EBR at byte 0xc00200: signature 0x0 0x0, want 0x55 0xaa"),
    ] {
        let mut bytes = good.clone();
        bytes[ebr.checked_add_signed(at).unwrap()] = value;
        let found = volumes(memory(&bytes), "mbr");
        assert_eq!(ranges(&found), WANT[..3], "{want}");
        let last = found.last().unwrap();
        assert_eq!((number(last), last.size), (6, 0));
        assert!(reason(last).starts_with(want), "{}", reason(last));
    }
    for flag in [1, 0x7f, 0x81, 0xff] {
        let mut bytes = good.clone();
        bytes[ebr + 446] = flag;
        assert_eq!(ranges(&volumes(memory(&bytes), "mbr")), WANT, "an odd flag in a boot record means nothing");
        bytes[446 + 48] = flag;
        assert_eq!(ranges(&volumes(memory(&bytes), "mbr")), WANT, "nor does one in the table");
    }
    let mut unused = good.clone();
    unused[8 * MIB as usize..][..512].fill(0);
    let found = volumes(memory(&unused), "mbr");
    assert_eq!((ranges(&found), found.len()), (WANT[..2].to_vec(), 3), "never had a logical partition");
}

#[test]
fn chains_end() {
    // Every boot record has a partition and links to the next sector.
    let mut bytes = vec![0; 2 * MIB as usize];
    let records = bytes.len() / 512;
    for sector in 0..records {
        let record = &mut bytes[sector * 512..][..512];
        let mut set = |slot: usize, os_type: u8, start: usize| {
            record[446 + 16 * slot + 4] = os_type;
            record[446 + 16 * slot + 8..][..4].copy_from_slice(&(start as u32).to_le_bytes());
            record[446 + 16 * slot + 12] = 1;
        };
        match sector {
            0 => set(0, 0x05, 1),
            _ => (set(0, 0x83, 1), set(1, 0x05, sector)).1,
        }
        record[510..].copy_from_slice(&[0x55, 0xaa]);
    }
    let found = volumes(memory(&bytes), "mbr");
    assert_eq!(found.len(), 1 + 251 + 1, "the extended one, numbers 5 to 255, and the reason");
    assert_eq!(reason(&found[252]), "more than 256 partitions, which is also the kernel's limit");
    for sector in 1..records {
        bytes[sector * 512 + 446 + 12] = 0;
    }
    let found = volumes(memory(&bytes), "mbr");
    assert_eq!(found.len(), 2);
    assert_eq!(reason(&found[1]), "EBR at byte 0xca00: 100 before it hold no partition");
}

#[test]
fn partitions_outside_the_disk_are_entries_with_a_reason() {
    let bytes = &written(512)[..52 * MIB as usize - 512];
    let found = volumes(memory(bytes), "mbr");
    assert_eq!(ranges(&found), [&WANT[..1], &WANT[2..]].concat());
    assert_eq!(
        reason(&found[2]),
        "partition 4 of disk at byte 0x3200000: 2097152 bytes long, but disk ends at byte 0x33ffe00"
    );
    let found = volumes(memory(&written(512)[..512]), "mbr");
    assert!(found.iter().all(|volume| volume.disk.is_err()));
    let mut itself = written(512);
    itself[446 + 8..446 + 12].fill(0);
    let found = volumes(memory(&itself), "mbr");
    assert_eq!(reason(&found[0]), "MBR at byte 0x0: partition 1 starts at its own table");
    let mut huge = written(512);
    huge[446 + 8..446 + 16].fill(0xff);
    assert!(reason(&volumes(memory(&huge), "mbr")[0]).contains("at byte 0x1fffffffe00: 2199023255040 bytes long"));
}

#[test]
fn what_is_no_partition_table() {
    let none = |bytes: &[u8], what: &str| assert_eq!(table(memory(bytes)).0, None, "{what}");
    let mut sector = vec![0; MIB as usize];
    none(&sector, "zeros");
    sector[510..512].copy_from_slice(&[0x55, 0xaa]);
    none(&sector, "a signature and nothing else");
    sector[446..510].copy_from_slice(b"Press any key to restart the computer, or remove all the disks..");
    none(&sector, "text");
    none(&written(512)[..511], "less than a sector");
    let mut unsigned = written(512);
    unsigned[511] = 0;
    none(&unsigned, "no signature");
    for (flags, is_table) in [([0, 0, 0, 0], true), ([1, 0x80, 0, 0], true), ([1, 2, 0, 0], false)] {
        let mut bytes = written(512);
        flags.iter().enumerate().for_each(|(slot, flag)| bytes[446 + 16 * slot] = *flag);
        assert_eq!(table(memory(&bytes)).0.is_some(), is_table, "{flags:?}");
    }
    let mut no_type = written(512);
    no_type[450] = 0;
    assert_eq!(ranges(&volumes(memory(&no_type), "mbr")), WANT, "the kernel has such a partition too");
    let mut no_signature = written(512);
    no_signature[440..444].fill(0);
    assert!(volumes(memory(&no_signature), "mbr").iter().all(|volume| volume.uuid.is_none()));
}
