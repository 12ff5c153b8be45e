//! Logical volumes of every kind through the whole program: thin volumes and their snapshots, RAID with a disk missing, caches.

// The functions that the tests share are tests too, which clippy cannot see.
#![allow(clippy::unwrap_used)]

mod program;

use std::fs;
use std::path::Path;

use program::{Point, fails_with, works};

/// The arguments for the disks of a case of `tests/golden/lvm`, but for one of them.
fn disks(case: &str, without: Option<usize>) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lvm");
    let all = (1..).map(|number| folder.join(format!("{case}-{number}.qcow2"))).take_while(|path| path.exists());
    let some = all.enumerate().filter(|(index, _)| Some(*index) != without);
    some.flat_map(|(_, path)| ["-a".into(), path.display().to_string()]).collect()
}

fn mount(disks: &[String], arguments: &[&str]) -> Point {
    let disks: Vec<&str> = disks.iter().map(String::as_str).collect();
    Point::mount(&[&disks, arguments].concat())
}

/// Every volume of a case is what the kernel read.
#[track_caller]
fn check(case: &str, without: Option<usize>) {
    let point = mount(&disks(case, without), &["--blocks"]);
    let sums = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/lvm/sums.txt")).unwrap();
    let mut checked = 0;
    for row in sums.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|row| row[1] == case) {
        // Without a disk, what needs all of them is left out; and a mirror of the old kind needs its log.
        if without.is_some() && ["raid0", "mirror", "core"].iter().any(|kind| row[2].contains(kind)) {
            continue;
        }
        let sum = toolbox::run(toolbox::command("sha256sum").arg(point.join(row[2])));
        assert_eq!(sum.split_whitespace().next(), Some(row[0]), "{row:?}");
        checked += 1;
    }
    assert!(checked > 1, "{case}");
}

#[test]
fn blocks_of_thin_volumes_are_what_the_kernel_reads() {
    check("thin", None);
    let point = mount(&disks("thin", None), &["--blocks"]);
    let names: Vec<_> = fs::read_dir(point.join("vg")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    for name in ["one", "snap", "second", "outer", "empty", "base"] {
        assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
    }
    let file = fs::File::open(point.join("vg/empty")).unwrap();
    assert!(rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(0)).is_err(), "all of it is a hole");
}

#[test]
fn a_thin_volume_and_its_snapshot_are_mounted_by_name() {
    let disks = disks("thin", None);
    for (volume, later) in [("one", true), ("snap", false), ("second", false)] {
        let point = mount(&disks, &["-m", &format!("/dev/vg/{volume}")]);
        assert_eq!(fs::read_to_string(point.join("note")).unwrap(), "before\n", "{volume}");
        assert_eq!(point.join("later").exists(), later, "{volume}");
    }
    let mut listing: Vec<&str> = disks.iter().map(String::as_str).collect();
    listing.insert(0, "filesystems");
    assert!(works(&listing).contains("/dev/vg/snap"));
}

#[test]
fn raid_is_read_with_a_disk_missing() {
    check("raid", Some(2));
    check("stale", None);
    check("stale", Some(0));
    let one: Vec<String> = disks("raid", None)[..2].to_vec();
    let point = Point::new();
    let disks: Vec<&str> = one.iter().map(String::as_str).collect();
    fails_with(&[&disks[..], &["-m", "/dev/vg/raid0", point.text()]].concat(), &["vg/raid0", "missing"]);
}

#[test]
fn snapshots_and_caches_are_what_the_kernel_reads() {
    for case in ["snapshot", "cache", "unclean"] {
        check(case, None);
    }
}
