//! Inspection: fstab and the other files that tell what a guest is, in a root file system.
#![no_main]

use std::sync::{Arc, LazyLock};

use filesystems::Options;
use images::Disk;
use imgmount::inspect;
use imgmount::stack::Stack;
use imgmount_fuzz::{Seeds, bounded, exercise};
use libfuzzer_sys::fuzz_target;

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| Seeds::load("inspect"));

/// The files of the seed that are replaced, in the order of the input's parts. Each is one block that starts with
/// `#@` and its name.
const FILES: &[&str] = &["fstab", "os-release", "lsb-release", "hostname", "debian_version", "bash", "network"];
const BLOCK: usize = 1024;

static PLACES: LazyLock<Vec<u64>> = LazyLock::new(|| {
    let seed = SEEDS.patched(&[0, 0]).expect("two bytes choose a seed");
    let blocks: Vec<_> = (0..seed.size()).step_by(BLOCK).filter_map(|at| Some((at, seed.get(at, BLOCK)?))).collect();
    let place = |name: &&str| {
        let mark = format!("#@{name}\n");
        blocks.iter().find(|(_, block)| block.starts_with(mark.as_bytes())).map(|(at, _)| *at)
    };
    FILES.iter().map(|name| place(name).unwrap_or_else(|| panic!("no {name} in the seed: run seeds.sh"))).collect()
});

fuzz_target!(|input: &[u8]| bounded(|| run(input)));

fn run(input: &[u8]) {
    let mut disk = SEEDS.patched(&[0, 0]).expect("two bytes choose a seed");
    for (at, text) in PLACES.iter().zip(input.split(|byte| *byte == 0xff)) {
        let mut block = [b'\n'; BLOCK];
        let len = text.len().min(BLOCK);
        block[..len].copy_from_slice(&text[..len]);
        disk.set(*at, &block);
    }
    let disks: Vec<Arc<dyn Disk>> = vec![Arc::new(disk), Arc::new(SEEDS.patched(&[1, 0]).expect("a seed"))];
    let stack = match Stack::of(disks, Options::default()) {
        Ok(stack) => stack,
        Err(error) => return exercise::one_line(&error),
    };
    // None where a file's content looks like another file system: block 32 is where JFS has its magic.
    let guests =
        inspect::inspect(&stack).map(|inspection| inspection.guests).expect("the root file system itself is sound");
    for guest in &guests {
        assert!(guest.mounts[0].0 == "/", "{:?}", guest.mounts);
        let one_line = |text: &String| !text.contains('\n');
        assert!(guest.warnings.iter().all(one_line), "{:?}", guest.warnings);
        assert!(guest.hostname.iter().chain(&guest.distribution.product_name).all(one_line));
    }
    if let Ok((_, tree)) = inspect::guest(&stack, None) {
        exercise::tree(&tree);
    }
}
