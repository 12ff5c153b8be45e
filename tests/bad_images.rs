//! Images that are cut off, random, empty or in a circle: one line that names the file, exit code 1, no hang.

// The functions that the tests share are tests too, which clippy cannot see.
#![allow(clippy::unwrap_used)]

mod program;

use std::fs;
use std::path::Path;

use program::{Point, fails, fails_with, guest, imgmount, qemu_img, works};

fn in_directory() -> (tempfile::TempDir, impl Fn(&str) -> String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    (directory, move |name| path.join(name).display().to_string())
}

/// Noise that is the same every time: xorshift.
fn noise(length: usize, mut seed: u64) -> Vec<u8> {
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(length).collect()
}

#[test]
fn nothing_in_it() {
    let (_directory, path) = in_directory();
    let point = Point::new();
    for (name, content) in [
        ("empty.img", Vec::new()),
        ("one.img", vec![0]),
        ("random.img", noise(3 << 20, 7)),
        ("zeros.img", vec![0; 1 << 20]),
    ] {
        fs::write(path(name), content).unwrap();
        fails_with(&["-a", &path(name), "-i", point.text()], &["no operating system"]);
        fails(&["-a", &path(name), "-m", "/dev/sda", point.text()]);
        works(&["filesystems", "-a", &path(name)]);
        assert!(!point.is_mounted());
    }
}

#[test]
fn a_directory_is_no_image() {
    let point = Point::new();
    fails_with(&["-a", "/tmp", "-i", point.text()], &["/tmp"]);
}

#[test]
fn cut_off_anywhere() {
    let (_directory, path) = in_directory();
    let whole = fs::read(guest()).unwrap();
    fs::copy(Path::new(&guest()).with_file_name("base.qcow2"), path("base.qcow2")).unwrap();
    let point = Point::new();
    for length in
        [4, 50, 104, 511, 65_536, 131_072, 196_608, 200_000, 262_144, whole.len() * 3 / 4, whole.len() - 70_000]
    {
        fs::write(path("cut.qcow2"), &whole[..length]).unwrap();
        let output = program::run(&["-a", &path("cut.qcow2"), "-i", point.text()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{length}: {said}");
        // Where only data is cut off, what can be read is mounted; then reading says so.
        if output.status.success() {
            works(&["unmount", point.text()]);
        } else {
            assert_eq!(output.status.code(), Some(1), "{length}: {said}");
            assert!(said.contains("cut.qcow2") || said.contains("no operating system"), "{length}: {said}");
        }
    }
}

#[test]
fn a_header_of_noise_behind_the_magic() {
    let (_directory, path) = in_directory();
    let point = Point::new();
    for seed in 1..40 {
        let mut bytes = noise(300_000, seed);
        bytes[..8].copy_from_slice(&[b'Q', b'F', b'I', 0xfb, 0, 0, 0, if seed % 2 == 0 { 2 } else { 3 }]);
        fs::write(path("noise.qcow2"), bytes).unwrap();
        fails_with(&["-a", &path("noise.qcow2"), "-i", point.text()], &["noise.qcow2"]);
    }
}

#[test]
fn flipped_bytes_in_the_disk_below() {
    let (_directory, path) = in_directory();
    qemu_img(&["convert", "-O", "raw", &guest(), &path("disk.raw")]);
    let whole = fs::read(path("disk.raw")).unwrap();
    let point = Point::new();
    for seed in 1..25_usize {
        let mut bytes = whole.clone();
        // Tables, LVM's label and metadata, superblocks: 200 bytes, most of them where structures are.
        for (index, place) in noise(400 * 4, seed as u64 + 99).chunks_exact(4).enumerate() {
            let place = u32::from_le_bytes([place[0], place[1], place[2], place[3]]) as usize;
            let (start, length) =
                [(0, 20_000), (9_437_184, 70_000), (10_485_760, 200_000), (1_048_576, 40_000)][index % 4];
            bytes[start + place % length] ^= 1 << (place % 7);
        }
        fs::write(path("flipped.raw"), bytes).unwrap();
        for arguments in [&["-i"][..], &["-m", "/dev/sda1"], &["-m", "/dev/demo/root"], &["-m", "/dev/demo/home"]] {
            let output =
                imgmount().args(["-a", &path("flipped.raw")]).args(arguments).arg(point.text()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("panicked"), "seed {seed} {arguments:?}: {said}");
            if output.status.success() {
                walk(point.path(), 0);
                works(&["unmount", point.text()]);
            } else {
                assert_eq!(output.status.code(), Some(1), "seed {seed} {arguments:?}: {said}");
            }
        }
    }
}

/// Reads whatever can be read: errors are fine, a dead server or endless depth is not.
fn walk(directory: &Path, depth: u32) {
    assert!(depth < 200, "{} is too deep to be true", directory.display());
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.take(5000).map_while(Result::ok) {
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            walk(&entry.path(), depth + 1);
        } else if metadata.is_file() && metadata.len() < 1 << 20 {
            let error = fs::read(entry.path()).err().and_then(|error| error.raw_os_error());
            assert_ne!(error, Some(107), "ENOTCONN, the server is gone: {}", entry.path().display());
        }
    }
}

#[test]
fn backing_files_in_a_circle() {
    let (_directory, path) = in_directory();
    let point = Point::new();
    qemu_img(&["create", "-q", "-f", "qcow2", &path("a.qcow2"), "1M"]);
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", &path("b.qcow2")]);
    qemu_img(&["rebase", "-u", "-f", "qcow2", "-b", "b.qcow2", "-F", "qcow2", &path("a.qcow2")]);
    fails_with(&["-a", &path("b.qcow2"), "-i", point.text()], &["a.qcow2", "b.qcow2", "loop"]);
    qemu_img(&["rebase", "-u", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", &path("a.qcow2")]);
    fails_with(&["-a", &path("a.qcow2"), "-i", point.text()], &["a.qcow2", "loop"]);
}

#[test]
fn a_backing_file_that_is_not_there() {
    let (_directory, path) = in_directory();
    let point = Point::new();
    qemu_img(&["create", "-q", "-u", "-f", "qcow2", "-b", "gone.qcow2", "-F", "qcow2", &path("top.qcow2"), "1M"]);
    fails_with(&["-a", &path("top.qcow2"), "-i", point.text()], &["top.qcow2", "gone.qcow2"]);
    fails_with(&["--backing=none", "-a", &path("top.qcow2"), "-i", point.text()], &["gone.qcow2", "--backing"]);
}

#[test]
fn an_encrypted_image_wants_its_key() {
    let (_directory, path) = in_directory();
    let point = Point::new();
    let secret = ["--object", "secret,id=s,data=x"];
    let options = ["-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"];
    qemu_img(&[&["create", "-q", "-f", "qcow2"], &secret[..], &options[..], &[&path("luks.qcow2"), "1M"]].concat());
    fails_with(&["-a", &path("luks.qcow2"), "-i", point.text()], &["luks.qcow2", "--key /dev/sda:key:STRING"]);
}
