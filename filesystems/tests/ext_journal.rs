//! Dirty journals that the kernel made, replayed here and by debugfs: every block must be the same.
//!
//! These tests need root for loop mounts, and e2fsprogs.

mod kernel;

use std::sync::Arc;

use filesystems::ext::journal::{Log, recovery};
use images::Disk;
use images::disk::Overlay;
use kernel::*;

/// Replays `image` in memory and compares every block with a copy that debugfs replayed.
fn compare_with_debugfs(image: &Image) -> (u32, usize) {
    let before = image.digest();
    let disk: Arc<dyn Disk> = Arc::new(host_file(&image.path()));
    let log = Log::open(disk.clone(), image.block_size, image.journal_runs()).unwrap();
    let blocks = disk.size() / u64::from(image.block_size);
    let recovered = recovery::recover(&log, blocks).unwrap();
    let (transactions, replaced) = (recovered.transactions, recovered.blocks.len());
    let overlay = Overlay::new(disk.clone(), image.block_size, recovered.blocks);

    let replayed = image.copy();
    debugfs(&replayed.path(), true, "jr");
    let want = host_file(&replayed.path());
    let journal = image.journal_runs();
    let size = image.block_size as usize;
    let (mut ours, mut theirs, mut old) = (vec![0; size], vec![0; size], vec![0; size]);
    let mut changed = 0;
    for block in 0..blocks {
        let at = block * size as u64;
        if journal.iter().any(|run| (run.physical..run.physical + u64::from(run.len)).contains(&block)) {
            continue;
        }
        overlay.read_at(&mut ours, at).unwrap();
        want.read_at(&mut theirs, at).unwrap();
        disk.read_at(&mut old, at).unwrap();
        changed += usize::from(ours != old);
        // debugfs updates the superblock after the replay: the recovery flag, the times and its checksum.
        if at <= 1024 && 1024 < at + size as u64 {
            continue;
        }
        assert!(ours == theirs, "block {block} of {}", image.name);
    }
    assert_eq!(image.digest(), before, "the image was written");
    tree::assert_equal(&image.name, &image.our_tree(), &image.kernel_tree());
    println!("{}: {transactions} transactions, {replaced} blocks replaced, {changed} differ", image.name);
    assert!(transactions > 0, "{}: the journal is empty", image.name);
    (transactions, changed)
}

#[test]
fn ext3() {
    compare_with_debugfs(&Image::dirty("ext3", 32, &["-t", "ext3", "-b", "4096"], "", many_files));
}

#[test]
fn ext4_default_has_checksum_v3_and_64_bits() {
    compare_with_debugfs(&Image::dirty(
        "ext4",
        64,
        &["-t", "ext4", "-b", "4096", "-O", "64bit,metadata_csum"],
        "",
        many_files,
    ));
}

#[test]
fn ext4_without_checksums() {
    compare_with_debugfs(&Image::dirty(
        "plain",
        64,
        &["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,^64bit"],
        "",
        many_files,
    ));
}

#[test]
fn small_blocks() {
    compare_with_debugfs(&Image::dirty("1k", 32, &["-t", "ext4", "-b", "1024"], "", many_files));
}

#[test]
fn checksum_v1() {
    let features = ["-t", "ext4", "-O", "^metadata_csum"];
    compare_with_debugfs(&Image::dirty("v1", 32, &features, "journal_checksum", many_files));
    compare_with_debugfs(&Image::dirty("async", 32, &features, "journal_async_commit,data=writeback", many_files));
}

#[test]
fn escaped_blocks() {
    for features in [&["-t", "ext4", "-b", "4096"][..], &["-t", "ext3"]] {
        let (_, changed) = compare_with_debugfs(&Image::dirty("escapes", 32, features, "data=journal", escapes));
        assert!(changed > 0);
    }
}

#[test]
fn revoked_blocks() {
    for features in [&["-t", "ext4", "-b", "4096"][..], &["-t", "ext3", "-b", "4096"], &["-t", "ext3", "-b", "1024"]] {
        compare_with_debugfs(&Image::dirty("revokes", 32, features, "", revokes));
    }
}

#[test]
fn a_log_that_wraps() {
    for features in [&["-t", "ext4", "-b", "4096", "-J", "size=4"][..], &["-t", "ext3", "-b", "1024", "-J", "size=1"]] {
        compare_with_debugfs(&Image::dirty("wraps", 32, features, "", wraps));
        compare_with_debugfs(&Image::dirty("wraps", 32, features, "data=journal", wraps));
    }
}
