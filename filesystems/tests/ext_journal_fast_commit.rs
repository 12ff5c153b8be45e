//! Fast commits that the kernel made, replayed here and by the kernel: the trees must be the same. Needs root.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod kernel;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use filesystems::ext::journal::{self, fast_commit, recovery};
use filesystems::ext::superblock::Superblock;
use filesystems::ext::volume::Volume;
use filesystems::{Kind, Options, Time};
use images::Disk;
use images::disk::{Memory, Overlay};
use kernel::*;

/// Without what no fast commit has: the times and link counts of directories, where the kernel puts its own.
fn without_directories(mut tree: walk::Tree) -> walk::Tree {
    for record in tree.values_mut().filter(|record| record.kind == Kind::Directory) {
        (record.links, record.blocks) = (0, 0);
        record.modified = Time { seconds: 0, nanoseconds: 0 };
        (record.accessed, record.changed) = (record.modified, record.modified);
    }
    tree
}

fn compare(name: &str, features: &[&str], work: impl FnOnce(&Path)) -> Image {
    let image = Image::dirty(name, 48, features, "", work);
    let digest = image.digest();
    let commits = commits(&image);
    println!("{name}: {} fast commits, {} operations", commits.count, commits.operations.len());
    assert!(commits.count > 0, "{name}: no fast commits");
    let (ours, theirs) = (image.our_tree(), image.kernel_tree());
    walk::assert_same(name, &without_directories(theirs), &without_directories(ours));
    assert_eq!(image.digest(), digest, "the image was written");
    image
}

fn commits(image: &Image) -> fast_commit::Commits {
    let disk: Arc<dyn Disk> = Arc::new(host_file(&image.path()));
    let superblock = Superblock::read(&*disk).unwrap();
    let log = journal::open(&Volume::new(disk.clone(), superblock)).unwrap();
    let recovered =
        recovery::recover(&log, disk.size() / u64::from(image.block_size), &images::Budget::default()).unwrap();
    fast_commit::read(&log, recovered.next).unwrap()
}

/// The first commit after a mount is a whole one.
fn begin(root: &Path) {
    fs::create_dir(root.join("dir")).unwrap();
    for i in 0..20 {
        fs::write(root.join(format!("old{i}")), format!("old {i}").repeat(1000)).unwrap();
    }
    write(&root.join("begin"), b"begin");
    File::open(root).unwrap().sync_all().unwrap();
    write(&root.join("begin"), b"began");
}

fn files(root: &Path) {
    begin(root);
    for i in 0..30 {
        write(&root.join("dir").join(format!("new file {i}")), format!("{i}").repeat(2000 * i).as_bytes());
    }
}

fn changes(root: &Path) {
    begin(root);
    let file = OpenOptions::new().read(true).write(true).open(root.join("old3")).unwrap();
    for i in 0..40 {
        // Every other block of a file, so that its extent tree grows.
        file.write_all_at(&[i as u8; 4096], 40_960 + i * 8192).unwrap();
        file.sync_all().unwrap();
    }
    let file = OpenOptions::new().write(true).open(root.join("old4")).unwrap();
    file.set_len(1000).unwrap();
    file.sync_all().unwrap();
    file.set_len(100_000).unwrap();
    file.sync_all().unwrap();
    let file = OpenOptions::new().write(true).open(root.join("old5")).unwrap();
    file.write_all_at(b"in place", 100).unwrap();
    file.sync_all().unwrap();
}

fn names(root: &Path) {
    begin(root);
    for i in 0..5 {
        fs::remove_file(root.join(format!("old{i}"))).unwrap();
        fs::rename(root.join(format!("old{}", i + 5)), root.join("dir").join(format!("renamed{i}"))).unwrap();
        fs::hard_link(root.join(format!("old{}", i + 10)), root.join("dir").join(format!("link{i}"))).unwrap();
    }
    // Over one that exists.
    fs::rename(root.join("old15"), root.join("old16")).unwrap();
    write(&root.join("old17"), b"commit");
    // Removed and made again.
    fs::remove_file(root.join("old17")).unwrap();
    write(&root.join("old17"), b"again");
    write(&root.join("old18"), b"commit");
}

fn directories(root: &Path) {
    begin(root);
    let dir = root.join("made");
    fs::create_dir(&dir).unwrap();
    fs::create_dir(dir.join("below")).unwrap();
    for i in 0..60 {
        write(&dir.join("below").join(format!("{i:0150}")), format!("{i}").as_bytes());
    }
    fs::create_dir(dir.join("empty")).unwrap();
    fs::create_dir(dir.join("gone")).unwrap();
    fs::remove_dir(dir.join("gone")).unwrap();
    write(&dir.join("last"), b"commit");
}

fn large_directory(root: &Path) {
    for i in 0..400 {
        File::create(root.join(format!("{i:0100}"))).unwrap();
    }
    begin(root);
    for i in 0..100 {
        write(&root.join(format!("{i:0120}")), b"new");
        fs::remove_file(root.join(format!("{i:0100}"))).unwrap();
    }
    write(&root.join("last"), b"commit");
}

const PLAIN: &[&str] = &["-t", "ext4", "-b", "4096", "-O", "fast_commit", "-J", "size=4,fast_commit_size=1024"];
const SMALL: &[&str] =
    &["-t", "ext4", "-b", "1024", "-O", "fast_commit,^metadata_csum", "-J", "size=4,fast_commit_size=512"];

#[test]
fn new_files() {
    compare("files", PLAIN, files);
    compare("files, 1k", SMALL, files);
}

#[test]
fn changed_files() {
    compare("changes", PLAIN, changes);
    compare("changes, 1k", SMALL, changes);
}

#[test]
fn changed_names() {
    compare("names", PLAIN, names);
    compare("names, 1k", SMALL, names);
}

#[test]
fn new_directories() {
    compare("directories", PLAIN, directories);
    compare("directories, 1k", SMALL, directories);
}

#[test]
fn indexed_directory() {
    compare("large", PLAIN, large_directory);
    compare("large, 1k", SMALL, large_directory);
}

/// The kernel reads one block too far after an area that is full, and refuses to mount; the names are there all the same.
#[test]
fn full_area() {
    let features = ["-t", "ext4", "-b", "4096", "-O", "fast_commit", "-J", "size=4,fast_commit_size=64"];
    let image = Image::dirty("full", 48, &features, "", files);
    assert_eq!(commits(&image).count, 15, "as many as there are blocks");
    let tree = image.our_tree();
    for i in 0..30 {
        let record = &tree[format!("dir/new file {i}").as_bytes()];
        assert_eq!(record.size as usize, i.to_string().len() * 2000 * i, "{i}: {record:?}");
    }
}

/// Operations that were changed at random: replayed or refused, never a panic, and what comes out can be walked.
#[test]
fn random_operations_are_survived() {
    use fast_commit::Operation::*;
    let mut random = Random(11);
    let (mut replayed, mut refused) = (0, 0);
    for work in [directories as fn(&Path), large_directory, changes] {
        let image = Image::dirty("fuzz", 24, SMALL, "", work);
        let disk: Arc<dyn Disk> = Arc::new(Memory::new("fuzz", fs::read(image.path()).unwrap()));
        let superblock = Superblock::read(&*disk).unwrap();
        let log = journal::open(&Volume::new(disk.clone(), superblock.clone())).unwrap();
        let recovered = recovery::recover(&log, disk.size() / 1024, &images::Budget::default()).unwrap();
        let disk: Arc<dyn Disk> = Arc::new(Overlay::new(disk, 1024, recovered.blocks));
        let operations = commits(&image).operations;
        for _ in 0..60 {
            let mut operations = operations.clone();
            for _ in 0..1 + random.below(5) {
                let (at, other) = (random.below(operations.len()), random.below(operations.len()));
                let odd =
                    [0, 1, 2, 8, 11, 12, u32::MAX, u32::MAX - 1, 1 << 31, random.below(200) as u32][random.below(10)];
                let first = random.below(2) == 0;
                match &mut operations[at] {
                    AddRange { inode, logical, len, physical, unwritten } => match random.below(5) {
                        0 => *inode = odd,
                        1 => *logical = odd,
                        2 => *len = odd & 0x7fff,
                        3 => *physical = odd.into(),
                        _ => *unwritten = !*unwritten,
                    },
                    DelRange { inode, logical, len } => *[inode, logical, len][random.below(3)] = odd,
                    Create { parent, inode, name } | Link { parent, inode, name } | Unlink { parent, inode, name } => {
                        match random.below(3) {
                            0 => *parent = odd,
                            1 => *inode = odd,
                            _ => name.resize(random.below(400), if first { b'x' } else { 0 }),
                        }
                    }
                    Inode { inode, record } => match random.below(3) {
                        0 => *inode = odd,
                        1 => record.truncate(random.below(record.len() + 1)),
                        _ => {
                            let byte = random.below(record.len());
                            record[byte] = odd as u8;
                        }
                    },
                }
                if random.below(3) == 0 {
                    operations.swap(at, other);
                }
            }
            match fast_commit::replay(Volume::new(disk.clone(), superblock.clone()), &log, operations) {
                Ok(blocks) => {
                    replayed += 1;
                    let disk = Arc::new(Overlay::new(disk.clone(), 1024, blocks));
                    let mut options = Options::default();
                    options.replay = false;
                    // The root may be damaged.
                    if let Ok(fs) = filesystems::ext::mount(disk, &options) {
                        walk_damaged(&fs);
                    }
                }
                Err(_) => refused += 1,
            }
        }
    }
    println!("{replayed} replayed, {refused} refused");
    assert!(replayed > 50 && refused > 10);
}
