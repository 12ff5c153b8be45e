//! A toy file system by the door that the program's own come through.

use std::sync::Arc;

use filesystems::path::{read_file, resolve};
use filesystems::view::{Directory, Mounts};
use filesystems::{FileSystem, Interned, NodeId, Options};
use images::disk::Memory;
use images::{Budget, Disk, Error};
use imgmount::keys::Keys;
use imgmount::place::{DeviceAt, Writing};
use imgmount::stack::{Stack, Tables};
use zerocopy::IntoBytes;

use crate::DRIVERS;
use crate::driver::layout::{Header, MAGIC, RECORDS_AT, Record};

const BIG: u64 = u64::MAX - 7;

fn record(kind: u8, (tree, inode, parent): (u64, u64, u64), name: &str, content: (u32, u32)) -> Record {
    let mut field = [0; 18];
    field[..name.len()].copy_from_slice(name.as_bytes());
    Record {
        tree: tree.into(),
        inode: inode.into(),
        parent: parent.into(),
        generation: 3.into(),
        at: content.0.into(),
        len: content.1.into(),
        kind,
        name_len: name.len() as u8,
        name: field,
    }
}

/// Its two disks: `root` has the file `a` in `dir`, `home` the file `b`.
fn disks() -> [Arc<dyn Disk>; 2] {
    let records = [
        record(b't', (BIG, BIG, 0), "root", (0, 0)),
        record(b't', (5, BIG, 0), "home", (0, 0)),
        record(b'd', (BIG, 1 << 60, BIG), "dir", (0, 0)),
        record(b'f', (BIG, (1 << 60) + 1, 1 << 60), "a", (512, 3)),
        record(b'f', (5, (1 << 60) + 1, BIG), "b", (515, 4)),
    ];
    let disk = |index: u32, at: u64, content: &[u8]| -> Arc<dyn Disk> {
        let header =
            Header { magic: MAGIC, uuid: 77.into(), index: index.into(), records: (records.len() as u32).into() };
        let mut bytes = vec![0; 4096];
        bytes[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        bytes[at as usize..][..content.len()].copy_from_slice(content);
        Arc::new(Memory::new(format!("toy {index}"), bytes))
    };
    [disk(0, RECORDS_AT, records.as_bytes()), disk(1, 512, b"onefour")]
}

/// All devices in these disks, by the program's tables and the toy.
fn stack(disks: impl Into<Vec<Arc<dyn Disk>>>, options: &Options) -> Stack {
    let tables = Tables { drivers: &DRIVERS, ..Tables::default() };
    Stack::with_tables(disks.into(), options.clone(), &Keys::default(), tables).unwrap()
}

/// How it is opened where so many bytes may be held.
fn within(bytes: u64) -> Options {
    let mut options = Options::default();
    options.budget = Budget::new(bytes);
    options
}

fn opened(options: &Options) -> Arc<dyn FileSystem> {
    // Whichever of its disks is shown.
    stack(disks(), options).open(1).unwrap()
}

fn content(fs: &dyn FileSystem, path: &str) -> images::Result<Vec<u8>> {
    read_file(fs, resolve(fs, path.as_bytes(), true)?, 100)
}

#[test]
fn two_disks_and_two_trees() {
    let both = stack(disks(), &Options::default());
    assert!(both.devices.iter().all(|device| device.contents_name() == "toy"));
    for (there, missing) in [(0, "second"), (1, "first")] {
        let half = stack([disks()[there].clone()], &Options::default()).open(0).err().unwrap();
        assert_eq!(half.to_string(), format!("/dev/sda: the {missing} disk of the toy file system 77 is missing"));
    }
    let home = DeviceAt::parse("/dev/sda:/:subvol=home:toy").unwrap().open(&both, Writing::Never).unwrap();
    assert_eq!(content(&*home.tree, "b").unwrap(), b"four");

    let fs = opened(&Options::default());
    assert_eq!(content(&*fs, "dir/a").unwrap(), b"one");
    let mut names = Vec::new();
    fs.trees()
        .unwrap()
        .names(&mut |name| {
            names.push(String::from_utf8_lossy(name).into_owned());
            true
        })
        .unwrap();
    assert_eq!(names, ["root", "home"]);
    let home = fs.trees().unwrap().open(b"home").unwrap();
    assert_eq!(content(&*home, "b").unwrap(), b"four");
    assert!(matches!(content(&*home, "dir/a"), Err(Error::NotFound)));
    assert!(matches!(fs.trees().unwrap().open(b"var"), Err(Error::NotFound)));
    let made_up = Directory::new(&[]).unwrap();
    assert_eq!(made_up.trees().err().unwrap().to_string(), "there is only one tree in directory");
}

#[test]
fn nodes_with_wide_keys_are_held_and_forgotten() {
    let options = within(1 << 20);
    let free = || options.budget.free();
    let fs = opened(&options);
    let holds = fs.holds().unwrap();
    let a = resolve(&*fs, b"dir/a", true).unwrap();
    assert_eq!((a.0 >> 56, fs.stat(a).unwrap().generation), (0, 3));
    let one = options.budget.limit() - free();
    assert!((1..400).contains(&one), "the directory on the way is forgotten: {one} bytes for one node");
    holds.hold(a).unwrap();
    holds.forget(a, 1);
    assert_eq!(content(&*fs, "dir/a").unwrap(), b"one");
    holds.forget(a, 2);
    assert!(matches!(fs.stat(a), Err(Error::NotFound)));
    assert_eq!(free(), options.budget.limit());
    let mut listed = Vec::new();
    fs.read_dir(fs.root(), 0, &mut |entry| {
        listed.push(entry.node);
        true
    })
    .unwrap();
    assert_eq!(resolve(&*fs, b"dir", true).unwrap(), listed[0], "the same node while it is held");
    holds.forget(listed[0], 2);
    holds.forget(fs.root(), 5);
    assert_eq!(fs.stat(fs.root()).unwrap().generation, 3, "the root stays");
    assert_eq!(free(), options.budget.limit());
}

#[test]
fn mounted_trees_pass_on_what_is_forgotten() {
    let options = within(1 << 20);
    let fs = opened(&options);
    let mut mounts = Mounts::new(Arc::new(Directory::new(&[b"toy".to_vec()]).unwrap()));
    assert!(mounts.holds().is_none(), "nothing to hold, nothing to tell");
    mounts.mount(b"toy", fs.clone()).unwrap();
    mounts.mount(b"toy/dir", fs.trees().unwrap().open(b"home").unwrap()).unwrap();
    let held = options.budget.limit() - options.budget.free();
    let holds = mounts.holds().unwrap();
    let b = resolve(&mounts, b"toy/dir/b", true).unwrap();
    assert_eq!(read_file(&mounts, b, 100).unwrap(), b"four");
    let mut listed = Vec::<NodeId>::new();
    let toy = mounts.lookup(mounts.root(), b"toy").unwrap();
    mounts
        .read_dir(toy, 0, &mut |entry| {
            listed.push(entry.node);
            true
        })
        .unwrap();
    assert_eq!(listed, [mounts.lookup(toy, b"dir").unwrap()], "the root that covers it");
    holds.forget(b, 1);
    listed.iter().chain(&listed).for_each(|node| holds.forget(*node, 1));
    assert_eq!(options.budget.limit() - options.budget.free(), held, "the mount point alone");
    assert!(Interned::<(u64, u64)>::ROOT == fs.root());
}
