//! Images of other formats inside, and compressed files inside compressed files.

use std::fs;

use images::{Data, Error, Options};

use crate::check::{extents, reads};
use crate::tools::*;
use crate::{FORMATS, guest, shell};

#[test]
fn every_format_inside() {
    let folder = Folder::new();
    let want = guest(3 << 20);
    folder.write("source", &want);
    for inside in ["qcow2", "vmdk", "vpc -o force_size=on"] {
        folder.run(&format!("qemu-img convert -f raw -O {inside} source image"));
        for (format, line) in FORMATS {
            shell(&folder, &format!("{line} image > packed"));
            let disk = folder.open("packed");
            assert_eq!(disk.size(), 3 << 20, "{inside} in {format}");
            reads(&disk, &want);
            extents(&disk, &want);
        }
    }
}

#[test]
fn snapshots_and_backing_files_of_what_is_inside() {
    let folder = Folder::new();
    let want = guest(1 << 20);
    folder.write("base.raw", &want);
    folder.run("qemu-img create -q -f qcow2 -b base.raw -F raw top.qcow2");
    folder.run("qemu-img snapshot -c before top.qcow2");
    folder.io("top.qcow2", &["write -P 7 0 64k".into()]);
    shell(&folder, "zstd -qc top.qcow2 > top.qcow2.zst");
    let now = folder.open("top.qcow2.zst");
    assert_eq!(read(&*now, 0, 4096), [7; 4096]);
    assert_eq!(read(&*now, 65536, 9000), want[65536..][..9000]);
    let before = folder.try_open("top.qcow2.zst", Some("before")).unwrap();
    assert!(read_all(&*before) == want);
    // What is said to be raw is its own content, whatever that looks like.
    shell(&folder, "xz -0c base.raw > base.xz; qemu-img rebase -u -b base.xz -F raw top.qcow2");
    let raw = folder.open("top.qcow2");
    assert_eq!(read(&*raw, 65536, 4096), fs::read(folder.path("base.xz")).unwrap()[65536..][..4096]);
    // A backing file that is compressed, as its format is said to be: with an image in it, not with what may be one.
    shell(
        &folder,
        "qemu-img convert -f raw -O qcow2 base.raw inner; xz -0c inner > inner.xz; xz -0c base.raw > other.xz",
    );
    shell(&folder, "qemu-img rebase -u -b inner.xz -F raw top.qcow2");
    let mut top = folder.read("top.qcow2");
    let extension = top.windows(11).position(|window| window == b"\xe2\x79\x2a\xca\0\0\0\x03raw").unwrap();
    top[extension + 4..][..7].copy_from_slice(b"\0\0\0\x02xz\0");
    folder.write("top.qcow2", &top);
    let disk = folder.open("top.qcow2");
    assert!(read(&*disk, 65536, 900_000) == want[65536..][..900_000]);
    shell(&folder, "mv other.xz inner.xz");
    let error = folder.try_open("top.qcow2", None).err().unwrap();
    assert!(matches!(error.root(), Error::Unknown(_)), "{error}");
}

#[test]
fn wrappers_have_a_limit() {
    let folder = Folder::new();
    let want = guest(300_000);
    folder.write("source", &want);
    shell(
        &folder,
        "xz -c source | zstd -qc | bzip2 -c > three; bzip2 -c three > four; gzip -c four > five; xz -c five > six",
    );
    reads(&folder.open("three"), &want);
    reads(&folder.open("five"), &want);
    let error = folder.try_open("six", None).err().unwrap().to_string();
    assert!(error.ends_with("an image in more than 4 wrappers"), "{error}");
}

#[test]
fn a_raw_disk_is_no_compressed_file() {
    // The first bytes of each format, in front of what is none of it.
    let folder = Folder::new();
    for magic in [
        &b"\x1f\x8b\x08\x00"[..],
        b"\x1f\x8b\x08\x10",
        b"BZh9",
        b"BZh91AY&S!",
        b"\xfd7zXZ\0\0\x04",
        b"\x28\xb5\x2f\xfd\xff",
    ] {
        let mut random = Random(7);
        let mut bytes: Vec<_> = (0..1 << 20).map(|_| random.next() as u8).collect();
        bytes[..magic.len()].copy_from_slice(magic);
        folder.write("raw", &bytes);
        let disk = folder.open("raw");
        assert!(disk.to_string().ends_with("/raw") && disk.size() == 1 << 20, "{magic:x?}");
    }
}

#[test]
fn holes_of_what_is_inside_are_holes() {
    let folder = Folder::new();
    let mut want = vec![0; 32 << 20];
    want[9 << 20..][..100_000].copy_from_slice(&guest(100_000));
    folder.write("source", &want);
    for (format, line) in FORMATS {
        shell(&folder, &format!("{line} source > packed"));
        let disk = folder.open("packed");
        assert!(read_all(&*disk) == want);
        let holes: u64 = (0..32 << 20)
            .step_by(1 << 20)
            .map(|at| match disk.extent_at(at).unwrap() {
                extent if matches!(extent.data, Data::Hole) => extent.len.min(1 << 20),
                _ => 0,
            })
            .sum();
        assert_eq!(holes, 31 << 20, "{format}");
        extents(&disk, &want);
    }
}

#[test]
fn what_an_image_says_of_itself() {
    let folder = Folder::new();
    folder.write("source", &guest(2 << 20));
    for (format, line) in FORMATS {
        shell(&folder, &format!("{line} source > packed"));
        let layers = images::info(&folder.path("packed"), &Options::default()).unwrap();
        let [layer] = &layers[..] else { panic!("{layers:?}") };
        assert_eq!((layer.format, layer.description.virtual_size), (format, Some(2 << 20)));
        assert!(layer.problem.is_none() && layer.files.is_empty());
    }
}

#[test]
fn a_folder_without_room_is_named() {
    // A file system of 1 MiB would need root; a limit of the size of files does not.
    let folder = Folder::new();
    folder.write("source", &guest(8 << 20));
    shell(&folder, "gzip -1c source > packed");
    let program = std::env::current_exe().unwrap();
    let line = format!(
        "trap '' XFSZ; ulimit -f 1024; COMPRESSED_IMAGE=$PWD/packed TMPDIR=$PWD {} --exact nested::opened_for_another_test --nocapture",
        program.display()
    );
    let output = toolbox::command("bash").args(["-c", &line]).current_dir(folder.path("")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let want = "(the variable TMPDIR can name another folder): File too large";
    assert!(text.contains("cannot keep what is decompressed in ") && text.contains(want), "{text}");
}

/// The other process of the test above: prints why the image could not be opened. Without it, nothing to do.
#[test]
fn opened_for_another_test() {
    if let Some(path) = std::env::var_os("COMPRESSED_IMAGE") {
        println!("{}", images::open(path.as_ref(), &Options::default()).err().unwrap());
    }
}
