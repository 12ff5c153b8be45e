//! Makes ext images with the real tools, and loop mounts of them.

#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // Every test binary that has this module uses a part of it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use filesystems::{FileSystem, Options, ext};
use images::Disk;
use images::disk::Memory;

/// An image file in a directory of its own, both removed in the end.
pub struct Image {
    pub directory: tempfile::TempDir,
    pub path: PathBuf,
}

/// Runs a command; its standard output.
pub fn run(program: &str, arguments: &[&str]) -> String {
    toolbox::run(toolbox::command(program).args(arguments).env("MKE2FS_CONFIG", "/dev/null"))
}

/// A directory for scratch files: in memory where there is such a place, because the tests write a lot.
pub fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

impl Image {
    /// A file system of `megabytes` MiB, made by mke2fs with these options (split at spaces), with the files of `tree`.
    pub fn new(options: &str, megabytes: u64, tree: Option<&Path>) -> Self {
        let directory = scratch();
        let path = directory.path().join("image");
        File::create(&path).unwrap().set_len(megabytes << 20).unwrap();
        let mut arguments = vec!["-q", "-F"];
        arguments.extend(options.split_whitespace());
        let tree = tree.map(|tree| tree.to_str().unwrap());
        if let Some(tree) = tree {
            arguments.extend(["-d", tree]);
        }
        arguments.push(path.to_str().unwrap());
        run("mke2fs", &arguments);
        Self { directory, path }
    }

    pub fn bytes(&self) -> Vec<u8> {
        fs::read(&self.path).unwrap()
    }

    pub fn memory(&self) -> Arc<dyn Disk> {
        Arc::new(Memory::new("image", self.bytes()))
    }

    /// The file system, opened from memory, so that the image's own holes play no part.
    pub fn open(&self) -> Arc<dyn FileSystem> {
        open(self.memory()).unwrap()
    }

    /// What debugfs answers to a request.
    pub fn debugfs(&self, request: &str) -> String {
        run("debugfs", &["-R", request, self.path.to_str().unwrap()])
    }

    /// Where the record of an inode begins in the image, in bytes; the inode as debugfs takes it, a path or `<number>`.
    pub fn inode_at(&self, inode: &str, block_size: usize) -> usize {
        // "Inode 12 is part of block group 0\n\tlocated at block 41, offset 0x0b00"
        let place = self.debugfs(&format!("imap {inode}"));
        let (block, offset) = place.rsplit_once("block ").unwrap().1.trim().split_once(", offset 0x").unwrap();
        block.parse::<usize>().unwrap() * block_size + usize::from_str_radix(offset, 16).unwrap()
    }

    /// The number of an inode, by path.
    pub fn number(&self, path: &str) -> u64 {
        let stat = self.debugfs(&format!("stat \"{path}\""));
        stat.split_once("Inode: ").unwrap().1.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Runs debugfs requests that write, one a line.
    pub fn debugfs_write(&self, requests: &str) {
        let script = self.directory.path().join("requests");
        fs::write(&script, requests).unwrap();
        run("debugfs", &["-w", "-f", script.to_str().unwrap(), self.path.to_str().unwrap()]);
    }
}

/// Opens a disk with the driver.
pub fn open(disk: Arc<dyn Disk>) -> images::Result<Arc<dyn FileSystem>> {
    Ok(Arc::new(ext::mount(disk, &Options::default())?))
}

/// A loop mount of an image, unmounted in the end whatever happens.
pub struct Mount {
    pub path: PathBuf,
}

impl Mount {
    pub fn new(image: &Image, options: &str) -> Self {
        let path = image.directory.path().join("mount");
        fs::create_dir_all(&path).unwrap();
        let (from, to) = (image.path.to_str().unwrap(), path.to_str().unwrap());
        run("mount", &["-t", "ext4", "-o", &format!("loop,{options}"), from, to]);
        Self { path }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        assert!(toolbox::unmount(&self.path) || std::thread::panicking(), "cannot unmount {}", self.path.display());
    }
}

/// Whether loop mounts are possible; says so where they are not.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        // Written past the test harness, which would keep it to itself.
        let _ = writeln!(std::io::stderr(), "{test}: not run: loop mounts need root");
    }
    root
}
