//! Nothing is written after the delete: every file comes back.

use super::*;

/// Nothing is written after the delete: every file comes back.
fn all_come_back(options: &str) {
    let Some(_one) = turn(options) else { return };
    let image = Image::new(options, 256, None);
    fs::write(Mount::new(&image, "rw").path.join("keep"), "kept").unwrap();
    let (files, ()) = filled_and_emptied(&image, || ());
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

/// Fills a file system and deletes all of it; `used` is called before it is unmounted.
fn filled_and_emptied<T>(image: &Image, used: impl FnOnce() -> T) -> (Files, T) {
    let mount = Mount::new(image, "rw");
    let files = populate(&mount.path);
    sync();
    remove(&mount.path, &files);
    sync();
    (files, used())
}

/// debugfs and fuse2fs leave the pointers: everything comes back without a journal.
#[test]
fn ext2_deleted_by_debugfs() {
    let options = "-t ext2 -b 1024 -O filetype,dir_index -I 128";
    let Some(_one) = turn(options) else { return };
    let image = Image::new(options, 128, None);
    let files = populate(&Mount::new(&image, "rw").path);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let requests: String = files.keys().map(|path| format!("rm \"{path}\"\n")).collect();
    image.debugfs_write(&requests);
    let fs = image.open();
    let score = score(options, &*fs, &files, &|_, hash| files.values().any(|known| known == hash));
    // Nothing tells an empty file from one that the kernel emptied: its inode and name are listed, and no content.
    assert_eq!((score.content, score.intact, score.named), (119, 119, 119), "{:?}", score.missing);
    assert_eq!(score.missing, ["file 000"]);
    assert!(
        fs.forensics().unwrap().deleted().unwrap().iter().any(|deleted| deleted.name.as_deref() == Some(b"file 000"))
    );
}

/// The kernel zeroes the pointers of ext2: only metadata is left, and nothing may be promised.
#[test]
fn ext2_deleted_by_the_kernel() {
    let options = "-t ext2 -b 4096 -O filetype,dir_index -I 256";
    let Some(_one) = turn(options) else { return };
    let image = Image::new(options, 128, None);
    let (files, ()) = filled_and_emptied(&image, || ());
    let fs = image.open();
    score(options, &*fs, &files, &|_, hash| files.values().any(|known| known == hash));
    assert!(fs.forensics().unwrap().deleted().unwrap().len() >= 120, "their inodes are known");
}

/// The journal is a disk of its own; it is scanned, and replayed if it is dirty.
#[test]
fn external_journal() {
    let options = "-t ext4 -b 4096 -O extent,64bit,metadata_csum,dir_index,filetype -I 256";
    let Some(_one) = turn(options) else { return };
    let directory = ext_image::scratch();
    let journal = directory.path().join("journal");
    File::create(&journal).unwrap().set_len(16 << 20).unwrap();
    run("mke2fs", &["-q", "-F", "-b", "4096", "-O", "journal_dev", journal.to_str().unwrap()]);
    let device = run("losetup", &["--find", "--show", journal.to_str().unwrap()]);
    let device = device.trim();
    let image = Image::new(&format!("{options} -J device={device}"), 256, None);
    let (files, dirty) = filled_and_emptied(&image, || (image.bytes(), fs::read(&journal).unwrap()));
    run("losetup", &["--detach", device]);
    for (name, (bytes, journal)) in [("clean", (image.bytes(), fs::read(&journal).unwrap())), ("dirty", dirty)] {
        let disk = |name: &str, bytes| -> Arc<dyn images::Disk> { Arc::new(Memory::new(name, bytes)) };
        let (image, options) = (disk("image", bytes), filesystems::Options::default());
        let journal = disk("journal", journal);
        let identity = filesystems::identify(&journal).unwrap().map(|(_, identity)| identity);
        let members = std::iter::once(filesystems::Member { disk: journal, identity }).collect();
        let fs = filesystems::open_request(&filesystems::Request::new(&image, &members, &options)).unwrap();
        let score = score(name, &*fs, &files, &|_, hash| files.values().any(|known| known == hash));
        assert_eq!(score.content, 120, "{name}: {:?}", score.missing);
        assert_eq!(fs.forensics().unwrap().unallocated().unwrap().size(), 256 << 20);
    }
}

/// The superblock is damaged, and the journal dirty: a backup is used, the journal replayed, and the files come back.
#[test]
fn backup_superblock() {
    let options = "-t ext4 -b 4096 -O extent,64bit,metadata_csum,sparse_super,dir_index,has_journal,filetype -I 256";
    let Some(_one) = turn(options) else { return };
    let image = Image::new(options, 256, None);
    let (files, dirty) = filled_and_emptied(&image, || image.bytes());
    for (name, mut bytes) in [("clean, backup superblock", image.bytes()), ("dirty, backup superblock", dirty)] {
        bytes[1024 + 0x10..1024 + 0x30].fill(0x5a);
        let fs = ext_image::open(Arc::new(Memory::new("image", bytes))).unwrap();
        let score = score(name, &*fs, &files, &|_, hash| files.values().any(|known| known == hash));
        assert_eq!(score.content, 120, "{name}: {:?}", score.missing);
        println!("{:?}", fs.properties(fs.root()).notes);
    }
}
