//! Files that lost their last name while they were open, and files of which only fast commits know.

use super::*;

/// Removes open files; returns the image while they are open, the image after they were closed, and what they held.
fn removed_while_open(options: &str) -> (Vec<u8>, Vec<u8>, Files) {
    let image = Image::new(options, 64, None);
    let mut files = Files::new();
    let open = {
        let mount = Mount::new(&image, "rw");
        let open = (1..=5u64).map(|index| {
            let bytes = content(100_000 * index as usize, index);
            let path = mount.path.join(format!("open {index}"));
            fs::write(&path, &bytes).unwrap();
            files.insert(format!("open {index}"), hash(&bytes));
            File::open(path).unwrap()
        });
        let open: Vec<File> = open.collect();
        sync();
        files.keys().for_each(|path| fs::remove_file(mount.path.join(path)).unwrap());
        sync();
        let bytes = image.bytes();
        drop(open);
        bytes
    };
    (open, image.bytes(), files)
}

#[test]
fn files_that_are_still_open() {
    for (features, listed) in [("orphan_file", "orphan file"), ("^orphan_file", "orphan list")] {
        for checksums in ["metadata_csum", "^metadata_csum"] {
            let options = format!("-t ext4 -b 4096 -O has_journal,extent,{checksums},{features} -J size=4");
            let Some(_one) = turn(&options) else { return };
            let (open, closed, files) = removed_while_open(&options);
            for (name, bytes, is_open) in [("open", open, true), ("closed", closed, false)] {
                let fs = ext_image::open(Arc::new(Memory::new(name, bytes))).unwrap();
                let name = format!("{options}, {name}");
                let score = score(&name, &*fs, &files, &|_, hash| files.values().any(|known| known == hash));
                assert_eq!((score.content, score.named), (5, 5), "{name}: {:?}", score.missing);
                let list = fs.forensics().unwrap().deleted().unwrap();
                for deleted in list.iter().filter(|deleted| deleted.version == 0 && deleted.name.is_some()) {
                    let evidence = deleted.evidence.iter().find(|evidence| evidence.what == listed);
                    match is_open {
                        // What holds it open may still change it.
                        true => assert!(deleted.state == State::Unproven && evidence.is_some(), "{name}: {deleted:?}"),
                        // The list is in inodes, the file in blocks of its own, of which the journal has copies.
                        false if listed == "orphan file" => {
                            assert!(evidence.unwrap().in_journal, "{name}: {deleted:?}")
                        }
                        false => assert!(evidence.is_none(), "{name}: {deleted:?}"),
                    }
                }
            }
        }
    }
}

/// Made, written to the disk by fast commits, and removed before the next whole transaction.
#[test]
fn files_that_only_fast_commits_know() {
    let options = "-t ext4 -b 4096 -O has_journal,extent,metadata_csum,fast_commit -I 256 -J size=16";
    let Some(_one) = turn(options) else { return };
    let image = Image::new(options, 64, None);
    let mut files = Files::new();
    let dirty = {
        let mount = Mount::new(&image, "rw,commit=600");
        let put = |path: &str, bytes: &[u8]| {
            let path = mount.path.join(path);
            fs::write(&path, bytes).unwrap();
            File::open(&path).unwrap().sync_all().unwrap();
        };
        fs::create_dir(mount.path.join("dir")).unwrap();
        put("first", b"the first commit after a mount is a whole one");
        File::open(&mount.path).unwrap().sync_all().unwrap();
        for index in 1..=8u64 {
            let (path, bytes) = (format!("dir/file {index}"), content(5000 * index as usize, index));
            put(&path, &bytes);
            files.insert(path, hash(&bytes));
        }
        let bytes = image.bytes();
        files.keys().for_each(|path| fs::remove_file(mount.path.join(path)).unwrap());
        bytes
    };
    // The files live when the fast commits are replayed.
    let fs = ext_image::open(Arc::new(Memory::new("dirty", dirty))).unwrap();
    let dir = fs.lookup(fs.root(), b"dir").unwrap();
    for index in 1..=8 {
        fs.lookup(dir, format!("file {index}").as_bytes()).unwrap();
    }
    let fs = image.open();
    let score = score(options, &*fs, &files, &|_, hash| files.values().any(|known| known == hash));
    assert_eq!((score.content, score.named, score.intact), (8, 8, 0), "{:?}", score.missing);
}
