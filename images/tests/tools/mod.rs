//! What the tests of image formats share: QEMU's tools, patterned bytes, and a way to open what was made.
#![allow(dead_code, reason = "every test uses a part of it")]

pub mod content;
pub mod hostile;
pub mod map;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use images::{Disk, Error, FORMATS, Format, Opener, Options, Request, Result};
use tempfile::TempDir;

/// A folder for one test's files, gone when the test is.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Runs a tool of QEMU in this folder; its standard output. The words of `command` are parted by spaces.
    pub fn run(&self, command: &str) -> String {
        self.run_words(&command.split_whitespace().collect::<Vec<_>>())
    }

    /// As [`Self::run`], for words with spaces in them.
    pub fn run_words(&self, words: &[&str]) -> String {
        let text = toolbox::run(toolbox::command(words[0]).args(&words[1..]).current_dir(self.0.path()));
        assert!(!text.contains("failed"), "{words:?}: {text}");
        text
    }

    /// Runs commands of qemu-io on an image.
    pub fn io(&self, image: &str, commands: &[String]) {
        let mut words = vec!["qemu-io"];
        words.extend(commands.iter().flat_map(|command| ["-c", command.as_str()]));
        words.push(image);
        self.run_words(&words);
    }

    /// What QEMU reads from an image.
    pub fn reference(&self, image: &str) -> Vec<u8> {
        self.run(&format!("qemu-img convert -O raw {image} {image}.reference"));
        let bytes = self.read(&format!("{image}.reference"));
        fs::remove_file(self.path(&format!("{image}.reference"))).unwrap();
        bytes
    }

    pub fn open(&self, name: &str) -> Arc<dyn Disk> {
        self.try_open(name, None).unwrap()
    }

    pub fn try_open(&self, name: &str, snapshot: Option<&str>) -> Result<Arc<dyn Disk>> {
        let snapshot = snapshot.map(str::to_owned);
        images::open(&self.path(name), &Options { snapshot, ..Options::default() })
    }

    /// Why `name` is not opened.
    pub fn refusal(&self, name: &str) -> String {
        let error = self.try_open(name, None).err().unwrap().to_string();
        assert!(!error.contains(char::is_control), "{error:?}");
        error
    }
}

/// Opens nothing: for images that name no file, and for damaged ones that name any.
pub struct NoFiles;

impl Opener for NoFiles {
    fn open(&self, name: &Path, _: Option<&str>) -> Result<Arc<dyn Disk>> {
        Err(Error::Denied(format!("{}: this test opens no file", name.display())))
    }

    fn formats(&self) -> &'static [Format] {
        FORMATS
    }
}

/// Opens a disk as the format of this name, by its probe.
pub fn open_as(format: &str, file: Arc<dyn Disk>, request: &Request<'_>) -> Result<Arc<dyn Disk>> {
    let format = FORMATS.iter().find(|known| known.name == format).unwrap();
    if !(format.probe)(&*file)? {
        return Err(Error::Unknown(format!("{file}: not {}", format.name)));
    }
    (format.open)(file, request)
}

pub fn read(disk: &dyn Disk, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xa5; len];
    disk.read_at(&mut bytes, offset).unwrap();
    bytes
}

pub fn read_all(disk: &dyn Disk) -> Vec<u8> {
    read(disk, 0, disk.size() as usize)
}

/// The big-endian number at byte `at`.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// xorshift64*: the same numbers in every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// `len` bytes of stretches that are zero, repetitive and random, as a guest's disk has them.
pub fn patterned(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed);
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let stretch = 512 * (1 + random.below(300)) as usize;
        match random.below(4) {
            0 => bytes.resize(bytes.len() + stretch, 0),
            1 => (0..stretch / 8).for_each(|_| bytes.extend(random.next().to_le_bytes())),
            _ => {
                let word = random.next();
                (0..stretch / 8).for_each(|i| bytes.extend((word ^ (i as u64 / 20)).to_le_bytes()));
            }
        }
    }
    bytes.truncate(len);
    bytes
}
