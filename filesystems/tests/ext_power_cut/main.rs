//! The power is cut at every write to an ext file system, and between flushes what was written arrives in any order.
#![allow(clippy::unwrap_used)]

#[path = "../ext_image/mod.rs"]
mod ext_image;
#[path = "../model/mod.rs"]
mod model;
mod scenario;

use filesystems::Allocation;
use model::{Rules, operations};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use scenario::Scenario;

/// How many sequences each feature set gets; `IMGMOUNT_SEQUENCES` asks for more of them.
const SEQUENCES: u32 = 1;
/// How many operations each has.
const OPERATIONS: usize = 60;
/// How many cuts lose a part of what was not flushed, beside those that lose nothing.
const REORDERED: usize = 60;

const ALL: &[Allocation] = &[
    Allocation::Extend,
    Allocation::KeepSize,
    Allocation::PunchHole,
    Allocation::Zero { keep_size: false },
    Allocation::Collapse,
    Allocation::Insert,
];

fn rules(options: &str) -> Rules {
    let block_size = options.split("-b ").nth(1).and_then(|size| size.split(' ').next()).unwrap();
    Rules {
        case_insensitive: false,
        links: true,
        symlinks: true,
        permissions: true,
        xattrs: true,
        exchange: true,
        allocations: if options.contains("extent") { ALL } else { &[Allocation::PunchHole] },
        block_size: block_size.parse().unwrap(),
        time_unit: 1_000_000_000,
        last_second: i32::MAX.into(),
        file_max: 20_000,
        may_be_full: true,
    }
}

/// Runs sequences on a file system of these options and as many MiB, and cuts each everywhere.
fn cuts(options: &str, megabytes: u64, seed: u64) {
    let wanted = std::env::var("IMGMOUNT_SEQUENCES").ok().map(|count| count.parse().unwrap());
    let empty = ext_image::Image::new(options, megabytes, None).bytes();
    let rules = rules(options);
    for sequence in 0..wanted.unwrap_or(SEQUENCES) {
        let seed = seed << 32 | u64::from(sequence);
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed.to_le_bytes(); 4].concat());
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let operations = operations(&rules, OPERATIONS).new_tree(&mut runner).unwrap().current();
        Scenario::run(&empty, &operations, rules.clone()).check_all(seed, REORDERED);
    }
}

#[test]
fn ext3() {
    cuts("-b 1024 -O none,has_journal,filetype,sparse_super,dir_index -J size=1", 8, 1);
}

#[test]
fn ext4_with_checksums() {
    cuts(
        "-b 1024 -I 256 -O none,has_journal,extent,64bit,metadata_csum,filetype,dir_index,extra_isize -J size=1",
        8,
        2,
    );
}

#[test]
fn ext4_with_inline_data_and_an_orphan_file() {
    let options = "-b 1024 -I 256 -O none,has_journal,extent,metadata_csum,inline_data,orphan_file,filetype,dir_index";
    cuts(&format!("{options},ext_attr -J size=1"), 8, 3);
}

#[test]
fn ext2_which_is_lent_a_journal() {
    cuts("-b 1024 -O none,filetype,sparse_super,dir_index", 10, 4);
}
