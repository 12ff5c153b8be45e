//! What every format here is held to: QEMU's bytes, QEMU's map, little work, and no harm from damaged files.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use images::disk::Memory;
use images::{Data, Disk, Error, Opener, Request, Result};

pub use crate::tools::content::check as reads;

use crate::tools;
use crate::tools::{Folder, NoFiles, map, patterned};

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

/// Makes `image` from the raw `source`.
pub fn convert(folder: &Folder, format: &str, options: &str) {
    let command = format!("qemu-img convert -f raw -O {format} {options} source image");
    if (format, options) == ("qcow", "-c") {
        // qemu-img 10.0 writes all of the image, and ends with status 1 and no word.
        let words: Vec<_> = command.split(' ').collect();
        let output = toolbox::command(words[0]).args(&words[1..]).current_dir(folder.path("")).output().unwrap();
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
    map::check(&folder, &format!("-f {format}"), "image");
}

/// Opens a disk as the format of this name, by its probe; the image names no file.
pub fn opened(format: &str, file: Arc<dyn Disk>) -> Result<Arc<dyn Disk>> {
    open_with(format, file, &NoFiles)
}

pub fn open_with(format: &str, file: Arc<dyn Disk>, opener: &dyn Opener) -> Result<Arc<dyn Disk>> {
    tools::open_as(format, file, &Request { opener, snapshot: None, budget: &images::Budget::default() })
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
