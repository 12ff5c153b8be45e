//! A guest's tree asked by path: the words in which the rules of inspection are written.

use filesystems::path::{read_file, resolve};
use filesystems::{FileSystem, Kind, NodeId};
use images::{Error, Result};

use super::effort::{Counted, Effort};

/// Text files of a guest that are larger than this, in bytes, are not configuration; ours.
const TEXT_LIMIT: u64 = 1 << 20;

/// Lines of configuration that are longer than this, in bytes, are none; ours, the kernel's PATH_MAX. What is kept of a
/// guest is made of lines.
const LINE_LIMIT: usize = 4096;

/// A file system, asked by absolute paths. Symbolic links are followed inside the tree.
///
/// Something that cannot be read is not there, and said in the log: one damaged file must not end an inspection.
pub struct Tree<'a>(pub Counted<'a>);

impl<'a> Tree<'a> {
    /// This file system; what is asked of it counts.
    pub fn new(fs: &'a dyn FileSystem, effort: &'a Effort) -> Self {
        Self(Counted { fs, effort })
    }

    /// The node at `path`.
    fn node(&self, path: &str, follow: bool) -> Option<NodeId> {
        logged(path, resolve(&self.0, path.as_bytes(), follow))
    }

    /// What kind of node is at `path`.
    pub fn kind(&self, path: &str) -> Option<Kind> {
        let node = self.node(path, true)?;
        logged(path, self.0.stat(node)).map(|stat| stat.kind)
    }

    /// Whether `path` is a directory.
    pub fn is_dir(&self, path: &str) -> bool {
        self.kind(path) == Some(Kind::Directory)
    }

    /// Whether `path` is a regular file.
    pub fn is_file(&self, path: &str) -> bool {
        self.kind(path) == Some(Kind::File)
    }

    /// The target of the symbolic link at `path`, if it is one.
    pub fn link(&self, path: &str) -> Option<Vec<u8>> {
        let node = self.node(path, false)?;
        match logged(path, self.0.stat(node))?.kind {
            Kind::Symlink => logged(path, self.0.read_link(node)),
            _ => None,
        }
    }

    /// The content of a text file, with anything that is not UTF-8 replaced, and empty lines in place of those that are too
    /// long.
    pub fn text(&self, path: &str) -> Option<String> {
        let node = self.node(path, true)?;
        if logged(path, self.0.stat(node))?.kind != Kind::File {
            return None;
        }
        let bytes = logged(path, read_file(&self.0, node, TEXT_LIMIT))?;
        let mut text = String::with_capacity(bytes.len());
        for line in String::from_utf8_lossy(&bytes).lines() {
            if line.len() <= LINE_LIMIT {
                text += line;
            } else {
                log::warn!("inspection passes over a line of {} bytes in {path}", line.len());
            }
            text.push('\n');
        }
        Some(text)
    }

    /// The first line of a text file that holds more than white space, without white space around it.
    pub fn first_line(&self, path: &str) -> Option<String> {
        self.text(path)?.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    }

    /// The first `buf.len()` bytes of a file, fewer if it is shorter.
    pub fn head<'b>(&self, path: &str, buf: &'b mut [u8]) -> Option<&'b [u8]> {
        let node = self.node(path, true)?;
        if logged(path, self.0.stat(node))?.kind != Kind::File {
            return None;
        }
        let len = logged(path, self.0.read_at(node, buf, 0))?;
        buf.get(..len)
    }
}

/// The value; an error that is more than an absence goes to the log.
fn logged<T>(path: &str, result: Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            if !matches!(error.root(), Error::NotFound | Error::NotDirectory) {
                log::warn!("inspection passes over {path}: {error}");
            }
            None
        }
    }
}
