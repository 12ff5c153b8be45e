//! GPTs that the `gpt` crate writes.

use std::io::Cursor;

use gpt::disk::LogicalBlockSize;
use gpt::{GptConfig, partition_types};
use images::disk::Faulty;

use super::*;

const DISK_SIZE: usize = 16 * MIB as usize;

/// A stamped disk with three partitions; the crate writes them one after the other, whatever slots are asked for.
fn written(block: LogicalBlockSize) -> Vec<u8> {
    let mut device = Cursor::new(vec![0; DISK_SIZE]);
    let last = (DISK_SIZE as u64 / block.as_u64() - 1).try_into().unwrap();
    gpt::mbr::ProtectiveMBR::with_lb_size(last).overwrite_lba0(&mut device).unwrap();
    let config = GptConfig::new().writable(true).logical_block_size(block);
    let mut disk = config.create_from_device(device, None).unwrap();
    let at = |mib: u64| mib * MIB / block.as_u64();
    disk.add_partition_at("boot", 1, at(1), at(2), partition_types::EFI, 0).unwrap();
    disk.add_partition_at("grün 漢字 😀", 2, at(3), at(5), partition_types::LINUX_FS, 0).unwrap();
    disk.add_partition_at("", 3, at(8), at(1), partition_types::LINUX_LVM, 0).unwrap();
    let mut bytes = disk.write().unwrap().into_inner();
    stamp(&mut bytes);
    bytes
}

const WANT: [(u32, u64, u64); 3] = [(1, MIB, 2 * MIB), (2, 3 * MIB, 5 * MIB), (3, 8 * MIB, MIB)];

fn assert_read(bytes: &[u8]) {
    assert_eq!(ranges(&volumes(memory(bytes), "gpt")), WANT);
}

/// The offset of the primary header; the primary array follows in the next sector.
const HEADER: [(LogicalBlockSize, usize); 2] = [(LogicalBlockSize::Lb512, 512), (LogicalBlockSize::Lb4096, 4096)];

#[test]
fn both_sector_sizes_are_detected() {
    for (block, size) in HEADER {
        let bytes = written(block);
        let found = volumes(memory(&bytes), "gpt");
        assert_eq!(ranges(&found), WANT);
        let texts: Vec<_> = found.iter().map(|v| (v.kind.as_str(), v.label.as_deref())).collect();
        let want = [("EFI System", Some("boot")), ("Linux filesystem", Some("grün 漢字 😀")), ("Linux LVM", None)];
        assert_eq!(texts, want);
        assert_eq!(found[1].kind_id.as_deref(), Some("0fc63daf-8483-4772-8e79-3d69d8477de4"));
        assert_eq!(found[0].disk.as_ref().unwrap().to_string(), "partition 1 of disk");
        let device = Cursor::new(bytes.clone());
        let theirs = GptConfig::new().logical_block_size(block).open_from_device(device).unwrap();
        for volume in &found {
            let their = &theirs.partitions()[&number(volume)];
            assert_eq!(volume.uuid.as_deref(), Some(their.part_guid.to_string().as_str()));
        }
        assert_eq!(ranges(&volumes(forced(&bytes, size as u32), "gpt")), WANT, "forced to what it is");
        let (scheme, error) = table(forced(&bytes, 4608 - size as u32));
        assert_eq!(scheme, Some("gpt"), "the protective MBR says so");
        assert!(error.err().unwrap().contains("signature is not EFI PART"));
    }
}

#[test]
fn each_half_of_the_table_falls_back_to_its_backup() {
    for (block, size) in HEADER {
        let good = written(block);
        let backup_header = DISK_SIZE - size;
        let backup_array = backup_header - (16 << 10);
        // (what is damaged, what is still good)
        for damaged in [
            vec![size],
            vec![2 * size],
            vec![size, 2 * size],
            vec![2 * size, backup_header],
            vec![size, backup_array],
            vec![backup_array, backup_header],
        ] {
            let mut bytes = good.clone();
            damaged.iter().for_each(|at| bytes[at + 40] ^= 1);
            assert_read(&bytes);
        }
        let mut bytes = good.clone();
        bytes[size..3 * size].fill(0);
        assert_read(&bytes);
        for damaged in [[size, backup_header], [2 * size, backup_array]] {
            let mut bytes = good.clone();
            damaged.iter().for_each(|at| bytes[at + 40] ^= 1);
            let error = table(memory(&bytes)).1.err().unwrap();
            let what = if damaged[0] == size { "GPT header" } else { "GPT entries" };
            assert!(error.starts_with(&format!("{what} at byte {:#x}: checksum 0x", damaged[0])), "{error}");
        }
    }
}

#[test]
fn an_unreadable_half_falls_back_too() {
    for bad in [4096, 2 * 4096] {
        let inner = memory(&written(LogicalBlockSize::Lb4096));
        let faulty = Faulty::new(inner, std::iter::once(bad..bad + 1).collect());
        assert_eq!(ranges(&volumes(Arc::new(faulty), "gpt")), WANT);
    }
}

#[test]
fn a_disk_that_grew_or_shrank() {
    for (block, size) in HEADER {
        let mut grown = written(block);
        grown.resize(2 * DISK_SIZE, 0);
        assert_read(&grown);
        grown[2 * size] ^= 1;
        assert_read(&grown);
        grown[size] ^= 1;
        assert_read(&grown);
        let shrunk = &written(block)[..8 * MIB as usize + 4096];
        let found = volumes(memory(shrunk), "gpt");
        assert_eq!(ranges(&found), WANT[..2]);
        let want = format!(
            "partition 3 of disk at byte 0x800000: 1048576 bytes long, but disk ends at byte {:#x}",
            shrunk.len()
        );
        assert_eq!((number(&found[2]), found[2].size, reason(&found[2])), (3, MIB, want));
    }
}

/// Sets a field of the primary header and makes its checksum good again.
fn patched(bytes: &[u8], at: usize, value: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[512 + at..][..value.len()].copy_from_slice(value);
    let len = u32::from_le_bytes(bytes[524..528].try_into().unwrap()) as usize;
    bytes[528..532].fill(0);
    let crc = crc32fast::hash(bytes.get(512..512 + len).unwrap_or_default());
    bytes[528..532].copy_from_slice(&crc.to_le_bytes());
    bytes
}

#[test]
fn headers_that_are_checked_and_still_wrong() {
    let good = written(LogicalBlockSize::Lb512);
    let mut alone = good.clone();
    alone[DISK_SIZE - 512..].fill(0);
    for (at, value, want) in [
        (12, &91u32.to_le_bytes()[..], "91 bytes long, want 92 to 512"),
        (12, &513u32.to_le_bytes(), "513 bytes long, want 92 to 512"),
        (12, &u32::MAX.to_le_bytes(), "4294967295 bytes long, want 92 to 512"),
        (24, &2u64.to_le_bytes(), "says that it is at sector 2, want 1"),
        (40, &u64::MAX.to_le_bytes(), "the first usable sector 18446744073709551615 is behind the last"),
        (80, &u32::MAX.to_le_bytes(), "4294967295 entries of 128 bytes, want at most 4 MiB"),
        (84, &0u32.to_le_bytes(), "entries of 0 bytes, want 128 times a power of two"),
        (84, &64u32.to_le_bytes(), "entries of 64 bytes"),
        (84, &192u32.to_le_bytes(), "entries of 192 bytes"),
        (84, &(1u32 << 31).to_le_bytes(), "128 entries of 2147483648 bytes, want at most 4 MiB"),
    ] {
        let error = table(memory(&patched(&alone, at, value))).1.err().unwrap();
        assert!(error.starts_with("GPT header at byte 0x200: ") && error.contains(want), "{error}");
        assert_read(&patched(&good, at, value));
    }
    for (at, value) in [(72, u64::MAX), (72, 0), (72, 1 << 40), (32, u64::MAX)] {
        assert_read(&patched(&good, at, &value.to_le_bytes()));
    }
    let empty = patched(&patched(&good, 80, &[0; 4]), 88, &[0; 4]);
    assert!(volumes(memory(&empty), "gpt").is_empty(), "no entries at all");
}

#[test]
fn any_legal_entry_size() {
    for entry_size in [128usize, 256, 512, 4096] {
        let mut bytes = written(LogicalBlockSize::Lb512);
        let mut array = vec![0; 16 * entry_size];
        for slot in 0..16 {
            array[slot * entry_size..][..128].copy_from_slice(&bytes[1024 + slot * 128..][..128]);
            array[slot * entry_size..][128..entry_size].fill(0xee);
        }
        // Where no partition is.
        let place = 10 * MIB as usize;
        bytes[place..][..array.len()].copy_from_slice(&array);
        let mut fields = Vec::new();
        fields.extend((place as u64 / 512).to_le_bytes());
        fields.extend(16u32.to_le_bytes());
        fields.extend((entry_size as u32).to_le_bytes());
        fields.extend(crc32fast::hash(&array).to_le_bytes());
        assert_read(&patched(&bytes, 72, &fields));
    }
}

#[test]
fn entries_that_are_nonsense() {
    for (first, last, want) in [
        (8u64, 7u64, "partition 1 goes from sector 8 to 7"),
        (0, 2000, "partition 1 goes from sector 0 to 2000"),
        (1, 2000, "partition 1 goes from sector 1 to 2000"),
        (2, u64::MAX, "partition 1 goes from sector 2 to 18446744073709551615"),
        (u64::MAX, u64::MAX, "partition 1 goes from sector"),
        (1 << 54, 1 << 54, "512 bytes long, but disk ends at byte 0x1000000"),
    ] {
        let mut bytes = written(LogicalBlockSize::Lb512);
        bytes[1024 + 32..][..8].copy_from_slice(&first.to_le_bytes());
        bytes[1024 + 40..][..8].copy_from_slice(&last.to_le_bytes());
        let crc = crc32fast::hash(&bytes[1024..1024 + (16 << 10)]);
        let found = volumes(memory(&patched(&bytes, 88, &crc.to_le_bytes())), "gpt");
        assert!(reason(&found[0]).contains(want), "{}", reason(&found[0]));
        assert_eq!(ranges(&found), WANT[1..], "the others are there");
    }
}

#[test]
fn the_first_sector_decides_between_mbr_and_gpt() {
    let good = written(LogicalBlockSize::Lb512);
    let mut blank = good.clone();
    blank[..512].fill(0);
    assert_read(&blank);
    let mut mbr = good.clone();
    mbr[450] = 0x83;
    assert_eq!(table(memory(&mbr)).0, Some("mbr"), "a good MBR with what is left of a GPT");
    let mut hybrid = good.clone();
    hybrid.copy_within(446..462, 462);
    hybrid[466] = 0x0c;
    assert_read(&hybrid);
    hybrid[512..MIB as usize].fill(0);
    hybrid[15 * MIB as usize..].fill(0);
    assert_eq!(table(memory(&hybrid)).0, Some("mbr"), "a hybrid MBR whose GPT is gone");
    let mut gone = good.clone();
    gone[512..MIB as usize].fill(0);
    gone[15 * MIB as usize..].fill(0);
    let error = table(memory(&gone)).1.err().unwrap();
    assert_eq!(error, "GPT header at byte 0x200: signature is not EFI PART");
    assert_eq!(table(memory(&good[..512])).0, Some("gpt"), "nothing but the protective MBR");
    assert!(table(memory(&good[..512])).1.is_err());
}
