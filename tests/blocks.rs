//! `--blocks`: tools that read devices accept the files, and what they read is what `qemu-img` reads.

#![allow(clippy::unwrap_used)] // An unwrap that fails fails the test.

mod program;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use program::sparse::{assert_same, runs};
use program::{Point, fails_with, guest, qemu_img, tool, works};
use toolbox::NOBODY;

#[test]
fn tools_that_read_devices_accept_the_files() {
    let point = Point::mount(&["-a", &guest(), "--blocks"]);
    let file = |name: &str| point.join(name).to_str().unwrap().to_owned();
    for volume in ["demo/root", "demo/home"] {
        tool(&["e2fsck", "-fn", &file(volume)]);
        let found = tool(&["blkid", "-p", &file(volume)]);
        assert!(found.contains("TYPE=\"ext4\""), "{found}");
        assert!(tool(&["file", &file(volume)]).contains("ext4 filesystem"));
    }
    tool(&["fsck.fat", "-n", &file("sda1")]);
    assert!(tool(&["blkid", "-p", &file("sda1")]).contains("UUID=\"DE30-0E5B\""));
    assert!(tool(&["blkid", "-p", &file("sda2")]).contains("LVM2_member"));
    assert!(tool(&["blkid", "-p", &file("demo/swap")]).contains("swap"));
    assert!(tool(&["blkid", "-p", &file("sda")]).contains("PTTYPE=\"gpt\""));
    // sgdisk checks both copies of the table and its checksums.
    let checked = tool(&["sgdisk", "--verify", &file("sda")]);
    assert!(checked.contains("No problems found"), "{checked}");
}

#[test]
fn a_disk_is_what_qemu_img_makes_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let raw = directory.path().join("raw");
    qemu_img(&["convert", "-O", "raw", &guest(), raw.to_str().unwrap()]);
    let point = Point::mount(&["-a", &guest(), "--blocks"]);
    let disk = point.join("sda");
    assert_same(&disk, &raw);
    let metadata = fs::metadata(&disk).unwrap();
    assert_eq!(metadata.len(), fs::metadata(&raw).unwrap().len());
    let data: u64 = runs(&disk).iter().map(|(start, end)| end - start).sum();
    assert_eq!(metadata.blocks() * 512, data, "st_blocks is what is no hole");
    assert!(data < metadata.len() / 4, "{data} bytes of data");
    let image = fs::metadata(guest()).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.uid()), (image.mode() & 0o444, image.uid()));
    assert_eq!((metadata.mtime(), metadata.mtime_nsec()), (image.mtime(), image.mtime_nsec()));
    // Partitions are parts of it, hole for hole.
    let whole = File::open(&raw).unwrap();
    for (name, start) in [("sda1", 1u64 << 20), ("sda2", 9 << 20)] {
        let part = fs::read(point.join(name)).unwrap();
        let mut want = vec![0; part.len()];
        whole.read_exact_at(&mut want, start).unwrap();
        assert!(part == want, "{name}");
        let size = fs::metadata(point.join(name)).unwrap().len();
        let cut = |&(from, to): &(u64, u64)| (from.clamp(start, start + size), to.clamp(start, start + size));
        let mut want: Vec<_> = runs(&disk).iter().map(cut).filter(|(from, to)| from < to).collect();
        want.iter_mut().for_each(|(from, to)| (*from, *to) = (*from - start, *to - start));
        assert_eq!(runs(&point.join(name)), want, "{name}");
    }
}

#[test]
fn copies_hold_only_the_data() {
    let directory = tempfile::tempdir().unwrap();
    let point = Point::mount(&["-a", &guest(), "--blocks"]);
    let disk = point.join("sda");
    let data = fs::metadata(&disk).unwrap().blocks() * 512;
    let copy = directory.path().join("copy");
    tool(&["cp", "--sparse=auto", disk.to_str().unwrap(), copy.to_str().unwrap()]);
    assert_same(&copy, &disk);
    let copied = fs::metadata(&copy).unwrap().blocks() * 512;
    assert!(copied <= data + (64 << 10), "cp made {copied} bytes of {data}");
    let converted = directory.path().join("converted.qcow2");
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", disk.to_str().unwrap(), converted.to_str().unwrap()]);
    qemu_img(&["compare", "-f", "raw", "-F", "qcow2", disk.to_str().unwrap(), converted.to_str().unwrap()]);
    let converted = fs::metadata(&converted).unwrap().blocks() * 512;
    assert!(converted <= data + (1 << 20), "qemu-img made {converted} bytes of {data}");
    // What it maps is what is there: the kernel and QEMU see the same holes.
    let map = tool(&["qemu-img", "map", "-f", "raw", "--output=json", disk.to_str().unwrap()]);
    let map: serde_json::Value = serde_json::from_str(&map).unwrap();
    let mapped = map.as_array().unwrap().iter().filter(|run| run["data"] == true);
    assert_eq!(mapped.map(|run| run["length"].as_u64().unwrap()).sum::<u64>(), data);
}

/// An image with three states of its disk, two of them as snapshots.
fn with_snapshots(directory: &Path) -> PathBuf {
    let image = directory.join("s.qcow2");
    let path = image.to_str().unwrap();
    qemu_img(&["create", "-q", "-f", "qcow2", path, "64M"]);
    for (at, snapshot) in
        [("1M", Some("before/../install")), ("40M", Some("twice")), ("2M", Some("twice")), ("63M", None)]
    {
        // Whole clusters: of a part that was never written the host may say hole or data, as its cache stands.
        tool(&["qemu-io", "-f", "qcow2", "-c", &format!("write -P 0x5a {at} 256k"), path]);
        if let Some(snapshot) = snapshot {
            qemu_img(&["snapshot", "-q", "-c", snapshot, path]);
        }
    }
    image
}

#[test]
fn snapshots_are_what_qemu_img_makes_of_them() {
    let directory = tempfile::tempdir().unwrap();
    let image = with_snapshots(directory.path());
    // A relative path, as a user types it: the process that serves has another working directory.
    let point = Point::new();
    let status = program::imgmount()
        .args(["-a", "s.qcow2", "--blocks", point.text()])
        .current_dir(directory.path())
        .status()
        .unwrap();
    assert!(status.success());
    let mut names: Vec<_> = fs::read_dir(point.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["sda", "sda@before_.._install", "sda@twice", "sda@twice~2"]);
    let raw = directory.path().join("raw");
    for (name, id) in [("sda@before_.._install", "1"), ("sda@twice", "2"), ("sda@twice~2", "3")] {
        let wanted = format!("snapshot.id={id}");
        qemu_img(&["convert", "-l", &wanted, "-O", "raw", image.to_str().unwrap(), raw.to_str().unwrap()]);
        assert_same(&point.join(name), &raw);
        let data = runs(&point.join(name)).iter().map(|(start, end)| end - start).sum::<u64>();
        assert_eq!(fs::metadata(point.join(name)).unwrap().blocks() * 512, data, "{name}");
    }
    qemu_img(&["convert", "-O", "raw", image.to_str().unwrap(), raw.to_str().unwrap()]);
    assert_same(&point.join("sda"), &raw);
}

#[test]
fn several_images_are_several_disks() {
    let directory = tempfile::tempdir().unwrap();
    let second = directory.path().join("second.raw");
    fs::write(&second, [7; 1 << 16]).unwrap();
    fs::set_permissions(&second, fs::Permissions::from_mode(0o640)).unwrap();
    let point = Point::mount(&["-a", &guest(), "-a", second.to_str().unwrap(), "--blocks"]);
    assert_eq!(fs::read(point.join("sdb")).unwrap(), [7; 1 << 16]);
    assert_eq!(fs::metadata(point.join("sdb")).unwrap().mode() & 0o777, 0o440);
    assert!(point.join("demo/root").is_file() && point.join("sda2").is_file());
    assert!(fs::write(point.join("sdb"), "x").is_err());
}

#[test]
fn an_ordinary_user_has_the_same_view() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let golden = PathBuf::from(guest());
    for name in ["base.qcow2", "guest.qcow2"] {
        fs::copy(golden.with_file_name(name), at(name)).unwrap();
    }
    fs::create_dir(at("mnt")).unwrap();
    toolbox::copy_program(env!("CARGO_BIN_EXE_imgmount"), at("imgmount"));
    let script = "set -e; cd \"$1\"
        ./imgmount -a guest.qcow2 --blocks mnt
        trap './imgmount unmount mnt' EXIT
        e2fsck -fn mnt/demo/root; fsck.fat -n mnt/sda1; blkid -p mnt/demo/home; file mnt/sda
        qemu-img convert -O raw guest.qcow2 raw; cmp raw mnt/sda
        cp --sparse=auto mnt/sda copy; test $(stat -c %b copy) -lt $(($(stat -c %s copy) / 2048)); cmp raw copy";
    let mut shell = toolbox::command("sh");
    shell.args(["-c", script, "sh", directory.path().to_str().unwrap()]);
    if toolbox::is_root() {
        for name in [".", "base.qcow2", "guest.qcow2", "mnt"] {
            chown(at(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        shell = toolbox::as_nobody(&shell);
    }
    toolbox::run(&mut shell);
}

#[test]
fn what_does_not_go_together_is_said() {
    let (guest, point) = (guest(), Point::new());
    fails_with(&["-a", &guest, "--blocks", "-i", point.text()], &["--blocks", "cannot be used with"]);
    fails_with(&["-a", &guest, "--blocks", "--rw", point.text()], &["--rw", "--blocks"]);
    fails_with(&["--blocks", point.text()], &["-a"]);
    fails_with(&["-a", &guest, "--blocks"], &["mountpoint"]);
    assert!(works(&["--help"]).contains("--blocks"));
}
