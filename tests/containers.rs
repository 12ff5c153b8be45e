//! The guest in an appliance and in E01 segments: the same tree, and hashes that are compared.

#![allow(clippy::unwrap_used)] // An unwrap that fails fails the test.

mod program;

use std::fs;
use std::path::Path;

use program::{Point, fails_with, guest, imgmount, qemu_img, run, works};
use serde_json::Value;

#[track_caller]
fn tool(directory: &Path, words: &[&str]) -> String {
    toolbox::run(toolbox::command(words[0]).args(&words[1..]).current_dir(directory))
}

/// A descriptor with a disk in each of these files.
fn descriptor(files: &[&str]) -> String {
    const OVF: &str = "http://schemas.dmtf.org/ovf/envelope/1";
    let file = |name: &&str| format!("<File ovf:id='{name}' ovf:href='{name}'/>");
    let disk = |name: &&str| format!("<Disk ovf:diskId='{name}' ovf:fileRef='{name}' ovf:capacity='1'/>");
    let (references, disks): (String, String) = (files.iter().map(file).collect(), files.iter().map(disk).collect());
    format!(
        "<?xml version='1.0'?><Envelope xmlns='{OVF}' xmlns:ovf='{OVF}'><References>{references}</References>\
         <DiskSection>{disks}</DiskSection></Envelope>"
    )
}

/// The guest as `disk1.vmdk`, in an appliance with a manifest; as raw; and a second disk.
fn appliance(directory: &Path) {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    qemu_img(&["convert", "-O", "vmdk", "-o", "subformat=streamOptimized", &guest(), &path("disk1.vmdk")]);
    qemu_img(&["convert", "-O", "raw", &guest(), &path("guest.raw")]);
    fs::write(path("second.img"), vec![7; 1 << 20]).unwrap();
    fs::write(path("one.ovf"), descriptor(&["disk1.vmdk"])).unwrap();
    fs::write(path("two.ovf"), descriptor(&["disk1.vmdk", "second.img"])).unwrap();
    let sums = tool(directory, &["sha256sum", "one.ovf", "disk1.vmdk"]);
    let lines = sums.lines().map(|line| line.split_once("  ").unwrap());
    let manifest: String = lines.map(|(sum, name)| format!("SHA256({name})= {sum}\n")).collect();
    fs::write(path("one.mf"), manifest).unwrap();
    tool(directory, &["tar", "--format=ustar", "-cf", "one.ova", "one.ovf", "one.mf", "disk1.vmdk"]);
    tool(directory, &["tar", "--format=ustar", "-cf", "two.ova", "two.ovf", "disk1.vmdk", "second.img"]);
}

/// Every path in a mounted tree, with the hash of every file.
fn tree(arguments: &[&str]) -> String {
    let point = Point::mount(arguments);
    let script = "find . | sort; find . -type f -print0 | sort -z | xargs -0 sha256sum";
    tool(point.path(), &["sh", "-c", script])
}

#[test]
fn the_same_guest() {
    let directory = tempfile::tempdir().unwrap();
    appliance(directory.path());
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    tool(directory.path(), &["ewfacquire", "-q", "-u", "-S", "1048576", "-t", "guest", "guest.raw"]);
    assert!(fs::exists(path("guest.E02")).unwrap());
    let want = tree(&["-a", &guest(), "-i"]);
    assert!(want.lines().count() > 50, "{want}");
    for image in ["one.ova", "one.ovf", "guest.E01", "two.ova"] {
        assert_eq!(tree(&["-a", &path(image), "-i"]), want, "{image}");
    }
    // Each segment is an open file; the limit is raised as far as it may.
    let mut limited = toolbox::command("prlimit");
    limited.args(["--nofile=40:4096"]).arg(env!("CARGO_BIN_EXE_imgmount")).args(["info", &path("guest.E01")]);
    toolbox::run(&mut limited);
}

#[test]
fn the_disks_of_an_appliance_have_names() {
    let directory = tempfile::tempdir().unwrap();
    appliance(directory.path());
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let point = Point::mount(&["-a", &path("two.ova"), "-a", &path("second.img"), "--blocks"]);
    for (name, want) in [("sda", "guest.raw"), ("sdb", "second.img"), ("sdc", "second.img")] {
        let file = point.join(name).to_str().unwrap().to_owned();
        tool(directory.path(), &["cmp", &file, want]);
    }
    drop(point);
    let listed: Vec<Value> = serde_json::from_str(&works(&["info", "--json", &path("two.ova")])).unwrap();
    let disks = listed[0]["disks"].as_array().unwrap();
    assert_eq!((disks[0]["format"].as_str(), disks[1]["format"].as_str()), (Some("vmdk"), Some("raw")));
    assert_eq!((&disks[1]["filename"], &disks[1]["virtual-size"]), (&"second.img".into(), &(1 << 20).into()));
    let text = works(&["info", &path("two.ova")]);
    assert!(text.contains("disk1.vmdk (vmdk, ") && text.contains("second.img (raw, 1 MiB"), "{text}");
    fs::write(path("two.ovf"), descriptor(&["gone.vmdk"])).unwrap();
    fails_with(&["-a", &path("two.ovf"), "-i", "/mnt"], &["gone.vmdk", "No such file"]);
}

#[test]
fn hashes_are_compared() {
    let directory = tempfile::tempdir().unwrap();
    appliance(directory.path());
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    tool(directory.path(), &["ewfacquire", "-q", "-u", "-d", "sha1", "-t", "e", "second.img"]);
    let results = |image: &str| {
        let output = run(&["info", "--verify", "--json", &path(image)]);
        let layers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let results = layers[0]["verification"].as_array().unwrap().iter();
        let results: Vec<_> = results.map(|one| one["result"].as_str().unwrap().to_owned()).collect();
        (output.status.code().unwrap(), results)
    };
    assert_eq!(results("one.ova"), (0, vec!["same".into(), "same".into()]));
    assert_eq!(results("e.E01"), (0, vec!["same".into(), "same".into()]));
    assert_eq!(results("guest.raw"), (0, vec![]));
    let text = works(&["info", "--verify", &path("e.E01"), &path("guest.raw")]);
    for word in ["MD5: right (", "SHA1: right (", "nothing: the image stores no hashes"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    // A line more in the descriptor: its hash differs. A flipped bit in a chunk: it cannot be read.
    let ovf = fs::read_to_string(path("one.ovf")).unwrap() + "\n";
    fs::write(path("one.ovf"), ovf).unwrap();
    assert_eq!(results("one.ovf"), (2, vec!["differs".into(), "same".into()]));
    let mut image = fs::read(path("e.E01")).unwrap();
    let middle = image.len() / 2;
    image[middle] ^= 1;
    fs::write(path("e.E01"), image).unwrap();
    assert_eq!(results("e.E01"), (2, vec!["unreadable".into(), "unreadable".into()]));
    let output = imgmount().args(["info", "--verify", &path("one.ovf")]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("one.ovf: a hash is not right") && said.lines().count() == 1, "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("SHA256 of one.ovf: WRONG, stored is"));
}
