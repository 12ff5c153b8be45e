//! Damaged images that are written: an error or not, but no panic, no end of time, and little that is stored.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::LazyLock;

use ::images::{Access, Options};
use proptest::prelude::*;

use crate::images::{Kind, Source};
use crate::tools::Folder;

const SIZE: u64 = 600 * 512;

/// One of each, undamaged.
static IMAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let kinds = [
        (Source::Snapshot, "cluster_size=4k"),
        (Source::Compressed, "cluster_size=512"),
        (Source::Full, "cluster_size=16k,extended_l2=on"),
        (Source::Empty, "cluster_size=512,refcount_bits=64"),
    ];
    let make = |(source, options): &(Source, &str)| {
        let folder = Folder::new();
        Kind { source: *source, options: (*options).to_owned(), size: SIZE }.make(&folder);
        folder.read("image")
    };
    kinds.iter().map(make).collect()
});

/// Where, in parts of 65536 of the first `1 / 2^shift` of the file, and what is put there.
fn patch() -> impl Strategy<Value = (u16, u32, u64, usize)> {
    let value = prop_oneof![any::<u64>(), 0..40u64, (0..2000u64).prop_map(|at| at * 512), Just(u64::MAX)];
    (any::<u16>(), 0..12u32, value, prop::sample::select(&[1usize, 4, 8][..]))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damage_does_no_harm(image in 0..4usize, patches in prop::collection::vec(patch(), 1..7), seed in any::<u16>()) {
        let folder = Folder::new();
        let mut bytes = IMAGES[image].clone();
        for (at, shift, value, len) in patches {
            let at = (bytes.len() >> shift) * usize::from(at) / 65536 / len * len;
            let end = (at + len).min(bytes.len());
            bytes[at..end].copy_from_slice(&value.to_be_bytes()[8 - (end - at)..]);
        }
        folder.write("image", &bytes);
        let options = Options { access: Access::ReadWrite, ..Options::default() };
        let Ok(disk) = ::images::open(&folder.path("image"), &options) else { return Ok(()) };
        let size = disk.size().min(SIZE);
        let Ok(writer) = disk.writer(0..disk.size()) else { return Ok(()) };
        let mut at = u64::from(seed) * 7 % size.max(1);
        for round in 0..12u64 {
            let len = [1, 700, 30_000, 512][round as usize % 4].min(size - at);
            let _ = match round % 5 {
                0 => writer.zero_at(at, len),
                1 => writer.discard_at(at, len),
                4 => writer.flush(),
                _ => writer.write_at(&vec![7; len as usize], at),
            };
            let mut now = vec![0; len as usize];
            let _ = disk.read_at(&mut now, at);
            at = (at + 54_321) % size.max(1);
        }
        let _ = writer.flush();
        let stored = std::fs::metadata(folder.path("image")).unwrap().blocks() * 512;
        prop_assert!(stored < 64 << 20, "{stored} bytes are stored");
    }
}

/// What counts as free is not taken where tables lie.
#[test]
fn wrong_refcounts_lose_no_table() {
    let folder = Folder::new();
    folder.run("qemu-img create -q -f qcow2 image 1M");
    let file = OpenOptions::new().write(true).open(folder.path("image")).unwrap();
    // All of the block of refcounts, in the third cluster: nothing counts as used.
    file.write_all_at(&[0; 512], 2 << 16).unwrap();
    let options = Options { access: Access::ReadWrite, ..Options::default() };
    let disk = ::images::open(&folder.path("image"), &options).unwrap();
    let before = folder.read("image");
    let writer = disk.writer(0..1 << 20).unwrap();
    let error = writer.write_at(&[1; 512], 0).unwrap_err().to_string();
    assert!(error.contains("counts as free and is a table: qemu-img check -r all mends it"), "{error}");
    drop(writer);
    assert!(folder.read("image")[..before.len()] == before);
}

#[test]
fn images_that_are_marked_are_refused_by_name() {
    for (bit, want) in [(0, "was not closed by its last writer"), (1, "is marked as corrupt")] {
        let folder = Folder::new();
        folder.run("qemu-img create -q -f qcow2 -o lazy_refcounts=on image 1M");
        let file = OpenOptions::new().write(true).open(folder.path("image")).unwrap();
        file.write_all_at(&[1 << bit], 79).unwrap();
        let options = Options { access: Access::ReadWrite, ..Options::default() };
        let disk = ::images::open(&folder.path("image"), &options).unwrap();
        let error = disk.writer(0..1 << 20).err().unwrap().to_string();
        assert!(error.contains(want) && error.contains("qemu-img check -r all mends it"), "{error}");
    }
}
