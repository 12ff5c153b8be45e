//! What is not read, or contradicts itself, is refused by name when it is opened.

use crate::bytes::*;
use crate::tools::*;

fn hosted() -> Vec<u8> {
    let folder = Folder::new();
    folder.write("source", &patterned(1, 1 << 20));
    folder.run("qemu-img convert -f raw -O vmdk source image");
    folder.read("image")
}

#[test]
fn fields_of_the_sparse_extent_header() {
    let folder = Folder::new();
    let image = hosted();
    for (at, value, want) in [
        (4, &4u32.to_le_bytes()[..], "sparse extent version 4 is not supported, only 1 to 3"),
        (4, &[0], "version 0"),
        (11, &[0x80], "the unknown flags 0x80000000"),
        (74, b"\n", "it was transferred as text"),
        (77, &[1], "the flag for compression is not set"),
        (77, &[2], "the unknown algorithm 2"),
        (10, &[1], "the flag for compression is set"),
        (20, &[0], "want a power of two"),
        (20, &[129], "129 sectors, want a power of two"),
        (20, &(1u64 << 40).to_le_bytes(), "grains of 1099511627776 sectors are not supported"),
        (44, &[0, 0, 0, 0], "grain tables of 0 entries"),
        (44, &[1, 2, 0, 0], "grain tables of 513 entries"),
        (12, &(1u64 << 60).to_le_bytes(), "more than 2^63 bytes"),
        (12, &(1u64 << 50).to_le_bytes(), "grain directory at byte"),
        (28, &(1u64 << 50).to_le_bytes(), "descriptor at byte"),
        (36, &[0xff, 0xff, 0xff], "1048576 is the most"),
        (28, &[0; 8], "an extent of a disk and not all of it"),
    ] {
        let mut bytes = image.clone();
        bytes[at..at + value.len()].copy_from_slice(value);
        folder.write("image", &bytes);
        let why = folder.refusal("image");
        assert!(why.contains(want), "{at}: {why}");
    }
}

#[test]
fn extents_of_a_split_disk_alone() {
    let folder = Folder::new();
    folder.run("qemu-img create -f vmdk -o subformat=twoGbMaxExtentSparse image.vmdk 1M");
    let why = folder.refusal("image-s001.vmdk");
    assert!(
        why.ends_with("it is an extent of a disk and not all of it: open the descriptor, a .vmdk file that names it")
    );
}

#[test]
fn descriptors() {
    let folder = Folder::new();
    folder.write("flat", &[1; 5120]);
    let qemu = Folder::new();
    qemu.run("qemu-img create -f vmdk -o subformat=twoGbMaxExtentSparse image.vmdk 1M");
    folder.write("sparse", &qemu.read("image-s001.vmdk"));
    for (kind, lines, want) in [
        ("vmfsRawDeviceMap", "RW 1 FLAT \"flat\" 0", "disks of the type vmfsRawDeviceMap are not supported"),
        ("vmfs", "", "it has no extents"),
        ("vmfs", "RW 11 FLAT \"flat\" 0", "5632 bytes long, but"),
        ("vmfs", "RW 10 FLAT \"flat\" 1", "ends at byte 0x1400"),
        ("vmfs", "RW 1 FLAT \"none\" 0", "none: No such file or directory"),
        ("vmfs", "RW 1 FLAT \"image.vmdk\" 0", "a loop: it names"),
        ("vmfs", "RW 10 SPARSE \"flat\"", "flat: sparse extent header at byte 0x0: magic"),
        ("vmfs", "RW 2047 SPARSE \"sparse\"", "2047 sectors, but the header of"),
        ("vmfs", "RW 18014398509481984 ZERO\nRW 1 ZERO", "the disk is larger than 2^63 bytes"),
    ] {
        folder.write("image.vmdk", descriptor(kind, lines).as_bytes());
        let why = folder.refusal("image.vmdk");
        assert!(why.contains(want), "{lines}: {why}");
    }
    let encrypted = descriptor("monolithicFlat", "RW 1 FLAT \"flat\" 0") + "encryption.keySafe = \"vmware:key/list\"\n";
    folder.write("image.vmdk", encrypted.as_bytes());
    assert!(folder.refusal("image.vmdk").ends_with("the disk is encrypted by VMware, which is not supported"));
    let long = descriptor("custom", &"#\n".repeat(600_000));
    folder.write("image.vmdk", long.as_bytes());
    assert!(folder.refusal("image.vmdk").ends_with("1048576 is the most"));
}

#[test]
fn snapshots_are_files() {
    let folder = Folder::new();
    folder.write("image", &hosted());
    let options = images::Options { snapshot: Some("one".into()), ..Default::default() };
    let error = images::open(&folder.path("image"), &options).err().unwrap().to_string();
    assert!(error.contains("a VMDK image has no internal snapshots"), "{error}");
}

#[test]
fn what_is_no_descriptor_is_raw() {
    let folder = Folder::new();
    for text in ["# a shell script\necho version=1\n", "version=4\n", "version=12\n", "Version: 1\n", "#\n"] {
        folder.write("file", text.as_bytes());
        assert_eq!(read_all(&*folder.open("file")), text.as_bytes());
    }
    for text in ["# comment\r\n\r\nversion=1\r\n", "\u{feff}# Disk DescriptorFile\n", "VERSION=3\n"] {
        folder.write("file", text.as_bytes());
        assert!(folder.refusal("file").contains("descriptor at byte 0x0: no "), "{text}");
    }
}

#[test]
fn extents_and_parents_come_through_the_gate() {
    let folder = Folder::new();
    folder.write("flat", &[1; 512]);
    folder.write("flat.vmdk", descriptor("vmfs", "RW 1 VMFS \"flat\"").as_bytes());
    folder.run("qemu-img create -f vmdk -b flat.vmdk -F vmdk delta.vmdk");
    let options = images::Options { backing: images::Backing::None, ..Default::default() };
    for name in ["flat.vmdk", "delta.vmdk"] {
        folder.open(name);
        let error = images::open(&folder.path(name), &options).err().unwrap();
        assert!(matches!(error.root(), images::Error::Denied(_)), "{error}");
    }
}
