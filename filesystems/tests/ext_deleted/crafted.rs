//! Images that no kernel makes: blocks of 64 KiB, tables and journals of nonsense, loops, maps that lead to metadata.

use std::time::{Duration, Instant};

use super::*;

/// How long one search may take, in a debug build on a slow and busy machine.
const MAX_TIME: Duration = Duration::from_secs(30);

/// Twelve files of one to 350,000 bytes in three directories.
fn tree() -> (tempfile::TempDir, Files) {
    let (tree, mut files) = (ext_image::scratch(), Files::new());
    for index in 0..12u64 {
        let (path, bytes) = (format!("d{}/file {index}", index % 3), content(1 + index as usize * 31_000, index + 1));
        fs::create_dir_all(tree.path().join(&path).parent().unwrap()).unwrap();
        fs::write(tree.path().join(&path), &bytes).unwrap();
        files.insert(path, hash(&bytes));
    }
    (tree, files)
}

/// Searches a damaged image and touches all that is found. Fails if it takes too long, or if something is called intact
/// that is none of `files`.
fn exercise(name: &str, bytes: Vec<u8>, files: &Files) -> Vec<Deleted> {
    let start = Instant::now();
    let Ok(fs) = ext_image::open(Arc::new(Memory::new(name, bytes))) else { panic!("{name}: cannot be opened") };
    let list = fs.forensics().and_then(|forensics| forensics.deleted()).map(|list| list.to_vec()).unwrap_or_default();
    for deleted in &list {
        let Ok(stat) = fs.stat(deleted.node) else { continue };
        let _ = (fs.xattrs(deleted.node), fs.read_link(deleted.node), fs.extent_at(deleted.node, 0));
        let _ = fs.read_dir(deleted.node, 0, &mut |_| true);
        if deleted.state == State::Intact && stat.kind == Kind::File && stat.size > 0 {
            let bytes = read(&*fs, deleted.node).unwrap();
            assert!(files.values().any(|hash| *hash == sample::hash(&bytes)), "{name}: {deleted:?}");
        }
    }
    let _ = fs.forensics().unwrap().unallocated();
    let took = start.elapsed();
    println!("{name}: {} nodes in {took:?}", list.len());
    assert!(took < MAX_TIME, "{name} took {took:?}");
    list
}

#[test]
fn blocks_of_64_kib() {
    let (tree, files) = tree();
    for (options, megabytes) in [
        ("-t ext4 -b 65536 -O extent,64bit,metadata_csum,filetype,has_journal -J size=64 -I 256 -N 4096", 192),
        ("-t ext4 -b 65536 -O extent,64bit,^metadata_csum,filetype,^has_journal -I 256 -N 4096", 64),
        ("-t ext2 -b 65536 -O filetype -I 128 -N 4096", 64),
    ] {
        let image = Image::new(options, megabytes, Some(tree.path()));
        let old = image.bytes();
        let at = image.inode_at("\"/d0/file 0\"", 65536) & !0xffff;
        let number = |path: &String| image.number(path);
        let numbers: Vec<u64> = files.keys().map(number).collect();
        image.debugfs_write(&files.keys().map(|path| format!("rm \"{path}\"\n")).collect::<String>());
        let fs = image.open();
        let removed = score(options, &*fs, &files, &|_, hash| files.values().any(|known| known == hash));
        assert_eq!((removed.content, removed.named), (12, 12), "{options}: {:?}", removed.missing);
        if !options.contains(",has_journal") {
            continue;
        }
        // The inodes are wiped, and the journal has a copy of their block; debugfs writes it as a transaction.
        let block = image.directory.path().join("block");
        fs::write(&block, &old[at..at + 65536]).unwrap();
        let wiped: String = numbers.iter().map(|number| format!("clri <{number}>\n")).collect();
        image.debugfs_write(&format!("{wiped}jo -c\njw -b {} {}\njc\n", at / 65536, block.display()));
        let mut unreplayed = filesystems::Options::default();
        unreplayed.replay = false;
        let fs = filesystems::open(image.memory(), &unreplayed).unwrap();
        let score = score("wiped", &*fs, &files, &|_, hash| files.values().any(|known| known == hash));
        assert_eq!((score.content, score.named, score.intact), (12, 12, 0), "{options}: {:?}", score.missing);
    }
}

#[test]
fn journals_and_tables_of_nonsense() {
    let (tree, files) = tree();
    for checksums in ["metadata_csum", "^metadata_csum"] {
        let options = format!("-t ext4 -b 1024 -O extent,64bit,{checksums},filetype,has_journal -J size=4 -I 256");
        let image = Image::new(&options, 32, Some(tree.path()));
        image.debugfs_write(&files.keys().map(|path| format!("rm \"{path}\"\n")).collect::<String>());
        let bytes = image.bytes();
        let first: usize = image.debugfs("bmap <8> 1").trim().parse().unwrap();
        let length = 4096 - 1;
        let mut random = Random(17);
        let mut noise = |range: std::ops::Range<usize>, bytes: &mut Vec<u8>| {
            bytes[range].chunks_mut(8).for_each(|word| {
                let value = random.below(u64::MAX).to_le_bytes();
                word.copy_from_slice(&value[..word.len()]);
            });
        };
        let journal = first * 1024..(first + length) * 1024;
        let mut patched = bytes.clone();
        noise(journal.clone(), &mut patched);
        assert!(exercise(&format!("{checksums}, a journal of random bytes"), patched.clone(), &files).len() >= 12);
        // Blocks that look like records, with tags for any block, of any transaction.
        for (index, at) in journal.clone().step_by(1024).enumerate() {
            let kind = [1u32, 5, 2][index % 3].to_be_bytes();
            patched[at..at + 4].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98]);
            patched[at + 4..at + 8].copy_from_slice(&kind);
            if index % 7 > 3 {
                patched[at..at + 4].fill(1);
            }
        }
        exercise(&format!("{checksums}, a journal of random records"), patched, &files);
        // All the journal claims to be extent blocks of the superblock's own block.
        let mut patched = bytes.clone();
        for at in journal.clone().step_by(1024) {
            patched[at..at + 12].copy_from_slice(&[0x0a, 0xf3, 83, 0, 83, 0, 0, 0, 0, 0, 0, 0]);
            patched[at + 12..at + 1020].fill(1);
        }
        exercise(&format!("{checksums}, a journal of extent blocks"), patched, &files);
        // The root's block stays, so that the image can be opened.
        let table = image.inode_at("<2>", 1024) & !1023;
        for value in [0xff, 0x41] {
            let mut patched = bytes.clone();
            patched[table + 1024..table + 256 * 1024].fill(value);
            exercise(&format!("{checksums}, an inode table full of {value:#x}"), patched, &files);
        }
    }
}

/// A map that leads to the superblock, and one that leads to another file's blocks.
#[test]
fn maps_that_lead_elsewhere() {
    let (tree, files) = tree();
    let options = "-t ext4 -b 1024 -O extent,^metadata_csum,filetype,^has_journal -I 256";
    let image = Image::new(options, 32, Some(tree.path()));
    let live: u32 = image.debugfs("bmap \"/d0/file 9\" 0").trim().parse().unwrap();
    let inode = image.inode_at("\"/d1/file 7\"", 1024);
    let number = image.number("/d1/file 7");
    image.debugfs_write("rm \"/d1/file 7\"\n");
    for block in [1, 2, live, 32 * 1024 - 1, u32::MAX] {
        let mut bytes = image.bytes();
        // `ee_start_lo` of the first extent in the inode.
        let at = inode + 0x28 + 12 + 8;
        bytes[at..at + 4].copy_from_slice(&block.to_le_bytes());
        let list = exercise(&format!("a map to block {block}"), bytes, &files);
        let found = list.iter().find(|deleted| deleted.number == number).unwrap();
        assert!(!matches!(found.state, State::Intact | State::Unproven), "block {block}: {found:?}");
        assert!(!found.lost.is_empty());
    }
}

/// Deleted directories that lie in each other.
#[test]
fn directories_in_a_circle() {
    let tree = ext_image::scratch();
    fs::create_dir_all(tree.path().join("x/a/b")).unwrap();
    fs::write(tree.path().join("x/a/b/file"), "in a circle").unwrap();
    let image = Image::new("-t ext2 -b 1024 -O filetype", 8, Some(tree.path()));
    let numbers = ["x", "x/a", "x/a/b", "x/a/b/file"].map(|path| image.number(path));
    let x: usize = image.debugfs("bmap x 0").trim().parse().unwrap();
    let kill: String = numbers.iter().map(|number| format!("kill_file <{number}>\n")).collect();
    image.debugfs_write(&format!("ln x/a x/a/b/loop\nunlink x\n{kill}"));
    let mut bytes = image.bytes();
    // Only the loop names `a` now.
    bytes[x * 1024..][..1024].fill(0);
    let files = Files::from([("file".into(), hash(b"in a circle"))]);
    let list = exercise("a circle", bytes, &files);
    let of = |number| list.iter().find(|deleted| deleted.number == number).unwrap();
    let [_, a, b, file] = numbers.map(of);
    assert_eq!(file.parent, Parent::Deleted(b.node));
    let parents = [(a.parent, b.node), (b.parent, a.node)];
    let (inside, outside) = match parents.map(|(parent, other)| parent == Parent::Deleted(other)) {
        [true, false] => (0, 1),
        [false, true] => (1, 0),
        both => panic!("one of the two is taken out: {both:?}, {list:#?}"),
    };
    assert_eq!(parents[outside].0, Parent::Unknown);
    assert_ne!(parents[inside].0, Parent::Unknown);
}
