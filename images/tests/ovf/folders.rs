//! OVF: a descriptor with its files beside it, which pass the gate.

use std::fs;

use images::{Backing, Options, info};

use crate::check::*;
use crate::made::*;
use crate::tools::*;

const MIB: usize = 1 << 20;

#[test]
fn disks_beside_the_descriptor() {
    let folder = Folder::new();
    let wants = [patterned(101, 2 * MIB), patterned(102, 3 * MIB)];
    image(&folder, "a b.vmdk", "-o subformat=streamOptimized", &wants[0]);
    fs::create_dir(folder.path("sub")).unwrap();
    image(&folder, "sub/flat.vmdk", "-o subformat=monolithicFlat", &wants[1]);
    folder.write("vm.ovf", descriptor(&[Named("a b.vmdk", ""), Named("sub/flat.vmdk", "")]).as_bytes());
    let disks = images::open_all(&folder.path("vm.ovf"), &Options::default()).unwrap();
    assert_eq!(disks.len(), 2);
    disks.iter().zip(&wants).for_each(|(disk, want)| reads(disk, want));
    let layers = info(&folder.path("vm.ovf"), &Options::default()).unwrap();
    let files: Vec<_> = layers[0].files.iter().map(|file| file.location.file_name().unwrap()).collect();
    assert_eq!((files, layers[0].description.disks.len()), (vec!["a b.vmdk".into(), "flat.vmdk".into()], 2));
    let options = Options { backing: Backing::None, ..Options::default() };
    let error = images::open_all(&folder.path("vm.ovf"), &options).err().unwrap().to_string();
    assert!(error.contains("--backing=none allows no other file"), "{error}");
    // A blank disk has no file.
    let blank =
        "<Disk ovf:capacity=\"5\" ovf:capacityAllocationUnits=\"byte * 2^30\" ovf:diskId=\"blank\"/></DiskSection>";
    let text = descriptor(&[Named("a b.vmdk", "")]).replace("</DiskSection>", blank);
    folder.write("vm.ovf", text.as_bytes());
    let disks = images::open_all(&folder.path("vm.ovf"), &Options::default()).unwrap();
    assert_eq!((disks.len(), disks[1].size()), (2, 5 << 30));
    assert_eq!(read(&*disks[1], 4 << 30, 512), [0; 512]);
}

/// A file that the descriptor says is compressed, in one piece and in several.
#[test]
fn compressed_files() {
    let folder = Folder::new();
    let want = patterned(104, 3 * MIB);
    image(&folder, "disk.vmdk", "", &want);
    folder.run("gzip --keep disk.vmdk");
    let text = descriptor(&[Named("disk.vmdk.gz", "ovf:compression=\"gzip\"")]);
    folder.write("vm.ovf", text.as_bytes());
    tar(&folder, "", "vm.ova", &["vm.ovf", "disk.vmdk.gz"]);
    reads(&folder.open("vm.ovf"), &want);
    reads(&folder.open("vm.ova"), &want);
    folder.run("split -b 1000000 -a 9 -d disk.vmdk.gz disk.vmdk.gz.");
    fs::remove_file(folder.path("disk.vmdk.gz")).unwrap();
    folder.write("vm.ovf", text.replace("compression", "chunkSize=\"1000000\" ovf:compression").as_bytes());
    reads(&folder.open("vm.ovf"), &want);
}

#[test]
fn a_file_in_pieces() {
    let folder = Folder::new();
    let want = patterned(103, 3 * MIB);
    for name in ["disk.vmdk", "disk.img"] {
        image(&folder, name, "", &want);
        let size = folder.read(name).len();
        folder.run(&format!("split -b 1000000 -a 9 -d {name} {name}."));
        fs::remove_file(folder.path(name)).unwrap();
        let says = format!("ovf:chunkSize=\"1000000\" ovf:size=\"{size}\"");
        folder.write("vm.ovf", descriptor(&[Named(name, &says)]).as_bytes());
        reads(&folder.open("vm.ovf"), &want);
        let last = format!("{name}.{:09}", (size - 1) / 1_000_000);
        tar(&folder, "", "vm.ova", &["vm.ovf", &format!("{name}.000000000"), &format!("{name}.000000001"), &last]);
        if size < 3_000_000 {
            reads(&folder.open("vm.ova"), &want);
        }
        fs::remove_file(folder.path(&last)).unwrap();
        let error = folder.try_open("vm.ovf", None).err().unwrap().to_string();
        assert!(error.contains("one is missing"), "{error}");
        fs::remove_file(folder.path(&format!("{name}.000000000"))).unwrap();
        let error = folder.try_open("vm.ovf", None).err().unwrap().to_string();
        assert!(error.contains("No such file"), "{error}");
        folder.write(&format!("{name}.000000000"), &[0; 1_000_001]);
        let error = folder.try_open("vm.ovf", None).err().unwrap().to_string();
        assert!(error.contains("a piece of more than 1000000 bytes"), "{error}");
    }
}

#[test]
fn names_that_lead_elsewhere() {
    let folder = Folder::new();
    fs::create_dir(folder.path("in")).unwrap();
    folder.write("secret", &patterned(1, MIB));
    let refused = |file: &str, want: &str| {
        let error = folder.try_open(file, None).err().unwrap().to_string();
        assert!(error.contains(want), "{file}: {want}: {error}");
    };
    for (href, want_archive, want_folder) in [
        ("http://host/disk.vmdk", "nothing leads out of an archive", "has the protocol http"),
        ("gone.vmdk", "gone.vmdk is not in the archive", "No such file"),
        ("gone%20.vmdk", "gone .vmdk is not in the archive", "No such file"),
    ] {
        folder.write("in/vm.ovf", descriptor(&[Named(href, "")]).as_bytes());
        folder.run("tar -C in -cf vm.ova vm.ovf");
        refused("vm.ova", want_archive);
        refused("in/vm.ovf", want_folder);
    }
    for href in
        ["../secret".to_owned(), "a/../../secret".to_owned(), folder.path("secret").to_str().unwrap().to_owned()]
    {
        folder.write("in/vm.ovf", descriptor(&[Named(&href, "")]).as_bytes());
        folder.run("tar -C in -cf vm.ova vm.ovf");
        refused("vm.ova", "nothing leads out of an archive");
    }
    // From a folder a name may lead wherever the owner of the descriptor can read, as that of a backing file may.
    folder.write("in/vm.ovf", descriptor(&[Named("../secret", "")]).as_bytes());
    assert_eq!(folder.open("in/vm.ovf").size(), MIB as u64);
    // What is said to be a VMDK and is none is not taken for a raw disk.
    folder.write("in/a.vmdk", &[0; 4096]);
    folder.write("in/vm.ovf", descriptor(&[Named("a.vmdk", "")]).as_bytes());
    refused("in/vm.ovf", "a vmdk image by the descriptor, but it is none");
}
