//! Files that images name, and images that others write, as the whole program has them. Needs root, to be several users.

#![allow(clippy::unwrap_used)] // An unwrap that fails fails the test.

mod program;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Stdio;

use program::{Point, fails, guest, qemu_img, run, tool, works};

/// A file that is root's alone.
fn secret(directory: &tempfile::TempDir) -> String {
    let path = directory.path().join("secret");
    fs::write(&path, vec![b'S'; 1 << 20]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_command_says_that_a_qemu_writes_the_image() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("vm.qcow2").to_str().unwrap().to_owned();
    fs::copy(guest(), &image).unwrap();
    fs::copy(Path::new(&guest()).with_file_name("base.qcow2"), directory.path().join("base.qcow2")).unwrap();
    let mut qemu =
        toolbox::command("qemu-io").arg(&image).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // It answers a command only after the image is open.
    qemu.stdin.as_mut().unwrap().write_all(b"length\n").unwrap();
    BufReader::new(qemu.stdout.as_mut().unwrap()).read_line(&mut String::new()).unwrap();
    let point = Point::new();
    let to = directory.path().join("to").to_str().unwrap().to_owned();
    let commands: [&[&str]; 8] = [
        &["-a", &image, "-i", point.text()],
        &["filesystems", "-a", &image],
        &["inspect", "-a", &image],
        &["info", &image],
        &["deleted", "-a", &image],
        &["timeline", "-a", &image, "-i"],
        &["history", "-a", &image, "-i", "/etc/hostname"],
        &["recover", "-a", &image, "--to", &to],
    ];
    for arguments in commands {
        let output = run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        let warning = format!("imgmount: warning: {image} is open for writing in a running QEMU: ");
        assert_eq!(said.matches(&warning).count(), 1, "{arguments:?}: {said}");
    }
    assert!(point.is_mounted());
    qemu.kill().unwrap();
    qemu.wait().unwrap();
    let said = run(&["filesystems", "-a", &image]).stderr;
    assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn a_device_that_looks_like_an_image_is_raw_with_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("guest.raw").to_str().unwrap().to_owned();
    qemu_img(&["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", &secret(&directory), &image, "1M"]);
    fs::File::options().write(true).open(&image).unwrap().set_len(1 << 20).unwrap();
    let device = tool(&["losetup", "--find", "--show", &image]).trim().to_owned();
    let output = run(&["info", &device]);
    let told = run(&["info", "--format=qcow2", &device]);
    tool(&["losetup", "--detach", &device]);
    let [said, shown] = [output.stderr, output.stdout].map(|bytes| String::from_utf8(bytes).unwrap());
    let want = format!(
        "imgmount: warning: {device} starts like a qcow2 image and is read as raw, as all devices are: --format=qcow2 if not\n"
    );
    assert_eq!(said, want);
    assert!(shown.contains("format        raw"), "{shown}");
    assert!(String::from_utf8(told.stdout).unwrap().contains("format        qcow2"));
}

/// In a mounted guest the guest says who owns what: its root is not the host's.
#[test]
fn an_image_in_a_mounted_guest_gets_nothing_private_of_the_host() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (secret, tree) = (secret(&directory), directory.path().join("tree"));
    fs::create_dir(&tree).unwrap();
    let inside = |name: &str| tree.join(name).to_str().unwrap().to_owned();
    fs::write(inside("base.raw"), vec![b'B'; 1 << 20]).unwrap();
    for (name, base) in [("evil.qcow2", &*secret), ("good.qcow2", "base.raw")] {
        qemu_img(&["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", base, &inside(name), "1M"]);
    }
    let image = directory.path().join("guest.img").to_str().unwrap().to_owned();
    tool(&["mke2fs", "-q", "-t", "ext4", "-d", tree.to_str().unwrap(), &image, "16M"]);
    let point = Point::mount(&["-a", &image, "-m", "/dev/sda"]);
    let at = |name: &str| point.join(name).to_str().unwrap().to_owned();
    let said = fails(&["filesystems", "-a", &at("evil.qcow2")]);
    assert!(said.contains("is what a FUSE program says; --backing=follow allows it"), "{said}");
    works(&["filesystems", "-a", &at("good.qcow2")]);
    works(&["filesystems", "--backing=follow", "-a", &at("evil.qcow2")]);
}

/// The image of a user, as root and as another ordinary user: an error of one line, exit status 1, and no mount.
#[test]
fn a_refusal_is_one_line_and_no_mount() {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let secret = secret(&directory);
    let image = directory.path().join("vm.qcow2").to_str().unwrap().to_owned();
    qemu_img(&["create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", &secret, &image, "1M"]);
    chown(&image, Some(61001), Some(61001)).expect("this test needs root");
    // The secret is hers who opens it.
    chown(&secret, Some(61002), Some(61002)).unwrap();
    // The source tree may lie where only root can look.
    let program = directory.path().join("imgmount");
    toolbox::copy_program(env!("CARGO_BIN_EXE_imgmount"), &program);
    let point = Point::new();
    chown(point.path(), Some(61002), Some(61002)).unwrap();
    for user in [0, 61002] {
        let mut command = toolbox::command("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={user}"), "--clear-groups".to_owned()]);
        let output = command.arg(&program).args(["-a", &image, "--blocks", point.text()]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let want = format!(
            "imgmount: {image}: it names {secret}, which user 61001, the owner of {image}, may not read; \
             --backing=follow allows it\n"
        );
        assert_eq!((output.status.code(), &*said), (Some(1), &*want), "as {user}");
        assert!(!point.is_mounted());
    }
}
