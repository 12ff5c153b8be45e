//! Volumes that lost more than a file, and volumes that lie: no wrong promise, no panic, no hang.

use images::disk::{Counting, Faulty};

use super::*;

/// A volume, and where its parts lie.
struct Volume {
    bytes: Vec<u8>,
    fat: usize,
    fat_size: usize,
    /// The root directory, and cluster 2.
    root: usize,
    data: usize,
}

const CLUSTER: usize = 512;

fn memory(bytes: &[u8]) -> Arc<dyn Disk> {
    Arc::new(Memory::new("m", bytes.to_vec()))
}

impl Volume {
    /// A tree with a directory below a directory, copied after `prepare`, and deleted if `is_deleted`.
    fn new(bits: &str, kilobytes: u64, prepare: impl FnOnce(&Path), is_deleted: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = format(dir.path(), kilobytes, &["-F", bits, "-s", "1", "-f", "1"]);
        prepare(&image);
        let tree = dir.path().join("TREE");
        for number in 0..20 {
            write(&tree, &format!("first directory/inner/a file {number}"), &noise(number, 700 + number as usize));
            write(&tree, &format!("another directory/file {number}"), &noise(100 + number, 100));
        }
        run("mcopy", &["-s", "-i", text(&image), text(&tree), "::"]);
        if is_deleted {
            run("mdeltree", &["-i", text(&image), "::TREE"]);
        }
        Self::of(fs::read(&image).unwrap())
    }

    fn of(bytes: Vec<u8>) -> Self {
        let word = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
        let fat_size = if word(22) == 0 { word(36) } else { word(22) } * 512;
        let fat = word(14) * 512;
        let root = fat + fat_size;
        let data = root + word(17) * 32;
        Self { bytes, fat, fat_size, root, data }
    }

    /// Where the directory entry lies whose name begins like this.
    fn slot(&self, name: &[u8]) -> usize {
        let slots = (self.root..self.bytes.len()).step_by(32);
        slots.into_iter().find(|at| self.bytes[*at..].starts_with(name)).unwrap()
    }

    fn found(&self) -> BTreeMap<String, Seen> {
        deleted(open(memory(&self.bytes)).as_ref()).into_iter().collect()
    }
}

/// How many of the forty files are there with the right content, below these paths.
fn right(found: &BTreeMap<String, Seen>, inner: &str, another: &str) -> usize {
    let is_right = |path: String, content: Vec<u8>| {
        found.get(&path).is_some_and(|seen| seen.content.as_deref() == Some(&content[..]))
    };
    let files = (0..20).flat_map(|number| {
        [
            (format!("{inner}/a file {number}"), noise(number, 700 + number as usize)),
            (format!("{another}/file {number}"), noise(100 + number, 100)),
        ]
    });
    files.filter(|(path, content)| is_right(path.clone(), content.clone())).count()
}

#[test]
fn a_directory_that_nothing_names_any_more() {
    for (bits, kilobytes) in [("12", 1440), ("16", 8 << 10)] {
        let mut volume = Volume::new(bits, kilobytes, |_| {}, true);
        assert_eq!(right(&volume.found(), "/_REE/first directory/_nner", "/_REE/another directory"), 40);
        let at = volume.slot(b"\xe5REE   ");
        let first = u16::from_le_bytes([volume.bytes[at + 26], volume.bytes[at + 27]]);
        volume.bytes[at..at + 32].fill(0);
        let found = volume.found();
        let root = format!("/#{first}");
        assert_eq!(found[&root].kind, Kind::Directory);
        assert_eq!(found[&root].deleted.parent, Parent::Live(NodeId(1)));
        let below = |name: &str| format!("{root}/{name}");
        assert_eq!(right(&found, &below("first directory/_nner"), &below("another directory")), 40);
        // Its first cluster is gone too: what is below has no parent, but is not lost.
        let cluster = volume.data + usize::from(first - 2) * CLUSTER;
        volume.bytes[cluster..cluster + CLUSTER].copy_from_slice(&noise(3, CLUSTER));
        let found = volume.found();
        let truth: BTreeSet<_> = (0..20).map(|number| hash(&noise(number, 700 + number as usize))).collect();
        let ours: BTreeSet<_> = found.values().filter_map(|seen| seen.content.as_deref().map(hash)).collect();
        assert_eq!(truth.intersection(&ours).count(), 20, "{:?}", found.keys());
    }
}

#[test]
fn chains_that_are_still_in_the_fat() {
    for (bits, kilobytes) in [("12", 1440), ("16", 8 << 10), ("32", 40 << 10)] {
        let mut volume = Volume::new(bits, kilobytes, |_| {}, false);
        assert!(volume.found().is_empty(), "nothing is deleted");
        // The entry was freed, the chains were not: of the tree, and of all that is in it.
        let at = volume.slot(b"TREE   ");
        volume.bytes[at] = 0xe5;
        let found = volume.found();
        assert_eq!(right(&found, "/_REE/first directory/inner", "/_REE/another directory"), 40, "{:?}", found.keys());
        let file = &found["/_REE/another directory/file 7"];
        let what = "cluster chain that is still in the FAT";
        assert!(file.deleted.evidence.iter().any(|evidence| evidence.what == what));
        // A file that no entry names: all of its clusters.
        let mut volume = Volume::new(bits, kilobytes, |_| {}, false);
        let at = volume.slot(b"AFILE");
        let first = u16::from_le_bytes([volume.bytes[at + 26], volume.bytes[at + 27]]);
        let size = u32::from_le_bytes(volume.bytes[at + 28..at + 32].try_into().unwrap());
        volume.bytes[at + 26..at + 28].fill(0);
        let found = volume.found();
        let lost = &found[&format!("?/#{first}")];
        assert_eq!((found.len(), lost.size, lost.deleted.state), (1, 1024, State::Unproven));
        let number = u64::from(size - 700);
        assert!(lost.content.as_ref().unwrap()[..size as usize] == noise(number, size as usize));
    }
}

/// Windows erases the upper half of the first cluster's number when it deletes.
#[test]
fn the_high_half_is_found_again() {
    let far = |image: &Path| {
        let mut bytes = fs::read(image).unwrap();
        bytes[512 + 492..512 + 496].copy_from_slice(&70_000u32.to_le_bytes());
        fs::write(image, bytes).unwrap();
        let keep = image.with_file_name("KEPT");
        fs::write(&keep, "kept").unwrap();
        run("mcopy", &["-i", text(image), text(&keep), "::"]);
    };
    let mut volume = Volume::new("32", 40 << 10, far, true);
    let mut erased = 0;
    for slot in volume.bytes.as_chunks_mut::<32>().0 {
        if slot[0] == 0xe5 && slot[11] & 0xc8 == 0 && slot[20..22] == [1, 0] {
            slot[20] = 0;
            erased += 1;
        }
    }
    assert!(erased > 40, "{erased}");
    let found = volume.found();
    assert_eq!(right(&found, "/_REE/first directory/_nner", "/_REE/another directory"), 40, "{:?}", found.keys());
    let has = |path: &str, what: &str| found[path].deleted.evidence.iter().any(|evidence| evidence.what == what);
    assert!(has("/_REE", "first cluster with its high half found"));
    assert!(has("/_REE/another directory/file 3", "first cluster with a guessed high half"));
}

/// The FAT once, live directories once, the free space once.
#[test]
fn the_search_has_a_budget() {
    let volume = Volume::new("32", 40 << 10, |_| {}, true);
    let counting = Arc::new(Counting::new(memory(&volume.bytes)));
    let fs = open(counting.clone());
    counting.take();
    assert_eq!(fs.forensics().unwrap().deleted().unwrap().len(), 44);
    let (reads, bytes) = counting.take();
    assert!(bytes < volume.bytes.len() as u64 * 102 / 100, "{bytes} bytes");
    assert!(reads < 40 * 16 + 200, "{reads} reads");
    // In a sparse image only what is there is read.
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("sparse");
    fs::write(&image, &volume.bytes).unwrap();
    run("fallocate", &["--dig-holes", text(&image)]);
    let counting = Arc::new(Counting::new(disk(&image)));
    let fs = open(counting.clone());
    counting.take();
    assert_eq!(fs.forensics().unwrap().deleted().unwrap().len(), 44);
    let (reads, bytes) = counting.take();
    assert!(bytes < volume.fat_size as u64 + (256 << 10), "{bytes} bytes in {reads} reads");
}

/// Everything is asked of what is found; the checks of every deleted node are made.
fn exercise(disk: Arc<dyn Disk>) {
    if !matches!(filesystems::identify(&disk), Ok(Some(_))) {
        return;
    }
    let Ok(fs) = filesystems::open(disk, &Options::default()) else { return };
    let Ok(all) = fs.forensics().unwrap().deleted() else { return };
    let by_node: HashMap<NodeId, &Deleted> = all.iter().map(|deleted| (deleted.node, deleted)).collect();
    assert_eq!(by_node.len(), all.len(), "every node is another");
    for deleted in all.iter() {
        let stat = fs.stat(deleted.node).unwrap();
        if deleted.state == State::Intact {
            assert_eq!(stat.size, 0);
        }
        for offset in [0, stat.size / 2, stat.size.saturating_sub(1), stat.size] {
            let read = fs.read_at(deleted.node, &mut [0; 3000], offset);
            assert!(!matches!(read, Ok(len) if len as u64 > stat.size));
            if let Ok(extent) = fs.extent_at(deleted.node, offset) {
                assert!(extent.len > 0 && offset + extent.len <= stat.size);
            }
        }
        let mut at = deleted;
        for _ in 0..=all.len() {
            let Parent::Deleted(node) = at.parent else { break };
            at = by_node[&node];
        }
        assert!(!matches!(at.parent, Parent::Deleted(_)), "parents do not go round");
    }
    if let Ok(free) = fs.forensics().unwrap().unallocated() {
        let _ = free.read_at(&mut vec![0; free.size().min(1 << 16) as usize], 0);
        let mut offset = 0;
        while offset < free.size() {
            offset += free.extent_at(offset).unwrap().len;
        }
    }
}

#[test]
fn random_patches() {
    for (bits, kilobytes) in [("12", 720), ("16", 4 << 10)] {
        for is_deleted in [true, false] {
            let volume = Volume::new(bits, kilobytes, |_| {}, is_deleted);
            let mut random = Random(kilobytes);
            for _ in 0..60 {
                let mut bytes = volume.bytes.clone();
                for _ in 0..1 + random.below(40) {
                    let at = match random.below(8) {
                        0 => 11 + random.below(60) as usize,
                        1 | 2 => volume.fat + random.below(400) as usize,
                        _ => volume.root + random.below(700 * 32) as usize,
                    };
                    bytes[at] = match random.below(3) {
                        0 => 0xe5,
                        1 => b'.',
                        _ => random.next() as u8,
                    };
                }
                exercise(memory(&bytes));
            }
        }
    }
}

#[test]
fn directories_in_loops() {
    let volume = Volume::new("16", 4 << 10, |_| {}, true);
    // All that `..` and deleted entries name, made to name each other.
    let mut random = Random(5);
    for _ in 0..60 {
        let mut bytes = volume.bytes.clone();
        let numbers: Vec<[u8; 2]> = bytes[volume.root..]
            .as_chunks::<32>()
            .0
            .iter()
            .filter(|slot| slot[11] == 0x10 && slot[0] != 0)
            .map(|slot| [slot[26], slot[27]])
            .collect();
        let slots = bytes[volume.root..].as_chunks_mut::<32>().0;
        for slot in slots.iter_mut().filter(|slot| slot[11] == 0x10 && slot[0] != 0 && slot[1] != b' ') {
            let number = numbers[random.below(numbers.len() as u64) as usize];
            slot[26..28].copy_from_slice(&number);
        }
        exercise(memory(&bytes));
    }
}

#[test]
fn volumes_of_noise() {
    for (bits, kilobytes) in [("12", 720), ("16", 4 << 10)] {
        let volume = Volume::new(bits, kilobytes, |_| {}, true);
        let with = |start: usize, content: &[u8]| {
            let mut bytes = volume.bytes.clone();
            let content = &content[..content.len().min(bytes.len() - start)];
            bytes[start..start + content.len()].copy_from_slice(content);
            exercise(memory(&bytes));
        };
        with(volume.fat, &noise(1, volume.fat_size));
        with(volume.fat, &vec![0xff; volume.fat_size]);
        with(volume.fat, &vec![0; volume.fat_size]);
        with(volume.root, &noise(2, 1 << 20));
        with(volume.root, &vec![0xe5; 1 << 20]);
        with(volume.root, &vec![0xff; 1 << 20]);
        // Every slot an entry of 4 GiB that begins in any cluster; also in all of free space.
        let mut random = Random(9);
        let mut entries = Vec::new();
        for number in 0..4096u16 {
            let mut entry = *b"\xe5NTRY   TXT\x20\0\0\0\0\x21\x40\x21\x40\0\0\0\0\x21\x40\0\0\xff\xff\xff\xff";
            entry[26..28].copy_from_slice(&(2 + number % 1300).to_le_bytes());
            entry[22] = random.next() as u8;
            entries.extend(entry);
        }
        with(volume.root, &entries);
    }
}

#[test]
fn cut_off_and_unreadable_volumes() {
    let volume = Volume::new("16", 4 << 10, |_| {}, true);
    for len in (0..volume.data + 60_000).step_by(1999) {
        exercise(memory(&volume.bytes[..len]));
    }
    let mut random = Random(3);
    for _ in 0..60 {
        let bad = (0..3).map(|_| 512 + random.below(volume.data as u64 + 60_000)).map(|at| at..at + 512).collect();
        exercise(Arc::new(Faulty::new(memory(&volume.bytes), bad)));
    }
    // What was there before the cut is there, and nothing after it is said to be.
    let found = deleted(open(memory(&volume.bytes[..volume.data + 60 * CLUSTER])).as_ref());
    assert!(found.iter().any(|(_, seen)| seen.content.is_some()));
    assert!(found.iter().all(|(_, seen)| seen.deleted.number < 62 || seen.content.is_none()));
}
