//! Tables and groups that are small and claim much: what they make us read and keep is bounded, and whoever claims too much
//! is refused by name, alone.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "lvm/group.rs"]
mod group;

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use group::{EXTENT, Group};
use images::disk::{Counting, Memory};
use images::{Budget, Disk};
use partition::{Name, Volume, discover};

fn name(volume: &Volume) -> &str {
    match &volume.name {
        Name::InGroup(_, own) => own,
        _ => panic!("a logical volume"),
    }
}

/// Arrays of this type that lie on each other, each `copies` times on the one below it, with the first image given up.
fn tower(kind: &str, parities: usize, copies: usize, height: usize) -> Group {
    let mut group = Group::new();
    group.add("gone", false, 9, "type = \"error\"");
    group.linear("meta", 1);
    group.linear("r0", 9);
    for floor in 1..=height {
        let below = format!(", \"meta\", \"r{}\"", floor - 1).repeat(copies);
        // With one image for a parity, the rest is data.
        let extents = if kind == "raid1" { 9 } else { copies + 1 - parities };
        group.add(
            &format!("r{floor}"),
            true,
            extents as u64,
            &format!(
                "type = \"{kind}\" device_count = {} stripe_size = 128 region_size = 1024 raids = [\"meta\", \"gone\"{below}]",
                copies + 1
            ),
        );
    }
    group.write();
    group
}

#[test]
fn arrays_on_arrays_end_where_no_real_stack_comes() {
    for (kind, parities, copies) in
        [("raid5_n", 1, 9), ("raid5_ls", 1, 2), ("raid4", 1, 3), ("raid6_zr", 2, 9), ("raid1", 0, 3)]
    {
        let group = tower(kind, parities, copies, 14);
        let counting = Arc::new(Counting::new(group.disk()));
        let budget = Budget::default();
        let disks: [Arc<dyn Disk>; 1] = [counting.clone()];
        let found = partition::lvm::volumes(&disks, &budget).unwrap();
        assert!(counting.take().0 < 30_000, "{kind}: opening");
        assert_eq!(found.len(), 14);
        let mut refused = 0;
        for volume in &found {
            match &volume.disk {
                Ok(disk) => {
                    let reads = disk.amplification();
                    assert!(reads <= 1024, "{kind}: {}", name(volume));
                    let _ = disk.read_at(&mut [0; 512], 0);
                    assert!(counting.take().0 <= reads, "{kind}: {}", name(volume));
                    let _ = disk.extent_at(0);
                }
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains("one read of it may take"), "{kind}: {error}");
                    refused += 1;
                }
            }
        }
        assert!((1..14).contains(&refused), "{kind}: {refused} refused");
        assert!(budget.limit() - budget.free() < 20 << 20, "{kind}: {} left", budget.free());
    }
}

/// A group with volumes that are all behind one writecache, in which this many blocks wait, and one that is not.
fn cached(volumes: usize, blocks: u64) -> Group {
    let data = (64 + 16 * blocks).next_multiple_of(512);
    let mut group = Group::new();
    group.linear("origin", 4);
    let at = group.linear("cache", (data + 512 * blocks).div_ceil(EXTENT));
    group.add("plain", true, 4, "type = \"striped\" stripe_count = 1 stripes = [\"origin\", 0]");
    for number in 0..volumes {
        group.add(
            &format!("w{number}"),
            true,
            4,
            "type = \"writecache\" writecache = \"cache\" origin = \"origin\" writecache_block_size = 512",
        );
    }
    let file = group.write();
    let mut superblock = Vec::new();
    for half in [0x2348_9321u32, 1, 512, 0] {
        superblock.extend(half.to_le_bytes());
    }
    for long in [blocks, u64::MAX] {
        superblock.extend(long.to_le_bytes());
    }
    file.write_all_at(&superblock, at).unwrap();
    // Every second block, so that none follows another.
    let entries: Vec<u8> = (0..blocks).flat_map(|number| [2 * number, 1]).flat_map(|long| long.to_le_bytes()).collect();
    file.write_all_at(&entries, at + 64).unwrap();
    group
}

#[test]
fn volumes_on_one_cache_share_its_list() {
    let group = cached(20, 20_000);
    let budget = Budget::default();
    let found = partition::lvm::volumes(&[group.disk()], &budget).unwrap();
    let mut held = Vec::new();
    for volume in &found {
        volume.disk.as_ref().unwrap().read_at(&mut [0; 512], 0).unwrap();
        held.push(budget.limit() - budget.free());
    }
    // The first one is not behind the cache.
    assert!(held[1] - held[0] >= 20_000 * 24 && held[1] - held[0] < 20_000 * 64, "{held:?}");
    assert!(held[2..].iter().all(|held_now| *held_now == held[1]), "{held:?}");
    drop(found);
    assert_eq!(budget.free(), budget.limit());
}

#[test]
fn a_list_that_does_not_fit_harms_no_other_volume() {
    let group = cached(1, 20_000);
    let budget = Budget::new(700_000);
    let found = partition::lvm::volumes(&[group.disk()], &budget).unwrap();
    let read = |volume: &Volume| volume.disk.as_ref().unwrap().read_at(&mut [0; 512], 0);
    let error = read(&found[1]).unwrap_err();
    assert!(matches!(error.root(), images::Error::Memory(_)), "{error}");
    assert!(error.to_string().starts_with("vg/w0: the list of "), "{error}");
    read(&found[0]).unwrap();
}

/// A disk with a GPT of so many partitions, all in the same place.
fn gpt(count: u32) -> Vec<u8> {
    let array = 128 * count as usize;
    let mut disk = vec![0; 1024 + array + (64 << 10)];
    let first = (1024 + array as u64) / 512;
    for entry in disk[1024..1024 + array].chunks_exact_mut(128) {
        entry[..32].fill(7);
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&(first + 100).to_le_bytes());
        entry[56..128].fill(b'n');
    }
    // The protective partition.
    disk[446 + 4] = 0xee;
    disk[446 + 8] = 1;
    disk[446 + 12..][..4].fill(0xff);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let crc = crc32fast::hash(&disk[1024..1024 + array]);
    let header = &mut disk[512..1024];
    header[..8].copy_from_slice(b"EFI PART");
    let mut number = |at: usize, value: u64| header[at..at + 8].copy_from_slice(&value.to_le_bytes());
    number(8, 0x5c_0001_0000);
    number(24, 1);
    number(72, 2);
    number(80, u64::from(count) | 128 << 32);
    header[12..16].copy_from_slice(&92u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32fast::hash(&header[..92]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    disk
}

/// How often a partition is read to find out what volumes it holds.
const READS: u64 = 24;
/// What a partition takes in memory, in bytes.
const PARTITION: u64 = 1024;

#[test]
fn each_partition_costs_the_same() {
    for count in [128, 4096] {
        let counting = Arc::new(Counting::new(Arc::new(Memory::new("disk", gpt(count)))));
        let budget = Budget::default();
        let disk: Arc<dyn Disk> = counting.clone();
        let mut tables = discover(&[disk], false, &budget);
        assert!(counting.take().0 < 100);
        let found = tables.found.remove(0);
        let volumes = found.volumes.unwrap();
        assert_eq!(volumes.len(), count as usize);
        let held = budget.limit() - budget.free();
        assert_eq!(held, found.held.bytes());
        assert!((1..PARTITION).contains(&(held / u64::from(count))), "{held} for {count}");
        let disks: Vec<_> = volumes.iter().map(|volume| volume.disk.clone().unwrap()).collect();
        assert!(discover(&disks, true, &budget).found.is_empty());
        let (reads, _) = counting.take();
        assert!(reads <= READS * u64::from(count), "{reads} for {count}");
    }
    // Too many for what there is.
    let budget = Budget::new(100_000);
    let disk: Arc<dyn Disk> = Arc::new(Memory::new("disk", gpt(4096)));
    let error = discover(&[disk], false, &budget).found.remove(0).volumes.err().unwrap().to_string();
    assert!(error.starts_with("disk: a list of 4096 gpt volumes would take"), "{error}");
    assert_eq!(budget.free(), budget.limit());
}
