//! One way to say where in the images: the same words, with the same meaning, in every command that reads trees.

#![allow(clippy::unwrap_used)]

mod program;

use std::collections::BTreeSet;

use program::{Point, fails_with, guest, run, works};

/// The devices in a JSON answer.
fn devices(words: &[&str]) -> BTreeSet<String> {
    let answer: serde_json::Value = serde_json::from_str(&works(words)).unwrap();
    answer.as_array().unwrap().iter().map(|row| row["device"].as_str().unwrap().to_owned()).collect()
}

/// The first names of the paths in the timeline of the guest.
fn tops(words: &[&str]) -> BTreeSet<String> {
    let output = run(&[&["timeline", "-a", &guest()], words].concat());
    assert!(output.status.success(), "{output:?}");
    // Names are bytes.
    let body = String::from_utf8_lossy(&output.stdout).into_owned();
    let path = |line: &str| line.split('|').nth(1).unwrap().to_owned();
    body.lines().map(path).map(|path| path.split('/').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn nothing_said_is_every_file_system() {
    let all = ["/dev/demo/home", "/dev/demo/root", "/dev/sda1"].map(str::to_owned);
    assert_eq!(devices(&["timeline", "-a", &guest(), "--json"]), BTreeSet::from(all));
    assert_eq!(tops(&[]), BTreeSet::from(["demo", "sda1"].map(str::to_owned)), "by the names of their devices");
    fails_with(&["history", "-a", &guest(), "/etc/hosts"], &["several file systems", "-m or -i"]);
}

#[test]
fn the_guest_and_a_device_beside_it() {
    let root = ["timeline", "-a", &guest(), "-m", "sda1", "--json"];
    assert_eq!(devices(&root), BTreeSet::from(["/dev/sda1".to_owned()]));
    let both = tops(&["-i", "-m", "/dev/vda1:/mnt/efi"]);
    assert!(both.contains("etc") && both.contains("home") && both.contains("mnt"), "{both:?}");
    assert_eq!(tops(&["-m", "/dev/sda1:/efi:ro:vfat"]), BTreeSet::from(["efi".to_owned()]));
    let shown = works(&["history", "-a", &guest(), "-i", "-m", "/dev/sda1:/srv", "/srv/EFI"]);
    assert!(shown.contains("live"), "{shown}");
    let point = Point::mount(&["-a", &guest(), "-i", "-m", "/dev/sda1:/srv"]);
    assert!(point.join("srv/EFI").is_dir());
}

#[test]
fn the_guests_deleted_files_are_those_of_its_file_systems() {
    let all = devices(&["deleted", "-a", &guest(), "--json"]);
    assert_eq!(devices(&["deleted", "-a", &guest(), "-i", "--json"]), all);
    assert_eq!(devices(&["deleted", "-a", &guest(), "-i", "-m", "/dev/demo/root", "--json"]), all, "each once");
    fails_with(&["deleted", "-a", &guest(), "-m", "/dev/demo/root:/x"], &["/dev/demo/root:/x", "the device alone"]);
}

#[test]
fn what_is_wrong_is_said_alike() {
    for command in [&["timeline"][..], &["deleted"], &["history", "/x"]] {
        let with = |words: &[&str], want: &[&str]| {
            let guest = guest();
            let words = [&command[..1], &["-a", &guest], words, &command[1..]].concat();
            fails_with(&words, want);
        };
        with(&["-m", "/dev/sda9"], &["/dev/sda9", "/dev/demo/root (ext4)"]);
        with(&["-m", "sda1:x"], &["must begin with /"]);
        with(&["-m", ""], &["no device"]);
        with(&["--root", "/dev/sda1"], &["--root goes with -i"]);
        with(&["-i", "--root", "/dev/sda1"], &["no system there"]);
        with(&["-m", "/dev/demo/root:/:rw"], &["only what is mounted can be written"]);
        with(&["-m", "/dev/demo/root:/:ro:vfat"], &["it holds ext4, not vfat"]);
    }
}
