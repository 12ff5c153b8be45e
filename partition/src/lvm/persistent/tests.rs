//! Trees and arrays that the kernel does not make: circles, contradictions, damage.

use images::Budget;
use images::disk::{Counting, Memory};
use proptest::prelude::*;

use super::*;

/// A block of metadata with its checksum made right.
pub fn seal(block: &mut [u8], xor: u32) {
    let sum = !crc32c::crc32c(&block[4..]) ^ xor;
    block[..4].copy_from_slice(&sum.to_le_bytes());
}

/// A node in this block, of these entries.
pub fn node(number: u64, flags: u32, entries: &[(u64, u64)]) -> Vec<u8> {
    let mut block = empty_node(number, flags, entries.len(), 252, 8);
    for (index, (key, value)) in entries.iter().enumerate() {
        block[32 + 8 * index..][..8].copy_from_slice(&key.to_le_bytes());
        block[32 + 8 * (252 + index)..][..8].copy_from_slice(&value.to_le_bytes());
    }
    seal(&mut block, BTREE_CSUM_XOR);
    block
}

/// A leaf in this block, with one entry of 24 bytes, which are zeros.
pub fn wide_node(number: u64, key: u64) -> Vec<u8> {
    let mut block = empty_node(number, LEAF_NODE, 1, 126, 24);
    block[32..40].copy_from_slice(&key.to_le_bytes());
    seal(&mut block, BTREE_CSUM_XOR);
    block
}

fn empty_node(number: u64, flags: u32, entries: usize, most: usize, size: usize) -> Vec<u8> {
    let mut block = vec![0; BLOCK_SIZE];
    block[4..8].copy_from_slice(&flags.to_le_bytes());
    block[8..16].copy_from_slice(&number.to_le_bytes());
    for (at, value) in [(16, entries), (20, most), (24, size)] {
        block[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
    }
    block
}

/// A block of an array, with these values.
pub fn array_block(number: u64, values: &[u64]) -> Vec<u8> {
    let mut block = vec![0; BLOCK_SIZE];
    for (at, value) in [(4, 509), (8, values.len()), (12, 8)] {
        block[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
    }
    block[16..24].copy_from_slice(&number.to_le_bytes());
    for (index, value) in values.iter().enumerate() {
        block[24 + 8 * index..][..8].copy_from_slice(&value.to_le_bytes());
    }
    seal(&mut block, ARRAY_CSUM_XOR);
    block
}

/// A store of these blocks, after a first one that is not asked for.
fn store(blocks: &[Vec<u8>]) -> Store {
    let bytes = [&vec![0; BLOCK_SIZE], blocks.concat().as_slice()].concat();
    Store::new(Arc::new(Memory::new("metadata", bytes)), &Bounds::new(&Budget::default()))
}

const TREE: Tree<8> = Tree { root: 1 };

fn value(store: &Store, key: u64) -> Result<Option<u64>> {
    Ok(TREE.get(store, key)?.map(u64::from_le_bytes))
}

#[test]
fn keys_are_found_through_levels() {
    let store = store(&[
        node(1, INTERNAL_NODE, &[(10, 2), (50, 3)]),
        node(2, LEAF_NODE, &[(10, 100), (11, 110), (30, 300)]),
        node(3, LEAF_NODE, &[(60, 600)]),
    ]);
    let want = [(10, 100), (11, 110), (30, 300), (60, 600)];
    for key in (0..70).chain([u64::MAX]) {
        let known = want.iter().find(|(known, _)| *known == key).map(|(_, value)| *value);
        assert_eq!(value(&store, key).unwrap(), known, "{key}");
    }
    // How far an answer holds.
    let leaf = |key| TREE.leaf(&store, key).unwrap();
    assert_eq!((leaf(5).end, leaf(12).end, leaf(31).end, leaf(70).end), (10, 50, 50, u64::MAX));
    assert_eq!(leaf(12).entries().map(|(key, _)| key).collect::<Vec<_>>(), [30]);
    assert_eq!(leaf(5).entries().count() + leaf(31).entries().count(), 0);
}

#[test]
fn blocks_are_read_and_checked_once() {
    let bytes = [vec![0; BLOCK_SIZE], node(1, LEAF_NODE, &[(1, 2)])].concat();
    let counting = Arc::new(Counting::new(Arc::new(Memory::new("metadata", bytes))));
    let store = Store::new(counting.clone(), &Bounds::new(&Budget::default()));
    for _ in 0..3 {
        assert_eq!(value(&store, 1).unwrap(), Some(2));
    }
    assert_eq!(counting.take(), (1, BLOCK_SIZE as u64));
}

#[test]
fn what_cannot_be_is_an_error() {
    let patched = |at: usize, new: &[u8]| {
        let mut block = node(1, LEAF_NODE, &[(1, 10), (2, 20)]);
        block[at..at + new.len()].copy_from_slice(new);
        seal(&mut block, BTREE_CSUM_XOR);
        value(&store(&[block]), 1).unwrap_err().to_string()
    };
    for (at, new, want) in [
        (4, 0u32, "flags 0x0"),
        (4, 3, "flags 0x3"),
        (8, 9, "written for block 0x9"),
        (16, 253, "253 of 252 entries"),
        (20, 255, "of 255 entries of 8 bytes do not fit"),
        (20, u32::MAX, "do not fit"),
        (24, 16, "do not fit"),
        (24, u32::MAX, "do not fit"),
        (24, 4, "values of 4 bytes, want 8"),
        (32, 3, "keys are not in order"),
        (32, 2, "keys are not in order"),
    ] {
        let why = patched(at, &new.to_le_bytes());
        assert!(why.starts_with("B-tree node at byte 0x1000: ") && why.contains(want), "{at}: {why}");
    }
    let mut damaged = node(1, LEAF_NODE, &[(1, 10)]);
    damaged[4000] ^= 1;
    assert!(value(&store(&[damaged]), 1).unwrap_err().to_string().contains("checksum"));
    for root in [0, 2, u64::MAX, u64::MAX / BLOCK_SIZE as u64 + 1] {
        let error = Tree::<8> { root }.get(&store(&[node(1, LEAF_NODE, &[])]), 1).unwrap_err().to_string();
        assert!(error.contains(&format!("in block {root:#x} of metadata, which has 0x2")), "{error}");
    }
}

#[test]
fn circles_end() {
    let own = store(&[node(1, INTERNAL_NODE, &[(0, 1)])]);
    let two = store(&[node(1, INTERNAL_NODE, &[(0, 2)]), node(2, INTERNAL_NODE, &[(0, 1)])]);
    for store in [own, two] {
        let error = value(&store, 5).unwrap_err().to_string();
        assert!(error.contains("more than 12 deep"), "{error}");
    }
}

#[test]
fn arrays_are_walked_in_order() {
    let first: Vec<u64> = (0..509).collect();
    let blocks = [node(1, LEAF_NODE, &[(0, 3), (1, 2)]), array_block(2, &[509, 510, 511]), array_block(3, &first)];
    let array = Array::<8> { root: 1 };
    let walk = |store: &Store, count| {
        let mut seen = Vec::new();
        array.for_each(store, count, |index, value| {
            seen.push((index, u64::from_le_bytes(value)));
            Ok(())
        })?;
        Ok::<_, Error>(seen)
    };
    let sound = store(&blocks);
    for count in [0, 1, 509, 510, 512] {
        assert_eq!(walk(&sound, count).unwrap(), (0..count).map(|index| (index, index)).collect::<Vec<_>>());
    }
    let error = |blocks: &[Vec<u8>], count| walk(&store(blocks), count).unwrap_err().to_string();
    assert!(error(&blocks, 513).contains("3 entries of 8 bytes, want 4 of 8"));
    assert!(error(&blocks, u64::MAX).contains("3 entries of 8 bytes, want 509 of 8"), "ends at once");
    assert!(error(&[node(1, LEAF_NODE, &[(0, 3)]), blocks[1].clone(), blocks[2].clone()], 512).contains("is missing"));
    assert!(error(&[blocks[0].clone(), blocks[1].clone(), blocks[1].clone()], 1).contains("written for block 0x2"));
    let mut wide = blocks.to_vec();
    wide[2][12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    seal(&mut wide[2], ARRAY_CSUM_XOR);
    assert!(error(&wide, 1).contains("do not fit"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damage_does_no_harm(
        patches in prop::collection::vec((0..4 * BLOCK_SIZE, any::<u8>()), 0..3),
        near in prop::collection::vec((0usize..4, 0usize..64, any::<u8>()), 1..6),
        key in any::<u64>(),
    ) {
        let mut blocks = vec![
            node(1, INTERNAL_NODE, &[(0, 2), (100, 3)]),
            node(2, LEAF_NODE, &[(5, 50), (6, 60)]),
            node(3, LEAF_NODE, &[(0, 4), (200, 1)]),
            array_block(4, &[1, 2, 3]),
        ];
        for (at, byte) in patches {
            blocks[at / BLOCK_SIZE][at % BLOCK_SIZE] = byte;
        }
        for (block, at, byte) in near {
            blocks[block][at] = byte;
        }
        for (number, block) in blocks.iter_mut().enumerate() {
            seal(block, if number == 3 { ARRAY_CSUM_XOR } else { BTREE_CSUM_XOR });
        }
        let store = store(&blocks);
        for key in [0, 5, 6, 99, 100, 200, key] {
            let _ = value(&store, key);
            if let Ok(leaf) = TREE.leaf(&store, key) {
                prop_assert!(leaf.entries().count() <= 252);
            }
        }
        for root in 0..6 {
            let mut count = 0;
            let _ = Array::<8> { root }.for_each(&store, 600, |_, _| { count += 1; Ok(()) });
            prop_assert!(count <= 600);
        }
    }
}
