//! ext images with random and boundary values in their structures: no panic, no hang, and damage stays where it is.

#![allow(clippy::unwrap_used)]

mod ext_image;

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ext_image::{Image, open, scratch};
use filesystems::{FileSystem, Kind, NodeId};
use images::Disk;
use images::disk::{Faulty, Memory, View};

/// What a walk may do at most: a damaged tree may be endless.
const MAX_NODES: usize = 400;
/// How long one walk may take, on a slow and busy machine.
const MAX_TIME: Duration = Duration::from_secs(20);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// A small tree with every kind of map and directory.
fn image(options: &str) -> Image {
    let tree = scratch();
    let root = tree.path();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    for index in 0..120 {
        fs::write(root.join(format!("a/many-{index:03}-{}", "n".repeat(index))), [index as u8; 100]).unwrap();
    }
    fs::write(root.join("small"), "small").unwrap();
    fs::write(root.join("large"), vec![7; 600_000]).unwrap();
    let sparse = fs::File::create(root.join("sparse")).unwrap();
    use std::os::unix::fs::FileExt;
    for index in 0..20 {
        sparse.write_all_at(b"data", index * 20_000).unwrap();
    }
    std::os::unix::fs::symlink("t".repeat(300), root.join("slow-link")).unwrap();
    std::os::unix::fs::symlink("small", root.join("fast-link")).unwrap();
    let image = Image::new(options, 4, Some(root));
    // Gives the larger directory a hash tree; 1 says that it changed something.
    let fsck = toolbox::command("e2fsck").args(["-fyD"]).arg(&image.path).output().unwrap();
    assert!(fsck.status.code().is_some_and(|code| code <= 1), "{fsck:?}");
    image
}

/// Does everything that a program can do, a bounded number of times; errors are fine.
fn exercise(fs: &dyn FileSystem) -> usize {
    let start = Instant::now();
    let (mut nodes, mut seen) = (vec![fs.root()], 0);
    let mut buf = vec![0; 20_000];
    while let Some(node) = nodes.pop() {
        seen += 1;
        if seen > MAX_NODES {
            break;
        }
        let Ok(stat) = fs.stat(node) else { continue };
        match stat.kind {
            Kind::Directory => {
                let mut left = MAX_NODES;
                let mut names = Vec::new();
                let _ = fs.read_dir(node, 0, &mut |entry| {
                    names.push(entry.name.to_vec());
                    assert!(!entry.name.contains(&0) && !entry.name.contains(&b'/') && entry.name.len() <= 255);
                    nodes.push(entry.node);
                    left -= 1;
                    left > 0
                });
                for name in names.iter().step_by(17) {
                    let _ = fs.lookup(node, name);
                }
                let _ = fs.lookup(node, b"not there");
                for from in [1, 5, 1024, stat.size.saturating_sub(8), u64::MAX >> 1] {
                    let _ = fs.read_dir(node, from, &mut |_| false);
                }
            }
            Kind::Symlink => drop(fs.read_link(node)),
            Kind::File => {
                for at in [0, 1, 12 * 1024, 300_000, stat.size / 2, stat.size.saturating_sub(1), u64::MAX] {
                    if let Ok(len) = fs.read_at(node, &mut buf, at) {
                        assert_eq!(len as u64, stat.size.saturating_sub(at).min(buf.len() as u64));
                    }
                    if let Ok(extent) = fs.extent_at(node, at) {
                        assert!(extent.len > 0 && extent.len <= stat.size - at);
                    }
                }
            }
            _ => {}
        }
    }
    assert!(fs.space(fs.root()).is_ok());
    assert!(start.elapsed() < MAX_TIME, "took {:?}", start.elapsed());
    seen
}

/// Patches values into the blocks that are not file content, one to four at a time.
fn patches(options: &str, rounds: usize, seed: u64) {
    let image = image(options);
    let original = image.bytes();
    let sound = open(Arc::new(Memory::new("sound", original.clone()))).unwrap();
    assert!(exercise(&*sound) > 100, "the sound image is walked");
    // 256-byte pieces that have structure in them: not empty, and not the content of the large files.
    let interesting: Vec<usize> = (1024..original.len())
        .step_by(256)
        .filter(|at| original[*at..at + 256].iter().any(|byte| !matches!(byte, 0 | 7)))
        .collect();
    let mut random = Random(seed);
    let values = [
        0,
        1,
        2,
        3,
        11,
        12,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0x8001,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        u64::MAX,
    ];
    let mut opened = 0;
    for round in 0..rounds {
        let mut bytes = original.clone();
        for _ in 0..=random.below(4) {
            // The superblock every fourth time.
            let piece = if random.below(4) == 0 {
                1024 + random.below(3) * 256
            } else {
                interesting[random.below(interesting.len())]
            };
            let width = [1, 2, 4, 8][random.below(4)];
            let at = piece + random.below(256 / width) * width;
            match random.below(3) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at..at + width].copy_from_slice(&values[random.below(values.len())].to_le_bytes()[..width]),
                _ => bytes[at..at + width].copy_from_slice(&random.next().to_le_bytes()[..width]),
            }
        }
        let disk = Arc::new(Memory::new(format!("round {round} of seed {seed}"), bytes));
        if let Ok(fs) = open(disk) {
            opened += 1;
            exercise(&*fs);
        }
    }
    assert!(opened > rounds / 10, "only {opened} of {rounds} patched images could be opened at all");
}

#[test]
fn patched_ext2() {
    patches("-t ext2 -b 1024 -O dir_index", 150, 1);
}

#[test]
fn patched_ext4_without_checksums() {
    patches("-t ext4 -b 1024 -O extent,64bit,dir_index,^metadata_csum -I 256", 250, 2);
}

#[test]
fn patched_ext4_with_checksums() {
    patches("-t ext4 -b 1024 -O extent,64bit,dir_index,metadata_csum -I 256", 100, 3);
}

#[test]
fn patched_inline_data() {
    patches("-t ext4 -b 1024 -O extent,inline_data,meta_bg,^resize_inode,^metadata_csum -I 512", 150, 4);
}

#[test]
fn truncated_images_open_or_say_why_and_read_what_is_there() {
    let image = image("-t ext4 -b 1024 -O extent,dir_index,metadata_csum -I 256");
    let disk: Arc<dyn Disk> = image.memory();
    let mut opened = 0;
    for size in (0..=8).map(|kib| kib * 512).chain((0..40).map(|part| part * 104_857)) {
        let cut = Arc::new(View::new("cut", disk.clone(), 0, size).unwrap());
        match open(cut) {
            Ok(fs) => {
                opened += 1;
                exercise(&*fs);
                assert!(fs.properties(fs.root()).notes.iter().any(|note| note.contains("truncated")));
            }
            Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
        }
    }
    assert!(opened > 5, "{opened}");
}

fn find(fs: &dyn FileSystem, path: &str) -> NodeId {
    path.split('/').fold(fs.root(), |node, name| fs.lookup(node, name.as_bytes()).unwrap())
}

/// An image in which debugfs set a field of an inode, and its file system.
fn with_field(path: &str, field: &str, value: &str) -> Arc<dyn FileSystem> {
    let image = image("-t ext4 -b 1024 -O extent,dir_index,metadata_csum -I 256");
    image.debugfs_write(&format!("set_inode_field {path} {field} {value}\n"));
    image.open()
}

#[test]
fn a_damaged_file_is_an_error_for_that_file_only() {
    let image = image("-t ext4 -b 1024 -O extent,dir_index,metadata_csum -I 256");
    let number = image.number("small");
    let at = image.inode_at("small", 1024);
    let mut bytes = image.bytes();
    bytes[at + 0x1c] ^= 1;
    let fs = open(Arc::new(Memory::new("damaged", bytes))).unwrap();
    let small = find(&*fs, "small");
    assert_eq!(small.0, number);
    let error = fs.stat(small).unwrap_err().to_string();
    assert!(error.starts_with(&format!("inode {number} at byte {at:#x}: checksum ")), "{error}");
    assert!(fs.read_at(small, &mut [0; 5], 0).is_err());
    assert!(fs.read_at(find(&*fs, "large"), &mut [0; 5], 0).is_ok());
}

#[test]
fn a_size_of_2_to_the_63_is_refused_and_the_largest_is_not() {
    let fs = with_field("small", "size", "0x8000000000000000");
    assert!(fs.stat(find(&*fs, "small")).unwrap_err().to_string().contains("at most 2^63 - 1"));
    let fs = with_field("small", "size", "0x7fffffffffffffff");
    let small = find(&*fs, "small");
    let mut buf = [1; 100];
    assert_eq!(fs.read_at(small, &mut buf, i64::MAX as u64 - 10).unwrap(), 10);
    assert_eq!(buf[..10], [0; 10]);
    assert_eq!(fs.extent_at(small, 1 << 40).unwrap().len, (i64::MAX as u64) - (1 << 40));
}

#[test]
fn an_extent_tree_that_points_to_itself_ends() {
    let image = image("-t ext4 -b 1024 -O extent,dir_index,^metadata_csum -I 256");
    let blocks = image.debugfs("ex sparse");
    assert!(blocks.contains("1/ 1"), "the sparse file's tree has two levels: {blocks}");
    let stat = image.debugfs("stat sparse");
    let leaf: usize = stat.split("(ETB0):").nth(1).unwrap().split([',', '\n']).next().unwrap().trim().parse().unwrap();
    let mut bytes = image.bytes();
    // The leaf becomes an index block whose one entry is itself.
    let node = &mut bytes[leaf * 1024..][..24];
    node[2..4].copy_from_slice(&1u16.to_le_bytes());
    node[6..8].copy_from_slice(&1u16.to_le_bytes());
    node[12..16].fill(0);
    node[16..20].copy_from_slice(&(leaf as u32).to_le_bytes());
    node[20..22].fill(0);
    let fs = open(Arc::new(Memory::new("loop", bytes))).unwrap();
    let error = fs.read_at(find(&*fs, "sparse"), &mut [0; 10], 0).unwrap_err().to_string();
    assert!(error.contains("depth 1, want 0"), "{error}");
}

#[test]
fn features_that_are_not_read_are_refused_by_name() {
    let image = image("-t ext4 -b 1024 -O extent,^metadata_csum -I 256");
    for (bit, name) in
        [(0x1u32, "e2compr"), (0x8, "external journal"), (0x1000, "dirdata"), (0x4000_0000, "0x40000000")]
    {
        let mut bytes = image.bytes();
        let at = 1024 + 0x60;
        let flags = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) | bit;
        bytes[at..at + 4].copy_from_slice(&flags.to_le_bytes());
        let error = open(Arc::new(Memory::new("m", bytes))).err().expect("refused");
        assert!(matches!(error, images::Error::Unsupported(_)) && error.to_string().contains(name), "{error}");
    }
    let mut bytes = image.bytes();
    bytes[1024 + 0x67] |= 0x80;
    let mut options = filesystems::Options::default();
    options.access = images::disk::Access::ReadWrite;
    let fs = filesystems::open(Arc::new(Memory::new("m", bytes)), &options).unwrap();
    let why = fs.writer(fs.root()).err().unwrap().to_string();
    assert!(why.contains("unknown feature 0x80000000"), "{why}");
}

#[test]
fn an_unreadable_place_is_an_error_for_what_lies_there_only() {
    let image = image("-t ext4 -b 1024 -O extent,dir_index,metadata_csum -I 256");
    let block: u64 = image.debugfs("bmap large 5").trim().parse().unwrap();
    let fs = open(Arc::new(Faulty::new(image.memory(), std::iter::once(block * 1024..block * 1024 + 512).collect())))
        .unwrap();
    let large = find(&*fs, "large");
    let mut buf = [0; 1024];
    assert!(matches!(fs.read_at(large, &mut buf, 5 * 1024 + 100).unwrap_err().root(), images::Error::Io { .. }));
    assert_eq!(fs.read_at(large, &mut buf, 6 * 1024).unwrap(), 1024);
    assert_eq!(fs.read_at(large, &mut buf[..100], 5 * 1024 + 900).unwrap(), 100);
    assert_eq!(fs.read_at(find(&*fs, "small"), &mut buf, 0).unwrap(), 5);
}

/// What is listed of a directory, read in pieces of `piece` entries, and the error in the end.
fn listed(fs: &dyn FileSystem, dir: NodeId, piece: usize) -> (Vec<String>, Option<String>) {
    let (mut names, mut from) = (Vec::new(), 0);
    loop {
        let before = names.len();
        let read = fs.read_dir(dir, from, &mut |entry| {
            names.push(String::from_utf8(entry.name.to_vec()).unwrap());
            from = entry.next;
            names.len() < before + piece
        });
        match read {
            Err(error) => return (names, Some(error.to_string())),
            Ok(()) if names.len() == before => return (names, None),
            Ok(()) => {}
        }
    }
}

#[test]
fn a_damaged_block_of_a_directory_hides_its_own_names_only() {
    for options in [
        "-t ext4 -b 1024 -O extent,dir_index,metadata_csum -I 256",
        "-t ext4 -b 1024 -O extent,^dir_index,metadata_csum -I 256",
        "-t ext3 -b 1024 -O dir_index -I 128",
        "-t ext2 -b 1024 -O ^dir_index -I 128",
    ] {
        let image = image(options);
        let (all, end) = listed(&*image.open(), find(&*image.open(), "a"), usize::MAX);
        assert_eq!((all.len(), end), (121, None), "{options}");
        let block: usize = image.debugfs("bmap a 4").trim().parse().unwrap();
        let mut bytes = image.bytes();
        bytes[block * 1024 + 4..][..2].copy_from_slice(&3u16.to_le_bytes());
        let damaged: Arc<dyn Disk> = Arc::new(Memory::new("damaged", bytes));
        let bad = block as u64 * 1024..block as u64 * 1024 + 512;
        for disk in [damaged, Arc::new(Faulty::new(image.memory(), vec![bad]))] {
            let fs = open(disk).unwrap();
            let dir = find(&*fs, "a");
            for piece in [usize::MAX, 7, 1] {
                let (sound, end) = listed(&*fs, dir, piece);
                let end = end.unwrap_or_else(|| panic!("{options}: the damage is told"));
                assert!(end.contains("directory") || end.contains("medium error"), "{end}");
                assert!((90..121).contains(&sound.len()), "{options}: {}", sound.len());
                assert!(sound.iter().all(|name| fs.lookup(dir, name.as_bytes()).is_ok()), "{options}");
                assert!(
                    all.iter()
                        .filter(|name| !sound.contains(name))
                        .all(|name| fs.lookup(dir, name.as_bytes()).is_err())
                );
            }
            assert_eq!(listed(&*fs, fs.root(), 2).1, None, "others are sound");
        }
    }
}

/// A directory with three names in its first block, which claims that block 256 times more.
fn repeated(options: &str) -> Image {
    let tree = scratch();
    for name in ["one", "two", "three"] {
        fs::create_dir_all(tree.path().join("dir")).unwrap();
        fs::write(tree.path().join("dir").join(name), name).unwrap();
    }
    let image = Image::new(options, 32, Some(tree.path()));
    let at = image.inode_at("/dir", 1024);
    let mut bytes = image.bytes();
    let word = |value: u32| value.to_le_bytes();
    let free = 30_000u32;
    if options.contains("extent") {
        let block = u32::from_le_bytes(bytes[at + 40 + 20..][..4].try_into().unwrap());
        // A leaf of 84 extents, each of them this block; its header is in the inode, too, one level up.
        let header = |count: u16, depth: u16| [0xf30a, count, 84, depth, 0, 0].map(u16::to_le_bytes).concat();
        let extents = (0..84u32).flat_map(|index| [word(index), word(1), word(block)].concat());
        let leaf = [header(84, 0), extents.collect()].concat();
        bytes[free as usize * 1024..][..leaf.len()].copy_from_slice(&leaf);
        let mut root = [header(1, 1), [word(0), word(free), word(0)].concat()].concat();
        root[4] = 4;
        bytes[at + 40..][..root.len()].copy_from_slice(&root);
        bytes[at + 4..][..4].copy_from_slice(&word(84 * 1024));
    } else {
        let block: [u8; 4] = bytes[at + 40..][..4].try_into().unwrap();
        bytes[free as usize * 1024..][..1024].copy_from_slice(&block.repeat(256));
        bytes[at + 40 + 48..][..4].copy_from_slice(&word(free));
        bytes[at + 4..][..4].copy_from_slice(&word((12 + 256) * 1024));
    }
    fs::write(&image.path, bytes).unwrap();
    image
}

#[test]
fn a_directory_is_read_up_to_a_block_that_it_has_already() {
    for options in
        ["-t ext2 -b 1024 -O ^dir_index -I 128", "-t ext4 -b 1024 -O extent,^metadata_csum,^dir_index -I 256"]
    {
        let disk = Arc::new(images::disk::Counting::new(repeated(options).memory()));
        let fs = open(disk.clone()).unwrap();
        let dir = find(&*fs, "dir");
        for piece in [usize::MAX, 2] {
            let (mut names, end) = listed(&*fs, dir, piece);
            names.sort();
            assert_eq!(names, ["one", "three", "two"], "{options}");
            assert!(end.unwrap().contains("lies where another of its blocks does"), "{options}");
        }
        assert!(fs.lookup(dir, b"two").is_ok() && fs.lookup(dir, b"none").is_err());
        assert!(disk.take().0 < 20, "no block is read again and again");
    }
}

#[test]
fn a_journal_that_has_a_block_twice_is_refused_by_name() {
    let image = Image::new("-t ext3 -b 1024 -I 128 -J size=1", 8, None);
    let at = image.inode_at("<8>", 1024);
    let mut bytes = image.bytes();
    bytes.copy_within(at + 40 + 4..at + 40 + 8, at + 40 + 8);
    // The journal needs recovery.
    bytes[1024 + 0x60] |= 4;
    let disk: Arc<dyn Disk> = Arc::new(Memory::new("journal", bytes));
    let error = open(disk.clone()).err().expect("refused").to_string();
    assert!(error.contains("journal inode") && error.contains("its block 2 lies where another of its blocks does"));
    assert!(error.contains("--no-replay"), "{error}");
    let mut options = filesystems::Options::default();
    options.replay = false;
    let fs = filesystems::open(disk, &options).unwrap();
    assert!(fs.forensics().unwrap().deleted().unwrap().is_empty(), "what else there is is searched");
}
