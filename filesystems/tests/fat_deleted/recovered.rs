//! Volumes of every kind that mtools filled, deleted from, and used again.

use super::*;

/// Type, sectors of 512 bytes a cluster, size in KiB.
const VOLUMES: [(&str, &str, u64); 6] = [
    ("12", "1", 1440),
    ("12", "8", 8 << 10),
    ("16", "1", 16 << 10),
    ("16", "8", 64 << 10),
    ("32", "1", 40 << 10),
    ("32", "4", 140 << 10),
];

fn volume(dir: &Path, (bits, sectors, kilobytes): (&str, &str, u64)) -> PathBuf {
    format(dir, kilobytes, &["-F", bits, "-s", sectors, "-r", "512"])
}

fn mtools(program: &str, image: &Path, args: &[&str]) {
    run(program, &[&["-i", text(image)], args].concat());
}

/// Names of all kinds, and sizes around the ends of clusters.
fn make_tree(root: &Path) {
    write(root, "README.TXT", b"short");
    write(root, "lower.txt", b"lower case");
    write(root, "empty", b"");
    write(root, "A long name with spaces.text", b"long");
    write(root, ".hidden file", b"hidden");
    write(root, "exactly13char", b"13");
    write(root, "exactly 26 characters long", b"26");
    write(root, &"x".repeat(250), b"250");
    write(root, "Grüße aus Köln.txt", b"umlauts");
    write(root, "日本語のファイル.txt", b"japanese");
    write(root, "deep/er/and a longer one/still deeper/file", b"deep");
    for len in [1, 511, 512, 513, 4095, 4096, 4097, 32768, 32769, 100_000] {
        write(root, &format!("sizes of files/file of {len} bytes"), &noise(len as u64, len));
    }
    for number in 0..120 {
        write(root, &format!("many/file number {number} of many.txt"), format!("{number}").as_bytes());
    }
}

/// A path with the first character of what has a short name as deletion leaves it.
fn without_first(path: &str) -> String {
    let lost = |part: &str| {
        let is_short = part.len() <= 12 && !part.contains(' ') && !part.starts_with('.') && part.is_ascii();
        let (base, extension) = part.split_once('.').unwrap_or((part, ""));
        let is_short = is_short && base.len() <= 8 && extension.len() <= 3;
        if is_short { format!("_{}", &part[1..]) } else { part.to_owned() }
    };
    path.split('/').map(lost).collect::<Vec<_>>().join("/")
}

/// Nothing was written after: everything is back, under its path.
#[test]
fn a_tree_that_was_deleted() {
    for case in VOLUMES {
        let dir = tempfile::tempdir().unwrap();
        let (image, tree) = (volume(dir.path(), case), dir.path().join("tree"));
        make_tree(&tree);
        mtools("mcopy", &image, &["-s", text(&tree), "::"]);
        mtools("mdeltree", &image, &["::tree"]);
        let before = hash(&fs::read(&image).unwrap());
        let fs = open(disk(&image));
        let found: BTreeMap<String, Seen> = deleted(fs.as_ref()).into_iter().collect();
        let files = files_below(&tree);
        let paths: Vec<_> = found.keys().collect();
        for (path, content) in &files {
            let path = without_first(&format!("tree/{path}"));
            let seen = found.get(&format!("/{path}")).unwrap_or_else(|| panic!("{case:?}: no /{path} in {paths:#?}"));
            assert_eq!(seen.content.as_deref(), Some(&content[..]), "{case:?} {path}");
            let state = if content.is_empty() { State::Intact } else { State::Unproven };
            assert_eq!(seen.deleted.state, state, "{path}: {:?}", seen.deleted.evidence);
        }
        let directories = found.values().filter(|seen| seen.kind == Kind::Directory).count();
        assert_eq!(directories, 7, "{case:?}");
        assert_eq!(found.len(), files.len() + 7, "{case:?}: and nothing else");
        assert_eq!(before, hash(&fs::read(&image).unwrap()));
        let tsk = sleuth_kit(dir.path(), &image);
        let truth: BTreeSet<_> = files.values().map(|content| hash(content)).collect();
        let listed = sleuth_kit_count(&image);
        assert_eq!(found.len(), listed, "{case:?}: as many as fls lists");
        println!(
            "{case:?}: {listed} entries, {} of {} files, tsk_recover {}",
            files.len(),
            files.len(),
            tsk.intersection(&truth).count()
        );
    }
}

/// Names in a chain of parts that belong to the entry carry the proof.
#[test]
fn long_names_are_verified() {
    let dir = tempfile::tempdir().unwrap();
    let image = volume(dir.path(), VOLUMES[2]);
    write(dir.path(), "A long name.text", b"x");
    mtools("mcopy", &image, &[text(&dir.path().join("A long name.text")), "::"]);
    mtools("mdel", &image, &["::A long name.text"]);
    let named = |image: &Path| {
        let fs = open(disk(image));
        let all = fs.forensics().unwrap().deleted().unwrap();
        let [deleted] = &all[..] else { panic!("{all:?}") };
        let proof =
            deleted.evidence.iter().any(|evidence| evidence.what == "long name" && evidence.checksum == Some(true));
        (String::from_utf8(deleted.name.as_deref().unwrap().to_vec()).unwrap(), proof)
    };
    assert_eq!(named(&image), ("A long name.text".to_owned(), true));
    // Another short name: the long one is not its own.
    let mut bytes = fs::read(&image).unwrap();
    let at = bytes.windows(8).position(|bytes| bytes == b"\xe5LONGN~1").unwrap();
    bytes[at + 1..at + 8].copy_from_slice(b"THERNAM");
    fs::write(&image, bytes).unwrap();
    let (name, proof) = named(&image);
    assert!(name.starts_with("_THERNAM") && !proof, "{name}");
}

/// Used again in every way: at least as much comes back as for The Sleuth Kit, and nothing wrong is called intact.
#[test]
fn volumes_that_were_used_after() {
    for (case, seed) in VOLUMES.into_iter().flat_map(|case| [(case, 1), (case, 2), (case, 3)]) {
        let dir = tempfile::tempdir().unwrap();
        let image = volume(dir.path(), case);
        let mut random = Random(seed);
        let cluster = case.1.parse::<u64>().unwrap() * 512;
        let mut live: Vec<String> = Vec::new();
        let mut truth = BTreeMap::new();
        for generation in 0..4 {
            let source = dir.path().join(format!("g{generation}"));
            let count = if generation == 0 { 40 } else { 12 };
            let mut copied = Vec::new();
            for number in 0..count {
                let len = random.below(if case.0 == "12" { 8 } else { 20 } * cluster) + 1;
                let content = noise(seed * 1000 + generation * 100 + number, len as usize);
                let name = match number % 3 {
                    0 => format!("G{generation}N{number}"),
                    _ => format!("generation {generation} number {number}.data"),
                };
                truth.insert(hash(&content), name.clone());
                write(&source, &name, &content);
                copied.push(name);
            }
            let sources: Vec<_> = copied.iter().map(|name| source.join(name)).collect();
            let mut args: Vec<&str> = sources.iter().map(|path| text(path)).collect();
            args.push("::");
            mtools("mcopy", &image, &args);
            live.extend(copied);
            let gone = (0..live.len() / 2).map(|_| live.swap_remove(random.below(live.len() as u64) as usize));
            let gone: Vec<_> = gone.map(|name| format!("::{name}")).collect();
            mtools("mdel", &image, &gone.iter().map(String::as_str).collect::<Vec<_>>());
        }
        truth.retain(|_, name| !live.contains(name));
        let truth: BTreeSet<_> = truth.into_keys().collect();
        let fs = open(disk(&image));
        let found = deleted(fs.as_ref());
        let ours: BTreeSet<_> = found.iter().filter_map(|(_, seen)| seen.content.as_deref().map(hash)).collect();
        let tsk = sleuth_kit(dir.path(), &image);
        let (ours, tsk) = (ours.intersection(&truth).count(), tsk.intersection(&truth).count());
        println!("{case:?} {seed}: {} deleted, ours {ours}, tsk_recover {tsk}", truth.len());
        assert!(ours >= tsk && ours > 0);
    }
}

/// A file that lay around others that are still there.
#[test]
fn a_fragmented_file() {
    for case in VOLUMES {
        let dir = tempfile::tempdir().unwrap();
        let image = volume(dir.path(), case);
        let cluster = case.1.parse::<usize>().unwrap() * 512;
        for number in 0..30 {
            write(dir.path(), &format!("F{number}"), &noise(number, cluster));
        }
        let sources: Vec<_> = (0..30).map(|number| dir.path().join(format!("F{number}"))).collect();
        let mut args: Vec<&str> = sources.iter().map(|path| text(path)).collect();
        args.push("::");
        mtools("mcopy", &image, &args);
        let gone: Vec<_> = (0..30).step_by(2).map(|number| format!("::F{number}")).collect();
        mtools("mdel", &image, &gone.iter().map(String::as_str).collect::<Vec<_>>());
        // FAT32 goes on after what was allocated last, so its hint is put back.
        if case.0 == "32" {
            let mut bytes = fs::read(&image).unwrap();
            bytes[512 + 492..512 + 496].copy_from_slice(&2u32.to_le_bytes());
            fs::write(&image, bytes).unwrap();
        }
        let content = noise(99, cluster * 12 - 100);
        write(dir.path(), "In many pieces", &content);
        mtools("mcopy", &image, &[text(&dir.path().join("In many pieces")), "::"]);
        mtools("mdel", &image, &["::In many pieces"]);
        let fs = open(disk(&image));
        let found: BTreeMap<_, _> = deleted(fs.as_ref()).into_iter().collect();
        let seen = &found["/In many pieces"];
        assert!(seen.content.as_ref() == Some(&content), "{case:?}: {:?}", seen.deleted);
        assert_eq!(seen.deleted.state, State::Unproven);
        let what = "contiguous clusters with the used ones skipped";
        assert!(seen.deleted.evidence.iter().any(|evidence| evidence.what == what), "{:?}", seen.deleted.evidence);
    }
}

/// Lets the entry of this short name be created and written on the first day of a year.
fn set_year(bytes: &mut [u8], name: &[u8], year: u16) {
    let at = bytes.windows(name.len()).position(|bytes| bytes == name).unwrap();
    let date = ((year - 1980) << 9 | 1 << 5 | 1).to_le_bytes();
    for (time_at, date_at) in [(14, 16), (22, 24)] {
        bytes[at + time_at..][..2].fill(0);
        bytes[at + date_at..][..2].copy_from_slice(&date);
    }
}

/// A file that was overwritten in part by a later one: what is gone is an error, the rest is there.
#[test]
fn a_file_that_was_overwritten_in_part() {
    for case in [VOLUMES[0], VOLUMES[2], VOLUMES[3], VOLUMES[4]] {
        let dir = tempfile::tempdir().unwrap();
        let image = volume(dir.path(), case);
        let cluster = case.1.parse::<usize>().unwrap() * 512;
        let content = noise(7, cluster * 10);
        write(dir.path(), "FIRST", &noise(1, cluster * 3));
        write(dir.path(), "VICTIM", &content);
        write(dir.path(), "LATER", &noise(2, cluster * 5));
        let copy = |name: &str| mtools("mcopy", &image, &[text(&dir.path().join(name)), "::"]);
        copy("FIRST");
        copy("VICTIM");
        mtools("mdel", &image, &["::FIRST"]);
        mtools("mdel", &image, &["::VICTIM"]);
        if case.0 == "32" {
            let mut bytes = fs::read(&image).unwrap();
            bytes[512 + 492..512 + 496].copy_from_slice(&2u32.to_le_bytes());
            fs::write(&image, bytes).unwrap();
        }
        // mtools takes the slot of FIRST, and its three clusters and two of the victim.
        copy("LATER");
        let mut bytes = fs::read(&image).unwrap();
        set_year(&mut bytes, b"\xe5ICTIM     ", 2020);
        set_year(&mut bytes, b"LATER      ", 2021);
        fs::write(&image, bytes).unwrap();
        let fs = open(disk(&image));
        let all = fs.forensics().unwrap().deleted().unwrap();
        let victim = all.iter().find(|deleted| deleted.name.as_deref() == Some(b"_ICTIM")).unwrap();
        assert_eq!(victim.state, State::Partial, "{case:?} {victim:?}");
        assert_eq!(*victim.lost, vec![0..2 * cluster as u64; 1]);
        let mut rest = vec![0; cluster * 8];
        fs.read_at(victim.node, &mut rest, 2 * cluster as u64).unwrap();
        assert!(rest == content[2 * cluster..]);
        deleted(fs.as_ref());
    }
}

/// A renamed file leaves a free entry that leads to what is still there.
#[test]
fn a_renamed_file_is_not_deleted_content() {
    let dir = tempfile::tempdir().unwrap();
    let image = volume(dir.path(), VOLUMES[3]);
    write(dir.path(), "OLD", b"content");
    mtools("mcopy", &image, &[text(&dir.path().join("OLD")), "::"]);
    mtools("mmd", &image, &["::sub"]);
    mtools("mmove", &image, &["::OLD", "::sub"]);
    let fs = open(disk(&image));
    let found = deleted(fs.as_ref());
    assert_eq!(found.len(), 1, "{:?}", found.iter().map(|(path, _)| path).collect::<Vec<_>>());
    let (path, seen) = &found[0];
    assert_eq!((path.as_str(), seen.deleted.state, seen.size), ("/_LD", State::MetadataOnly, 7));
    let what = "directory entry in use with the same first cluster";
    assert!(seen.deleted.evidence.iter().any(|evidence| evidence.what == what));
}

/// The free clusters, and holes.
#[test]
fn free_space() {
    for case in [VOLUMES[0], VOLUMES[2], VOLUMES[4]] {
        let dir = tempfile::tempdir().unwrap();
        let image = volume(dir.path(), case);
        for name in ["KEPT", "GONE", "KEPT2"] {
            write(dir.path(), name, &noise(name.len() as u64, 50_000));
            mtools("mcopy", &image, &[text(&dir.path().join(name)), "::"]);
        }
        mtools("mdel", &image, &["::GONE"]);
        let volume = disk(&image);
        let fs = open(volume.clone());
        let free = fs.forensics().unwrap().unallocated().unwrap();
        assert_eq!(free.size(), volume.size());
        let bytes = fs::read(&image).unwrap();
        // All clusters of the volume are read by offset; only free ones show.
        let space = fs.space(fs.root()).unwrap();
        let mut shown = vec![0; 4 << 20];
        let len = shown.len().min(bytes.len());
        free.read_at(&mut shown[..len], 0).unwrap();
        let find = |content: &[u8]| shown.windows(64).position(|window| window == &content[..64]);
        let at = find(&noise(4, 50_000));
        // KEPT and GONE have names of the same length, so the same content; one of the two is free.
        let at = at.unwrap();
        assert!(shown[at..at + 50_000] == noise(4, 50_000)[..]);
        assert_eq!(find(&noise(5, 50_000)), None, "a live file is a hole");
        let mut holes = 0;
        let mut offset = 0;
        while offset < free.size() {
            let extent = free.extent_at(offset).unwrap();
            holes += if matches!(extent.data, images::Data::Hole) { extent.len } else { 0 };
            offset += extent.len;
        }
        let used = volume.size() - space.blocks_free * u64::from(space.block_size);
        assert!(holes >= used, "{case:?}: {holes} {used}");
    }
}
