//! Mounts that are written, from the command line to the image: what was written is there for other tools, and nothing else
//! has changed.

#![allow(clippy::unwrap_used)] // An unwrap that fails fails the test.

mod program;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use program::{Point, fails_with, qemu_img, tool, works};
use tempfile::TempDir;

const EROFS: Option<i32> = Some(30);
const EXDEV: Option<i32> = Some(18);

/// A copy of the small guest, and the path of its upper image.
fn copy() -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    for name in ["base.qcow2", "guest.qcow2"] {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/demo").join(name);
        fs::copy(golden, directory.path().join(name)).unwrap();
    }
    let guest = directory.path().join("guest.qcow2").to_str().unwrap().to_owned();
    (directory, guest)
}

fn sum(path: impl AsRef<Path>) -> String {
    tool(&["sha256sum", path.as_ref().to_str().unwrap()])
}

fn unmount(point: &Point) {
    works(&["unmount", point.text()]);
    assert!(!point.is_mounted());
}

/// What fsck.fat says of the first partition, which must be clean.
fn check(image: &str, directory: &TempDir) {
    qemu_img(&["check", "-q", image]);
    let raw = directory.path().join("raw").to_str().unwrap().to_owned();
    qemu_img(&["convert", "-O", "raw", image, &raw]);
    let partition = directory.path().join("partition");
    fs::write(&partition, &fs::read(&raw).unwrap()[1 << 20..9 << 20]).unwrap();
    tool(&["fsck.fat", "-n", partition.to_str().unwrap()]);
}

#[test]
fn changes_go_to_the_image_and_to_no_other() {
    let (directory, guest) = copy();
    let base = sum(directory.path().join("base.qcow2"));
    for words in [&["-m", "/dev/sda1", "--rw"][..], &["-m", "/dev/sda1:/:rw"], &["-m", "/dev/sda1", "-o", "rw"]] {
        let point = Point::mount(&[&["-a", &guest][..], words].concat());
        fs::create_dir(point.join("new")).unwrap();
        fs::write(point.join("new/file with a long name.txt"), vec![7; 100_000]).unwrap();
        fs::rename(point.join("new/file with a long name.txt"), point.join("moved")).unwrap();
        fs::remove_dir(point.join("new")).unwrap();
        unmount(&point);
        check(&guest, &directory);
        let point = Point::mount(&["-a", &guest, "-m", "/dev/sda1:/:ro", "--rw"]);
        assert_eq!(fs::read(point.join("moved")).unwrap(), vec![7; 100_000]);
        assert!(!point.join("new").exists());
        assert_eq!(fs::remove_file(point.join("moved")).unwrap_err().raw_os_error(), EROFS);
        unmount(&point);
        let point = Point::mount(&["-a", &guest, "-m", "/dev/sda1", "-w"]);
        fs::remove_file(point.join("moved")).unwrap();
        unmount(&point);
    }
    assert_eq!(sum(directory.path().join("base.qcow2")), base);
}

#[test]
fn an_overlay_takes_the_changes_and_the_image_stays() {
    let (directory, guest) = copy();
    let before = sum(&guest);
    let overlay = directory.path().join("overlay.qcow2").to_str().unwrap().to_owned();
    let named = format!("--overlay={overlay}");
    for (option, there) in [("--overlay", ""), (&*named, ""), (&*named, "once")] {
        let point = Point::mount(&["-a", &guest, "-m", "/dev/sda1", option]);
        let file = point.join("written");
        assert_eq!(fs::read_to_string(&file).unwrap_or_default(), there, "{option}");
        fs::write(&file, there.to_owned() + "once").unwrap();
        unmount(&point);
        assert_eq!(sum(&guest), before, "{option}");
    }
    check(&overlay, &directory);
    let point = Point::mount(&["-a", &overlay, "-m", "/dev/sda1"]);
    assert_eq!(fs::read(point.join("written")).unwrap(), b"onceonce");
    unmount(&point);
    qemu_img(&["commit", "-q", &overlay]);
    let point = Point::mount(&["-a", &guest, "-m", "/dev/sda1"]);
    assert_eq!(fs::read(point.join("written")).unwrap(), b"onceonce", "committed");
}

#[test]
fn one_of_several_file_systems_is_written() {
    let (_directory, guest) = copy();
    let point = Point::mount(&["-a", &guest, "-m", "/dev/demo/root:/:ro", "-m", "/dev/sda1:/boot/efi:rw"]);
    fs::write(point.join("boot/efi/written"), b"here").unwrap();
    assert_eq!(fs::write(point.join("root/written"), b"no").unwrap_err().raw_os_error(), EROFS);
    assert_eq!(fs::remove_dir(point.join("boot/efi")).unwrap_err().raw_os_error(), EROFS);
    let moved = fs::rename(point.join("etc/hostname"), point.join("boot/efi/hostname")).unwrap_err();
    assert!([EROFS, EXDEV].contains(&moved.raw_os_error()), "{moved}");
    fs::File::open(point.join("boot/efi/written")).unwrap().sync_all().unwrap();
    unmount(&point);
}

#[test]
fn guestmount_writes_where_it_can() {
    let (directory, guest) = copy();
    let program = directory.path().join("guestmount");
    symlink(env!("CARGO_BIN_EXE_imgmount"), &program).unwrap();
    let mount = |words: &[&str]| {
        let point = Point::new();
        toolbox::run(toolbox::command(&program).args(["-a", &guest]).args(words).arg(point.text()));
        point
    };
    let point = mount(&["-m", "/dev/sda1"]);
    fs::write(point.join("written"), b"by guestmount").unwrap();
    unmount(&point);
    let point = mount(&["-m", "/dev/sda1", "--ro"]);
    assert_eq!(fs::read(point.join("written")).unwrap(), b"by guestmount");
    assert_eq!(fs::write(point.join("more"), b"").unwrap_err().raw_os_error(), EROFS);
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is_mounted() {
    let (directory, guest) = copy();
    let point = Point::new();
    let vmdk = directory.path().join("disk.vmdk").to_str().unwrap().to_owned();
    qemu_img(&["convert", "-O", "vmdk", &guest, &vmdk]);
    fails_with(&["-a", &vmdk, "-m", "/dev/sda1", "--rw", point.text()], &["--rw: /dev/sda1", "vmdk", "--overlay"]);
    fails_with(&["-a", &guest, "-i", "--overlay", "--ro", point.text()], &["--overlay", "--ro"]);
    fails_with(&["-a", &guest, "-m", "/dev/sda1:/:ro", "--overlay=x", "-o", "ro", point.text()], &["--overlay"]);
    fails_with(&["-a", &guest, "-a", &vmdk, "-m", "/dev/sda1", "--overlay=x", point.text()], &["one image"]);
    fails_with(&["-a", &guest, "-i", "--rw", "--owner=me", point.text()], &["UID:GID"]);
    assert!(!point.is_mounted());
    // What is thrown away needs nothing of the image.
    let point = Point::mount(&["-a", &vmdk, "-m", "/dev/sda1", "--overlay"]);
    fs::write(point.join("written"), b"over a vmdk").unwrap();
    unmount(&point);
}

/// The script that changes a directory in every way prints the same here as on a file system of the kernel, and the checker finds
/// nothing afterwards.
#[test]
fn programs_find_on_ext_what_they_find_on_the_kernels_own() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuse/write.py");
    let run = |directory: &Path| {
        fs::create_dir(directory).unwrap();
        let mut command = toolbox::command("python3");
        command.arg(&script).arg(directory);
        if toolbox::is_root() {
            command.arg("root");
        }
        String::from_utf8(toolbox::output(&mut command).stdout).unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    let wanted = run(&directory.path().join("host"));
    let ids = format!("uid={},gid={}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // ext2 and ext3 have no fallocate.
    for options in ["-t ext4", "-t ext4 -O inline_data -I 256", "-t ext4 -b 1024", "-t ext4 -O ^has_journal"] {
        let options: Vec<&str> = options.split(' ').collect();
        let image = directory.path().join("image").to_str().unwrap().to_owned();
        tool(&[&["mkfs.ext4", "-q", "-F"][..], &options, &[&image, "200M"]].concat());
        let mine: &[&str] = if toolbox::is_root() { &[] } else { &["-o", &ids] };
        let point = Point::mount(&[&["-a", &image, "-m", "/dev/sda", "--rw"], mine].concat());
        let found = run(&point.join("here"));
        for (found, wanted) in found.lines().zip(wanted.lines()) {
            assert_eq!(found, wanted, "{options:?}, the mount and the host");
        }
        assert_eq!(found.lines().count(), wanted.lines().count());
        unmount(&point);
        tool(&["e2fsck", "-fn", &image]);
        fs::remove_file(&image).unwrap();
    }
}
