//! OVA: what tar packs is read where it lies.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;

use images::verify::{self, Outcome};
use images::{Data, Options, info};

use crate::check::*;
use crate::made::*;
use crate::tools::*;

const MIB: usize = 1 << 20;
const STREAM: &str = "-o subformat=streamOptimized";

/// An appliance of one disk.
fn one(bytes: &[u8]) -> Folder {
    let folder = Folder::new();
    image(&folder, "disk.vmdk", STREAM, bytes);
    folder.write("vm.ovf", descriptor(&[Named("disk.vmdk", "")]).as_bytes());
    folder
}

#[test]
fn one_disk_is_an_image() {
    let want = patterned(71, 3 * MIB);
    let folder = one(&want);
    for format in ["ustar", "gnu", "oldgnu", "pax", "posix"] {
        tar(&folder, &format!("--format={format}"), "vm.ova", &["vm.ovf", "disk.vmdk"]);
        let disk = folder.open("vm.ova");
        reads(&disk, &want);
        extents(&disk, &want);
    }
    // `./` before the names, and a folder; the descriptor last; names that no field of the header has room for.
    let long = format!("{}/{}", "folder".repeat(20), "x".repeat(200));
    std::fs::create_dir(folder.path(long.split('/').next().unwrap())).unwrap();
    folder.write(&format!("{long}.vmdk"), &folder.read("disk.vmdk"));
    folder.write("long.ovf", descriptor(&[Named(&format!("{long}.vmdk"), "")]).as_bytes());
    for format in ["gnu", "pax"] {
        tar(&folder, &format!("--format={format}"), "a.ova", &["./disk.vmdk", "./vm.ovf"]);
        reads(&folder.open("a.ova"), &want);
        tar(&folder, &format!("--format={format}"), "a.ova", &["long.ovf", &format!("{long}.vmdk")]);
        reads(&folder.open("a.ova"), &want);
    }
    // A name as an address.
    folder.run_words(&["mv", "disk.vmdk", "a disk.vmdk"]);
    folder.write("vm.ovf", descriptor(&[Named("a%20disk.vmdk", "")]).as_bytes());
    tar(&folder, "--format=ustar", "a.ova", &["vm.ovf", "a disk.vmdk"]);
    reads(&folder.open("a.ova"), &want);
}

#[test]
fn several_disks_are_in_the_order_of_the_hardware() {
    let folder = Folder::new();
    let names = ["b.vmdk", "a.qcow2", "c.img", "d.vhd", "e.vmdk"];
    let wants: Vec<_> = (0..5).map(|index| patterned(80 + index, 3 * MIB)).collect();
    for ((name, want), options) in names.iter().zip(&wants).zip([STREAM, "-c", "", "-o force_size=on", ""]) {
        image(&folder, name, options, want);
    }
    folder.write("vm.ovf", descriptor(&names.map(|name| Named(name, ""))).as_bytes());
    let mut packed = vec!["vm.ovf"];
    packed.extend(["e.vmdk", "d.vhd", "c.img", "b.vmdk", "a.qcow2"]);
    tar(&folder, "--format=ustar", "vm.ova", &packed);
    let disks = images::open_all(&folder.path("vm.ova"), &Options::default()).unwrap();
    assert_eq!(disks.len(), 5);
    for (disk, want) in disks.iter().zip(&wants) {
        reads(disk, want);
        extents(disk, want);
    }
    // What is not compressed lies in the archive, and nowhere else.
    let mut inodes = HashSet::new();
    let mut at = 0;
    while at < disks[2].size() {
        let extent = disks[2].extent_at(at).unwrap();
        if let Data::Host(file, _) = extent.data {
            inodes.insert(file.metadata().unwrap().ino());
        }
        at += extent.len;
    }
    assert_eq!(inodes, HashSet::from([folder.path("vm.ova").metadata().unwrap().ino()]));
    let error = folder.try_open("vm.ova", None).err().unwrap().to_string();
    assert!(error.ends_with("it is an appliance of 5 disks, and no single image"), "{error}");
    let layers = info(&folder.path("vm.ova"), &Options::default()).unwrap();
    let said: Vec<_> =
        layers[0].description.disks.iter().map(|disk| (&disk.name[..], disk.format, disk.virtual_size)).collect();
    let size = Some(3 << 20);
    let want = ["vmdk", "qcow2", "raw", "vpc", "vmdk"].map(Some);
    assert_eq!(said, names.iter().zip(want).map(|(name, format)| (*name, format, size)).collect::<Vec<_>>());
    assert!(layers[0].problem.is_none());
    // An option for each image holds for each disk.
    let options = Options { sector_size: Some(4096), ..Options::default() };
    let disks = images::open_all(&folder.path("vm.ova"), &options).unwrap();
    assert!(disks.iter().all(|disk| disk.sector_size() == Some(4096)));
    let options = Options { snapshot: Some("s".into()), ..Options::default() };
    let error = images::open_all(&folder.path("vm.ova"), &options).err().unwrap().to_string();
    assert!(error.contains("snapshot"), "{error}");
    // Of another image there is one.
    assert_eq!(images::open_all(&folder.path("c.img"), &Options::default()).unwrap().len(), 1);
}

/// A descriptor file with flat extents, all of them in the archive.
#[test]
fn extents_are_looked_up_in_the_archive() {
    let folder = Folder::new();
    let want = patterned(90, 3 * MIB);
    for (at, prefix) in [("", ""), ("disks", "disks/")] {
        std::fs::create_dir_all(folder.path(at)).unwrap();
        let name = format!("{prefix}disk.vmdk");
        image(&folder, &name, "-o subformat=monolithicFlat", &want);
        folder.write("vm.ovf", descriptor(&[Named(&name, "")]).as_bytes());
        let flat = format!("{prefix}disk-flat.vmdk");
        tar(&folder, "", "vm.ova", &["vm.ovf", &name, &flat]);
        std::fs::remove_file(folder.path(&flat)).unwrap();
        reads(&folder.open("vm.ova"), &want);
        // Without it, the file of this name beside the archive is none of its.
        folder.write(&flat, &want);
        tar(&folder, "", "vm.ova", &["vm.ovf", &name]);
        let error = folder.try_open("vm.ova", None).err().unwrap().to_string();
        assert!(error.contains("disk-flat.vmdk is not in the archive"), "{error}");
    }
}

#[test]
fn manifests_are_compared() {
    let folder = one(&patterned(91, MIB));
    for (program, algorithm) in [("sha1sum", "SHA1"), ("sha256sum", "SHA256"), ("sha512sum", "SHA512")] {
        folder.write("vm.mf", manifest(&folder, program, algorithm, &["vm.ovf", "disk.vmdk"]).as_bytes());
        tar(&folder, "--format=ustar", "vm.ova", &["vm.ovf", "vm.mf", "disk.vmdk"]);
        for name in ["vm.ova", "vm.ovf"] {
            let stored = verify::stored(&folder.path(name), &Options::default()).unwrap();
            let files: Vec<_> = stored.iter().map(|stored| stored.file.clone().unwrap()).collect();
            assert_eq!(files, ["vm.ovf", "disk.vmdk"]);
            let outcomes = verify::check(&stored, &mut |_| ());
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Same)), "{name}: {outcomes:?}");
        }
    }
    let wrong = folder.read("vm.mf").iter().map(|byte| if *byte == b'0' { b'1' } else { *byte }).collect::<Vec<_>>();
    folder.write("vm.mf", &[&wrong, &b"SHA1(gone)= 00\nSHA1(../../etc/passwd)= 00\n"[..]].concat());
    tar(&folder, "--format=ustar", "vm.ova", &["vm.ovf", "vm.mf", "disk.vmdk"]);
    for name in ["vm.ova", "vm.ovf"] {
        let stored = verify::stored(&folder.path(name), &Options::default()).unwrap();
        let outcomes = verify::check(&stored, &mut |_| ());
        let [Outcome::Differs(_), Outcome::Differs(_), Outcome::Unreadable(gone), ..] = &outcomes[..] else {
            panic!("{outcomes:?}")
        };
        assert!(gone.to_string().contains("gone"), "{gone}");
        assert_eq!(outcomes.len(), 4);
    }
    tar(&folder, "--format=ustar", "vm.ova", &["vm.ovf", "disk.vmdk"]);
    assert!(verify::stored(&folder.path("vm.ova"), &Options::default()).unwrap().is_empty());
}

#[test]
fn an_archive_without_descriptor_is_no_appliance() {
    let folder = one(&patterned(92, MIB));
    tar(&folder, "", "a.tar", &["disk.vmdk"]);
    assert_eq!(folder.open("a.tar").size(), folder.read("a.tar").len() as u64, "raw bytes");
}
