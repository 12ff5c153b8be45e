//! Deleted files of ext: the kernel deletes them on a loop mount, and they must come back. Needs root.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test panics, and prints its score")]

mod ext_image;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use ext_image::{Image, Mount, is_root, run};
use filesystems::{Deleted, FileSystem, Kind, NodeId, Parent, State};
use sha2::{Digest, Sha256};

/// One loop mount at a time: there are few loop devices.
static LOOP: Mutex<()> = Mutex::new(());

/// Bytes that differ from block to block.
fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Path below the mount and hash of the content.
type Files = BTreeMap<String, String>;

/// 120 files of 0 B to 20 MB, some in many pieces, in a deep tree; returns the hash of each.
fn populate(root: &Path) -> Files {
    let sizes = [0, 1, 50, 100, 1000, 1024, 4095, 4096, 4097, 10_000, 50_000, 70_000, 200_000, 1_000_000, 3_000_000];
    let mut files = Files::new();
    let mut put = |path: String, bytes: &[u8]| {
        let host = root.join(&path);
        fs::create_dir_all(host.parent().unwrap()).unwrap();
        fs::write(&host, bytes).unwrap();
        files.insert(path, hash(bytes));
    };
    for index in 0..116 {
        let directory = match index % 4 {
            0 => String::new(),
            1 => format!("dir{}/", index % 7),
            2 => format!("tree/{}/{}/deep/er/", index % 5, index % 3),
            _ => "a/b/c/d/e/f/g/h/i/j/".to_owned(),
        };
        let len = sizes[index % sizes.len()] + index / 10;
        put(format!("{directory}file {index:03}"), &content(len, index as u64 + 1));
    }
    put("large/twenty megabytes.bin".into(), &content(20_000_000, 777));
    // Two files that grow in turns: many extents each.
    let pieces: Vec<(String, Vec<u8>)> = (0..2).map(|i| (format!("pieces{i}"), content(2_400_000, 900 + i))).collect();
    let open: Vec<File> = pieces.iter().map(|(path, _)| File::create(root.join(path)).unwrap()).collect();
    for start in (0..2_400_000).step_by(8000) {
        for (file, (_, bytes)) in open.iter().zip(&pieces) {
            file.write_all_at(&bytes[start..start + 8000], start as u64).unwrap();
            file.sync_data().unwrap();
        }
    }
    files.extend(pieces.into_iter().map(|(path, bytes)| (path, hash(&bytes))));
    // More extents than fit in an inode, with holes between.
    let sparse = File::create(root.join("sparse")).unwrap();
    for index in 0..600u64 {
        sparse.write_all_at(&content(1500, 2000 + index), index * 20_480).unwrap();
    }
    drop(sparse);
    files.insert("sparse".into(), hash(&fs::read(root.join("sparse")).unwrap()));
    assert_eq!(files.len(), 120);
    files
}

fn sync() {
    run("coreutils", "sync", &[]);
}

/// The full content of a node; `None` if a part cannot be read.
fn read(fs: &dyn FileSystem, node: NodeId) -> Option<Vec<u8>> {
    let size = fs.stat(node).unwrap().size;
    if size > 100 << 20 {
        return None;
    }
    let mut bytes = vec![0; size as usize];
    let len = fs.read_at(node, &mut bytes, 0).ok()?;
    assert_eq!(len, bytes.len(), "short");
    Some(bytes)
}

/// The paths of all living directories.
fn living(fs: &dyn FileSystem) -> BTreeMap<NodeId, String> {
    let mut paths = BTreeMap::from([(fs.root(), String::new())]);
    let mut todo = vec![fs.root()];
    while let Some(node) = todo.pop() {
        let mut found = Vec::new();
        fs.read_dir(node, 0, &mut |entry| {
            found.push((entry.node, String::from_utf8_lossy(entry.name).into_owned()));
            true
        })
        .unwrap();
        for (child, name) in found {
            if fs.stat(child).unwrap().kind == Kind::Directory {
                paths.insert(child, format!("{}{name}/", paths[&node]));
                todo.push(child);
            }
        }
    }
    paths
}

fn path(list: &[Deleted], living: &BTreeMap<NodeId, String>, deleted: &Deleted) -> Option<String> {
    let name = String::from_utf8_lossy(deleted.name.as_deref()?).into_owned();
    Some(match deleted.parent {
        Parent::Live(node) => format!("{}{name}", living.get(&node)?),
        Parent::Deleted(node) => {
            let parent = list.iter().find(|other| other.node == node).expect("a parent is in the list");
            format!("{}/{name}", path(list, living, parent)?)
        }
        Parent::Unknown => return None,
    })
}

/// What came back of a set of files.
#[derive(Debug, Default)]
struct Score {
    files: usize,
    content: usize,
    intact: usize,
    named: usize,
    missing: Vec<String>,
}

/// Compares what is found with what was deleted; `known` are the hashes of everything that was ever a file. Fails if
/// anything is called intact and has a hash that is not among them.
fn score(name: &str, fs: &dyn FileSystem, deleted: &Files, known: &dyn Fn(&str, &str) -> bool) -> Score {
    let start = std::time::Instant::now();
    let list = fs.deleted().unwrap();
    let took = start.elapsed();
    let paths = living(fs);
    let mut by_hash: BTreeMap<String, Vec<Option<String>>> = BTreeMap::new();
    let mut intact: BTreeMap<String, usize> = BTreeMap::new();
    for entry in &list {
        let stat = fs.stat(entry.node).unwrap();
        if stat.kind != Kind::File || entry.state == State::MetadataOnly {
            continue;
        }
        let found = path(&list, &paths, entry);
        let bytes = read(fs, entry.node);
        if entry.state == State::Intact {
            let bytes = bytes.as_ref().unwrap_or_else(|| panic!("{name}: intact and unreadable: {entry:?}"));
            let hash = hash(bytes);
            let at = found.clone().unwrap_or_default();
            assert!(known(&at, &hash), "{name}: {at:?} is called intact and is wrong: {entry:?} {stat:?}");
            *intact.entry(hash).or_default() += 1;
        }
        if let Some(bytes) = bytes {
            by_hash.entry(hash(&bytes)).or_default().push(found);
        }
    }
    let mut score = Score { files: deleted.len(), ..Score::default() };
    for (path, hash) in deleted {
        match by_hash.get(hash) {
            Some(found) => {
                score.content += 1;
                score.named += usize::from(found.iter().any(|found| found.as_deref() == Some(path)));
                score.intact += usize::from(intact.contains_key(hash));
            }
            None => score.missing.push(path.clone()),
        }
    }
    println!(
        "{name}: {} of {} came back, {} intact, {} under their path; list of {} in {took:?}",
        score.content,
        score.files,
        score.intact,
        score.named,
        list.len()
    );
    score
}

fn remove(root: &Path, files: &Files) {
    for (index, path) in files.keys().enumerate() {
        if index % 3 == 0 {
            fs::remove_file(root.join(path)).unwrap();
        }
    }
    for entry in fs::read_dir(root).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.ends_with("lost+found") || path.ends_with("keep") {
            continue;
        }
        let done = Command::new("rm").arg("-r").arg(&path).status().unwrap();
        assert!(done.success());
    }
}

/// Nothing is written after the delete: every file comes back.
fn all_come_back(options: &str) {
    if !is_root(options) {
        return;
    }
    let _one = LOOP.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let image = Image::new(options, 256, None);
    let files = {
        let mount = Mount::new(&image, "rw");
        fs::write(mount.path.join("keep"), "kept").unwrap();
        let files = populate(&mount.path);
        sync();
        remove(&mount.path, &files);
        sync();
        files
    };
    let fs = image.open();
    let score = score(options, &*fs, &files, &|_, hash| files.values().any(|known| known == hash));
    assert_eq!(score.content, 120, "{options}: {:?}", score.missing);
    assert!(score.named * 100 >= 95 * score.files, "{options}: {score:?}");
}

macro_rules! cases {
    ($($name:ident: $options:expr;)*) => {
        $(#[test] fn $name() { all_come_back($options) })*
    };
}

cases! {
    ext3: "-t ext3 -b 4096 -O has_journal,dir_index,filetype -I 256 -J size=16";
    ext3_1k_128_byte_inodes: "-t ext3 -b 1024 -O has_journal,dir_index,filetype -I 128 -J size=8";
    ext4: "-t ext4 -b 4096 -O extent,64bit,flex_bg,metadata_csum,dir_index,huge_file,dir_nlink,extra_isize,has_journal,filetype -I 256 -J size=16";
    ext4_1k: "-t ext4 -b 1024 -O extent,64bit,flex_bg,metadata_csum,dir_index,huge_file,has_journal,filetype -I 256 -J size=8";
    ext4_bigalloc: "-t ext4 -b 4096 -C 16384 -O bigalloc,extent,64bit,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=16";
    ext4_without_checksums: "-t ext4 -b 4096 -O extent,^metadata_csum,dir_index,huge_file,has_journal,filetype -I 256 -J size=16";
    ext4_inline_data: "-t ext4 -b 4096 -O inline_data,extent,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=16";
}

/// Numbers that look random and are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Every content that any file ever had, also in between.
#[derive(Default)]
struct History {
    hashes: std::collections::HashSet<String>,
    seed: u64,
}

impl History {
    fn fresh(&mut self, len: usize) -> Vec<u8> {
        self.seed += 1;
        content(len, self.seed)
    }

    fn note(&mut self, path: &Path) {
        self.hashes.insert(hash(&fs::read(path).unwrap()));
    }
}

/// Goes on using a file system: new files, overwriting, truncating, appending, deleting, renaming.
///
/// With `every_step` each step reaches the disk before the next.
fn go_on(
    root: &Path,
    history: &mut History,
    random: &mut Random,
    (steps, every_step): (u64, bool),
    prefix: &str,
) -> Files {
    let mut deleted = Files::new();
    let mut alive: Vec<PathBuf> = Vec::new();
    for step in 0..steps {
        match random.below(10) {
            0..=3 => {
                let sizes = [10, 3000, 4096, 9000, 40_000, 150_000, 600_000];
                let bytes = history.fresh(sizes[random.below(7) as usize] + random.below(50) as usize);
                let directory = root.join(format!("{prefix}{}", random.below(5)));
                fs::create_dir_all(&directory).unwrap();
                let path = directory.join(format!("new {step}"));
                fs::write(&path, bytes).unwrap();
                history.note(&path);
                alive.push(path);
            }
            4 | 5 if !alive.is_empty() => {
                let path = alive.swap_remove(random.below(alive.len() as u64) as usize);
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                deleted.insert(relative, hash(&fs::read(&path).unwrap()));
                fs::remove_file(&path).unwrap();
            }
            6 if !alive.is_empty() => {
                let path = &alive[random.below(alive.len() as u64) as usize];
                let len = fs::metadata(path).unwrap().len();
                let part = history.fresh(1 + random.below(20_000) as usize);
                let file = File::options().write(true).open(path).unwrap();
                file.write_all_at(&part, random.below(len + 1)).unwrap();
                drop(file);
                history.note(path);
            }
            7 if !alive.is_empty() => {
                let path = &alive[random.below(alive.len() as u64) as usize];
                let len = fs::metadata(path).unwrap().len();
                File::options().write(true).open(path).unwrap().set_len(random.below(len + 1)).unwrap();
                history.note(path);
            }
            8 if !alive.is_empty() => {
                let index = random.below(alive.len() as u64) as usize;
                let to = root.join(format!("renamed {prefix} {step}"));
                fs::rename(&alive[index], &to).unwrap();
                alive[index] = to;
            }
            _ if random.below(3) == 0 => sync(),
            _ => {}
        }
        if every_step {
            sync();
        }
    }
    deleted
}

/// The file system is used again after the delete: some files come back, and nothing wrong is called intact.
fn used_again(options: &str, megabytes: u64, steps: (u64, bool), remounts: u64) {
    if !is_root(options) {
        return;
    }
    let _one = LOOP.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for seed in 1..=2u64 {
        let image = Image::new(options, megabytes, None);
        let (mut history, mut random) = (History { seed: seed << 32, ..History::default() }, Random(seed * 77 + 5));
        let mut files = {
            let mount = Mount::new(&image, "rw");
            let files = populate(&mount.path);
            sync();
            remove(&mount.path, &files);
            sync();
            files
        };
        history.hashes.extend(files.values().cloned());
        for round in 0..=remounts {
            let mount = Mount::new(&image, "rw");
            files.extend(go_on(&mount.path, &mut history, &mut random, steps, &format!("used{round}-")));
            if round % 2 == 1 {
                // What the next round writes takes the place of what this one leaves.
                let gone = go_on(&mount.path, &mut history, &mut random, (steps.0 / 2, steps.1), "more-");
                files.extend(gone);
                let _ = fs::remove_dir_all(mount.path.join("more-1"));
            }
            sync();
            drop(mount);
            let fs = image.open();
            let name = format!("{options}, seed {seed}, used again {round}");
            let score = score(&name, &*fs, &files, &|_, hash| history.hashes.contains(hash));
            assert!(score.files >= 120);
        }
    }
}

#[test]
fn used_again_ext4() {
    used_again(
        "-t ext4 -b 4096 -O extent,64bit,flex_bg,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=16",
        100,
        (300, false),
        2,
    );
}

#[test]
fn used_again_ext4_1k_small_journal() {
    used_again(
        "-t ext4 -b 1024 -O extent,64bit,flex_bg,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=1",
        80,
        (500, false),
        2,
    );
}

#[test]
fn used_again_ext3() {
    used_again("-t ext3 -b 1024 -O has_journal,dir_index,filetype -I 256 -J size=2", 80, (300, false), 2);
}

#[test]
fn used_again_ext4_without_checksums() {
    used_again(
        "-t ext4 -b 4096 -O extent,^metadata_csum,dir_index,has_journal,filetype -I 256 -J size=4",
        100,
        (300, false),
        2,
    );
}

#[test]
fn used_again_bigalloc() {
    used_again(
        "-t ext4 -b 4096 -C 16384 -O bigalloc,extent,64bit,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=4",
        100,
        (300, false),
        2,
    );
}

/// Every step in a transaction of its own: what is still there after all of them can be promised.
#[test]
fn used_again_step_by_step() {
    let options =
        "-t ext4 -b 4096 -O extent,64bit,flex_bg,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=8";
    used_again(options, 100, (60, true), 1);
    used_again("-t ext3 -b 1024 -O has_journal,dir_index,filetype -I 256 -J size=1", 80, (60, true), 1);
}

#[test]
fn versions_of_a_living_file() {
    let options = "-t ext4 -O extent,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=8";
    if !is_root(options) {
        return;
    }
    let _one = LOOP.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let image = Image::new(options, 64, None);
    {
        let mount = Mount::new(&image, "rw");
        let path = mount.path.join("file");
        fs::write(&path, content(30_000, 1)).unwrap();
        sync();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(mount.path.join("new"), content(50_000, 2)).unwrap();
        sync();
        File::options().write(true).open(&path).unwrap().set_len(10_000).unwrap();
        sync();
    }
    let fs = image.open();
    let node = fs.lookup(fs.root(), b"file").unwrap();
    let versions = fs.versions(node).unwrap();
    let sizes: Vec<u64> = versions.iter().map(|version| fs.stat(version.node).unwrap().size).collect();
    assert!(sizes.contains(&30_000), "{versions:?}");
    let old = &versions[sizes.iter().position(|size| *size == 30_000).unwrap()];
    // The first part is still the file's, and may have been written since; the rest is free.
    assert_eq!(old.state, State::Unproven);
    let (bytes, was) = (read(&*fs, old.node).unwrap(), content(30_000, 1));
    // The kernel has zeroed the rest of the last block that it kept.
    assert!(bytes[..10_000] == was[..10_000] && bytes[12_288..] == was[12_288..]);
    assert!(fs.deleted().unwrap().is_empty());
    assert!(fs.versions(fs.lookup(fs.root(), b"new").unwrap()).unwrap().iter().all(|version| version.version < 2));
}

#[test]
fn free_space_is_what_the_bitmaps_say() {
    for options in [
        "-t ext4 -b 1024 -O extent,metadata_csum,uninit_bg,filetype",
        "-t ext4 -C 65536 -O bigalloc,extent,64bit,filetype",
        "-t ext2 -b 4096",
    ] {
        let image = Image::new(options, 64, None);
        let fs = image.open();
        let free = fs.unallocated().unwrap();
        let info = fs.info(fs.root()).unwrap();
        let (mut at, mut data) = (0, 0);
        while at < free.size() {
            let extent = free.extent_at(at).unwrap();
            data += if matches!(extent.data, images::Data::Hole) { 0 } else { extent.len };
            at += extent.len;
        }
        assert_eq!(free.size(), 64 << 20, "{options}");
        assert_eq!(data, info.blocks_free * u64::from(info.block_size), "{options}");
    }
}

/// Random patches of a real image: no panic, no hang, no promise broken.
#[test]
fn damaged_images() {
    let options = "-t ext4 -b 1024 -O extent,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=1";
    let plain = "-t ext4 -b 1024 -O extent,^metadata_csum,dir_index,has_journal,filetype -I 128 -J size=1";
    if !is_root(options) {
        return;
    }
    let _one = LOOP.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for options in [options, plain] {
        let image = Image::new(options, 8, None);
        let mut known = std::collections::HashSet::new();
        {
            let mount = Mount::new(&image, "rw");
            for index in 0..40u64 {
                let path = mount.path.join(format!("d{}/f{index}", index % 3));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                // Whole blocks, so that those with many zeros are metadata.
                let bytes = content((1 + index as usize) * 1024, index + 1);
                known.insert(hash(&bytes));
                fs::write(path, bytes).unwrap();
            }
            sync();
            let status = Command::new("rm").arg("-r").args((0..3).map(|i| mount.path.join(format!("d{i}")))).status();
            assert!(status.unwrap().success());
        }
        let bytes = image.bytes();
        let mut random = Random(99);
        let (mut intact, mut nodes) = (0, 0);
        for round in 0..60u64 {
            let mut patched = bytes.clone();
            // Data blocks are left alone: nothing could show that they were changed. The first 900 KiB and the log
            // hold the metadata.
            let metadata: Vec<usize> = (0..patched.len() / 1024)
                .filter(|block| {
                    let block = &patched[block * 1024..][..1024];
                    !block.iter().all(|byte| *byte == 0) && block.iter().filter(|byte| **byte == 0).count() > 200
                })
                .filter(|block| *block > 2)
                .collect();
            for _ in 0..1 + random.below(30) {
                let block = metadata[random.below(metadata.len() as u64) as usize] * 1024;
                match random.below(4) {
                    0 => patched[block..block + 1024].fill(if round % 2 == 0 { 0xff } else { 0 }),
                    1 => {
                        let from = metadata[random.below(metadata.len() as u64) as usize] * 1024;
                        patched.copy_within(from..from + 1024, block);
                    }
                    _ => {
                        for _ in 0..1 + random.below(20) {
                            patched[block + random.below(1024) as usize] = random.below(256) as u8;
                        }
                    }
                }
            }
            let Ok(fs) = ext_image::open(std::sync::Arc::new(images::disk::Memory::new("patched", patched))) else {
                continue;
            };
            let Ok(list) = fs.deleted() else { continue };
            for entry in &list {
                nodes += 1;
                let Ok(stat) = fs.stat(entry.node) else { continue };
                let _ = (fs.xattrs(entry.node), fs.read_link(entry.node), fs.extent_at(entry.node, 0));
                let _ = fs.read_dir(entry.node, 0, &mut |_| true);
                if stat.kind == Kind::File && stat.size < 1 << 20 {
                    let bytes = read(&*fs, entry.node);
                    if entry.state == State::Intact && options != plain && stat.size > 0 {
                        assert!(known.contains(&hash(&bytes.unwrap())), "round {round}: {entry:?}");
                        intact += 1;
                    }
                }
            }
            let _ = fs.unallocated();
        }
        println!("{options}: {nodes} nodes of damaged images, {intact} intact");
    }
}

/// debugfs and fuse2fs leave the pointers: everything comes back without a journal.
#[test]
fn ext2_deleted_by_debugfs() {
    let options = "-t ext2 -b 1024 -O filetype,dir_index -I 128";
    if !is_root(options) {
        return;
    }
    let _one = LOOP.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let image = Image::new(options, 128, None);
    let files = {
        let mount = Mount::new(&image, "rw");
        let files = populate(&mount.path);
        sync();
        files
    };
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let requests: String = files.keys().map(|path| format!("rm \"{path}\"\n")).collect();
    image.debugfs_write(&requests);
    let fs = image.open();
    let score = score(options, &*fs, &files, &|_, hash| files.values().any(|known| known == hash));
    // Nothing tells an empty file from one that the kernel emptied: its inode and name are listed, and no content.
    assert_eq!((score.content, score.intact, score.named), (119, 119, 119), "{:?}", score.missing);
    assert_eq!(score.missing, ["file 000"]);
    assert!(fs.deleted().unwrap().iter().any(|deleted| deleted.name.as_deref() == Some(b"file 000")));
}

/// The kernel zeroes the pointers of ext2: only metadata is left, and nothing may be promised.
#[test]
fn ext2_deleted_by_the_kernel() {
    let options = "-t ext2 -b 4096 -O filetype,dir_index -I 256";
    if !is_root(options) {
        return;
    }
    let _one = LOOP.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let image = Image::new(options, 128, None);
    let files = {
        let mount = Mount::new(&image, "rw");
        let files = populate(&mount.path);
        sync();
        remove(&mount.path, &files);
        files
    };
    let fs = image.open();
    score(options, &*fs, &files, &|_, hash| files.values().any(|known| known == hash));
    assert!(fs.deleted().unwrap().len() >= 120, "their inodes are known");
}

/// The journal is a disk of its own; it is scanned, and replayed if it is dirty.
#[test]
fn external_journal() {
    let options = "-t ext4 -b 4096 -O extent,64bit,metadata_csum,dir_index,filetype -I 256";
    if !is_root(options) {
        return;
    }
    let _one = LOOP.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let directory = ext_image::scratch();
    let journal = directory.path().join("journal");
    File::create(&journal).unwrap().set_len(16 << 20).unwrap();
    run("e2fsprogs", "mke2fs", &["-q", "-F", "-b", "4096", "-O", "journal_dev", journal.to_str().unwrap()]);
    let device = run("mount", "losetup", &["--find", "--show", journal.to_str().unwrap()]);
    let device = device.trim();
    let image = Image::new(&format!("{options} -J device={device}"), 256, None);
    let (files, dirty) = {
        let mount = Mount::new(&image, "rw");
        let files = populate(&mount.path);
        sync();
        remove(&mount.path, &files);
        sync();
        (files, (image.bytes(), fs::read(&journal).unwrap()))
    };
    run("mount", "losetup", &["--detach", device]);
    for (name, (bytes, journal)) in [("clean", (image.bytes(), fs::read(&journal).unwrap())), ("dirty", dirty)] {
        let disk = |name: &str, bytes| -> std::sync::Arc<dyn images::Disk> {
            std::sync::Arc::new(images::disk::Memory::new(name, bytes))
        };
        let mut options = filesystems::Options::default();
        options.journals = vec![disk("journal", journal)];
        let fs = filesystems::open(disk("image", bytes), &options).unwrap();
        let score = score(name, &*fs, &files, &|_, hash| files.values().any(|known| known == hash));
        assert_eq!(score.content, 120, "{name}: {:?}", score.missing);
        assert_eq!(fs.unallocated().unwrap().size(), 256 << 20);
    }
}

/// The superblock is damaged, and the journal dirty: a backup is used, the journal replayed, and the files come back.
#[test]
fn backup_superblock() {
    let options = "-t ext4 -b 4096 -O extent,64bit,metadata_csum,sparse_super,dir_index,has_journal,filetype -I 256";
    if !is_root(options) {
        return;
    }
    let _one = LOOP.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let image = Image::new(options, 256, None);
    let (files, dirty) = {
        let mount = Mount::new(&image, "rw");
        let files = populate(&mount.path);
        sync();
        remove(&mount.path, &files);
        sync();
        (files, image.bytes())
    };
    for (name, mut bytes) in [("clean, backup superblock", image.bytes()), ("dirty, backup superblock", dirty)] {
        bytes[1024 + 0x10..1024 + 0x30].fill(0x5a);
        let fs = ext_image::open(std::sync::Arc::new(images::disk::Memory::new("image", bytes))).unwrap();
        let score = score(name, &*fs, &files, &|_, hash| files.values().any(|known| known == hash));
        assert_eq!(score.content, 120, "{name}: {:?}", score.missing);
        println!("{:?}", fs.info(fs.root()).unwrap().notes);
    }
}
