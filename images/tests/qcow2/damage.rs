//! Each contradiction in the tables is an error that names it, and of the bytes that it concerns only.

use images::{Data, Error};

use crate::tools::*;

const CLUSTER: u64 = 64 << 10;

/// Makes an image with every cluster of its first mebibyte written, changes the first word of the first L2 entry by
/// `entry` and the second by `bitmap`, and returns what reading the first cluster fails with.
fn damaged(options: &str, entry: impl Fn(u64) -> u64, bitmap: impl Fn(u64) -> u64) -> String {
    let folder = Folder::new();
    folder.run(&format!("qemu-img create -f qcow2 -o {options} image 4M"));
    folder.io("image", &["write -P 5 0 1M".into()]);
    let mut bytes = folder.read("image");
    let l1 = u64_at(&bytes, 40);
    let l2 = u64_at(&bytes, l1 as usize) & 0x00ff_ffff_ffff_fe00;
    for (at, change) in [(l2, &entry as &dyn Fn(u64) -> u64), (l2 + 8, &bitmap)] {
        let at = at as usize;
        let word = change(u64_at(&bytes, at));
        bytes[at..at + 8].copy_from_slice(&word.to_be_bytes());
    }
    folder.write("image", &bytes);

    let disk = folder.open("image");
    let mut buf = vec![0; CLUSTER as usize];
    let error = disk.read_at(&mut buf, 0).unwrap_err();
    assert!(matches!(error.root(), Error::Corrupt { offset, .. } if *offset == l2), "{error}");
    assert!(disk.extent_at(CLUSTER - 1).is_err());
    // What lies next to it is whole, and a read across both fails as a whole.
    disk.read_at(&mut buf, 4 * CLUSTER).unwrap();
    assert!(buf.iter().all(|byte| *byte == 5));
    assert!(matches!(disk.extent_at(4 * CLUSTER).unwrap().data, Data::Host(..)));
    assert!(disk.read_at(&mut vec![0; 3 * CLUSTER as usize], 0).is_err());
    error.to_string()
}

fn same(word: u64) -> u64 {
    word
}

#[test]
fn a_cluster_that_is_not_aligned() {
    let why = damaged("compat=v3", |entry| entry | 512, same);
    assert!(why.contains("want a multiple of the cluster size"), "{why}");
    let why = damaged("compat=v3", |entry| entry | 512 | 1, same);
    assert!(why.contains("want a multiple of the cluster size"), "zeros or not: {why}");
}

#[test]
fn a_zero_cluster_of_version_2() {
    let why = damaged("compat=0.10", |entry| entry | 1, same);
    assert!(why.contains("version 2"), "{why}");
}

#[test]
fn subclusters_that_contradict_themselves() {
    let why = damaged("extended_l2=on", same, |bitmap| bitmap | 1 << 32);
    assert!(why.contains("both allocated and zero"), "{why}");
    let why = damaged("extended_l2=on", |_| 0, same);
    assert!(why.contains("unallocated cluster"), "{why}");
}

#[test]
fn an_external_data_file_with_clusters_elsewhere() {
    let why = damaged("data_file=image.data", |entry| entry | CLUSTER, same);
    assert!(why.contains("external data file"), "{why}");
    let why = damaged("data_file=image.data", |entry| entry | 1 << 62, same);
    assert!(why.contains("compressed"), "{why}");
}

#[test]
fn a_short_external_data_file() {
    let folder = Folder::new();
    folder.run("qemu-img create -f qcow2 -o data_file=image.data image 1M");
    folder.io("image", &["write -P 5 0 1M".into()]);
    let data = folder.read("image.data");
    folder.write("image.data", &data[..CLUSTER as usize + 5]);
    let disk = folder.open("image");
    let mut buf = vec![0; CLUSTER as usize];
    disk.read_at(&mut buf, 0).unwrap();
    disk.read_at(&mut buf[..5], CLUSTER).unwrap();
    let why = disk.read_at(&mut buf[..6], CLUSTER).unwrap_err().to_string();
    assert!(why.contains("image.data ends at byte 0x10005"), "{why}");
}

#[test]
fn reserved_bits_are_ignored() {
    let folder = Folder::new();
    folder.run("qemu-img create -f qcow2 image 1M");
    folder.io("image", &["write -P 5 0 1M".into()]);
    let mut bytes = folder.read("image");
    let l1 = u64_at(&bytes, 40) as usize;
    let l2 = (u64_at(&bytes, l1) & 0x00ff_ffff_ffff_fe00) as usize;
    bytes[l1] |= 0x3f;
    bytes[l1 + 7] |= 0xff;
    bytes[l2] |= 0x3f;
    bytes[l2 + 7] |= 0xfe;
    folder.write("image", &bytes);
    let ours = read_all(&*folder.open("image"));
    assert!(ours == folder.reference("image") && ours == [5; 1 << 20], "as QEMU does");
}
