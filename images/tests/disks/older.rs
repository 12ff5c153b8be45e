//! qcow version 1, QED and Parallels, all of which qemu-img writes.

use std::sync::Arc;

use images::Disk;
use images::disk::Memory;

use crate::check::*;
use crate::hostile;
use crate::tools::*;

const MIB: usize = 1 << 20;

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn made(format: &str, options: &str, size: usize) -> Vec<u8> {
    let folder = Folder::new();
    folder.write("source", &patterned(21, size));
    convert(&folder, format, options);
    folder.read("image")
}

fn refused(format: &str, mut image: Vec<u8>, at: usize, value: &[u8], want: &str) {
    put(&mut image, at, value);
    let image: Arc<dyn Disk> = Arc::new(Memory::new("image", image));
    let error = images::FORMATS.iter().find(|known| known.name == format).unwrap();
    let error =
        (error.open)(image, &images::Request { opener: &NoFiles, snapshot: None, budget: &images::Budget::default() })
            .err()
            .unwrap()
            .to_string();
    assert!(error.contains(want), "{format}: {error}");
}

/// An image with a backing file: what it does not have is there, and past the end of that are zeros.
fn backed(format: &str, base_format: &str) {
    let folder = Folder::new();
    let base = patterned(3, 3 * MIB);
    folder.write("source", &base);
    folder.run(&format!("qemu-img convert -f raw -O {base_format} source base"));
    folder.run(&format!("qemu-img create -q -f {format} -b base -F {base_format} image 5M"));
    folder.run_words(&["qemu-io", "-f", format, "-c", "write -P 7 1M 200k", "-c", "write -P 8 4M 4k", "image"]);
    let mut want = base;
    want.resize(5 * MIB, 0);
    want[MIB..MIB + (200 << 10)].fill(7);
    want[4 * MIB..4 * MIB + 4096].fill(8);
    let disk = folder.open("image");
    reads(&disk, &want);
    extents(&disk, &want);
}

#[test]
fn qcow() {
    converted("qcow", "", 9 * MIB + 512 * 13);
    converted("qcow", "-c", 9 * MIB);
    backed("qcow", "qcow");
    backed("qcow", "vdi");
    let image = made("qcow", "", MIB);
    refused("qcow", image.clone(), 32, &[8], "cluster_bits 8 and l2_bits 9");
    refused("qcow", image.clone(), 33, &[14], "cluster_bits 12 and l2_bits 14");
    refused("qcow", image.clone(), 36, &1u32.to_be_bytes(), "the image is encrypted (AES), and no key was given");
    refused("qcow", image.clone(), 24, &[0xff; 8], "a disk of 18446744073709551615 bytes");
    refused("qcow", image, 24, &[0x7f], "qcow L1 table at byte 0x30");
}

#[test]
fn qed() {
    converted("qed", "", 9 * MIB + 512 * 13);
    converted("qed", "-o cluster_size=4k,table_size=2", 5 * MIB);
    converted("qed", "-o cluster_size=2M,table_size=4", 5 * MIB);
    backed("qed", "raw");
    backed("qed", "qed");
    let mut image = made("qed", "", MIB);
    refused("qed", image.clone(), 4, &5000u32.to_le_bytes(), "clusters of 5000 bytes");
    refused("qed", image.clone(), 8, &32u32.to_le_bytes(), "tables of 32 clusters");
    refused("qed", image.clone(), 16, &[0x48], "QED features that are not supported: bits 0x48");
    refused("qed", image.clone(), 48, &[0xff; 8], "a disk of 18446744073709551615 bytes");
    refused("qed", image.clone(), 40, &[1], "want a multiple of the cluster size");
    refused("qed", image.clone(), 44, &[1], "QED L1 table at byte 0x1");
    // Not closed: read as it is, as the specification lets readers.
    image[16] |= 2;
    let disk = opened("qed", Arc::new(Memory::new("image", image))).unwrap();
    assert!(read_all(&*disk) == patterned(21, MIB));
}

#[test]
fn zero_clusters_of_qed_hide_the_backing_file() {
    let folder = Folder::new();
    folder.write("base", &[5; 4 * MIB]);
    folder.run("qemu-img create -q -f qed -b base -F raw image 4M");
    folder.run_words(&["qemu-io", "-f", "qed", "-c", "write -z 1M 1M", "image"]);
    let mut want = vec![5; 4 * MIB];
    want[MIB..2 * MIB].fill(0);
    let disk = folder.open("image");
    reads(&disk, &want);
    assert!(matches!(disk.extent_at(MIB as u64).unwrap(), images::Extent { len: 1048576, data: images::Data::Zero }));
}

#[test]
fn parallels() {
    converted("parallels", "", 9 * MIB + 512 * 13);
    converted("parallels", "-o cluster_size=64k", 5 * MIB);
    let image = made("parallels", "-o cluster_size=64k", 3 * MIB);
    refused("parallels", image.clone(), 16, &[3], "Parallels version 3 is not supported, only 2");
    refused("parallels", image.clone(), 28, &[0; 4], "clusters of 0 sectors");
    refused("parallels", image.clone(), 32, &[3, 0], "a disk of 6144 sectors, but 3 clusters");
    refused("parallels", image.clone(), 36, &[0xff; 8], "a disk of 18446744073709551615 sectors");

    // The older kind counts sectors, and has rubbish in the upper half of the disk's size.
    assert!(image.starts_with(b"WithouFreSpacExt"));
    let mut older = image;
    put(&mut older, 0, b"WithoutFreeSpace");
    put(&mut older, 40, &[0xff; 4]);
    for at in (64..64 + 4 * 48).step_by(4) {
        let entry = u32::from_le_bytes(older[at..at + 4].try_into().unwrap()) * 128;
        put(&mut older, at, &entry.to_le_bytes());
    }
    let folder = Folder::new();
    folder.write("image", &older);
    let want = patterned(21, 3 * MIB);
    assert!(folder.reference("image") == want);
    reads(&folder.open("image"), &want);
    map::check(&folder, "-f parallels", "image");
}

#[test]
fn damaged() {
    let size = (300 << 10) + 512 * 3;
    for (format, options, places) in [
        ("qcow", "", [(4, 44), (4096, 64)]),
        ("qcow", "-c", [(4, 44), (4096, 64)]),
        ("qed", "-o cluster_size=4k,table_size=2", [(4, 60), (4096, 16)]),
        ("parallels", "-o cluster_size=4k", [(16, 48), (64, 32)]),
    ] {
        let image = made(format, options, size);
        hostile::damage(format, &image, &places, &NoFiles, |_| ());
        hostile::truncate(format, &image, &NoFiles);
    }
}
