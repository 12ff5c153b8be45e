//! The examples of `imgmount --help`, run one after the other on the guest of this repository.

#![allow(clippy::unwrap_used)]

mod program;

use std::fs;
use std::path::Path;

use program::{Point, fails_with, guest, imgmount, run, works};

/// Runs a line of the help in a directory that has the files it names, with `point` for `/mnt`. Returns what it printed.
fn example(line: &str, place: &Path, point: &Point) -> String {
    // The guest calls its volume group `demo`.
    let words =
        line.split_whitespace().map(|word| word.replace("/mnt", point.text()).replace("/dev/vg/", "/dev/demo/"));
    let words: Vec<_> = words.map(|word| word.trim_matches('\'').to_owned()).collect();
    let output = imgmount().args(&words[1..]).current_dir(place).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Of the guest's deleted files some are gone: that is status 2 of recover.
    let fine = output.status.success() || words[1] == "recover" && output.status.code() == Some(2);
    assert!(fine, "{words:?}: {} {said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_examples_of_the_help_work() {
    let place = tempfile::tempdir().unwrap();
    let guest = guest();
    // Two links, for the guest names its base beside itself.
    for name in ["guest.qcow2", "base.qcow2"] {
        let from = Path::new(&guest).with_file_name(name);
        if from.exists() {
            let to = if name == "guest.qcow2" { "vm.qcow2" } else { name };
            std::os::unix::fs::symlink(from, place.path().join(to)).unwrap();
        }
    }
    let xml = format!("<domain><devices><disk><source file='{guest}'/><target dev='vda'/></disk></devices></domain>");
    fs::write(place.path().join("guest.xml"), xml).unwrap();
    let help = works(&["--help"]);
    let examples: Vec<_> =
        help.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| line.starts_with("imgmount ")).collect();
    assert!(examples.len() >= 12 && examples[0].starts_with("imgmount vm.qcow2  "), "{examples:?}");
    let point = Point::new();
    for line in examples {
        // What follows is what it is for.
        let line = line.split("   ").next().unwrap();
        if point.is_mounted() && !line.starts_with("imgmount unmount") {
            works(&["unmount", point.text()]);
        }
        let printed = example(line, place.path(), &point);
        if line.contains("unmount") {
            assert!(!point.is_mounted());
        } else if line.contains("/mnt") {
            assert!(point.is_mounted() && printed.is_empty(), "{line}");
            assert!(fs::read_dir(point.path()).unwrap().count() > 0, "{line}");
        } else {
            assert!(!printed.is_empty(), "{line}");
        }
    }
    assert!(place.path().join("out/report.json").is_file());
}

#[test]
fn two_words_do_what_guestmounts_options_do() {
    let point = Point::mount(&[&guest()]);
    assert!(point.join("home/anna/book.txt").is_file() && point.join("boot/efi/EFI").is_dir());
    works(&["unmount", point.text()]);
    // Options stand anywhere, and say more about the same.
    works(&[&guest(), point.text(), "-m", "/dev/sda1"]);
    assert!(point.join("EFI").is_dir());
    works(&["unmount", point.text()]);
    works(&["--format=qcow2", &guest(), "--deleted", point.text()]);
    assert!(point.join("deleted").is_dir() && !point.join("guest").exists());
}

#[test]
fn an_image_alone_is_told_of() {
    let guest = guest();
    let printed = works(&[&guest]);
    for word in ["debian", "demo-guest", "/dev/sda1", "/dev/demo/root", "ext4", "imgmount unmount DIRECTORY"] {
        assert!(printed.contains(word), "{word} is not in:\n{printed}");
    }
    assert!(printed.contains(&format!("imgmount {guest} DIRECTORY")), "{printed}");
    let place = tempfile::tempdir().unwrap();
    let empty = place.path().join("it's empty");
    fs::File::create(&empty).unwrap().set_len(1 << 20).unwrap();
    let printed = works(&[empty.to_str().unwrap()]);
    assert!(printed.contains("no operating system") && printed.contains("it'\\''s empty' --blocks"), "{printed}");
}

#[test]
fn words_that_could_mean_two_things_are_errors() {
    let (guest, point) = (guest(), Point::new());
    let place = tempfile::tempdir().unwrap();
    let other = place.path().join("other.img");
    fs::write(&other, "x").unwrap();
    let other = other.to_str().unwrap();
    fails_with(&[&guest, other], &["not a directory", "-a"]);
    fails_with(&[&guest, other, point.text()], &["several images", "-a"]);
    fails_with(&[point.text(), &guest], &["the image comes first", &format!("imgmount {guest} {}", point.text())]);
    fails_with(&[&guest, "/no/such/directory"], &["/no/such/directory", "mkdir"]);
    fails_with(&["-a", &guest, point.text(), other], &["one directory"]);
    fails_with(&["filesystmes"], &["filesystmes", "no image and no command"]);
    fails_with(&[point.text()], &["is a directory"]);
    fails_with(&["--ro", &guest], &["at least one -a"]);
    assert!(!point.is_mounted());
    // A file that is called like a command.
    std::os::unix::fs::symlink(&guest, place.path().join("inspect")).unwrap();
    let inside = |words: &[&str]| imgmount().args(words).current_dir(place.path()).output().unwrap();
    let refused = inside(&["inspect"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the file of this name is ./inspect"), "{refused:?}");
    let shown = inside(&["./inspect"]);
    assert!(shown.status.success() && String::from_utf8_lossy(&shown.stdout).contains("imgmount ./inspect DIRECTORY"));
    // And a directory that is.
    fs::create_dir(place.path().join("info")).unwrap();
    let mounted = inside(&[&guest, "info"]);
    assert!(mounted.status.success() && place.path().join("info/etc").is_dir(), "{mounted:?}");
    assert!(run(&["unmount", place.path().join("info").to_str().unwrap()]).status.success());
}
