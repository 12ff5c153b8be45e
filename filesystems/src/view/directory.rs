//! Directories made of names alone: the places at which file systems are mounted side by side.

use std::sync::Arc;

use images::{Error, Extent, Result, read_only, unsupported};

use super::Mounts;
use super::hierarchy::Hierarchy;
use crate::{Entry, FileSystem, FileSystemMut, Forensics, Kind, NodeId, Properties, Space, Stat};

/// A root directory with empty directories in it, and nothing else.
pub struct Directory(Hierarchy);

impl Directory {
    /// A directory with these names in it, in this order. A name may be a path: its directories are made. They must be
    /// usable and differ.
    pub fn new(names: &[Vec<u8>]) -> Result<Self> {
        Hierarchy::new(names.iter().map(Vec::as_slice), false).map(Self)
    }

    /// File systems side by side, each as a directory of this name.
    pub fn of(members: Vec<(Vec<u8>, Arc<dyn FileSystem>)>) -> Result<Mounts> {
        let names: Vec<_> = members.iter().map(|(name, _)| name.clone()).collect();
        let mut mounts = Mounts::new(Arc::new(Self::new(&names)?));
        for (name, fs) in members {
            mounts.mount(&name, fs)?;
        }
        Ok(mounts)
    }
}

impl FileSystem for Directory {
    fn may_have_xattr(&self, _name: &[u8]) -> bool {
        false
    }

    fn properties(&self, _: NodeId) -> &Properties {
        self.0.properties()
    }

    fn space(&self, _: NodeId) -> Result<Space> {
        Ok(self.0.space())
    }

    fn root(&self) -> NodeId {
        self.0.root()
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        self.0.stat(node)
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        self.0.lookup(dir, name)
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        self.0.read_dir(dir, from, Kind::Directory, each)
    }

    fn read_at(&self, file: NodeId, _: &mut [u8], _: u64) -> Result<usize> {
        self.0.end(file)?;
        Err(Error::IsDirectory)
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        self.0.end(link)?;
        Err(Error::Invalid)
    }

    fn extent_at(&self, file: NodeId, _: u64) -> Result<Extent<'_>> {
        self.0.end(file)?;
        Err(Error::IsDirectory)
    }

    fn forensics(&self) -> Result<&dyn Forensics> {
        Err(unsupported!("its directories are made up: nothing was ever deleted from them"))
    }

    fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
        Err(read_only!("the directory of the file systems is made up"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample::Sample;
    use crate::{read_file, resolve};

    #[test]
    fn file_systems_side_by_side() {
        let fs = |content| -> Arc<dyn FileSystem> { Arc::new(Sample::new(&[("file", content), ("up", "-> /sda2")])) };
        let view = Directory::of(vec![(b"sda1".to_vec(), fs("one")), (b"sda2".to_vec(), fs("two"))]).unwrap();
        let content = |path: &str| read_file(&view, resolve(&view, path.as_bytes(), true).unwrap(), 9).unwrap();
        assert_eq!(content("sda1/file"), b"one");
        assert_eq!(content("sda2/file"), b"two");
        assert_eq!(content("sda1/up/file"), b"two", "one tree, one root");
        let mut names = Vec::new();
        view.read_dir(view.root(), 1, &mut |entry| {
            assert_eq!(entry.node, view.lookup(view.root(), entry.name).unwrap());
            names.push(entry.name.to_vec());
            true
        })
        .unwrap();
        assert_eq!(names, [b"sda2"]);
        assert_eq!(view.stat(view.root()).unwrap().links, 4);
    }

    #[test]
    fn names_may_be_paths() {
        let fs = |content| -> Arc<dyn FileSystem> { Arc::new(Sample::new(&[("file", content)])) };
        let members = [("vg/root", "r"), ("vg/home", "h"), ("sda1", "s")];
        let view =
            Directory::of(members.map(|(name, content)| (name.as_bytes().to_vec(), fs(content))).to_vec()).unwrap();
        let node = |path: &str| resolve(&view, path.as_bytes(), true).unwrap();
        for (name, content) in members {
            assert_eq!(read_file(&view, node(&format!("{name}/file")), 9).unwrap(), content.as_bytes());
        }
        assert_eq!(view.stat(node("vg")).unwrap().links, 4);
        assert!(matches!(view.lookup(node("vg"), b"sda1"), Err(Error::NotFound)));
    }

    #[test]
    fn bad_names_are_refused() {
        for names in [&["a", "a"][..], &[""], &[".."], &["a//b"], &["a/"], &["/a"], &["."], &["a/b", "a/b"]] {
            let names: Vec<_> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
            assert!(Directory::new(&names).is_err(), "{names:?}");
        }
    }
}
