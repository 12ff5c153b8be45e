//! A volume group on one physical volume, written by hand: what LVM's tools do not make, or not without the kernel.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use images::Disk;
use images::disk::HostFile;
use lvm2_parser::checksum;

/// Of an extent, in bytes.
pub const EXTENT: u64 = 64 << 10;
/// Where the extents begin.
const START: u64 = 1 << 20;
/// Where the header of the metadata area lies.
const AREA: u64 = 4096;

/// The physical volume of a group `vg`, in a sparse file.
pub struct Group {
    directory: tempfile::TempDir,
    extents: u64,
    logical: String,
    volumes: usize,
}

/// An identifier that ends in this number.
fn uuid(number: usize) -> String {
    format!("uuuuuu-uuuu-uuuu-uuuu-uuuu-uuuu-uu{number:04}")
}

impl Group {
    /// Without volumes.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), extents: 0, logical: String::new(), volumes: 0 }
    }

    /// Adds a volume of one segment. `shown` says whether it is visible.
    pub fn add(&mut self, name: &str, shown: bool, extents: u64, values: &str) {
        self.volumes += 1;
        let visible = if shown { ", \"VISIBLE\"" } else { "" };
        self.logical += &format!(
            "{name} {{ id = \"{}\" status = [\"READ\"{visible}] segment_count = 1\n\
             segment1 {{ start_extent = 0 extent_count = {extents} {values} }} }}\n",
            uuid(self.volumes + 1)
        );
    }

    /// Adds a hidden volume that lies on the disk in one piece, and returns where that begins, in bytes.
    pub fn linear(&mut self, name: &str, extents: u64) -> u64 {
        let first = self.extents;
        self.add(name, false, extents, &format!("type = \"striped\" stripe_count = 1 stripes = [\"pv0\", {first}]"));
        self.extents += extents;
        START + first * EXTENT
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("disk.img")
    }

    /// Writes the label and the text, and nothing else: what the extents hold stays.
    pub fn write(&self) -> File {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(self.path()).unwrap();
        file.set_len(START + self.extents * EXTENT).unwrap();
        let text = format!(
            "vg {{ id = \"{}\" seqno = 1 status = [\"READ\"] extent_size = {}\n\
             physical_volumes {{ pv0 {{ id = \"{}\" pe_start = {} pe_count = {} }} }}\n\
             logical_volumes {{\n{}}}\n}}\ncontents = \"Text Format Volume Group\" version = 1\n\0",
            uuid(0),
            EXTENT / 512,
            uuid(1),
            START / 512,
            self.extents,
            self.logical
        );
        let mut label = [0; 512];
        label[..8].copy_from_slice(b"LABELONE");
        label[8] = 1;
        label[20] = 32;
        label[24..32].copy_from_slice(b"LVM2 001");
        label[32..64].copy_from_slice(uuid(1).replace('-', "").as_bytes());
        let mut number = |at: usize, value: u64| label[at..at + 8].copy_from_slice(&value.to_le_bytes());
        number(64, START + self.extents * EXTENT);
        number(72, START);
        number(104, AREA);
        number(112, START - AREA);
        let crc = checksum(&label[20..]);
        label[16..20].copy_from_slice(&crc.to_le_bytes());
        file.write_all_at(&label, 512).unwrap();

        let mut header = [0; 512];
        header[4..20].copy_from_slice(b" LVM2 x[5A%r0N*>");
        header[20] = 1;
        let mut number = |at: usize, value: u64| header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        number(24, AREA);
        number(32, START - AREA);
        number(40, 512);
        number(48, text.len() as u64);
        number(56, checksum(text.as_bytes()).into());
        let crc = checksum(&header[4..]);
        header[..4].copy_from_slice(&crc.to_le_bytes());
        file.write_all_at(&header, AREA).unwrap();
        file.write_all_at(text.as_bytes(), AREA + 512).unwrap();
        file
    }

    pub fn disk(&self) -> Arc<dyn Disk> {
        let path = self.path();
        Arc::new(HostFile::new(&path, File::open(&path).unwrap()).unwrap())
    }
}
