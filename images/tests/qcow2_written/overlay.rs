//! What is written over an image of any format, which stays as it is.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use ::images::{Budget, Disk, Error, Options, Storage, open_overlay, open_overlays};

use crate::tools::{Folder, Random, patterned, read_all};

const SIZE: usize = (3 << 20) + 512;

fn over(folder: &Folder, image: &str, overlay: Option<&str>) -> ::images::Result<Arc<dyn Disk>> {
    let overlay = overlay.map(|name| folder.path(name));
    open_overlay(&folder.path(image), overlay.as_deref(), &Options::default())
}

/// Writes some, and keeps `model` as it must be then.
fn write(disk: &dyn Disk, model: &mut [u8], seed: u64) {
    let writer = disk.writer(0..disk.size()).unwrap();
    let mut random = Random(seed);
    for round in 0..30u8 {
        let at = random.below(model.len() as u64 - 1) as usize;
        let len = (random.below(100_000) as usize + 1).min(model.len() - at);
        match round % 5 {
            0 => {
                writer.zero_at(at as u64, len as u64).unwrap();
                model[at..at + len].fill(0);
            }
            _ => {
                let data = vec![round + 1; len];
                writer.write_at(&data, at as u64).unwrap();
                model[at..at + len].copy_from_slice(&data);
            }
        }
    }
    writer.flush().unwrap();
    assert!(read_all(disk) == model);
}

#[test]
fn an_overlay_is_one_that_qemu_reads_and_commits() {
    for format in ["raw", "qcow2", "vmdk", "vpc", "vdi", "vhdx"] {
        let folder = Folder::new();
        let mut model = patterned(3, SIZE);
        folder.write("content", &model);
        let size = if format == "vpc" { "-o force_size=on" } else { "" };
        folder.run(&format!("qemu-img convert -O {format} {size} content base.{format}"));
        model.resize(read_all(&*folder.open(&format!("base.{format}"))).len(), 0);
        let base = format!("base.{format}");
        let before = folder.read(&base);
        for seed in 1..3 {
            // The second time it is there, and goes on.
            let disk = over(&folder, &base, Some("over.qcow2")).unwrap();
            write(&*disk, &mut model, seed);
            drop(disk);
            folder.run("qemu-img check -q over.qcow2");
            assert!(folder.reference("over.qcow2") == model, "{format}");
            assert!(folder.read(&base) == before, "{format}: it was changed");
        }
        let mode = std::fs::metadata(folder.path("over.qcow2")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        let info = folder.run("qemu-img info over.qcow2");
        assert!(info.contains(&format!("backing file: {base}")), "{info}");
        assert!(info.contains(&format!("backing file format: {format}")), "{info}");
        // As an image of its own it is the same.
        assert!(read_all(&*folder.open("over.qcow2")) == model);
        // QEMU does not write VHDX that grows, and commits to all others.
        folder.run("qemu-img commit -q over.qcow2");
        assert!(read_all(&*folder.open(&base)) == model, "{format}: committed");
    }
}

#[test]
fn an_overlay_of_another_image_is_refused() {
    let folder = Folder::new();
    for name in ["one", "two"] {
        folder.write(name, &[1; 65536]);
    }
    drop(over(&folder, "one", Some("over")).unwrap());
    let error = over(&folder, "two", Some("over")).err().unwrap().to_string();
    assert!(error.contains("over is an overlay of one, and not of "), "{error}");
    let error = over(&folder, "one", Some("two")).err().unwrap().to_string();
    assert!(error.contains("two is there, and is no overlay of "), "{error}");
    assert_eq!(folder.read("two"), [1; 65536]);
    // Elsewhere, it is named by its whole path.
    std::fs::create_dir(folder.path("elsewhere")).unwrap();
    drop(over(&folder, "one", Some("elsewhere/over")).unwrap());
    let info = folder.run("qemu-img info elsewhere/over");
    let whole = std::fs::canonicalize(folder.path("one")).unwrap();
    assert!(info.contains(&format!("backing file: {}", whole.display())), "{info}");
    let error = over(&folder, "one", Some("nowhere/over")).err().unwrap().to_string();
    assert!(error.starts_with("cannot create ") && !Path::new("nowhere").exists(), "{error}");
}

#[test]
fn any_image_is_written_over_for_a_while() {
    let folder = Folder::new();
    let content = patterned(4, SIZE);
    folder.write("content", &content);
    folder.run("qemu-img convert -O vmdk -o subformat=streamOptimized content image.vmdk");
    toolbox::run(toolbox::command("gzip").arg("-k").arg(folder.path("content")));
    for image in ["content", "image.vmdk", "content.gz"] {
        let before = folder.read(image);
        let disk = over(&folder, image, None).unwrap();
        let mut model = content.clone();
        write(&*disk, &mut model, 9);
        drop(disk);
        assert!(folder.read(image) == before, "{image}");
        let disks = open_overlays(&folder.path(image), None, &Options::default()).unwrap();
        assert!(disks.len() == 1 && read_all(&*disks[0]) == content, "{image}: thrown away");
    }
}

#[test]
fn what_is_written_for_a_while_is_bounded() {
    let folder = Folder::new();
    folder.write("image", &[1; 8 << 20]);
    let budget = Budget::with_storage(64 << 20, Storage::new(Some(3 << 20)));
    let options = Options { budget, ..Options::default() };
    let mut disk = open_overlay(&folder.path("image"), None, &options).unwrap();
    for _ in 0..2 {
        let writer = disk.writer(0..8 << 20).unwrap();
        writer.write_at(&[2; 1 << 20], 0).unwrap();
        let error = writer.write_at(&[3; 4 << 20], 1 << 20).unwrap_err();
        let full = matches!(error.root(), Error::Io { source, .. } if source.kind() == ErrorKind::StorageFull);
        assert!(full, "{error}");
        writer.write_at(&[4; 100], 0).unwrap();
        let mut now = [0; 101];
        disk.read_at(&mut now, 0).unwrap();
        assert!(now[..100] == [4; 100] && now[100] == 2);
        // What it took goes back.
        drop((writer, disk));
        disk = open_overlay(&folder.path("image"), None, &options).unwrap();
    }
}
