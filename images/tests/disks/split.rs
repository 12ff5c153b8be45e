//! Split raw images: parts as coreutils' split makes them.

use std::fs;

use images::{Backing, Options};

use crate::check::*;
use crate::tools::*;

const MIB: usize = 1 << 20;

/// Parts of a mebibyte, with `split -d` from this number.
fn parts(first: u32, size: usize) -> (Folder, Vec<u8>) {
    let folder = Folder::new();
    let want = patterned(9, size);
    folder.write("source", &want);
    folder.run(&format!("split -b 1M -a 3 --numeric-suffixes={first} source disk.dd."));
    (folder, want)
}

#[test]
fn parts_are_one_disk() {
    for first in [0, 1] {
        for size in [MIB, 3 * MIB, 3 * MIB + 512, 12 * MIB] {
            let (folder, want) = parts(first, size);
            let disk = folder.open(&format!("disk.dd.00{first}"));
            reads(&disk, &want);
            extents(&disk, &want);
        }
    }
}

#[test]
fn by_name_and_by_choice() {
    let (folder, want) = parts(1, 3 * MIB);
    let open = |name: &str, format: Option<&str>, backing| {
        let options = Options { format: format.map(str::to_owned), backing, ..Options::default() };
        images::open(&folder.path(name), &options)
    };
    assert_eq!(open("disk.dd.001", Some("raw"), Backing::Owner).unwrap().size(), MIB as u64);
    assert_eq!(open("disk.dd.002", None, Backing::Owner).unwrap().size(), MIB as u64, "no first part");
    assert!(read_all(&*open("disk.dd.001", Some("split"), Backing::Owner).unwrap()) == want);
    let error = open("source", Some("split"), Backing::Owner).err().unwrap().to_string();
    assert!(
        error.ends_with("a split image is opened by its first part, whose name ends in .001, .000 or .aa"),
        "{error}"
    );
    let error = open("disk.dd.001", None, Backing::None).err().unwrap().to_string();
    assert!(error.ends_with("--backing=none allows no other file"), "{error}");
    // What a format recognises is that format, whatever its name.
    folder.run("qemu-img create -q -f qcow2 other.001 5M");
    folder.write("other.002", b"x");
    assert_eq!(folder.open("other.001").size(), 5 << 20);
}

#[test]
fn parts_as_split_calls_them() {
    for (options, first) in [("-d", "x00"), ("", "xaa"), ("-a 2", "xaa")] {
        let folder = Folder::new();
        let want = patterned(9, 3 * MIB + 512);
        folder.write("source", &want);
        folder.run(&format!("split -b 100K {options} source x").replace("  ", " "));
        assert!(read_all(&*folder.open(first)) == want, "{options}");
        folder.run(&format!("split -b 100K {options} source disk.").replace("  ", " "));
        assert!(read_all(&*folder.open(&first.replace('x', "disk."))) == want, "{options}");
    }
    // More than two digits or letters can count: split goes on with longer names.
    let folder = Folder::new();
    folder.write("source", &patterned(9, MIB));
    folder.run("split -b 8K -d source disk.");
    let error = folder.try_open("disk.00", None).err().unwrap().to_string();
    assert!(error.contains("it goes on with the longer name disk.9000"), "{error}");
}

#[test]
fn parts_that_are_missing_or_cut_off() {
    let (folder, _) = parts(1, 4 * MIB);
    fs::remove_file(folder.path("disk.dd.003")).unwrap();
    let error = folder.try_open("disk.dd.001", None).err().unwrap().to_string();
    assert!(error.ends_with("part disk.dd.003 is missing, but disk.dd.004 is there"), "{error}");
    folder.write("disk.dd.003", &[1; 5]);
    let error = folder.try_open("disk.dd.001", None).err().unwrap().to_string();
    assert!(error.ends_with("its end, but the first part has 1048576 bytes: truncated?"), "{error}");
    folder.write("disk.dd.003", &vec![1; MIB + 1]);
    assert!(folder.try_open("disk.dd.001", None).is_err());
}
