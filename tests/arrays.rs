//! Guests on arrays through the whole program: with all their disks and with one missing.

// The functions that the tests share are tests too, which clippy cannot see.
#![allow(clippy::unwrap_used)]

mod program;

use std::fs;
use std::path::Path;

use program::{Point, fails, imgmount, works};

fn disk(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/raid/{name}.qcow2")).display().to_string()
}

/// `-a DISK` for each of these disks, and what follows.
fn arguments<'a>(disks: &'a [String], rest: &[&'a str]) -> Vec<&'a str> {
    disks.iter().flat_map(|disk| ["-a", disk.as_str()]).chain(rest.iter().copied()).collect()
}

fn disks(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| disk(name)).collect()
}

fn numbers() -> String {
    (1..=2000).map(|number| format!("{number}\n")).collect()
}

#[test]
fn a_mirrored_guest_mounts_with_one_disk_missing() {
    for names in [&["raid1-0", "raid1-1"][..], &["raid1-1", "raid1-0"], &["raid1-0"], &["raid1-1"]] {
        let disks = disks(names);
        let point = Point::mount(&arguments(&disks, &["-i"]));
        assert_eq!(fs::read_to_string(point.join("etc/hostname")).unwrap(), "raid1\n", "{names:?}");
        assert_eq!(fs::read_to_string(point.join("root/numbers")).unwrap(), numbers(), "{names:?}");
        // Which mdadm.conf calls /dev/md5.
        assert_eq!(fs::read_to_string(point.join("boot/vmlinuz")).unwrap(), "a kernel\n", "{names:?}");
    }
    let output = imgmount().args(["inspect", "-a", &disk("raid1-1")]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("warning: array box:root: is degraded, 1 of 2 members are missing"), "{said}");
}

#[test]
fn an_array_holds_a_table_a_group_and_an_encrypted_volume() {
    let all = ["raid5-0", "raid5-1", "raid5-2"];
    for missing in [None, Some(0), Some(1), Some(2)] {
        let mut names = all.to_vec();
        if let Some(at) = missing {
            names.remove(at);
        }
        let disks = disks(&names);
        let point = Point::mount(&arguments(&disks, &["-i", "--key", "all:key:demo"]));
        assert_eq!(fs::read_to_string(point.join("etc/hostname")).unwrap(), "raid5\n", "{names:?}");
        assert_eq!(fs::read_to_string(point.join("root/numbers")).unwrap(), numbers(), "{names:?}");
        assert_eq!(fs::read_to_string(point.join("home/note")).unwrap(), "home is a volume on an array\n", "{names:?}");
        assert_eq!(fs::read_to_string(point.join("srv/note")).unwrap(), "srv is encrypted on an array\n", "{names:?}");
    }
    let said = fails(&["-a", &disk("raid5-1"), "-i", Point::new().text()]);
    for said in [said, works(&["filesystems", "-a", &disk("raid5-1")])] {
        assert!(said.contains("cannot assemble RAID 5 from 1 of 3 members"), "{said}");
    }
}

#[test]
fn listings_show_the_array_and_its_members() {
    let both = disks(&["raid1-0", "raid1-1"]);
    let listing = works(&[&["filesystems"][..], &arguments(&both, &[])].concat());
    let line = |start: &str| {
        let found = listing.lines().find(|line| line.trim_start().starts_with(start));
        found.unwrap_or_else(|| panic!("no {start} in\n{listing}")).to_owned()
    };
    assert!(line("/dev/sda1 ").contains("linux_raid_member"), "{listing}");
    assert!(line("/dev/sdb2 ").contains("member of /dev/md127"), "{listing}");
    assert!(line("/dev/md127 ").contains("RAID 1 on /dev/sda2, /dev/sdb2"), "{listing}");
    let one = works(&["filesystems", "-a", &both[0]]);
    assert!(one.contains("RAID 1, degraded: 1 of 2 members on /dev/sda2"), "{one}");
    let json = works(&["filesystems", "--json", "-a", &both[0]]);
    for word in ["\"level\": \"array\"", "\"name\": \"box:root\"", "RAID 1, degraded: 1 of 2 members"] {
        assert!(json.contains(word), "{word} is not in {json}");
    }
    let five = works(&["filesystems", "-a", &disk("raid5-2"), "-a", &disk("raid5-0")]);
    assert!(five.contains("  /dev/md0p1") && five.contains("/dev/demo/home"), "{five}");
}

#[test]
fn arrays_are_found_by_all_their_names() {
    let disks = disks(&["raid1-1", "raid1-0"]);
    for (name, file) in [
        ("/dev/md127", "etc/hostname"),
        ("/dev/md/root", "etc/hostname"),
        ("/dev/md1", "vmlinuz"),
        ("/dev/md/1", "vmlinuz"),
    ] {
        let point = Point::mount(&arguments(&disks, &["-m", name]));
        assert!(point.join(file).is_file(), "{name}");
    }
    let disk = disk("raid5-1");
    let other = self::disk("raid5-2");
    for name in ["/dev/md0p1", "/dev/md/0p1", "md/0p1"] {
        let point = Point::mount(&["-a", &disk, "-a", &other, "-m", name]);
        assert!(point.join("etc/hostname").is_file(), "{name}");
    }
    let said = fails(&["-a", &disk, "-a", &other, "-m", "/dev/md/none", Point::new().text()]);
    assert!(said.contains("no such device"), "{said}");
}

#[test]
fn an_array_is_a_file_that_other_tools_read() {
    let disks = disks(&["raid5-2", "raid5-0"]);
    let point = Point::mount(&arguments(&disks, &["--blocks"]));
    for name in ["sda", "sdb", "md0", "md0p1", "md0p2", "md0p3", "demo/home"] {
        assert!(point.join(name).is_file(), "{name}");
    }
    for (name, size) in [("md0p1", 1 << 20), ("demo/home", 256 << 10)] {
        assert_eq!(fs::metadata(point.join(name)).unwrap().len(), size, "{name}");
        toolbox::run(toolbox::command("e2fsck").arg("-fn").arg(point.join(name)));
    }
}
