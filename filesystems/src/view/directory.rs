//! A directory made of names alone: the places at which file systems are mounted side by side.

use std::sync::Arc;

use images::{Error, Extent, Result, unsupported};

use super::Mounts;
use crate::{Entry, FileSystem, Info, Kind, NodeId, Stat, Time};

/// A root directory with empty directories in it, and nothing else.
pub struct Directory {
    names: Vec<Vec<u8>>,
}

/// The root; the directory with index `i` is `FIRST + i`.
const ROOT: u64 = 1;
const FIRST: u64 = 2;
/// The longest name in bytes: Linux's NAME_MAX.
const NAME_MAX: usize = 255;

impl Directory {
    /// A directory with these names, in this order. They must be usable and differ.
    pub fn new(names: Vec<Vec<u8>>) -> Result<Self> {
        for (index, name) in names.iter().enumerate() {
            let text = String::from_utf8_lossy(name);
            if name.is_empty() || name.len() > NAME_MAX || matches!(&name[..], b"." | b"..") {
                return Err(unsupported!("{text:?} cannot be the name of a directory"));
            }
            if name.iter().any(|byte| matches!(byte, 0 | b'/')) {
                return Err(unsupported!("{text:?} cannot be the name of a directory"));
            }
            if names[..index].contains(name) {
                return Err(Error::Ambiguous(format!("two directories are to be called {text:?}")));
            }
        }
        Ok(Self { names })
    }

    /// File systems side by side, each as a directory of this name.
    pub fn of(members: Vec<(Vec<u8>, Arc<dyn FileSystem>)>) -> Result<Mounts> {
        let names = members.iter().map(|(name, _)| name.clone()).collect();
        let mut mounts = Mounts::new(Arc::new(Self::new(names)?));
        for (name, fs) in members {
            mounts.mount(&name, fs)?;
        }
        Ok(mounts)
    }

    fn check(&self, node: NodeId) -> Result<()> {
        let end = FIRST + self.names.len() as u64;
        if (ROOT..end).contains(&node.0) { Ok(()) } else { Err(Error::NotFound) }
    }
}

impl FileSystem for Directory {
    fn info(&self, _: NodeId) -> Result<Info> {
        Ok(Info {
            kind: "directory".into(),
            block_size: 4096,
            name_max: NAME_MAX as u32,
            read_only: "the directory of the file systems is made up".into(),
            ..Info::default()
        })
    }

    fn root(&self) -> NodeId {
        NodeId(ROOT)
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        self.check(node)?;
        let children = if node.0 == ROOT { self.names.len() } else { 0 };
        Ok(Stat {
            kind: Kind::Directory,
            permissions: 0o755,
            links: 2 + u32::try_from(children).unwrap_or(u32::MAX - 2),
            owner: 0,
            group: 0,
            size: 0,
            blocks: 0,
            device: (0, 0),
            accessed: Time::default(),
            modified: Time::default(),
            changed: Time::default(),
            created: None,
        })
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        self.check(dir)?;
        let found = self.names.iter().position(|known| dir.0 == ROOT && known == name);
        found.map(|index| NodeId(FIRST + index as u64)).ok_or(Error::NotFound)
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        self.check(dir)?;
        if dir.0 != ROOT {
            return Ok(());
        }
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for (index, name) in self.names.iter().enumerate().skip(from) {
            let (node, next) = (NodeId(FIRST + index as u64), index as u64 + 1);
            if !each(Entry { name, node, kind: Some(Kind::Directory), next }) {
                break;
            }
        }
        Ok(())
    }

    fn read_at(&self, file: NodeId, _: &mut [u8], _: u64) -> Result<usize> {
        self.check(file)?;
        Err(Error::IsDirectory)
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        self.check(link)?;
        Err(Error::Invalid)
    }

    fn extent_at(&self, file: NodeId, _: u64) -> Result<Extent<'_>> {
        self.check(file)?;
        Err(Error::IsDirectory)
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
    fn bad_names_are_refused() {
        for names in [&["a", "a"][..], &[""], &[".."], &["a/b"], &["."]] {
            let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
            assert!(Directory::new(names).is_err());
        }
    }
}
