//! What every format here is held to: QEMU's bytes, QEMU's map, little work, and no harm from damaged files.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use images::disk::{Counting, Memory};
use images::{Data, Disk, Error, FORMATS, Opener, Request, Result};
use serde_json::Value;

use crate::tools::*;

/// Reads in every way that `disk` should survive: whole, in random pieces, from several threads.
pub fn reads(disk: &Arc<dyn Disk>, want: &[u8]) {
    assert_eq!(disk.size(), want.len() as u64);
    assert!(read_all(&**disk) == want, "{disk}: whole");
    thread::scope(|scope| {
        for seed in 1..=3 {
            scope.spawn(move || {
                let mut random = Random(seed);
                for _ in 0..100 {
                    let start = random.below(want.len() as u64);
                    let most = if random.below(10) == 0 { 3 << 20 } else { 9000 };
                    let len = random.below(most).min(want.len() as u64 - start) as usize;
                    assert!(read(&**disk, start, len) == want[start as usize..][..len], "{disk}: {len} at {start:#x}");
                }
            });
        }
    });
    let mut byte = [0];
    assert!(disk.read_at(&mut byte, disk.size()).is_err());
    assert!(disk.read_at(&mut byte, u64::MAX).is_err());
    assert!(disk.extent_at(disk.size()).is_err());
    disk.read_at(&mut [], disk.size()).unwrap();
}

/// Extents cover the disk, holes and zeros read as zeros, and what lies in a host file is what is read.
pub fn extents(disk: &Arc<dyn Disk>, want: &[u8]) {
    let mut at = 0;
    while at < disk.size() {
        let extent = disk.extent_at(at).unwrap();
        assert!(extent.len > 0 && extent.len <= disk.size() - at);
        let want = &want[at as usize..][..extent.len as usize];
        match extent.data {
            Data::Hole | Data::Zero => assert!(want.iter().all(|byte| *byte == 0), "{disk}: {extent:?} at {at:#x}"),
            Data::Host(file, offset) => {
                let mut bytes = vec![0; want.len()];
                file.read_exact_at(&mut bytes, offset).unwrap();
                assert!(bytes == want, "{disk}: {extent:?} at {at:#x}");
            }
            Data::Opaque => {}
        }
        at += extent.len;
    }
}

/// Compares the extents of an image without backing file with `qemu-img map`.
pub fn map(folder: &Folder, format: &str, image: &str) {
    let disk = folder.open(image);
    let map = folder.run(&format!("qemu-img map -f {format} --output=json {image}"));
    let map: Value = serde_json::from_str(&map).unwrap();
    let path = folder.path(image);
    let (mut at, mut compared) = (0, 0);
    for entry in map.as_array().unwrap() {
        let (start, len) = (entry["start"].as_u64().unwrap(), entry["length"].as_u64().unwrap());
        let zero = entry["zero"].as_bool().unwrap();
        assert_eq!(start, at);
        while at < start + len {
            let extent = disk.extent_at(at).unwrap();
            let end = (at + extent.len).min(start + len);
            let place = format!("{image}: {:?} at {at:#x}, qemu-img says {entry}", extent.data);
            let host = entry["offset"].as_u64().map(|offset| offset + (at - start));
            match extent.data {
                // QEMU does not look for holes of the host file everywhere.
                Data::Hole | Data::Zero if !zero && host.is_some() => {
                    let mut bytes = vec![1; (end - at) as usize];
                    File::open(&path).unwrap().read_exact_at(&mut bytes, host.unwrap()).unwrap();
                    assert!(bytes.iter().all(|byte| *byte == 0), "{place}");
                }
                // What is not allocated has no place, whether QEMU calls it zero or not.
                Data::Hole | Data::Zero => {}
                Data::Host(file, offset) => {
                    assert_eq!(file.metadata().unwrap().ino(), path.metadata().unwrap().ino(), "{place}");
                    if let Some(host) = host {
                        assert_eq!(offset, host, "{place}");
                        compared += 1;
                    }
                }
                Data::Opaque => assert!(entry["compressed"].as_bool().unwrap_or(host.is_none()), "{place}"),
            }
            at = end;
        }
    }
    assert!(at == disk.size() || at == disk.size().next_multiple_of(512));
    assert!(compared <= 16 + disk.size() / 4096, "{image}: {compared} host extents");
}

/// Makes `image` from the raw `source`.
pub fn convert(folder: &Folder, format: &str, options: &str) {
    let command = format!("qemu-img convert -f raw -O {format} {options} source image");
    if (format, options) == ("qcow", "-c") {
        // qemu-img 10.0 writes all of the image, and ends with status 1 and no word.
        let words: Vec<_> = command.split(' ').collect();
        let output = Command::new(words[0]).args(&words[1..]).current_dir(folder.path("")).output().unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        return;
    }
    folder.run(&command);
}

/// Converts patterned bytes of `size` with these options, reads them back, and compares with what QEMU makes of it.
pub fn converted(format: &str, options: &str, size: usize) {
    let folder = Folder::new();
    folder.write("source", &patterned(7, size));
    convert(&folder, format, options);
    folder.run(&format!("qemu-img convert -f {format} -O raw image reference"));
    let want = folder.read("reference");
    assert!(want.starts_with(&folder.read("source")), "{format} {options}");
    assert!(want[size..].iter().all(|byte| *byte == 0));
    let disk = folder.open("image");
    reads(&disk, &want);
    extents(&disk, &want);
    map(&folder, format, "image");
}

/// Opening, and reading at the end, of an empty image of this size: few and small reads, and little to look through.
pub fn huge(format: &str, options: &str, size: &str) {
    let folder = Folder::new();
    folder.run(&format!("qemu-img create -q -f {format} {options} image {size}"));
    huge_image(&folder, format, "image");
}

/// As [`huge`], of an image that is there.
pub fn huge_image(folder: &Folder, format: &str, image: &str) {
    let path = folder.path(image);
    let file = images::disk::HostFile::open(&path).unwrap();
    let counting = Arc::new(Counting::new(Arc::new(file)));
    let disk = open_as(format, counting.clone()).unwrap();
    let (reads, bytes) = counting.take();
    assert!(reads <= 32 && bytes <= 1 << 20, "{format}: {reads} reads of {bytes} bytes to open");
    assert_eq!(read(&*disk, disk.size() - 4096, 4096), [0; 4096]);
    assert!(counting.take().0 <= 3);
    let (mut at, mut calls) = (0, 0);
    while at < disk.size() {
        let extent = disk.extent_at(at).unwrap();
        assert!(extent.data.reads_zero());
        at += extent.len;
        calls += 1;
    }
    assert!(calls < 2000, "{format}: {calls} calls for {at} bytes");
}

/// Neighbouring blocks are one read.
pub fn contiguous(format: &str, options: &str, most: u64) {
    let folder = Folder::new();
    folder.write("source", &vec![1; 32 << 20]);
    folder.run(&format!("qemu-img convert -f raw -O {format} {options} source image"));
    let file = images::disk::HostFile::open(&folder.path("image")).unwrap();
    let counting = Arc::new(Counting::new(Arc::new(file)));
    let disk = open_as(format, counting.clone()).unwrap();
    counting.take();
    let mut buf = vec![0; 4 << 20];
    for at in (0..32).step_by(4) {
        disk.read_at(&mut buf, at << 20).unwrap();
    }
    let (reads, _) = counting.take();
    assert!(reads <= most, "{format} {options}: {reads} reads");
}

/// Opens a disk as the format of this name, by its probe.
pub fn open_as(format: &str, file: Arc<dyn Disk>) -> Result<Arc<dyn Disk>> {
    open_with(format, file, &NoFiles)
}

pub fn open_with(format: &str, file: Arc<dyn Disk>, opener: &dyn Opener) -> Result<Arc<dyn Disk>> {
    let format = FORMATS.iter().find(|known| known.name == format).unwrap();
    if !(format.probe)(&*file)? {
        return Err(Error::Unknown(format!("{file}: not {}", format.name)));
    }
    (format.open)(file, &Request { opener, snapshot: None })
}

/// Opens files of memory: every format's own name for `format`, or raw.
#[derive(Default)]
pub struct Shelf(pub Mutex<HashMap<String, Vec<u8>>>);

impl Shelf {
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        self.0.lock().unwrap().insert(name.into(), bytes);
    }

    pub fn file(&self, name: &str) -> Option<Arc<dyn Disk>> {
        let bytes = self.0.lock().unwrap().get(name)?.clone();
        Some(Arc::new(Memory::new(name, bytes)))
    }
}

impl Opener for Shelf {
    fn open(&self, name: &std::path::Path, format: Option<&str>) -> Result<Arc<dyn Disk>> {
        let name = name.to_str().unwrap();
        let name = name.strip_prefix("./").unwrap_or(name);
        let Some(file) = self.file(name) else {
            return Err(Error::io(format!("cannot open {name}"), std::io::ErrorKind::NotFound.into()));
        };
        match format {
            None | Some("raw") => Ok(file),
            Some(format) => open_with(format, file, self),
        }
    }
}
