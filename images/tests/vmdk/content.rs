//! Every kind of image that QEMU writes reads as what went into it.

use crate::bytes::*;
use crate::tools::content::check;
use crate::tools::map;
use crate::tools::*;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Nine and a bit mebibytes: the last grain is short.
const SIZE: usize = (9 << 20) + 512 * 13;

/// The options of `qemu-img convert` for each kind of image.
const KINDS: [&str; 10] = [
    "",
    "-o zeroed_grain=on",
    "-o compat6=on",
    "-o hwversion=14",
    "-o adapter_type=lsilogic",
    "-o subformat=monolithicFlat",
    "-o subformat=twoGbMaxExtentSparse",
    "-o subformat=twoGbMaxExtentFlat",
    "-o subformat=twoGbMaxExtentSparse,zeroed_grain=on",
    "-o subformat=streamOptimized",
];

#[test]
fn every_kind_that_qemu_writes() {
    let folder = Folder::new();
    let want = patterned(7, SIZE);
    folder.write("source", &want);
    for options in KINDS {
        folder.run(&format!("qemu-img convert -f raw -O vmdk {options} source image.vmdk"));
        check(&folder.open("image.vmdk"), &want);
        assert!(folder.reference("image.vmdk") == want, "{options}: QEMU");
        map::check(&folder, "", "image.vmdk");
    }
}

#[test]
fn a_renamed_monolithic_image_needs_no_name() {
    let folder = Folder::new();
    let want = patterned(3, 1 << 20);
    folder.write("source", &want);
    for kind in ["monolithicSparse", "streamOptimized"] {
        folder.run(&format!("qemu-img convert -f raw -O vmdk -o subformat={kind} source image.vmdk"));
        std::fs::rename(folder.path("image.vmdk"), folder.path("other")).unwrap();
        check(&folder.open("other"), &want);
    }
}

#[test]
fn several_extents_of_two_gibibytes() {
    let folder = Folder::new();
    let source = File::create(folder.path("source")).unwrap();
    source.set_len(5 << 30).unwrap();
    let bytes = patterned(5, 3 << 20);
    // QEMU's extents are 2 GiB less 64 KiB: across the first boundary, in the middle, and at the end.
    let places = [(2 << 30) - (1 << 20), 3 << 30, (5u64 << 30) - bytes.len() as u64];
    for at in places {
        source.write_all_at(&bytes, at).unwrap();
    }
    for kind in ["twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        folder.run(&format!("qemu-img convert -f raw -O vmdk -o subformat={kind} source image.vmdk"));
        let disk = folder.open("image.vmdk");
        assert_eq!(disk.size(), 5 << 30);
        for at in places {
            assert!(read(&*disk, at, bytes.len()) == bytes, "{kind} at {at:#x}");
        }
        assert_eq!(read(&*disk, (4 << 30) - 100, 4096), [0; 4096]);
        map::check(&folder, "", "image.vmdk");
    }
}

#[test]
fn tiny_images() {
    let folder = Folder::new();
    for kind in ["monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        folder.run(&format!("qemu-img create -f vmdk -o subformat={kind} tiny.vmdk 512"));
        check(&folder.open("tiny.vmdk"), &[0; 512]);
    }
}

/// imago knows flat extents only, and neither parents nor holes in several files.
#[test]
fn imago_reads_the_same() {
    use imago::file::File;
    use imago::vmdk::Vmdk;
    use imago::{FormatAccess, FormatDriverBuilder, PermissiveImplicitOpenGate};

    let folder = Folder::new();
    folder.write("source", &patterned(8, SIZE));
    for kind in ["monolithicFlat", "twoGbMaxExtentFlat"] {
        folder.run(&format!("qemu-img convert -f raw -O vmdk -o subformat={kind} source image.vmdk"));
        let builder = Vmdk::<File>::builder_path(folder.path("image.vmdk"));
        let other = FormatAccess::new(builder.open(PermissiveImplicitOpenGate::default()).unwrap());
        let mut theirs = vec![0; SIZE];
        other.read(&mut theirs[..], 0).unwrap();
        assert!(read_all(&*folder.open("image.vmdk")) == theirs, "{kind}");
    }
    // Zeros, a part of a file, and a name with spaces.
    folder.write("a b.img", &patterned(9, 20 * 512));
    let lines = "RW 7 FLAT \"a b.img\" 3\nRW 5 ZERO\nRDONLY 10 FLAT \"a b.img\" 10";
    folder.write("custom.vmdk", descriptor("custom", lines).as_bytes());
    let builder = Vmdk::<File>::builder_path(folder.path("custom.vmdk"));
    let other = FormatAccess::new(builder.open(PermissiveImplicitOpenGate::default()).unwrap());
    let mut theirs = vec![0; 22 * 512];
    other.read(&mut theirs[..], 0).unwrap();
    check(&folder.open("custom.vmdk"), &theirs);
}
