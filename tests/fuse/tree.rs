//! What a mounted tree shows: attributes, directories, content, holes, extended attributes, damage.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, FileExt, FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{SeekFrom, seek};

use crate::place::{Place, User, is_running, text};

const EUCLEAN: i32 = 117;
const EOPNOTSUPP: i32 = 95;
const ERANGE: i32 = 34;
const ENODATA: i32 = 61;
const ENXIO: i32 = 6;

#[test]
fn attributes_are_the_file_systems_own() {
    let place = Place::mounted(User::Me, &[]);
    let at = |name: &str| fs::symlink_metadata(place.point().join(name)).unwrap();

    let root = at("");
    assert_eq!((root.ino(), root.uid(), root.gid(), root.mode()), (2, 12, 34, 0o040_755));
    let big = at("big");
    assert_eq!((big.size(), big.blocks(), big.blksize(), big.mode()), (300 << 20, 300 << 11, 4096, 0o100_640));
    assert_eq!((big.mtime(), big.mtime_nsec()), (86_400, 123_456_789));
    let times = at("times");
    assert_eq!((times.atime(), times.atime_nsec()), (-62_135_596_800, 5));
    assert_eq!((times.mtime(), times.mtime_nsec()), (15_032_385_535, 999_999_999));
    assert_eq!(at("program").mode(), 0o104_755);
    assert_eq!(at("null").rdev(), (1 << 8) | 3);
    // What the C library makes of the numbers 259 and 70000.
    assert_eq!(at("disk").rdev(), (70_000 & 0xff) | (259 << 8) | ((70_000 & !0xff) << 12));
    assert!(at("disk").file_type().is_block_device() && at("null").file_type().is_char_device());
    assert!(at("fifo").file_type().is_fifo() && at("socket").file_type().is_socket());
    assert_eq!(fs::read_link(place.point().join("link")).unwrap(), Path::new("many"));
    assert_eq!((at("hard").ino(), at("hard").nlink()), (at("hard too").ino(), 2));
    let odd = place.point().join(OsStr::from_bytes(&[0xff, b'\n', 0xfe]));
    assert_eq!(fs::symlink_metadata(odd).unwrap().ino(), at("hard").ino());
    assert_ne!(at("number one").ino(), 1);

    let figures = rustix::fs::statvfs(place.point()).unwrap();
    assert_eq!((figures.f_frsize, figures.f_blocks, figures.f_bfree, figures.f_bavail), (4096, 1000, 300, 200));
    assert_eq!((figures.f_files, figures.f_ffree, figures.f_namemax), (60_000, 5000, 255));
}

#[test]
fn directories_list_every_name_once_and_numbers_never_change() {
    let place = Place::mounted(User::Me, &[]);
    for _ in 0..2 {
        let entries: Vec<_> = fs::read_dir(place.point().join("flat")).unwrap().map(Result::unwrap).collect();
        assert_eq!(entries.len(), 20_000);
        let names: HashMap<_, _> = entries.iter().map(|entry| (entry.file_name(), entry.ino())).collect();
        assert_eq!(names.len(), 20_000);
        for entry in entries.iter().step_by(997) {
            assert_eq!(entry.metadata().unwrap().ino(), entry.ino());
            assert!(entry.file_type().unwrap().is_file());
        }
    }
    // Half of the entries do not say their kind themselves, and one cannot be looked at.
    let kinds: HashMap<_, _> = fs::read_dir(place.point())
        .unwrap()
        .map(|entry| entry.map(|entry| (entry.file_name(), entry.file_type())).unwrap())
        .collect();
    assert!(kinds[OsStr::new("many")].as_ref().unwrap().is_dir());
    assert!(kinds[OsStr::new("fifo")].as_ref().unwrap().is_fifo());
    assert!(kinds.contains_key(OsStr::new("lost")));
    // Through the dots as well.
    let up = place.shell("ls -a m/many/dir000 | head -3 | tr '\\n' ' '; ls -d m/many/dir000/../..");
    assert_eq!(text(&up.stdout), ". .. file0000 m/many/dir000/../..\n");
}

#[test]
fn a_directory_can_be_left_and_taken_up_again() {
    let place = Place::mounted(User::Me, &[]);
    let dir = File::open(place.point().join("flat")).unwrap();
    // A buffer for a few names only, so that the kernel goes on in the middle, from `.` to the last.
    let mut names = Vec::new();
    let mut buffer = Vec::with_capacity(100);
    let mut reader = rustix::fs::RawDir::new(&dir, buffer.spare_capacity_mut());
    while let Some(entry) = reader.next() {
        names.push(entry.unwrap().file_name().to_owned());
    }
    assert_eq!(names.len(), 20_002);
    assert_eq!(
        (names[0].as_c_str(), names[1].as_c_str(), names[2].as_c_str()),
        (c".", c"..", c"a-file-with-a-name-000000")
    );
    assert_eq!(names[20_001].as_c_str(), c"a-file-with-a-name-019999");
}

#[test]
fn content_from_every_offset() {
    let place = Place::mounted(User::Me, &[]);
    let path = place.point().join("big");
    let node = fs::metadata(&path).unwrap().ino();
    let file = File::open(&path).unwrap();
    let byte = |offset: u64| {
        let n = ((offset + node) % 1_048_573) as usize;
        ((n * 31) >> 3) as u8 ^ n as u8
    };
    let size = 300 << 20;
    for (offset, len) in [(0, 10), (4095, 3), (1_048_570, 100_000), (123_456_789, 2_000_000), (size - 5, 5)] {
        let mut data = vec![0; len];
        file.read_exact_at(&mut data, offset).unwrap();
        assert!(data.iter().enumerate().all(|(n, found)| *found == byte(offset + n as u64)), "{offset}+{len}");
    }
    assert_eq!(file.read_at(&mut [0; 10], size - 4).unwrap(), 4);
    assert_eq!(file.read_at(&mut [0; 10], size).unwrap(), 0);
    // Without the page cache, in the largest pieces.
    let direct = place.shell("dd if=m/big bs=4M iflag=direct status=none | cmp - m/big && echo same");
    assert_eq!(text(&direct.stdout), "same\n", "{direct:?}");
}

#[test]
fn holes_are_found() {
    let place = Place::mounted(User::Me, &[]);
    let file = File::open(place.point().join("sparse")).unwrap();
    let mut found = Vec::new();
    let mut at = 0;
    while let Ok(data) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(data)).unwrap();
        found.push((data, at));
    }
    let (step, part) = (16u64 << 20, 64u64 << 10);
    let mut wanted = vec![(0, part)];
    wanted.extend((1..8).map(|n| (n * step - part, n * step + part)));
    wanted.push((8 * step - part, 8 * step));
    assert_eq!(found, wanted);
    assert_eq!(seek(&file, SeekFrom::Hole(3 * part)).unwrap(), 3 * part);
    assert_eq!(seek(&file, SeekFrom::Data(8 * step)).unwrap_err().raw_os_error(), ENXIO);
    let copy = place.shell("cp --sparse=auto m/sparse copy && cmp m/sparse copy && du -B1 copy");
    let taken = text(&copy.stdout).split('\t').next().and_then(|bytes| bytes.parse().ok());
    // A block more for the map of the copy's extents, once the host's file system has written it.
    assert!(taken.is_some_and(|bytes: u64| (1 << 20..=(1 << 20) + part).contains(&bytes)), "{copy:?}");
}

#[test]
fn extended_attributes() {
    let place = Place::mounted(User::Me, &["-o", "uid=77,gid=78,umask=022"]);
    let path = place.point().join("tagged");
    let get = |name: &str, buffer: &mut [u8]| rustix::fs::getxattr(&path, name, buffer).map_err(|e| e.raw_os_error());
    let mut buffer = vec![0; 65_536];
    assert_eq!(get("user.small", &mut buffer), Ok(5));
    assert_eq!(&buffer[..5], b"value");
    assert_eq!(get("user.small", &mut [0; 4]), Err(ERANGE));
    assert_eq!(get("user.none", &mut buffer), Err(ENODATA));
    assert_eq!(get("user.empty", &mut buffer), Ok(0));
    assert_eq!(get("trusted.large", &mut buffer), Ok(60_000));
    assert_eq!(rustix::fs::getxattr_query(&path, "trusted.large").unwrap(), 60_000);
    assert_eq!(get("system.posix_acl_access", &mut buffer), Ok(4 + 5 * 8));
    let len = rustix::fs::listxattr(&path, &mut buffer[..]).unwrap();
    let names: Vec<_> = buffer[..len].split(|byte| *byte == 0).map(text).collect();
    let wanted = ["user.small", "user.empty", "security.selinux", "trusted.large", "system.posix_acl_access"];
    assert_eq!(names[..5], wanted);
    assert_eq!(names[5..], ["user.imgmount.uid", "user.imgmount.gid", ""]);
    assert_eq!(rustix::fs::listxattr(&path, &mut [0u8; 10][..]).unwrap_err().raw_os_error(), ERANGE);
    // The owner is another one, and the guest's own is here.
    let shown = fs::metadata(&path).unwrap();
    assert_eq!((shown.uid(), shown.gid(), shown.mode()), (77, 78, 0o100_640));
    assert_eq!(get("user.imgmount.uid", &mut buffer), Ok(2));
    assert_eq!(&buffer[..2], b"12");
    assert_eq!(get("user.imgmount.gid", &mut buffer), Ok(2));
    assert_eq!(&buffer[..2], b"34");
    assert_eq!(fs::metadata(place.point().join("program")).unwrap().mode(), 0o104_755);
    assert!(is_running(place.server()));
}

#[test]
fn damage_stays_where_it_is() {
    let place = Place::mounted(User::Me, &[]);
    for (name, code) in [("corrupt", EUCLEAN), ("unsupported", EOPNOTSUPP), ("panic", 5), ("lost", EUCLEAN)] {
        // More than one of each: a panic must not cost a thread.
        for _ in 0..5 {
            let error = fs::read(place.point().join(name)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(code), "{name}");
        }
    }
    assert_eq!(fs::read(place.point().join("hard")).unwrap().len(), 77);
    assert_eq!(fs::read(place.point().join("absent")).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn nothing_can_be_written() {
    let place = Place::mounted(User::Me, &[]);
    for script in [
        "echo x > m/new",
        "echo x >> m/hard",
        "mkdir m/new",
        "rm m/hard",
        "rmdir m/many/dir000",
        "mv m/hard m/soft",
        "ln m/hard m/soft",
        "ln -s x m/soft",
        "chmod 777 m/hard",
        "chown 5 m/hard",
        "touch m/hard",
        "truncate -s 5 m/hard",
        "setfattr -n user.x -v y m/hard",
        "mknod m/pipe p",
    ] {
        let output = place.shell(&format!("LC_ALL=C; export LC_ALL; {script}"));
        let error = text(&output.stderr);
        assert!(!output.status.success() && error.contains("Read-only file system"), "{script}: {error}");
    }
    let access = place.shell("test -w m/hard || echo w; test -x m/hard || echo x; test -x m/program && echo runs");
    assert_eq!(text(&access.stdout), "w\nx\nruns\n");
}
