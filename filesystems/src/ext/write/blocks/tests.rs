use std::collections::BTreeMap;

use super::*;
use crate::ext::write::scratch::{KINDS, Random, Scratch};

/// Takes and gives back at random, and gives back all in the end.
fn takes_and_gives(options: &str, megabytes: u64, seed: u64) {
    let scratch = Scratch::new(options, megabytes, 0);
    let (blocks, cluster) = (scratch.volume.superblock().blocks, u64::from(scratch.volume.superblock().cluster_blocks));
    let mut random = Random(seed);
    let mut taken: BTreeMap<u64, u64> = BTreeMap::new();
    for step in 0..300 {
        if random.below(3) > 0 {
            let (goal, len) = (random.below(blocks), 1 + random.below(if step % 7 == 0 { blocks } else { 40 }));
            let Ok(run) = scratch.operate(|op| allocate(op, goal, len)) else { continue };
            assert!(!run.is_empty() && run.end - run.start <= len, "{run:?} of {len}");
            let whole = run.start / cluster * cluster..run.end.next_multiple_of(cluster).min(blocks);
            let before = taken.range(..whole.end).next_back();
            assert!(before.is_none_or(|(_, end)| *end <= whole.start), "{whole:?} after {before:?}");
            taken.insert(run.start, run.end);
        } else if let Some((start, end)) = taken.range(random.below(blocks)..).next().map(|(start, end)| (*start, *end))
        {
            scratch.operate(|op| free(op, start..end, step % 2 == 0)).unwrap();
            assert!(scratch.operate(|op| free(op, start..end, false)).is_err(), "twice");
            taken.remove(&start);
        }
        if step % 50 == 0 {
            scratch.commit();
        }
    }
    for (start, end) in taken {
        scratch.operate(|op| free(op, start..end, false)).unwrap();
    }
    scratch.check();
}

#[test]
fn no_block_is_taken_twice_and_all_is_counted() {
    for (seed, (options, megabytes)) in (1..).zip(KINDS) {
        eprintln!("{options}");
        takes_and_gives(options, *megabytes, seed);
    }
}

#[test]
fn all_free_blocks_can_be_taken_and_no_more() {
    for (options, megabytes) in KINDS {
        eprintln!("{options}");
        let scratch = Scratch::new(options, *megabytes, 0);
        let superblock = scratch.volume.superblock();
        let free_before = free_blocks(superblock, &scratch.volume.superblock_now().unwrap());
        let mut taken = Vec::new();
        let error = loop {
            let goal = taken.last().map_or(0, |run: &Range<u64>| run.end);
            match scratch.operate(|op| allocate(op, goal, 1000)) {
                Ok(run) => taken.push(run),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::NoSpace), "{error}");
        let clusters = |run: &Range<u64>| (run.end - run.start).div_ceil(superblock.cluster_blocks.into());
        let count: u64 = taken.iter().map(clusters).sum();
        assert_eq!(count * u64::from(superblock.cluster_blocks), free_before);
        assert_eq!(free_blocks(superblock, &scratch.volume.superblock_now().unwrap()), 0);
        // What was given back can be taken again, once that is durable.
        let last = taken.pop().unwrap();
        scratch.operate(|op| free(op, last.clone(), false)).unwrap();
        assert_eq!(scratch.operate(|op| allocate(op, 0, last.end - last.start)).unwrap(), last);
        for run in taken.into_iter().chain([last]) {
            scratch.operate(|op| free(op, run.clone(), false)).unwrap();
        }
        scratch.check();
    }
}

#[test]
fn what_is_taken_back_leaves_no_trace() {
    let scratch = Scratch::new(KINDS[0].0, 20, 0);
    scratch.commit();
    let before = std::fs::read(&scratch.path).unwrap();
    let nothing: Result<()> = scratch.operate(|op| {
        loop {
            allocate(op, 0, 5000)?;
        }
    });
    assert!(matches!(nothing, Err(Error::NoSpace)));
    scratch.commit();
    assert!(before == std::fs::read(&scratch.path).unwrap());
    assert_eq!(scratch.operate(|op| allocate(op, 15000, 8)).unwrap(), 15000..15008, "the hints are not wrong for long");
}

#[test]
fn a_hostile_bitmap_gives_no_table_away() {
    let scratch = Scratch::new("-b 1024", 20, 0);
    let group = scratch.volume.group(0).unwrap();
    scratch.operate(|op| op.replace(group.block_bitmap, vec![0; 1024])).unwrap();
    for goal in [2, group.inode_table, group.block_bitmap] {
        let error = scratch.operate(|op| allocate(op, goal, 1)).unwrap_err();
        assert!(error.to_string().contains("hold the file system's own tables"), "{error}");
    }
    for blocks in [group.inode_table..group.inode_table + 1, 0..2, 20479..20481, 20480..u64::MAX] {
        let error = scratch.operate(|op| free(op, blocks.clone(), false)).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}
