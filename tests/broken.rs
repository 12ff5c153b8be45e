//! Images of which single fields lie: one line that names the image and what is wrong, in bounded time.

#![allow(clippy::unwrap_used)] // An unwrap that fails fails the test.

mod program;

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::time::{Duration, Instant};

use program::{Point, qemu_img, tool};

/// More than reading any header takes, also on a machine that does other things.
const BOUND: Duration = Duration::from_secs(10);

/// How an image is made (`qemu-img create`: format, options, size), where it is patched, with what, and what must be said.
type Case = (&'static [&'static str], &'static [(Place, &'static [u8])], &'static str);

/// A byte of the file, from its start or from its end.
#[derive(Clone, Copy)]
enum Place {
    At(usize),
    End(usize),
}

use Place::{At, End};

const CASES: &[Case] = &[
    // VMDK: the number of sectors, of a grain, of a grain table; where directory and descriptor lie.
    (&["vmdk", "subformat=monolithicSparse", "8M"], &[(At(12), &[0xff; 8])], "bytes"),
    (&["vmdk", "subformat=monolithicSparse", "8M"], &[(At(20), &[0xff; 8])], "power of two"),
    (&["vmdk", "subformat=monolithicSparse", "8M"], &[(At(44), &[0xff; 4])], "grain tables of 4294967295 entries"),
    (&["vmdk", "subformat=monolithicSparse", "8M"], &[(At(28), &[0xff, 0xff, 0xff, 0xff, 0xff])], "descriptor"),
    (&["vmdk", "subformat=streamOptimized", "8M"], &[(At(77), &[7])], "unknown algorithm"),
    // VDI: block size, number of blocks, the size of the disk, where the map lies.
    (&["vdi", "static=off", "8M"], &[(At(0x178), &[0; 4])], "VDI"),
    (&["vdi", "static=off", "8M"], &[(At(0x180), &[1, 0, 0, 0])], "VDI"),
    (&["vdi", "static=off", "8M"], &[(At(0x170), &[0xff; 8])], "VDI"),
    (&["vdi", "static=off", "8M"], &[(At(0x154), &[0xff; 4])], "VDI"),
    // VHD: both copies of the footer say a type that there is not; QED, qcow and Parallels: sizes.
    (&["vpc", "subformat=dynamic", "8M"], &[(At(60), &[0, 0, 0, 9]), (End(452), &[0, 0, 0, 9])], "VHD"),
    (&["qed", "cluster_size=64k", "8M"], &[(At(4), &[1, 0, 0, 0])], "QED"),
    (&["qed", "cluster_size=64k", "8M"], &[(At(8), &[0xff; 4])], "QED"),
    (&["qed", "cluster_size=64k", "8M"], &[(At(40), &[0xff; 8])], "QED"),
    (&["qcow", "size=8M", ""], &[(At(32), &[63])], "cluster_bits"),
    (&["qcow", "size=8M", ""], &[(At(24), &[0xff; 8])], "qcow"),
    (&["parallels", "cluster_size=64k", "8M"], &[(At(28), &[0; 4])], "clusters of 0 sectors"),
    (&["parallels", "cluster_size=64k", "8M"], &[(At(36), &[0xff; 8])], "Parallels"),
    // VHDX: the signatures of both headers, and of both region tables.
    (&["vhdx", "subformat=dynamic", "8M"], &[(At(64 << 10), b"x"), (At(128 << 10), b"x")], "VHDX"),
    (
        &["vhdx", "subformat=dynamic", "8M"],
        &[(At((192 << 10) + 8), &[0xff; 4]), (At((256 << 10) + 8), &[0xff; 4])],
        "VHDX",
    ),
];

/// The image must be refused: what is said has one line, names the image and has `want` in it.
#[track_caller]
fn refused(image: &Path, want: &str) {
    let point = Point::new();
    let text = image.to_str().unwrap();
    let begin = Instant::now();
    let said = program::fails(&["-a", text, "--blocks", point.text()]);
    assert!(begin.elapsed() < BOUND, "{want}: {:?}", begin.elapsed());
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(text) && said.contains(want), "want {want:?}: {said}");
    assert!(!point.is_mounted());
}

#[test]
fn fields_of_headers() {
    let folder = tempfile::tempdir().unwrap();
    for (make, patches, want) in CASES {
        let image = folder.path().join(format!("broken.{}", make[0]));
        let mut words = vec!["create", "-q", "-f", make[0], "-o", make[1], image.to_str().unwrap()];
        words.extend(make[2..].iter().filter(|size| !size.is_empty()));
        qemu_img(&words);
        let mut bytes = fs::read(&image).unwrap();
        for (place, value) in *patches {
            let at = match place {
                At(at) => *at,
                End(before) => bytes.len() - before,
            };
            bytes[at..at + value.len()].copy_from_slice(value);
        }
        fs::write(&image, bytes).unwrap();
        refused(&image, want);
    }
}

/// Grain tables past the end of the file, and all in one place: reads fail or see the same bytes again, and end.
#[test]
fn tables_that_lie_outside_and_overlap() {
    let folder = tempfile::tempdir().unwrap();
    let (source, image) = (folder.path().join("source"), folder.path().join("image.vmdk"));
    fs::write(&source, vec![5; 80 << 20]).unwrap();
    qemu_img(&["convert", "-O", "vmdk", source.to_str().unwrap(), image.to_str().unwrap()]);
    let whole = fs::read(&image).unwrap();
    let number = |at: usize, len: usize| {
        whole[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let directories = [number(48, 8) * 512, number(56, 8) * 512];
    let table = number(directories[1], 4);
    for (second, readable) in [(u32::MAX, false), (table as u32, true)] {
        let mut bytes = whole.clone();
        for directory in directories {
            bytes[directory + 4..directory + 8].copy_from_slice(&second.to_le_bytes());
        }
        fs::write(&image, bytes).unwrap();
        let point = Point::mount(&["-a", image.to_str().unwrap(), "--blocks"]);
        let begin = Instant::now();
        let read = fs::read(point.join("sda"));
        assert!(begin.elapsed() < BOUND);
        match read {
            Ok(bytes) => assert!(readable && bytes.iter().all(|byte| *byte == 5)),
            Err(error) => assert!(!readable && error.raw_os_error() != Some(107), "{error}"),
        }
    }
}

/// What a descriptor names by an absolute path or upwards is only opened if the image's owner could read it.
#[test]
fn descriptors_that_name_the_files_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image.vmdk");
    let up = "../".repeat(20);
    for name in ["/etc/shadow", &format!("{up}etc/shadow")] {
        let text = format!(
            "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 1 FLAT \"{name}\" 0\n"
        );
        fs::write(&image, text).unwrap();
        if rustix::process::geteuid().is_root() {
            chown(&image, Some(1000), Some(1000)).unwrap();
        }
        refused(&image, "etc/shadow");
    }
    let lines = "RW -5 FLAT \"x\" 0";
    fs::write(
        &image,
        format!("# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType=\"custom\"\n{lines}\n"),
    )
    .unwrap();
    refused(&image, "extent line");
}

#[test]
fn a_key_derivation_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let (volume, key) = (folder.path().join("luks"), folder.path().join("key"));
    fs::write(&key, "open").unwrap();
    fs::File::create(&volume).unwrap().set_len(4 << 20).unwrap();
    let (volume_text, key) = (volume.to_str().unwrap(), key.to_str().unwrap());
    let make = [
        "cryptsetup",
        "luksFormat",
        "-q",
        "--type=luks1",
        "--pbkdf-force-iterations=1000",
        "--key-file",
        key,
        volume_text,
    ];
    tool(&make);
    let mut bytes = fs::read(&volume).unwrap();
    // The iterations of the first slot of keys.
    bytes[212..216].fill(0xff);
    fs::write(&volume, bytes).unwrap();
    let begin = Instant::now();
    let key = format!("--key=all:file:{key}");
    let output = program::run(&["filesystems", "-a", volume_text, &key]);
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    assert!(said.contains("4294967295 iterations"), "{said}");
}
