//! A toy of each kind of leaf: a folder each, and a line in a table here. Nothing else knows of them.

#![allow(clippy::unwrap_used)] // An unwrap that fails fails the test.

mod driver;
mod format;
mod scheme;
mod source;

mod claims;
mod servers;
mod trees;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use filesystems::Driver;
use images::disk::Memory;
use images::{Disk, Format, Options, Source};
use imgmount::keys::Keys;
use imgmount::stack::{Stack, Tables};
use partition::{SCHEMES, Scheme};

static FORMATS: LazyLock<Vec<Format>> = LazyLock::new(|| [images::FORMATS, &[format::FORMAT]].concat());
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| [images::SOURCES, &[source::SHELF, source::LONE]].concat());
static DRIVERS: LazyLock<Vec<Driver>> = LazyLock::new(|| [filesystems::DRIVERS, &[driver::DRIVER]].concat());
static TABLE: LazyLock<Vec<Scheme>> = LazyLock::new(|| [SCHEMES, &[scheme::SCHEME]].concat());

fn options() -> Options {
    Options { formats: &FORMATS, sources: &SOURCES, ..Options::default() }
}

fn read(disk: &dyn Disk) -> Vec<u8> {
    let mut bytes = vec![0; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

#[test]
fn a_toy_format_is_one_folder_and_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("part"), "olleh").unwrap();
    std::fs::write(at("disk"), "toy\npart\n").unwrap();
    assert_eq!(read(&*images::open(&at("disk"), &options()).unwrap()), b"hello");
    let layers = images::info(&at("disk"), &options()).unwrap();
    assert_eq!((layers[0].format, layers[0].description.cluster_size), ("toy", Some(1)));
    assert_eq!(layers[1].file.location.path(), Some(&*at("part")));
    let told = Options { format: Some("toy".into()), ..options() };
    assert_eq!(read(&*images::open(&at("disk"), &told).unwrap()), b"hello");
    let error = images::open(&at("disk"), &Options { format: Some("toy".into()), ..Options::default() });
    assert!(error.err().unwrap().to_string().starts_with("unknown image format toy"));
}

#[test]
fn a_toy_scheme_is_one_folder_and_one_line() {
    let member = |digit: char, text: &str| -> Arc<dyn Disk> {
        let mut bytes = format!("toy{digit}").into_bytes();
        bytes.resize(512, 0);
        bytes.extend(text.as_bytes());
        Arc::new(Memory::new(format!("toy {digit}"), bytes))
    };
    let tables = Tables { schemes: &TABLE, ..Tables::default() };
    let disks = vec![member('2', " world"), member('1', "hello")];
    let stack = Stack::with_tables(disks, filesystems::Options::default(), &Keys::default(), tables).unwrap();
    let names: Vec<_> = stack.devices.iter().map(|device| (&*device.name, device.contents_name())).collect();
    assert_eq!(names, [("/dev/sda", "toy_member"), ("/dev/sdb", "toy_member"), ("/dev/toys/whole", "unknown")]);
    assert_eq!(stack.devices[2].on, [1, 0]);
    assert_eq!(read(&**stack.devices[2].disk.as_ref().unwrap()), b"hello world");
    assert_eq!(stack.groups[0].members.len(), 2);
}

#[test]
fn a_toy_source_is_one_folder_and_one_line() {
    source::put("shelf://box/disk.img", b"a disk".to_vec());
    let disk = images::open(Path::new("shelf://box/disk.img"), &options()).unwrap();
    assert_eq!(read(&*disk), b"a disk");
    let error = images::open(Path::new("shelf://box/disk.img"), &Options::default()).err().unwrap().to_string();
    assert!(error.starts_with("cannot open shelf://box/disk.img: No such file"), "{error}");
    let error = images::open(Path::new("./shelf://box/disk.img"), &options()).err().unwrap().to_string();
    assert!(error.starts_with("cannot open ./shelf:"), "a path of this host: {error}");
}
