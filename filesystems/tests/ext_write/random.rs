//! Random operations, each of which a model does too.

use filesystems::Allocation;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::model::{Model, Operation, Rules, operations};
use crate::written::{FEATURES, Written};

/// How many sequences a feature set gets, and how many operations each has. `IMGMOUNT_SEQUENCES` asks for more of them.
const SEQUENCES: u32 = 4;
const OPERATIONS: usize = 200;

/// What can be done with space; files without extents have none that reads as zeros.
const ALL: &[Allocation] = &[
    Allocation::Extend,
    Allocation::KeepSize,
    Allocation::PunchHole,
    Allocation::Zero { keep_size: false },
    Allocation::Zero { keep_size: true },
    Allocation::Collapse,
    Allocation::Insert,
];
const WITHOUT_EXTENTS: &[Allocation] = &[Allocation::PunchHole];

/// What ext has.
fn rules(options: &str) -> Rules {
    // Small inodes have no room for nanoseconds, nor for times after 2038.
    let is_wide = options.contains("-I 256");
    // With bigalloc, space moves by clusters.
    let size_of = |option| options.split(option).nth(1).and_then(|size| size.split(' ').next());
    let block_size = size_of("-C ").or(size_of("-b ")).unwrap();
    Rules {
        case_insensitive: false,
        links: true,
        symlinks: true,
        permissions: true,
        // Before there were features, attributes had no blocks.
        xattrs: !options.contains("-r 0"),
        exchange: true,
        allocations: if options.contains("extent") { ALL } else { WITHOUT_EXTENTS },
        block_size: block_size.parse().unwrap(),
        time_unit: if is_wide { 1 } else { 1_000_000_000 },
        last_second: if is_wide { i64::MAX } else { i32::MAX.into() },
        file_max: 100_000,
        may_be_full: true,
    }
}

fn run(case: &str, options: &str, operations: &[Operation]) {
    let written = Written::new(options, if options.contains("65536") { 16 } else { 4 });
    let mut model = Model::new(rules(options));
    let lost_and_found = written.writer().remove_dir(written.fs.root(), b"lost+found");
    lost_and_found.unwrap();
    for (index, operation) in operations.iter().enumerate() {
        model.apply(&*written.fs, operation);
        model.compare(&*written.fs, &format!("{case}: after operation {index}, {operation:?}"));
    }
    model.close_all(&*written.fs);
    let image = written.close(case);
    model.compare(&*image.open(), &format!("{case}: opened again"));
}

#[test]
fn a_model_does_the_same() {
    let wanted = std::env::var("IMGMOUNT_SEQUENCES").ok().map(|count| count.parse().unwrap());
    let cases = wanted.unwrap_or(SEQUENCES);
    for (case, options) in FEATURES {
        let rng_seed = if wanted.is_some() { RngSeed::Random } else { RngSeed::Fixed(10) };
        let config = Config { cases, rng_seed, failure_persistence: None, max_shrink_iters: 300, ..Config::default() };
        let sequences = operations(&rules(options), OPERATIONS);
        let outcome = TestRunner::new(config).run(&sequences, |operations| {
            run(case, options, &operations);
            Ok(())
        });
        outcome.unwrap_or_else(|error| panic!("{case}: {error}"));
    }
}
