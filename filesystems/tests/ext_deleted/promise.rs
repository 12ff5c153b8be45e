//! What may not be called intact although its blocks are free and nobody is known to have had them since.

use super::*;

const EXT4: &str = "-t ext4 -b 4096 -O extent,64bit,metadata_csum,dir_index,has_journal,filetype -I 256 -J size=8";
const EXT3: &str = "-t ext3 -b 1024 -O has_journal,dir_index,filetype -I 128 -J size=8";

/// Twenty files of a MiB each, on the disk for sure: the file system was unmounted since.
fn victims(image: &Image) -> Vec<String> {
    let mount = Mount::new(image, "rw");
    let files = (1..=20u64).map(|index| {
        let bytes = content(1 << 20, index);
        fs::write(mount.path.join(format!("victim {index}")), &bytes).unwrap();
        hash(&bytes)
    });
    files.collect()
}

fn remove_victims(root: &Path) {
    for index in 1..=20 {
        fs::remove_file(root.join(format!("victim {index}"))).unwrap();
    }
    sync();
}

/// Checks that every intact version has a content that some file had; returns how many files are intact. A commit while
/// they were written leaves earlier versions too.
fn promised(name: &str, bytes: Vec<u8>, known: &[String]) -> usize {
    let fs = ext_image::open(Arc::new(Memory::new("image", bytes))).unwrap();
    let list = fs.forensics().unwrap().deleted().unwrap();
    let files = list.iter().filter(|deleted| fs.stat(deleted.node).unwrap().kind == Kind::File);
    let intact: Vec<&Deleted> = files.filter(|deleted| deleted.state == State::Intact).collect();
    for deleted in &intact {
        let bytes = read(&*fs, deleted.node).unwrap();
        assert!(known.contains(&hash(&bytes)), "{name}: intact and wrong: {deleted:?}");
    }
    let mut states = BTreeMap::new();
    list.iter().for_each(|d| *states.entry(d.state).or_insert(0) += 1);
    println!("{name}: {} intact {states:?}", intact.len());
    intact.iter().filter(|deleted| deleted.version == 0).count()
}

/// Fills most of the free space without a commit: the kernel gives blocks and writes them, and the journal knows nothing.
fn overwrite_without_commit(image: &Image, root: &Path) {
    let source = image.directory.path().join("source");
    fs::write(&source, content(40 << 20, 99)).unwrap();
    let (from, to) = (format!("if={}", source.display()), format!("of={}", root.join("new").display()));
    run("dd", &[&from, &to, "bs=1M", "oflag=direct", "status=none"]);
}

#[test]
fn files_that_lived_through_a_mount_are_promised() {
    for options in [EXT4, EXT3] {
        let Some(_one) = turn(options) else { return };
        let image = Image::new(options, 64, None);
        let known = victims(&image);
        let mount = Mount::new(&image, "rw");
        remove_victims(&mount.path);
        let used = image.bytes();
        drop(mount);
        assert_eq!(promised(options, image.bytes(), &known), 20);
        assert_eq!(promised("in use", used, &known), 0);
    }
}

/// The image is taken from a running guest, or after a crash: the last seconds are not in the journal.
#[test]
fn what_a_running_guest_writes_over() {
    let Some(_one) = turn("running") else { return };
    let image = Image::new(EXT4, 64, None);
    let known = victims(&image);
    let crashed = {
        let mount = Mount::new(&image, "rw,commit=600");
        remove_victims(&mount.path);
        overwrite_without_commit(&image, &mount.path);
        image.bytes()
    };
    assert_eq!(promised("running", crashed.clone(), &known), 0);
    // The guest recovers from the crash and lives on.
    fs::write(&image.path, crashed).unwrap();
    {
        let mount = Mount::new(&image, "rw");
        fs::write(mount.path.join("after"), "after").unwrap();
    }
    assert_eq!(promised("recovered", image.bytes(), &known), 0);
}

/// Appended to the last block and deleted: the size was in the journal before the bytes were on the disk.
#[test]
fn what_never_left_the_cache() {
    for options in [EXT4, EXT3] {
        let Some(_one) = turn(options) else { return };
        let image = Image::new(options, 64, None);
        let mut known = Vec::new();
        {
            let mount = Mount::new(&image, "rw,commit=600");
            let path = mount.path.join("file");
            for (len, seed) in [(500, 1), (400, 2)] {
                use std::io::Write;
                File::options().create(true).append(true).open(&path).unwrap().write_all(&content(len, seed)).unwrap();
                known.push(hash(&fs::read(&path).unwrap()));
                match seed {
                    1 => sync(),
                    _ => File::open(&mount.path).unwrap().sync_all().unwrap(),
                }
            }
            fs::remove_file(&path).unwrap();
            sync();
        }
        promised(options, image.bytes(), &known);
    }
}

/// With data=journal the content is in the journal, and may never have reached its place.
#[test]
fn what_is_only_in_the_journal() {
    let Some(_one) = turn("data=journal") else { return };
    let image = Image::new(EXT4, 64, None);
    let known: Vec<String> = {
        let mount = Mount::new(&image, "rw,data=journal");
        let put = |index: u64| {
            let bytes = content(50_000, index);
            fs::write(mount.path.join(format!("file {index}")), &bytes).unwrap();
            hash(&bytes)
        };
        let known = (0..10).map(put).collect();
        sync();
        fs::create_dir(mount.path.join("other")).unwrap();
        sync();
        (0..10).for_each(|index| fs::remove_file(mount.path.join(format!("file {index}"))).unwrap());
        sync();
        known
    };
    promised("data=journal", image.bytes(), &known);
}

/// Discarded blocks read as zeros.
#[test]
fn what_was_discarded() {
    let Some(_one) = turn("discard") else { return };
    let image = Image::new(EXT4, 64, None);
    let known = victims(&image);
    remove_victims(&Mount::new(&image, "rw,discard").path);
    assert_eq!(promised("discard", image.bytes(), &known), 0);
}

/// Space that is reserved for another file still holds what was there before: it comes back, and is not promised.
#[test]
fn what_is_only_reserved() {
    let Some(_one) = turn("reserved") else { return };
    let image = Image::new(EXT4, 64, None);
    let known = victims(&image);
    {
        let mount = Mount::new(&image, "rw");
        remove_victims(&mount.path);
        let reserved = mount.path.join("reserved");
        run("fallocate", &["--length=44MiB", reserved.to_str().unwrap()]);
    }
    let intact = promised("reserved", image.bytes(), &known);
    let fs = image.open();
    let newest = |deleted: &&Deleted| deleted.version == 0 && deleted.state == State::Unproven;
    let list = fs.forensics().unwrap().deleted().unwrap();
    let unproven = list.iter().filter(newest).count();
    assert!(unproven >= 10, "{unproven} of 20 are where space is reserved");
    assert_eq!(intact + unproven, 20);
    // What a commit caught of a file that was still being written is no file's content.
    for deleted in list.iter().filter(|deleted| deleted.version == 0) {
        let bytes = read(&*fs, deleted.node).unwrap();
        assert!(known.contains(&hash(&bytes)), "{deleted:?}");
    }
}
