//! Everything that a tree says of itself, one entry a path.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use rustix::fs::{lgetxattr, llistxattr, major, minor};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::extents;
use crate::interrupt;

/// Two threads keep both cores of a small machine busy.
const THREADS: usize = 2;

/// A tree, written down.
#[derive(Serialize, Deserialize)]
pub struct Manifest {
    /// The user who saw it; `trusted.*` attributes are for root only.
    pub seen_by: u32,
    /// Every path below the root and the root itself (`.`), sorted.
    pub entries: Vec<Entry>,
}

/// One path. Bytes that are no printable text are escaped as `\xNN`, so that names survive JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub path: String,
    pub kind: String,
    /// The lower 12 bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// In units of 512 bytes.
    pub blocks: u64,
    pub links: u64,
    /// The first path of the same inode, where there are several.
    pub same_as: Option<String>,
    /// Major and minor number.
    pub device: Option<(u32, u32)>,
    pub target: Option<String>,
    pub sha256: Option<String>,
    /// Seconds and nanoseconds.
    pub mtime: (i64, i64),
    pub atime: (i64, i64),
    pub ctime: (i64, i64),
    pub xattrs: BTreeMap<String, String>,
    /// Where SEEK_DATA and SEEK_HOLE find data: start and end.
    pub data: Option<Vec<(u64, u64)>>,
}

impl Manifest {
    /// Walks the tree at `root`; with `extents`, holes are found and read too.
    ///
    /// Something that cannot be read is an error: a manifest is whole or it is none.
    pub fn of(root: &Path, extents: bool) -> Result<Self> {
        let mut paths = Vec::new();
        collect(root, PathBuf::from("."), &mut paths)?;
        paths.sort_unstable_by(|a, b| a.0.as_os_str().as_bytes().cmp(b.0.as_os_str().as_bytes()));

        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, Entry)>> {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((path, metadata)) = paths.get(index) else { return Ok(done) };
                interrupt::check()?;
                done.push((index, entry(root, path, metadata, extents)?));
            }
        };
        let parts = thread::scope(|scope| -> Result<Vec<_>> {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a walking thread panicked"))?).collect()
        })?;
        let mut entries: Vec<_> = parts.into_iter().flatten().collect();
        entries.sort_unstable_by_key(|(index, _)| *index);
        let mut entries: Vec<_> = entries.into_iter().map(|(_, entry)| entry).collect();

        let mut first: BTreeMap<u64, String> = BTreeMap::new();
        for ((_, metadata), entry) in paths.iter().zip(&mut entries) {
            if metadata.nlink() > 1 && !metadata.is_dir() {
                let name = first.entry(metadata.ino()).or_insert_with(|| entry.path.clone());
                entry.same_as = Some(name.clone());
            }
        }
        Ok(Self { seen_by: rustix::process::geteuid().as_raw(), entries })
    }
}

fn collect(root: &Path, path: PathBuf, paths: &mut Vec<(PathBuf, Metadata)>) -> Result<()> {
    let full = root.join(&path);
    let metadata = fs::symlink_metadata(&full).with_context(|| format!("lstat {}", full.display()))?;
    let is_directory = metadata.is_dir();
    paths.push((path.clone(), metadata));
    if is_directory {
        for entry in fs::read_dir(&full).with_context(|| format!("readdir {}", full.display()))? {
            let entry = entry.with_context(|| format!("readdir {}", full.display()))?;
            collect(root, path.join(entry.file_name()), paths)?;
        }
    }
    Ok(())
}

fn entry(root: &Path, path: &Path, metadata: &Metadata, want_extents: bool) -> Result<Entry> {
    let full = root.join(path);
    let kind = metadata.file_type();
    let target = if kind.is_symlink() {
        let target = fs::read_link(&full).with_context(|| format!("readlink {}", full.display()))?;
        Some(escape(target.as_os_str().as_bytes()))
    } else {
        None
    };
    let (sha256, data) = if kind.is_file() { content(&full, metadata.len(), want_extents)? } else { (None, None) };
    let device = kind.is_block_device() || kind.is_char_device();
    let path = path.strip_prefix(".").ok().filter(|path| *path != Path::new("")).unwrap_or(path);
    Ok(Entry {
        path: escape(path.as_os_str().as_bytes()),
        kind: match () {
            () if kind.is_file() => "file",
            () if kind.is_dir() => "directory",
            () if kind.is_symlink() => "symlink",
            () if kind.is_char_device() => "char device",
            () if kind.is_block_device() => "block device",
            () if kind.is_fifo() => "fifo",
            () if kind.is_socket() => "socket",
            () => "unknown",
        }
        .to_owned(),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: metadata.len(),
        blocks: metadata.blocks(),
        links: metadata.nlink(),
        same_as: None,
        device: device.then(|| (major(metadata.rdev()), minor(metadata.rdev()))),
        target,
        sha256,
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        atime: (metadata.atime(), metadata.atime_nsec()),
        ctime: (metadata.ctime(), metadata.ctime_nsec()),
        xattrs: xattrs(&full).with_context(|| format!("xattrs of {}", full.display()))?,
        data,
    })
}

type Content = (Option<String>, Option<Vec<(u64, u64)>>);

fn content(path: &Path, size: u64, want_extents: bool) -> Result<Content> {
    let mut file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let data = if want_extents { Some(extents::of(&file, path, size)?) } else { None };
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut total = 0;
    loop {
        let read = file.read(&mut buffer).with_context(|| format!("read {} at byte {total}", path.display()))?;
        if read == 0 {
            break;
        }
        if let Some(runs) = &data {
            extents::check_holes(runs, path, total, &buffer[..read])?;
        }
        total += read as u64;
        hash.update(&buffer[..read]);
    }
    if total != size {
        return Err(anyhow!("{}: {total} bytes could be read, its size is {size}", path.display()));
    }
    Ok((Some(hexadecimal(&hash.finalize())), data))
}

fn xattrs(path: &Path) -> Result<BTreeMap<String, String>> {
    // The kernel's own limits for a list and for a value are both 64 KiB.
    let mut buffer = vec![0; 64 << 10];
    let length = match llistxattr(path, &mut buffer[..]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(error) => return Err(error).context("cannot be listed"),
    };
    let names = buffer[..length].to_vec();
    let mut all = BTreeMap::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let value = match lgetxattr(path, name, &mut buffer[..]) {
            Ok(length) => escape(&buffer[..length]),
            Err(Errno::NODATA) => "(listed, and not there)".to_owned(),
            Err(error) => return Err(error).context(escape(name)),
        };
        all.insert(escape(name), value);
    }
    Ok(all)
}

/// Text as it is; everything else, and the backslash, as `\xNN`.
fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\\' || c.is_control() {
                text.extend(c.to_string().bytes().map(|byte| format!("\\x{byte:02x}")));
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive() {
        assert_eq!(escape("a\u{e4} b".as_bytes()), "a\u{e4} b");
        assert_eq!(escape(b"\xff\n\\x"), r"\xff\x0a\x5cx");
    }

    #[test]
    fn a_tree_is_written_down() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::write(path.join("file"), "abc").unwrap();
        fs::hard_link(path.join("file"), path.join("again")).unwrap();
        std::os::unix::fs::symlink("file", path.join("link")).unwrap();
        let manifest = Manifest::of(path, true).unwrap();
        let paths: Vec<_> = manifest.entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, [".", "again", "file", "link"]);
        let file = &manifest.entries[2];
        assert_eq!(file.same_as.as_deref(), Some("again"));
        assert_eq!(file.data.as_deref(), Some(&[(0, 3)][..]));
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(file.sha256.as_deref(), Some(sha256));
        assert_eq!(manifest.entries[3].target.as_deref(), Some("file"));
    }
}
