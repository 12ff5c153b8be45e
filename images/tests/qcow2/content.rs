//! Every kind of image reads as what went into it.

use crate::tools::content::check;
use crate::tools::map;
use crate::tools::*;

/// Nine and a bit mebibytes: several clusters of every size, and a last one that is short for each.
const SIZE: usize = (9 << 20) + 512 * 13;

/// Converts patterned bytes with these options of `qemu-img convert`, and reads them back.
fn converted(options: &str) {
    let folder = Folder::new();
    let want = patterned(7, SIZE);
    folder.write("source", &want);
    folder.run(&format!("qemu-img convert -f raw -O qcow2 {options} source image"));
    check(&folder.open("image"), &want);
    map::check(&folder, "", "image");
}

#[test]
fn every_cluster_size() {
    for bits in 9..=21 {
        converted(&format!("-o cluster_size={}", 1 << bits));
    }
}

#[test]
fn version_2() {
    converted("-o compat=0.10");
    converted("-o compat=0.10,cluster_size=512 -c");
}

#[test]
fn preallocated() {
    for how in ["metadata", "falloc", "full"] {
        converted(&format!("-o preallocation={how}"));
    }
    converted("-o preallocation=metadata,extended_l2=on");
}

#[test]
fn lazy_refcounts() {
    converted("-o lazy_refcounts=on");
}

#[test]
fn subclusters() {
    for size in ["16k", "64k", "2M"] {
        converted(&format!("-o extended_l2=on,cluster_size={size}"));
        converted(&format!("-o extended_l2=on,cluster_size={size} -c"));
    }
}

#[test]
fn compressed_by_deflate() {
    for size in ["512", "4k", "64k", "2M"] {
        converted(&format!("-c -o cluster_size={size}"));
    }
}

#[test]
fn compressed_by_zstd() {
    for size in ["512", "4k", "64k", "2M"] {
        converted(&format!("-c -o compression_type=zstd,cluster_size={size}"));
    }
}

#[test]
fn external_data_file() {
    converted("-o data_file=image.data");
    converted("-o data_file=image.data,data_file_raw=on");
    converted("-o data_file=image.data,extended_l2=on");
    converted("-o data_file=image.data,cluster_size=512");
}

#[test]
fn empty_and_tiny() {
    let folder = Folder::new();
    folder.run("qemu-img create -f qcow2 none 0");
    assert_eq!(folder.open("none").size(), 0);
    assert!(folder.open("none").extent_at(0).is_err());
    folder.run("qemu-img create -f qcow2 tiny 512");
    check(&folder.open("tiny"), &[0; 512]);
}

/// imago knows neither zstd nor subclusters nor snapshots; the rest it must read as we do.
#[test]
fn imago_reads_the_same() {
    use imago::file::File;
    use imago::qcow2::Qcow2;
    use imago::{FormatAccess, FormatDriverBuilder, PermissiveImplicitOpenGate};

    let folder = Folder::new();
    folder.write("source", &patterned(8, SIZE));
    for options in
        ["", "-c", "-o cluster_size=512", "-c -o cluster_size=2M", "-o compat=0.10", "-o data_file=image.data"]
    {
        folder.run(&format!("qemu-img convert -f raw -O qcow2 {options} source image"));
        let builder = Qcow2::<File>::builder_path(folder.path("image"));
        let other = FormatAccess::new(builder.open(PermissiveImplicitOpenGate::default()).unwrap());
        let mut theirs = vec![0; SIZE];
        other.read(&mut theirs[..], 0).unwrap();
        assert!(read_all(&*folder.open("image")) == theirs, "{options}");
    }
}
