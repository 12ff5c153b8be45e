//! File systems made by mke2fs that tests write and e2fsck checks.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use images::Result;
use images::disk::{Access, HostFile};

use super::Writing;
use super::operation::Operation;
use crate::ext::superblock::Superblock;
use crate::ext::volume::Volume;

/// A file system that is written.
pub(super) struct Scratch {
    directory: tempfile::TempDir,
    pub path: PathBuf,
    pub volume: Volume,
    pub writing: Writing,
}

impl Scratch {
    /// One of `megabytes` MiB, without a journal, made with these options (split at spaces) and with empty files `file-0` and so on.
    pub fn new(options: &str, megabytes: u64, files: usize) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        for number in 0..files {
            File::create(tree.join(format!("file-{number}"))).unwrap();
        }
        let path = directory.path().join("image");
        File::create(&path).unwrap().set_len(megabytes << 20).unwrap();
        let mut command = toolbox::command("mke2fs");
        command
            .args(["-q", "-F", "-O", "^has_journal"])
            .args(options.split_whitespace())
            .arg("-d")
            .args([&tree, &path]);
        toolbox::run(command.env("MKE2FS_CONFIG", "/dev/null"));
        Self::open(directory, path).unwrap()
    }

    fn open(directory: tempfile::TempDir, path: PathBuf) -> Result<Self> {
        let disk = Arc::new(HostFile::open_for(&path, Access::ReadWrite)?);
        let superblock = Superblock::read(&*disk)?;
        superblock.features.check_writable()?;
        let volume = Volume::writable(disk, superblock);
        let writing = Writing::new(&volume)?;
        writing.prepare(&volume)?;
        Ok(Self { directory, path, volume, writing })
    }

    /// Closes it, changes its bytes, and opens it again.
    pub fn changed(self, change: impl FnOnce(&File)) -> Result<Self> {
        self.writing.close(&self.volume)?;
        let Self { directory, path, volume, writing } = self;
        drop((writing, volume));
        change(&File::options().write(true).open(&path).unwrap());
        Self::open(directory, path)
    }

    pub fn operate<T>(&self, operation: impl FnMut(&mut Operation<'_>) -> Result<T>) -> Result<T> {
        self.writing.operate(&self.volume, operation)
    }

    pub fn commit(&self) {
        self.writing.commit(&self.volume).unwrap();
        self.writing.write_home(&self.volume).unwrap();
    }

    /// What debugfs answers.
    pub fn debugfs(&self, request: &str) -> String {
        toolbox::run(toolbox::command("debugfs").args(["-R", request]).arg(&self.path))
    }

    /// The number of an inode by its path.
    pub fn inode(&self, path: &str) -> u32 {
        let stat = self.debugfs(&format!("stat {path}"));
        stat.split_once("Inode: ").unwrap().1.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Fails if e2fsck finds something in what was committed.
    pub fn check(&self) {
        self.commit();
        let output = toolbox::command("e2fsck").arg("-fn").arg(&self.path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {text}", output.status);
    }
}

/// Numbers that look random, the same in each run.
pub(super) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }
}

/// Options of mke2fs that make what is written differ, and how large the file system is (MiB).
pub(super) const KINDS: &[(&str, u64)] = &[
    ("-b 1024 -I 256 -O extents,metadata_csum,64bit,flex_bg,huge_file,resize_inode", 40),
    ("-b 4096 -I 256 -O extents,metadata_csum,64bit,flex_bg,huge_file,resize_inode", 300),
    ("-b 65536 -I 256 -O extents,metadata_csum,64bit,flex_bg,huge_file", 64),
    ("-b 4096 -I 256 -O extents,metadata_csum,bigalloc,flex_bg,huge_file -C 65536", 64),
    ("-b 1024 -I 256 -O extents,bigalloc,64bit,uninit_bg -C 16384 -E lazy_itable_init=1,nodiscard", 64),
    ("-b 1024 -I 256 -O extents,metadata_csum,meta_bg,^resize_inode", 40),
    ("-b 1024 -I 256 -O extents,64bit,metadata_csum,metadata_csum_seed -E lazy_itable_init=1,nodiscard", 40),
    ("-b 1024 -I 256 -O extents,uninit_bg,flex_bg -E lazy_itable_init=1,nodiscard", 40),
    ("-b 2048 -I 128 -O extents,^sparse_super,^resize_inode -N 3000", 48),
    ("-b 1024 -I 256 -O huge_file", 40),
    ("-b 4096 -I 128", 40),
    ("-b 1024 -r 0", 20),
];
