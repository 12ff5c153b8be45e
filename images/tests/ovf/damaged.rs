//! Archives that lie.

use crate::hostile;
use crate::made::*;
use crate::tools::*;

/// A small appliance: its descriptor, a disk, and what else `more` packs.
fn packed(more: &[(&str, &[u8])]) -> (Folder, Vec<u8>) {
    let folder = Folder::new();
    image(&folder, "disk.vmdk", "-o subformat=streamOptimized", &patterned(111, 200 << 10));
    folder.write("vm.ovf", descriptor(&[Named("disk.vmdk", "")]).as_bytes());
    let mut names = vec!["vm.ovf", "disk.vmdk"];
    for (name, bytes) in more {
        folder.write(name, bytes);
        names.push(name);
    }
    tar(&folder, "--format=ustar --blocking-factor=1", "vm.ova", &names);
    let bytes = folder.read("vm.ova");
    (folder, bytes)
}

fn position(archive: &[u8], name: &str) -> usize {
    (0..archive.len()).step_by(512).find(|at| archive[*at..].starts_with(name.as_bytes())).unwrap()
}

/// Makes the checksums of all headers right again.
fn repair(archive: &mut [u8]) {
    for at in (0..archive.len().saturating_sub(511)).step_by(512) {
        let header = &mut archive[at..at + 512];
        if &header[257..262] == b"ustar" {
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
    }
}

fn refused(folder: &Folder, archive: &mut [u8], want: &str) {
    repair(archive);
    folder.write("changed.ova", archive);
    let error = images::open_all(&folder.path("changed.ova"), &images::Options::default()).err().unwrap().to_string();
    assert!(error.contains(want) && !error.contains(char::is_control), "{want}: {error}");
}

#[test]
fn headers_that_lie() {
    let (folder, archive) = packed(&[("other", b"x")]);
    let (disk, other) = (position(&archive, "disk.vmdk"), position(&archive, "other"));
    for (at, value, want) in [
        (disk + 124, &b"77777777777"[..], "disk.vmdk has 8589934591 bytes, but the archive ends at"),
        (disk + 124, b"\x80\0\0\0\0\x7f\xff\xff\xff\xff\xff\xff", "truncated?"),
        (disk + 124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "its size is no number"),
        (disk + 124, b"00000x00000", "its size is no number"),
        (other, b"disk.vmdk\0", "a second member disk.vmdk, the first is at"),
        (disk + 156, b"1", "disk.vmdk is a link, which is not followed"),
        (disk + 156, b"2", "disk.vmdk is a link, which is not followed"),
        (disk + 156, b"5", "disk.vmdk is no file"),
        (disk + 156, b"S", "disk.vmdk is stored without its holes"),
        (disk, b"x", "disk.vmdk is not in the archive"),
        (other, b"two.ovf\0", "it has two descriptors, vm.ovf and two.ovf"),
    ] {
        let mut changed = archive.clone();
        changed[at..at + value.len()].copy_from_slice(value);
        refused(&folder, &mut changed, want);
    }
    let mut changed = archive.clone();
    changed[disk + 10] = 1;
    folder.write("changed.ova", &changed);
    let error = folder.try_open("changed.ova", None).err().unwrap().to_string();
    assert!(error.contains("tar header at byte") && error.contains("checksum"), "{error}");
    // The end may be missing, the last member may not.
    folder.write("changed.ova", &archive[..other]);
    folder.open("changed.ova");
    folder.write("changed.ova", &archive[..other - 4096]);
    let error = folder.try_open("changed.ova", None).err().unwrap().to_string();
    assert!(error.contains("truncated?"), "{error}");
}

#[test]
fn pax_records_that_lie() {
    let folder = Folder::new();
    image(&folder, "disk.vmdk", "", &patterned(112, 200 << 10));
    folder.write("vm.ovf", descriptor(&[Named("disk.vmdk", "")]).as_bytes());
    tar(&folder, "--format=pax --pax-option=comment:=01234567 --blocking-factor=1", "vm.ova", &["vm.ovf", "disk.vmdk"]);
    let archive = folder.read("vm.ova");
    let record = (0..archive.len()).rev().find(|at| archive[*at..].starts_with(b"20 comment=01234567\n")).unwrap();
    for (value, want) in [
        (&b"20 size=99999999999\n"[..], "truncated?"),
        (b"20 size=9999999999x\n", "size is no number"),
        (b"21 size=00000000000\n", "no length and key"),
        (b"99999 ze=00000000000", "no length and key"),
        (b"-1 size=00000000000\n", "no length and key"),
        (b"20 path=a-bcdefghij\n", "disk.vmdk is not in the archive"),
        (b"20 GNU.sparse.map=0\n", "is stored without its holes"),
    ] {
        let mut changed = archive.clone();
        changed[record..record + 20].copy_from_slice(value);
        refused(&folder, &mut changed, want);
    }
}

/// A VMDK whose parent is itself, or another one that leads back.
#[test]
fn images_that_lead_back() {
    let folder = Folder::new();
    let delta = |parent: &str| {
        format!(
            "# Disk DescriptorFile\nversion=1\nCID=11111111\nparentCID=11111111\ncreateType=\"monolithicFlat\"\n\
             parentFileNameHint=\"{parent}\"\nRW 8 FLAT \"flat\" 0\n"
        )
    };
    folder.write("flat", &[7; 4096]);
    folder.write("a.vmdk", delta("b.vmdk").as_bytes());
    folder.write("b.vmdk", delta("a.vmdk").as_bytes());
    folder.write("vm.ovf", descriptor(&[Named("a.vmdk", "")]).as_bytes());
    tar(&folder, "", "vm.ova", &["vm.ovf", "a.vmdk", "b.vmdk", "flat"]);
    let error = folder.try_open("vm.ova", None).err().unwrap().to_string();
    assert!(error.contains("more than 16 images in an archive"), "{error}");
    // An appliance in an appliance.
    folder.write("vm.ovf", descriptor(&[Named("inner.img", "")]).as_bytes());
    folder.run("mv vm.ova inner.img");
    tar(&folder, "", "vm.ova", &["vm.ovf", "inner.img"]);
    let error = folder.try_open("vm.ova", None).err().unwrap().to_string();
    assert!(error.contains("is an appliance in an appliance"), "{error}");
    let error = folder.try_open("vm.ovf", None).err().unwrap().to_string();
    assert!(error.contains("is an appliance in an appliance"), "{error}");
}

#[test]
fn hostile_bytes() {
    let (_, archive) = packed(&[("other", b"x")]);
    let headers = ["vm.ovf", "disk.vmdk", "other"].map(|name| (position(&archive, name), 512));
    hostile::damage("ova", &archive, &headers, &NoFiles, repair);
    hostile::damage("ova", &archive, &headers, &NoFiles, |_| ());
    hostile::truncate("ova", &archive, &NoFiles);
    // The descriptor, whose text changes.
    let text = position(&archive, "vm.ovf") + 512;
    hostile::damage("ova", &archive, &[(text, 2048)], &NoFiles, |_| ());
}
