//! Random sequences of operations, against the model and against fsck.fat.

use filesystems::Allocation;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::checked::{assert_clean, bytes, memory};
use super::model::{Model, Operation, Rules, operations, sequences};
use super::{open_to_write, volume};

/// What FAT has.
pub fn rules() -> Rules {
    Rules {
        case_insensitive: true,
        links: false,
        symlinks: false,
        permissions: false,
        xattrs: false,
        exchange: false,
        allocations: &[Allocation::Extend, Allocation::KeepSize],
        block_size: 512,
        time_unit: 2_000_000_000,
        last_second: i64::MAX,
        file_max: 70_000,
        may_be_full: false,
    }
}

/// What is found in the end is found after it was closed and opened again.
fn run(empty: &[u8], rules: &Rules, operations: &[Operation], each: bool) {
    let disk = memory(empty.to_vec());
    let fs = open_to_write(disk.clone());
    let mut model = Model::new(rules.clone());
    for operation in operations {
        model.apply(fs.as_ref(), operation);
        if each {
            model.compare(fs.as_ref(), &format!("after {operation:?}"));
        }
    }
    model.compare(fs.as_ref(), "at the end");
    model.close_all(fs.as_ref());
    fs.writer(fs.root()).unwrap().close().unwrap();
    let space = fs.space(fs.root()).unwrap();
    drop(fs);
    assert_clean(&bytes(disk.as_ref()), "closed");
    let fs = super::open(disk, &filesystems::Options::default()).unwrap();
    model.compare(fs.as_ref(), "opened again");
    assert_eq!(fs.space(fs.root()).unwrap(), space, "the count of free clusters was kept");
    assert!(fs.properties(fs.root()).notes.is_empty());
}

fn model(kilobytes: u64, args: &[&str], rules: Rules, few: u32) {
    let empty = volume(kilobytes, args);
    let config =
        Config { cases: sequences(few), failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut runner =
        TestRunner::new_with_rng(config, proptest::test_runner::TestRng::deterministic_rng(Default::default()));
    let all = (operations(&rules, 200), any::<bool>());
    runner
        .run(&all, |(operations, each)| {
            run(&empty, &rules, &operations, each);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn fat12() {
    model(8 << 10, &["-F", "12", "-s", "8"], rules(), 8);
}

#[test]
fn fat12_of_large_sectors() {
    model(8 << 10, &["-F", "12", "-S", "4096", "-s", "1"], rules(), 4);
}

#[test]
fn fat16_of_small_clusters() {
    model(16 << 10, &["-F", "16", "-s", "1"], rules(), 10);
}

#[test]
fn fat16_of_large_clusters() {
    model(140 << 10, &["-F", "16", "-s", "64"], rules(), 4);
}

#[test]
fn fat32() {
    model(34 << 10, &["-F", "32", "-s", "1"], rules(), 8);
}

#[test]
fn fat32_with_one_fat() {
    model(34 << 10, &["-F", "32", "-s", "1", "-f", "1"], rules(), 4);
}

/// Most of what is done finds no space, and changes nothing.
#[test]
fn volumes_that_are_nearly_full() {
    let full = Rules { may_be_full: true, file_max: 50_000, ..rules() };
    model(160, &["-F", "12", "-s", "1", "-r", "112"], full.clone(), 8);
    model(400, &["-F", "12", "-s", "4", "-r", "16"], full, 4);
}
