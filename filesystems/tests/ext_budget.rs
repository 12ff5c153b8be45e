//! What an operation on an ext file system may cost in reads of the disk.

#![allow(clippy::unwrap_used)]

mod ext_image;

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ext_image::{Image, open, scratch};
use filesystems::FileSystem;
use images::disk::{Counting, HostFile};

fn counted(options: &str, megabytes: u64, fill: impl Fn(&std::path::Path)) -> (Arc<Counting>, Arc<dyn FileSystem>) {
    let tree = scratch();
    fill(tree.path());
    let image = Image::new(options, megabytes, Some(tree.path()));
    let disk = Arc::new(Counting::new(image.memory()));
    let fs = open(disk.clone()).unwrap();
    let (reads, bytes) = disk.take();
    assert!(reads <= 4 && bytes < 64 << 10, "opening read {reads} times, {bytes} bytes");
    (disk, fs)
}

#[test]
fn a_file_is_found_and_read_in_few_reads_and_again_in_one() {
    let (disk, fs) = counted("-t ext4 -O extent,metadata_csum,64bit,flex_bg", 64, |root| {
        fs::write(root.join("file"), vec![1; 1_000_000]).unwrap();
    });
    let node = fs.lookup(fs.root(), b"file").unwrap();
    fs.stat(node).unwrap();
    let mut buf = vec![0; 4096];
    fs.read_at(node, &mut buf, 500_000).unwrap();
    assert!(disk.take().0 <= 3, "directory, inode table, data");
    for offset in (0..200).map(|index| index * 4567) {
        fs.lookup(fs.root(), b"file").unwrap();
        fs.stat(node).unwrap();
        fs.read_at(node, &mut buf, offset).unwrap();
    }
    // mke2fs lays such a file in two pieces at most, and one read may cross from one to the other.
    let (reads, bytes) = disk.take();
    assert!(reads <= 201 && bytes == 200 * 4096, "one read each, of what was asked for: {reads}, {bytes}");
    let mut all = vec![0; 1_000_000];
    fs.read_at(node, &mut all, 0).unwrap();
    let reads = disk.take().0;
    assert!(reads <= 4, "what lies together is one read, and mke2fs makes few pieces: {reads}");
}

/// A file of many extents: its map is resolved once.
fn fragmented(options: &str) {
    let (disk, fs) = counted(options, 128, |root| {
        let file = fs::File::create(root.join("file")).unwrap();
        for index in 0..2000 {
            file.write_all_at(&[(index % 251 + 1) as u8; 4096], index * 8192).unwrap();
        }
    });
    let node = fs.lookup(fs.root(), b"file").unwrap();
    let mut buf = vec![0; 4096];
    fs.read_at(node, &mut buf, 0).unwrap();
    assert!(disk.take().0 < 20, "the map is read");
    // The last block is left out: no hole is behind it.
    for index in 0..1999u64 {
        let index = index * 7 % 1999;
        fs.read_at(node, &mut buf, index * 8192).unwrap();
        assert_eq!(buf, [(index % 251 + 1) as u8; 4096]);
        fs.read_at(node, &mut buf, index * 8192 + 4096).unwrap();
        assert_eq!(buf, [0; 4096], "a hole, not read");
    }
    assert_eq!(disk.take(), (1999, 1999 * 4096));
}

#[test]
fn random_reads_of_a_fragmented_extent_file_cost_one_read_each() {
    fragmented("-t ext4 -b 4096 -O extent,metadata_csum");
}

#[test]
fn random_reads_of_a_block_mapped_file_cost_one_read_each() {
    fragmented("-t ext2 -b 4096");
}

#[test]
fn a_directory_is_listed_with_few_reads_and_its_inodes_too() {
    let (disk, fs) = counted("-t ext4 -b 4096 -O extent,metadata_csum -N 8192", 64, |root| {
        fs::create_dir(root.join("many")).unwrap();
        for index in 0..4000 {
            fs::write(root.join(format!("many/file-{index:06}")), "").unwrap();
        }
    });
    let many = fs.lookup(fs.root(), b"many").unwrap();
    disk.take();
    let (mut nodes, mut from) = (Vec::new(), 0);
    loop {
        let before = nodes.len();
        fs.read_dir(many, from, &mut |entry| {
            nodes.push(entry.node);
            from = entry.next;
            nodes.len() % 50 != 0
        })
        .unwrap();
        if nodes.len() == before {
            break;
        }
    }
    assert_eq!(nodes.len(), 4000);
    let (reads, bytes) = disk.take();
    assert!(reads <= 12 && bytes < 200_000, "{reads} reads, {bytes} bytes for 100 KiB of entries in 80 calls");
    for node in &nodes {
        fs.stat(*node).unwrap();
    }
    assert!(disk.take().0 <= 4000 * 256 / 16384 + 2, "64 inodes a read");
}

#[test]
fn eight_tebibytes_open_like_a_small_volume() {
    let tree = scratch();
    fs::write(tree.path().join("file"), "content").unwrap();
    let options = "-t ext4 -b 4096 -O extent,64bit,flex_bg,metadata_csum -E lazy_itable_init=1,lazy_journal_init=1";
    let image = Image::new(options, 8 << 20, Some(tree.path()));
    let file = fs::File::open(&image.path).unwrap();
    let disk = Arc::new(Counting::new(Arc::new(HostFile::new(&image.path, file).unwrap())));
    let start = std::time::Instant::now();
    let fs = open(disk.clone()).unwrap();
    let node = fs.lookup(fs.root(), b"file").unwrap();
    let mut buf = [0; 7];
    fs.read_at(node, &mut buf, 0).unwrap();
    assert_eq!(&buf, b"content");
    let (reads, bytes) = disk.take();
    assert!(reads <= 6 && bytes < 80 << 10, "{reads} reads, {bytes} bytes");
    fs.space(fs.root()).unwrap();
    assert!(start.elapsed() < std::time::Duration::from_secs(1), "{:?}", start.elapsed());
}
