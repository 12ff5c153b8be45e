//! Dirty journals that the kernel made, replayed here and by debugfs: every block must be the same.
//!
//! All but those whose journals debugfs writes need root for loop mounts.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod kernel;

use std::sync::Arc;

use filesystems::ext::journal::{Log, recovery};
use images::Disk;
use images::disk::Overlay;
use kernel::*;

/// Replays `image` in memory and compares every block with a copy that debugfs replayed.
fn compare_with_debugfs(image: &Image) -> (u32, usize) {
    let result = compare_blocks(image);
    walk::assert_same(&image.name, &image.kernel_tree(), &image.our_tree());
    result
}

/// The blocks only, which needs no root.
fn compare_blocks(image: &Image) -> (u32, usize) {
    let before = image.digest();
    let disk: Arc<dyn Disk> = Arc::new(host_file(&image.path()));
    let log = Log::open(disk.clone(), image.block_size, image.journal_runs()).unwrap();
    let blocks = disk.size() / u64::from(image.block_size);
    let recovered = recovery::recover(&log, blocks, &images::Budget::default()).unwrap();
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

/// Journals that debugfs writes: also checksum v2, which no kernel of today makes. (Its v1 covers revoke blocks, which
/// the kernel's does not.)
#[test]
fn written_by_debugfs() {
    for (checksum, features) in [
        ("jo", "^metadata_csum,^64bit"),
        ("jo -c -v 2", "metadata_csum,64bit"),
        ("jo -c -v 3", "metadata_csum,64bit"),
        ("jo -c -v 2", "metadata_csum,^64bit"),
    ] {
        let image = Image::empty(checksum, 16, &["-t", "ext4", "-b", "1024", "-O", features]);
        let data = image.path().with_extension("data");
        let mut blocks = vec![0x11; 40 * 1024];
        blocks[10 * 1024..][..4].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98]);
        std::fs::write(&data, &blocks).unwrap();
        let data = data.display();
        let script = format!(
            "{checksum}\njw -b 12000-12039 {data}\njw -r 12003,12005,12100\njw -b 12003,12004 /dev/zero\njw -b 12006 /dev/zero -c\njc\n"
        );
        debugfs_script(&image.path(), &script);
        let (transactions, changed) = compare_blocks(&image);
        assert!(transactions >= 3 && changed >= 35, "{checksum}: {transactions} {changed}");
    }
}

#[test]
fn no_replay_shows_the_disk_as_it_is() {
    let image = Image::empty("as it is", 16, &["-t", "ext4", "-b", "1024"]);
    let data = image.path().with_extension("data");
    std::fs::write(&data, vec![1; 1024]).unwrap();
    debugfs_script(&image.path(), &format!("jo\njw -b 12000 {}\njc\n", data.display()));
    let mut options = filesystems::Options::default();
    for (replay, note) in [(true, "journal replayed in memory: "), (false, "the journal was not replayed")] {
        options.replay = replay;
        let fs = filesystems::ext::mount(Arc::new(host_file(&image.path())), &options).unwrap();
        let notes = &filesystems::FileSystem::properties(&fs, filesystems::FileSystem::root(&fs)).notes;
        assert!(notes.iter().any(|line| line.starts_with(note)), "{notes:?}");
    }
}

#[test]
fn a_journal_on_another_device_is_refused_by_name() {
    let image = Image::empty("external", 16, &["-t", "ext4", "-b", "1024", "-O", "^metadata_csum"]);
    debugfs_script(&image.path(), "ssv journal_inum 0\nssv journal_dev 0x801\nfeature +needs_recovery\n");
    let disk = || Arc::new(host_file(&image.path()));
    let error = filesystems::ext::mount(disk(), &Default::default()).err().expect("an error").to_string();
    assert!(error.contains("on another device") && error.contains("--no-replay"), "{error}");
    let mut options = filesystems::Options::default();
    options.replay = false;
    assert!(filesystems::ext::mount(disk(), &options).is_ok());
}

/// Random damage to a whole dirty image without checksums, mounted and walked: no panic, no hang.
#[test]
fn random_damage_is_survived() {
    let features = ["-t", "ext4", "-b", "1024", "-O", "^metadata_csum", "-N", "512"];
    let image = Image::dirty("fuzz", 8, &features, "", |root| {
        for i in 0..60 {
            std::fs::write(root.join(format!("file {i}")), vec![i; 3000]).unwrap();
        }
        write(&root.join("last"), b"x");
    });
    let bytes = std::fs::read(image.path()).unwrap();
    let journal = image.journal_runs()[0];
    let mut random = Random(5);
    let (mut mounted, mut refused) = (0, 0);
    for _ in 0..200 {
        let mut bytes = bytes.clone();
        for _ in 0..1 + random.below(5) {
            // The first blocks of the log and the first of the file system.
            let block =
                if random.below(4) == 0 { random.below(60) } else { journal.physical as usize + random.below(40) };
            let end = [40, 1024][random.below(2)];
            let at = block * 1024 + random.below(end);
            bytes[at] = [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 4][random.below(6)];
        }
        match filesystems::ext::mount(Arc::new(images::disk::Memory::new("fuzz", bytes)), &Default::default()) {
            Ok(fs) => {
                mounted += 1;
                walk_damaged(&fs);
            }
            Err(_) => refused += 1,
        }
    }
    println!("{mounted} mounted, {refused} refused");
    assert!(mounted > 20 && refused > 0);
}
