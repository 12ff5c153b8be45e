//! Pools that the kernel does not make: contradictions, blocks outside, damage. Metadata of five blocks, in memory.

use images::Budget;
use images::disk::Memory;
use proptest::prelude::*;

use super::*;
use crate::lvm::persistent::layout::{BLOCK_SIZE, BTREE_CSUM_XOR, INTERNAL_NODE, LEAF_NODE};
use crate::lvm::persistent::tests::{node, seal, wide_node};

const BLOCK: usize = 64 << 10;

/// A pool with device 7, whose blocks 1 to 3 lie in blocks 2, 3 and 0 of the pool, and block 9 in block 1.
fn metadata() -> Vec<Vec<u8>> {
    let mut superblock = vec![0; BLOCK_SIZE];
    let mut long = |at: usize, value: u64| superblock[at..at + 8].copy_from_slice(&value.to_le_bytes());
    long(32, MAGIC);
    long(40, 2);
    long(48, 7);
    long(320, 1);
    long(328, 4);
    long(336, u64::from(DATA_BLOCK_MIN_SECTORS) | u64::from(METADATA_BLOCK_SECTORS) << 32);
    seal(&mut superblock, CSUM_XOR);
    let at = |data: u64| data << TIME_BITS | 5;
    vec![
        superblock,
        node(1, LEAF_NODE, &[(7, 2)]),
        node(2, INTERNAL_NODE, &[(0, 3), (8, 5)]),
        node(3, LEAF_NODE, &[(1, at(2)), (2, at(3)), (3, at(0))]),
        wide_node(4, 7),
        node(5, LEAF_NODE, &[(9, at(1))]),
    ]
}

/// The device's disk of ten blocks and a half.
fn open(metadata: &[Vec<u8>], id: u32, origin: Option<Vec<u8>>) -> Result<ThinVolume> {
    let data = (1..=4).flat_map(|block| [block; BLOCK]).collect();
    let (metadata, data) = (Memory::new("tmeta", metadata.concat()), Memory::new("tdata", data));
    let bounds = Bounds::new(&Budget::default());
    let pool = Pool::open("vg/pool", Arc::new(metadata), Arc::new(data), DATA_BLOCK_MIN_SECTORS, 7, &bounds)?;
    let origin = origin.map(|bytes| Arc::new(Memory::new("origin", bytes)) as _);
    ThinVolume::open("vg/thin", Arc::new(pool), id, 10 * BLOCK as u64 + 512, origin)
}

/// The first byte of each block.
fn content(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0xee; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes.chunks(BLOCK).map(|block| block[0]).collect()
}

#[test]
fn blocks_holes_and_the_origin_behind_them() {
    let disk = open(&metadata(), 7, None).unwrap();
    assert_eq!(content(&disk), [0, 3, 4, 1, 0, 0, 0, 0, 0, 2, 0]);
    let lens: Vec<u64> = [0, 1, 3, 4, 8, 9, 10].map(|block| disk.extent_at(block * BLOCK as u64).unwrap().len).into();
    // Where a leaf ends, so does the answer.
    assert_eq!(lens, [1, 2, 1, 4, 1, 1, 0].map(|blocks| blocks * BLOCK as u64 + u64::from(blocks == 0) * 512));
    // An origin that ends in the middle of a block.
    let disk = open(&metadata(), 7, Some(vec![9; 5 * BLOCK + 100])).unwrap();
    assert_eq!(content(&disk), [9, 3, 4, 1, 9, 9, 0, 0, 0, 2, 0]);
    let mut bytes = [1; 200];
    disk.read_at(&mut bytes, 5 * BLOCK as u64).unwrap();
    assert!(bytes[..100] == [9; 100] && bytes[100..] == [0; 100]);
}

#[test]
fn what_cannot_be_is_an_error() {
    let why = |at: usize, value: u32| {
        let mut blocks = metadata();
        blocks[0][at..at + 4].copy_from_slice(&value.to_le_bytes());
        seal(&mut blocks[0], CSUM_XOR);
        open(&blocks, 7, None).map(|_| ()).expect_err("a pool that cannot be").to_string()
    };
    for (at, value, want) in [
        (32, 1, "magic 1 for block 0"),
        (8, 1, "for block 1"),
        (40, 3, "vg/pool: thin pool of version 3"),
        (360, 2, "vg/pool: thin pool with incompatible features 0x2"),
        (336, 0, "blocks of 0 sectors"),
        (336, 129, "blocks of 129 sectors"),
        (336, 256, "blocks of 256 sectors, but LVM says 128"),
        (336, u32::MAX, "sectors, want a multiple"),
        (340, 16, "metadata blocks of 16 sectors"),
        (320, 0, "in block 0x0 of tmeta"),
        (328, 1000, "in block 0x3e8 of tmeta"),
    ] {
        let why = why(at, value);
        assert!(why.contains(want), "{at}: {why}");
    }
    let mut damaged = metadata();
    damaged[0][50] ^= 1;
    let error = |blocks: &[Vec<u8>], id| open(blocks, id, None).map(|_| ()).expect_err("no device").to_string();
    assert!(error(&damaged, 7).contains("superblock at byte 0x0: checksum"));
    assert!(error(&metadata(), 8).contains("vg/thin: thin device 8 is not in the pool's metadata"));
    assert!(error(&[vec![0; 6 * BLOCK_SIZE]], 7).contains("it is all zeros"));
    // Flags that warn only, and another transaction than LVM's.
    for (at, value) in [(4, NEEDS_CHECK), (48, 6)] {
        let mut blocks = metadata();
        blocks[0][at..at + 4].copy_from_slice(&value.to_le_bytes());
        seal(&mut blocks[0], CSUM_XOR);
        assert!(open(&blocks, 7, None).is_ok());
    }
}

#[test]
fn a_block_outside_of_the_pool_is_an_error_where_it_is() {
    for outside in [4, (1 << 40) - 1] {
        let mut blocks = metadata();
        blocks[5] = node(5, LEAF_NODE, &[(9, outside << TIME_BITS)]);
        let disk = open(&blocks, 7, None).unwrap();
        disk.read_at(&mut [0; 512], BLOCK as u64).unwrap();
        let error = disk.read_at(&mut [0; 512], 9 * BLOCK as u64).unwrap_err().to_string();
        assert!(
            error.contains(&format!("vg/thin at byte 0x90000: mapped to block {outside:#x} of the pool")),
            "{error}"
        );
        assert!(disk.extent_at(9 * BLOCK as u64).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damage_does_no_harm(patches in prop::collection::vec((0usize..6, prop_oneof![0usize..64, 300usize..372, 0..BLOCK_SIZE, 2048usize..2080], any::<u8>()), 1..6)) {
        let mut blocks = metadata();
        for (block, at, byte) in patches {
            blocks[block][at] = byte;
        }
        for (number, block) in blocks.iter_mut().enumerate() {
            seal(block, if number == 0 { CSUM_XOR } else { BTREE_CSUM_XOR });
        }
        if let Ok(disk) = open(&blocks, 7, None) {
            let mut at = 0;
            while at < disk.size() {
                let _ = disk.read_at(&mut [0; 512], at);
                match disk.extent_at(at) {
                    Ok(extent) => {
                        prop_assert!(extent.len > 0 && extent.len <= disk.size() - at);
                        at += extent.len;
                    }
                    Err(_) => at += BLOCK as u64,
                }
            }
        }
    }
}
