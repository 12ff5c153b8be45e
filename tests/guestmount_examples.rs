//! The examples of guestmount's manual, with the name replaced, on the guest of this repository.

mod program;

use std::fs;

use program::{Point, fails_with, guest, works};

/// `guestmount -a guest.img -i --ro /mnt`
#[test]
fn detect_the_guests_mount_points() {
    let point = Point::mount(&["-a", &guest(), "-i", "--ro"]);
    assert!(point.join("home/anna/book.txt").is_file());
}

/// `guestmount -a windows.img -m /dev/sda1 --ro /mnt`
#[test]
fn the_first_partition() {
    let point = Point::mount(&["-a", &guest(), "-m", "/dev/sda1", "--ro"]);
    assert!(point.join("EFI/BOOT/BOOTX64.EFI").is_file());
}

/// `guestmount -a linux.img -m /dev/VG/LV -m /dev/sda1:/boot --ro /mnt`
#[test]
fn a_logical_volume_and_a_partition_below_it() {
    let point = Point::mount(&["-a", &guest(), "-m", "/dev/demo/root", "-m", "/dev/sda1:/boot", "--ro"]);
    assert!(point.join("etc/os-release").is_file());
    assert!(point.join("boot/EFI/debian/shim with a long name.efi").is_file());
    assert_eq!(fs::read_dir(point.join("home")).unwrap().count(), 0, "home was not asked for");
}

/// `guestmount --add guest.img --inspector --mount /dev/VG/LV:/srv …`: both ways to mount at once, long names.
#[test]
fn inspection_and_one_mount_more() {
    let long = ["--add", &guest(), "--inspector", "--mount", "/dev/sda1:/srv", "--ro"];
    let point = Point::mount(&long);
    assert!(point.join("srv/EFI").is_dir() && point.join("boot/efi/EFI").is_dir());
}

/// `-m dev[:mountpoint[:options[:fstype]]]`
#[test]
fn options_and_type_of_a_mount() {
    let point = Point::mount(&["-a", &guest(), "-m", "/dev/demo/root:/:ro,noatime:ext4"]);
    assert!(point.join("etc/os-release").is_file());
}

/// `--format=raw -a disk` means raw, also where the content is another format; bare `--format` detects again.
#[test]
fn the_format_of_the_images_that_follow() {
    let (guest, point) = (guest(), Point::new());
    fails_with(&["--format=raw", "-a", &guest, "-i", point.text()], &["no operating system"]);
    let point = Point::mount(&["--format=qcow2", "-a", &guest, "-i"]);
    assert!(point.join("etc/os-release").is_file());
}

/// Names of disks are interchangeable: `/dev/hda1`, `/dev/vda1` and `/dev/sda1` are one; so is Xen's name.
#[test]
fn any_name_of_a_disk() {
    for device in ["/dev/vda1", "/dev/hda1", "/dev/xvda1"] {
        let point = Point::mount(&["-a", &guest(), "-m", device, "--ro"]);
        assert!(point.join("EFI").is_dir(), "{device}");
    }
}

/// `guestmount -x …` keeps the foreground; `-v`, `-n`, `--selinux` and `--dir-cache-timeout` are accepted.
#[test]
fn options_that_scripts_pass() {
    let arguments = ["-v", "-n", "--selinux", "--dir-cache-timeout", "60", "-a", &guest(), "-i", "--ro"];
    let point = Point::mount(&arguments);
    assert!(point.join("etc/os-release").is_file());
    works(&["unmount", point.text()]);
}
