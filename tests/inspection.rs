//! `-i` and `inspect` on guests whose fstab names its devices in every way that guests do.

// The functions that the tests share are tests too, which clippy cannot see.
#![allow(clippy::unwrap_used)]

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use program::{Point, fails_with, imgmount, works};

const MIB: u64 = 1 << 20;
/// The size of every partition; partition N starts at (8N - 7) MiB.
const SIZE: u64 = 7 * MIB;

/// A file system on a partition.
struct FileSystem<'a> {
    label: &'a str,
    uuid: &'a str,
    /// Directories end in `/`, links are `-> TARGET`.
    tree: &'a [(&'a str, &'a str)],
}

const fn ext4<'a>(label: &'a str, uuid: &'a str, tree: &'a [(&'a str, &'a str)]) -> FileSystem<'a> {
    FileSystem { label, uuid, tree }
}

/// A disk with a GPT, whose partition N has PARTUUID `…-0N`, PARTLABEL `part-N` and this file system.
fn disk(place: &Path, name: &str, parts: &[FileSystem<'_>]) -> PathBuf {
    let image = place.join(name);
    let file = fs::File::create(&image).unwrap();
    file.set_len((8 * parts.len() as u64 + 2) * MIB).unwrap();
    let mut script = String::from("label: gpt\n");
    for number in 1..=parts.len() {
        let (start, size) = ((8 * number as u64 - 7) * 2048, SIZE / 512);
        let uuid = format!("{}-0000-4000-8000-00000000000{number}", name_number(name));
        script += &format!("start={start}, size={size}, uuid={uuid}, name=part-{number}\n");
    }
    let mut sfdisk = toolbox::command("sfdisk")
        .args(["-q", "--no-reread", "--no-tell-kernel"])
        .arg(&image)
        .stdin(Stdio::piped())
        .spawn();
    let sfdisk = sfdisk.as_mut().unwrap();
    std::io::Write::write_all(sfdisk.stdin.as_mut().unwrap(), script.as_bytes()).unwrap();
    drop(sfdisk.stdin.take());
    assert!(sfdisk.wait().unwrap().success());
    for (index, part) in parts.iter().enumerate() {
        let tree = place.join(format!("{name}.{index}"));
        fs::create_dir(&tree).unwrap();
        for (path, content) in part.tree {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("-> ") {
                Some(target) => symlink(target, path).unwrap(),
                None if path.to_string_lossy().ends_with('/') => fs::create_dir_all(path).unwrap(),
                None => fs::write(path, content).unwrap(),
            }
        }
        let offset = (8 * index as u64 + 1) * MIB;
        let mut mke2fs = toolbox::command("mke2fs");
        mke2fs.args(["-q", "-t", "ext4", "-F", "-L", part.label, "-U", part.uuid]).arg("-d").arg(&tree);
        mke2fs.args(["-E", &format!("offset={offset}")]).arg(&image).arg(format!("{}k", SIZE / 1024));
        toolbox::run(&mut mke2fs);
    }
    image
}

fn name_number(name: &str) -> String {
    format!("{:08x}", name.bytes().map(u32::from).sum::<u32>())
}

/// What makes a Linux root, besides its fstab.
const ROOT: [(&str, &str); 3] = [("bin/", ""), ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n"), ("etc/hosts", "")];

fn root<'a>(fstab: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&ROOT[..], &[("etc/fstab", fstab)], more].concat()
}

/// The mount points of the only system, and what was warned of.
fn mounts(arguments: &[&str]) -> (BTreeMap<String, String>, String) {
    let output = imgmount().args(["inspect", "--json"]).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let systems = report["operating_systems"].as_array().unwrap();
    assert_eq!(systems.len(), 1, "{report}");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let points = systems[0]["mountpoints"].as_array().unwrap();
    (points.iter().map(|point| (text(&point["path"]), text(&point["dev"]))).collect(), said)
}

fn expected(points: &[(&str, &str)]) -> BTreeMap<String, String> {
    points.iter().map(|(path, device)| ((*path).to_owned(), (*device).to_owned())).collect()
}

const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";
const C: &str = "cccccccc-0000-4000-8000-000000000003";

#[test]
fn every_name_of_a_device_is_mapped() {
    let place = tempfile::tempdir().unwrap();
    let partuuid = format!("{}-0000-4000-8000-000000000002", name_number("0.img"));
    let names = [
        "/dev/sda2".to_owned(),
        "/dev/hda2".to_owned(),
        "/dev/vda2".to_owned(),
        "/dev/xvda2".to_owned(),
        "/dev/nvme0n1p2".to_owned(),
        "/dev/mmcblk0p2".to_owned(),
        "/dev/cciss/c0d0p2".to_owned(),
        format!("UUID={B}"),
        format!("UUID=\"{}\"", B.to_uppercase()),
        "LABEL=data\\040disk".to_owned(),
        "LABEL=\"data\\040disk\"".to_owned(),
        format!("PARTUUID={partuuid}"),
        "PARTLABEL=part-2".to_owned(),
        format!("/dev/disk/by-uuid/{B}"),
        "/dev/disk/by-label/data\\x20disk".to_owned(),
        format!("/dev/disk/by-partuuid/{partuuid}"),
        "/dev/disk/by-partlabel/part-2".to_owned(),
        "/dev/disk/by-id/ata-QEMU_HARDDISK_QM00001-part2".to_owned(),
        "/dev/disk/by-path/pci-0000:00:1f.2-ata-1-part2".to_owned(),
    ];
    for (index, name) in names.iter().enumerate() {
        let place = place.path().join(index.to_string());
        fs::create_dir(&place).unwrap();
        let fstab = format!("UUID={A} / ext4 defaults 0 1\n{name}  /srv//data/  ext4  defaults  0 2\n");
        let tree = root(&fstab, &[("srv/data/", "")]);
        let data = [("here", "")];
        let image = disk(&place, "0.img", &[ext4("", A, &tree), ext4("data disk", B, &data)]);
        let (points, said) = mounts(&["-a", image.to_str().unwrap()]);
        assert_eq!(points, expected(&[("/", "/dev/sda1"), ("/srv/data", "/dev/sda2")]), "{name}: {said}");
        assert_eq!(said, "", "{name}");
    }
}

#[test]
fn stable_names_on_several_disks_follow_the_root() {
    let place = tempfile::tempdir().unwrap();
    let fstab = "/dev/disk/by-id/ata-TWO-part1 / ext4 defaults 0 1\n\
                 /dev/disk/by-id/ata-TWO-part2 /home ext4 defaults 0 2\n\
                 /dev/disk/by-id/ata-ONE-part1 /srv ext4 defaults 0 2\n\
                 /dev/nvme0n1p2 /opt ext4 defaults 0 2\n";
    let tree = root(fstab, &[("home/", ""), ("srv/", ""), ("opt/", "")]);
    let first = disk(place.path(), "0.img", &[ext4("", B, &[]), ext4("", C, &[])]);
    let second = disk(place.path(), "1.img", &[ext4("", A, &tree), ext4("", C, &[])]);
    let (points, said) = mounts(&["-a", first.to_str().unwrap(), "-a", second.to_str().unwrap()]);
    let want = [("/", "/dev/sdb1"), ("/home", "/dev/sdb2"), ("/srv", "/dev/sda1"), ("/opt", "/dev/sda2")];
    assert_eq!(points, expected(&want), "{said}");
}

#[test]
fn bad_lines_and_missing_devices_are_warnings() {
    let place = tempfile::tempdir().unwrap();
    let fstab = "this line\nUUID=ffffffff-ffff-ffff-ffff-ffffffffffff /gone ext4 defaults 0 2\n\
                 proc /proc proc defaults 0 0\n/dev/sda2 /media/x ext4 noauto 0 0\nserver:/x /nfs nfs defaults 0 0\n\
                 /dev/sda2 /no/such/directory ext4 defaults 0 2\n/dev/sr0 /cd iso9660 ro 0 0\n/dev/sda2 none swap sw 0 0\n\
                 /dev/sda2 /data ext4 defaults 0 2\n";
    let tree = root(fstab, &[("data/", "")]);
    let image = disk(place.path(), "0.img", &[ext4("", A, &tree), ext4("", B, &[("here", "x")])]);
    let image = image.to_str().unwrap();
    let (points, said) = mounts(&["-a", image]);
    assert_eq!(
        points,
        expected(&[("/", "/dev/sda1"), ("/data", "/dev/sda2")]),
        "a root not in its own fstab is mounted"
    );
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(
        lines[0].contains("fstab line 1") && lines[1].contains("fstab line 2") && lines[1].contains("/gone"),
        "{said}"
    );
    assert!(lines[2].contains("/no/such/directory"), "{said}");
    let point = Point::mount(&["-a", image, "-i"]);
    assert_eq!(fs::read_to_string(point.join("data/here")).unwrap(), "x");
}

#[test]
fn several_systems_are_listed_and_one_is_chosen() {
    let place = tempfile::tempdir().unwrap();
    // One has /bin as an absolute link into a /usr of its own: guestmount does not know it.
    let split = [
        ("bin", "-> /usr/bin"),
        ("etc/fstab", "/dev/sda3 /usr ext4 defaults 0 2\n"),
        ("etc/os-release", "-> ../usr/lib/os-release"),
        ("etc/hostname", "# a comment\n\n split \n"),
        ("usr/", ""),
    ];
    let usr =
        [("bin/", ""), ("local/", ""), ("share/", ""), ("src/", ""), ("lib/os-release", "ID=fedora\nVERSION_ID=41\n")];
    let plain = root("", &[]);
    let parts = [ext4("", A, &plain), ext4("", B, &split), ext4("", C, &usr)];
    let image = disk(place.path(), "0.img", &parts);
    let image = image.to_str().unwrap();
    let nowhere = Point::new();
    fails_with(&["-a", image, "-i", nowhere.text()], &["/dev/sda1", "/dev/sda2", "--root"]);
    fails_with(&["-a", image, "-i", "--root", "/dev/sda3", nowhere.text()], &["/dev/sda1", "/dev/sda2"]);
    assert!(!nowhere.is_mounted());
    let point = Point::mount(&["-a", image, "-i", "--root", "/dev/vda2"]);
    assert!(fs::read_to_string(point.join("etc/os-release")).unwrap().contains("fedora"));
    let report: serde_json::Value = serde_json::from_str(&works(&["inspect", "-a", image, "--json"])).unwrap();
    let of = |index: usize, field: &str| report["operating_systems"][index][field].clone();
    assert_eq!((of(0, "distro"), of(0, "package_management")), ("debian".into(), "apt".into()));
    assert_eq!((of(1, "distro"), of(1, "package_management")), ("fedora".into(), "dnf".into()));
    assert_eq!((of(1, "hostname"), of(1, "major_version")), ("split".into(), 41.into()));
}

#[test]
fn an_image_without_a_system_says_what_there_is() {
    let place = tempfile::tempdir().unwrap();
    let image = disk(place.path(), "0.img", &[ext4("", A, &[("boot/", "")])]);
    let nowhere = Point::new();
    fails_with(
        &["-a", image.to_str().unwrap(), "-i", nowhere.text()],
        &["no operating system", "/dev/sda1 (ext4)", "-m"],
    );
}
