//! The folders of Parallels: descriptors with images that qemu-img makes.

#![allow(clippy::unwrap_used, reason = "all of this is tests, helpers included")]

#[allow(dead_code, reason = "the tests of other formats use more of it")]
#[path = "../disks/check.rs"]
mod check;
#[allow(dead_code, reason = "the tests of other formats use more of it")]
#[path = "../disks/hostile.rs"]
mod hostile;
#[path = "../tools/mod.rs"]
mod tools;

use std::fs;

use check::*;
use images::{Backing, Options, info};
use tools::*;

const MIB: usize = 1 << 20;
const BASE: &str = "{11111111-1111-1111-1111-111111111111}";
const MIDDLE: &str = "{22222222-2222-2222-2222-222222222222}";
const TOP: &str = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
const NONE: &str = "{00000000-0000-0000-0000-000000000000}";

fn image(guid: &str, kind: &str, file: &str) -> String {
    format!("<Image>\n<GUID>{guid}</GUID>\n<Type>{kind}</Type>\n<File>{file}</File>\n</Image>\n")
}

fn storage(start: usize, end: usize, images: &[String]) -> String {
    let images = images.concat();
    format!("<Storage>\n<Start>{start}</Start>\n<End>{end}</End>\n<Blocksize>2048</Blocksize>\n{images}</Storage>\n")
}

fn descriptor(storages: &[String], shots: &[(&str, &str)]) -> String {
    let shot = |(guid, parent): &(&str, &str)| {
        format!("<Shot>\n<GUID>{guid}</GUID>\n<ParentGUID>{parent}</ParentGUID>\n</Shot>\n")
    };
    let (storages, shots): (String, String) = (storages.concat(), shots.iter().map(shot).collect());
    format!(
        "<?xml version='1.0' encoding='UTF-8'?>\n<Parallels_disk_image Version=\"1.0\">\n<Disk_Parameters>\n\
         <Padding>0</Padding>\n</Disk_Parameters>\n<StorageData>\n{storages}</StorageData>\n<Snapshots>\n{shots}\
         </Snapshots>\n</Parallels_disk_image>\n"
    )
}

/// `x.hdd/` with a base, what was written after the first snapshot, and after the second; and what each of them reads.
fn bundle(base: &str) -> (Folder, Vec<Vec<u8>>) {
    let folder = Folder::new();
    fs::create_dir(folder.path("x.hdd")).unwrap();
    let mut bytes = patterned(121, 6 * MIB);
    folder.write("source", &bytes);
    match base {
        "Plain" => folder.write("x.hdd/base.hds", &bytes),
        _ => _ = folder.run("qemu-img convert -f raw -O parallels -o cluster_size=64k source x.hdd/base.hds"),
    }
    let mut wants = vec![bytes.clone()];
    for (name, at, value) in [("middle", MIB, 1), ("top", 3 * MIB, 2)] {
        let file = format!("x.hdd/{name}.hds");
        folder.run(&format!("qemu-img create -q -f parallels -o cluster_size=64k {file} 6M"));
        // Two clusters each, one of them above the other's.
        for start in [at, 2 * MIB] {
            let write = format!("write -P {value} {start} 64k");
            folder.run_words(&["qemu-io", "-f", "parallels", "-c", &write, &file]);
            bytes[start..start + (64 << 10)].fill(value);
        }
        wants.push(bytes.clone());
    }
    let images =
        [image(BASE, base, "base.hds"), image(MIDDLE, "Compressed", "middle.hds"), image(TOP, "Compressed", "top.hds")];
    let sectors = 6 * MIB / 512;
    let text = descriptor(&[storage(0, sectors, &images)], &[(TOP, MIDDLE), (MIDDLE, BASE), (BASE, NONE)]);
    folder.write("x.hdd/DiskDescriptor.xml", text.as_bytes());
    (folder, wants)
}

#[test]
fn snapshots_lie_on_each_other() {
    for base in ["Plain", "Compressed"] {
        let (folder, wants) = bundle(base);
        for name in ["x.hdd", "x.hdd/", "x.hdd/DiskDescriptor.xml"] {
            let disk = folder.open(name);
            reads(&disk, &wants[2]);
            extents(&disk, &wants[2]);
        }
        for (guid, want) in [(BASE, &wants[0]), (MIDDLE, &wants[1]), (TOP, &wants[2])] {
            reads(&folder.try_open("x.hdd", Some(guid)).unwrap(), want);
        }
        let layers = info(&folder.path("x.hdd"), &Options::default()).unwrap();
        assert_eq!((layers[0].format, layers[0].description.virtual_size), ("parallels", Some(6 << 20)));
        let files: Vec<_> = layers[0].files.iter().map(|file| file.location.file_name().unwrap()).collect();
        assert_eq!(files, ["base.hds", "middle.hds", "top.hds"]);
        let options = Options { backing: Backing::None, ..Options::default() };
        let error = images::open(&folder.path("x.hdd"), &options).err().unwrap().to_string();
        assert!(error.contains("--backing=none"), "{error}");
    }
}

#[test]
fn a_disk_in_parts() {
    let folder = Folder::new();
    let want = patterned(122, 5 * MIB + 512);
    for (name, range) in [("0", 0..2 * MIB), ("1", 2 * MIB..4 * MIB), ("2", 4 * MIB..5 * MIB + 512)] {
        folder.write("source", &want[range]);
        folder.run(&format!("qemu-img convert -f raw -O parallels source disk.{name}.hds"));
    }
    folder.write("plain", &want[2 * MIB..4 * MIB]);
    let end = want.len() / 512;
    let part = |start, end, kind: &str, file: &str| storage(start, end, &[image(TOP, kind, file)]);
    for middle in [part(4096, 8192, "Compressed", "disk.1.hds"), part(4096, 8192, "Plain", "plain")] {
        let storages = [part(8192, end, "Compressed", "disk.2.hds"), part(0, 4096, "Compressed", "disk.0.hds"), middle];
        folder.write("DiskDescriptor.xml", descriptor(&storages, &[(TOP, NONE)]).as_bytes());
        let disk = folder.open("");
        reads(&disk, &want);
        extents(&disk, &want);
    }
}

#[test]
fn what_does_not_fit_is_said() {
    let (folder, _) = bundle("Plain");
    folder.write("small", &[0; 4096]);
    let text = String::from_utf8(folder.read("x.hdd/DiskDescriptor.xml")).unwrap();
    for (from, to, want) in [
        ("<End>12288", "<End>12289", "but the descriptor has 6291968 bytes for it: truncated?"),
        ("<Type>Plain", "<Type>Compressed", "an expandable image by the descriptor, but it does not start like one"),
        (">base.hds", ">../small", "small at byte 0x1000: its end, but the descriptor has 6291456 bytes for it"),
        (">base.hds", ">http://host/x", "has the protocol http"),
        (">base.hds", ">gone.hds", "No such file"),
    ] {
        folder.write("x.hdd/DiskDescriptor.xml", text.replacen(from, to, 1).as_bytes());
        let error = folder.try_open("x.hdd", None).err().unwrap().to_string();
        assert!(error.contains(want), "{want}: {error}");
    }
    fs::remove_file(folder.path("x.hdd/DiskDescriptor.xml")).unwrap();
    let error = folder.try_open("x.hdd", None).err().unwrap().to_string();
    assert!(error.contains("is a directory"), "{error}");
}

#[test]
fn hostile_bytes() {
    let (folder, _) = bundle("Compressed");
    let shelf = Shelf::default();
    for name in ["base.hds", "middle.hds", "top.hds"] {
        shelf.put(name, folder.read(&format!("x.hdd/{name}")));
    }
    let text = folder.read("x.hdd/DiskDescriptor.xml");
    hostile::damage("parallels", &text, &[(0, text.len() - 8)], &shelf, |_| ());
}
