//! Images that the kernel made on a loop mount; dirty ones are copied while they are in use.
//!
//! Loop mounts need root.
#![allow(dead_code)] // Each test uses a part.

#[path = "../walk/mod.rs"]
pub mod walk;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use filesystems::ext::journal::Run;
use filesystems::ext::mount;
use filesystems::{FileSystem, Kind, Options};
use images::disk::HostFile;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub struct Image {
    pub name: String,
    pub block_size: u32,
    dir: TempDir,
}

/// Runs one debugfs request.
pub fn debugfs(image: &Path, write: bool, request: &str) -> String {
    let mut command = toolbox::command("debugfs");
    if write {
        command.arg("-w");
    }
    toolbox::run(command.args(["-R", request]).arg(image))
}

/// Runs several debugfs requests, one a line, that may write.
pub fn debugfs_script(image: &Path, script: &str) {
    let file = image.with_extension("debugfs");
    fs::write(&file, script).unwrap();
    let output = toolbox::command("debugfs").args(["-w", "-f"]).args([&file, image]).output().unwrap();
    // It prints its version, and what fails, to standard error.
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.lines().count() == 1, "{script}: {errors}");
}

/// Numbers that look random, the same in each run.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % end
    }
}

/// A loop mount that ends with its scope.
pub struct Mount(PathBuf);

impl Mount {
    pub fn new(image: &Path, at: &Path, options: &str) -> Self {
        assert!(
            toolbox::run(toolbox::command("id").arg("-u")).trim() == "0",
            "this test needs root for a loop mount: run it as root, as the CI does"
        );
        fs::create_dir_all(at).unwrap();
        toolbox::run(toolbox::command("mount").args(["-o", &format!("loop,{options}")]).arg(image).arg(at));
        Self(at.to_owned())
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        assert!(toolbox::unmount(&self.0) || std::thread::panicking(), "cannot unmount {}", self.0.display());
    }
}

impl Image {
    /// A file system of `megabytes`, made with `features`, mounted with `options`, changed by `work`, and copied with
    /// its journal dirty.
    pub fn dirty(name: &str, megabytes: u64, features: &[&str], options: &str, work: impl FnOnce(&Path)) -> Self {
        let dir = TempDir::new().unwrap();
        let live = dir.path().join("live.img");
        File::create(&live).unwrap().set_len(megabytes << 20).unwrap();
        toolbox::run(toolbox::command("mke2fs").args(["-q", "-F"]).args(features).arg(&live));
        let image = Self { name: name.to_owned(), block_size: block_size(&live), dir };
        // Nothing is committed but what the work asks for.
        let mount = Mount::new(&live, &image.dir.path().join("mnt"), &format!("commit=600,{options}"));
        work(mount.path());
        toolbox::run(toolbox::command("cp").arg("--sparse=always").arg(&live).arg(image.path()));
        drop(mount);
        fs::remove_file(&live).unwrap();
        image
    }

    /// A new file system with nothing in it.
    pub fn empty(name: &str, megabytes: u64, features: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let image = Self { name: name.to_owned(), block_size: 0, dir };
        File::create(image.path()).unwrap().set_len(megabytes << 20).unwrap();
        toolbox::run(toolbox::command("mke2fs").args(["-q", "-F"]).args(features).arg(image.path()));
        Self { block_size: block_size(&image.path()), ..image }
    }

    /// A file system of `megabytes`, made with `features`, mounted with `options`, changed by `work` and unmounted.
    pub fn clean(name: &str, megabytes: u64, features: &[&str], options: &str, work: impl FnOnce(&Path)) -> Self {
        let image = Self::empty(name, megabytes, features);
        let mount = Mount::new(&image.path(), &image.dir.path().join("mnt"), options);
        work(mount.path());
        drop(mount);
        image
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("dirty.img")
    }

    pub fn copy(&self) -> Self {
        let dir = TempDir::new().unwrap();
        let copy = Self { name: self.name.clone(), block_size: self.block_size, dir };
        toolbox::run(toolbox::command("cp").arg("--sparse=always").arg(self.path()).arg(copy.path()));
        copy
    }

    /// The tree that the kernel shows of a copy, after its own replay.
    pub fn kernel_tree(&self) -> walk::Tree {
        let copy = self.copy();
        let mount = Mount::new(&copy.path(), &copy.dir.path().join("mnt"), "noatime");
        replayed(walk::of_host(mount.path()))
    }

    /// The tree that our driver shows.
    pub fn our_tree(&self) -> walk::Tree {
        let fs = mount(Arc::new(host_file(&self.path())), &Options::default());
        replayed(walk::of_file_system(&fs.unwrap_or_else(|error| panic!("{}: {error}", self.name))))
    }

    pub fn digest(&self) -> Vec<u8> {
        Sha256::digest(fs::read(self.path()).unwrap()).to_vec()
    }

    /// Where the blocks of the journal inode lie, as debugfs says.
    pub fn journal_runs(&self) -> Vec<Run> {
        let stat = debugfs(&self.path(), false, "stat <8>");
        let list = stat.split("BLOCKS:").chain(stat.split("EXTENTS:")).map(|part| part.trim_start());
        let list = list.filter(|part| part.starts_with('(')).max_by_key(|part| part.len()).unwrap();
        let mut runs = Vec::new();
        for piece in list.split('(').skip(1) {
            let (logical, physical) = piece.split_once("):").unwrap();
            let physical = physical.trim_end().trim_end_matches(',').lines().next().unwrap();
            let physical = physical.trim_end().trim_end_matches(',');
            let Ok(first) = logical.split('-').next().unwrap().parse() else { continue };
            let physical: Vec<u64> = physical.split('-').map(|number| number.parse().unwrap()).collect();
            let len = (physical[physical.len() - 1] - physical[0] + 1) as u32;
            runs.push(Run { logical: first, physical: physical[0], len });
        }
        runs
    }
}

/// What a replay must give: not the times that a mount changes, nor where the data lie.
fn replayed(mut tree: walk::Tree) -> walk::Tree {
    for record in tree.values_mut() {
        (record.accessed, record.changed, record.created) = (record.modified, record.modified, None);
        record.data.clear();
        if record.kind == Kind::Directory {
            record.size = 0;
        }
    }
    tree
}

/// Looks at everything that a damaged file system has, whatever comes back.
pub fn walk_damaged(fs: &dyn FileSystem) {
    let mut todo = vec![fs.root()];
    let mut buf = vec![0; 10_000];
    for _ in 0..500 {
        let Some(node) = todo.pop() else { break };
        let _ = fs.read_dir(node, 0, &mut |entry| {
            todo.push(entry.node);
            true
        });
        let _ = fs.lookup(node, b"no such name");
        let _ = fs.stat(node);
        let _ = fs.read_at(node, &mut buf, 0);
        let _ = fs.read_link(node);
        let _ = fs.xattrs(node);
    }
}

fn block_size(image: &Path) -> u32 {
    let header = toolbox::run(toolbox::command("dumpe2fs").arg("-h").arg(image));
    let line = header.lines().find(|line| line.starts_with("Block size:")).unwrap();
    line.split_whitespace().last().unwrap().parse().unwrap()
}

fn commit(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

/// Writes a file and commits it.
pub fn write(path: &Path, data: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(data).unwrap();
    file.sync_all().unwrap();
}

/// Several transactions that make, change, rename and remove files.
pub fn many_files(root: &Path) {
    for round in 0..6 {
        let dir = root.join(format!("dir{round}"));
        fs::create_dir(&dir).unwrap();
        for i in 0..150u32 {
            fs::write(dir.join(format!("a file with a longer name {i}")), i.to_string().repeat(i as usize * 9))
                .unwrap();
        }
        write(&dir.join("last"), &[round; 40_000]);
        if round > 1 {
            let old = root.join(format!("dir{}", round - 2));
            for i in (0..150).step_by(3) {
                fs::remove_file(old.join(format!("a file with a longer name {i}"))).unwrap();
            }
            fs::rename(old, root.join(format!("renamed{round}"))).unwrap();
        }
        commit(root);
    }
}

/// Data blocks that begin with the journal's magic number.
pub fn escapes(root: &Path) {
    let mut block = vec![0x55; 1024];
    block[..4].copy_from_slice(&[0xc0, 0x3b, 0x39, 0x98]);
    for i in 0..10 {
        block[4] = i;
        write(&root.join(format!("escaped{i}")), &block.repeat(30));
    }
}

/// Metadata blocks that are freed, and used again for data.
pub fn revokes(root: &Path) {
    for round in 0..5 {
        let dir = root.join(format!("dir{round}"));
        fs::create_dir(&dir).unwrap();
        for i in 0..400 {
            File::create(dir.join(format!("{i:0200}"))).unwrap();
        }
        // A file with an indirect or an extent block.
        let holes = File::create(root.join("holes")).unwrap();
        for i in 0..200 {
            holes.write_at(&[1; 100], i * 12_288).unwrap();
        }
        holes.sync_all().unwrap();
        commit(&dir);
        fs::remove_dir_all(&dir).unwrap();
        fs::remove_file(root.join("holes")).unwrap();
        commit(root);
        write(&root.join(format!("data{round}")), &vec![0xd0 + round; 3 << 20]);
        commit(root);
    }
}

/// More metadata than the log is long.
pub fn wraps(root: &Path) {
    for round in 0..40 {
        let dir = root.join(format!("dir{}", round % 7));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        for i in 0..120 {
            fs::write(dir.join(format!("{i:0100}")), [round; 600]).unwrap();
        }
        commit(&dir);
    }
}

pub fn host_file(path: &Path) -> HostFile {
    HostFile::new(path, File::open(path).unwrap()).unwrap()
}
