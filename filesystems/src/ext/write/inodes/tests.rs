use std::collections::BTreeSet;

use super::*;
use crate::ext::write::scratch::{KINDS, Random, Scratch};

#[test]
fn all_inodes_can_be_taken_and_given_back() {
    for (options, megabytes) in KINDS {
        eprintln!("{options}");
        let scratch = Scratch::new(options, *megabytes, 0);
        let free_before = scratch.volume.superblock_now().unwrap().s_free_inodes_count.get();
        let (mut taken, mut random) = (BTreeSet::new(), Random(free_before.into()));
        let error = loop {
            let is_directory = random.below(4) == 0;
            match scratch.operate(|op| allocate(op, 2, is_directory)) {
                Ok(number) => assert!(taken.insert((number, is_directory))),
                Err(error) => break error,
            }
            if random.below(1000) == 0 {
                scratch.commit();
            }
        };
        assert!(matches!(error, Error::NoSpace), "{error}");
        assert_eq!(taken.len(), free_before as usize);
        for (number, is_directory) in taken {
            scratch.operate(|op| free(op, number, is_directory)).unwrap();
            assert!(scratch.operate(|op| free(op, number, is_directory)).is_err(), "twice");
        }
        scratch.check();
    }
}

#[test]
fn records_that_come_into_use_are_zeroed() {
    let options = "-b 1024 -O uninit_bg -E lazy_itable_init=1,nodiscard";
    let scratch = Scratch::new(options, 40, 0);
    let group = scratch.volume.group(0).unwrap();
    let used = group.used_inodes(scratch.volume.superblock());
    // What was there before the file system.
    let per_block = 1024 / u32::from(scratch.volume.superblock().inode_size);
    let next = group.inode_table + u64::from(used.div_ceil(per_block));
    scratch.writing.writer.write_at(&[0xaa; 4096], next * 1024).unwrap();
    let mut last = 0;
    while last <= used.next_multiple_of(per_block) {
        last = scratch.operate(|op| allocate(op, 2, false)).unwrap();
    }
    assert_eq!(&scratch.volume.block(next).unwrap()[..], [0; 1024]);
    assert_eq!(&scratch.volume.block(next + 1).unwrap()[..], [0xaa; 1024], "not in use yet");
    for number in used + 1..=last {
        scratch.operate(|op| free(op, number, false)).unwrap();
    }
    scratch.check();
}

#[test]
fn the_file_systems_own_inodes_are_never_free() {
    let scratch = Scratch::new("-b 1024", 20, 0);
    for number in [0, 1, 2, 8, 10, u32::MAX] {
        let error = scratch.operate(|op| free(op, number, false)).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}
