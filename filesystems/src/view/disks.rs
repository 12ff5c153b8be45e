//! Disks as files: each under its name, as long as the disk, with its holes.

use std::sync::Arc;

use images::{Disk, Error, Extent, Result, read_only, unsupported};

use super::hierarchy::Hierarchy;
use crate::{Entry, FileSystem, FileSystemMut, Forensics, Kind, NodeId, Properties, Space, Stat};

/// A directory of read-only files, each of which is a disk.
pub struct Disks {
    names: Hierarchy,
    members: Vec<Member>,
    attributes: Box<Attributes>,
}

/// The attributes of the member with this index, made from those that it would have otherwise.
type Attributes = dyn Fn(usize, Stat) -> Stat + Send + Sync;

/// One disk as a file.
pub struct Member {
    /// Its name; a path stands for directories that are made.
    pub name: Vec<u8>,
    /// Its content.
    pub disk: Arc<dyn Disk>,
    /// How many of its bytes are no hole, as `st_blocks` is to say; copying programs look for holes if it is less than
    /// the size.
    pub allocated: u64,
}

impl Disks {
    /// A directory with these files. The names must be usable and differ, and no file lie in another.
    pub fn new(members: Vec<Member>) -> Result<Self> {
        let names = Hierarchy::new(members.iter().map(|member| &member.name[..]), true)?;
        Ok(Self { names, members, attributes: Box::new(|_, stat| stat) })
    }

    /// The same files with other attributes: `attributes` gets the index of a member and those that it would have, each
    /// time that somebody asks. Kind and size are not for it to change.
    pub fn with_attributes(self, attributes: impl Fn(usize, Stat) -> Stat + Send + Sync + 'static) -> Self {
        Self { attributes: Box::new(attributes), ..self }
    }

    fn member(&self, node: NodeId) -> Result<&Member> {
        Ok(&self.members[self.index(node)?])
    }

    fn index(&self, node: NodeId) -> Result<usize> {
        let end = self.names.end(node)?;
        end.filter(|&end| end < self.members.len()).ok_or(Error::IsDirectory)
    }
}

impl FileSystem for Disks {
    fn may_have_xattr(&self, _name: &[u8]) -> bool {
        false
    }

    fn properties(&self, _: NodeId) -> &Properties {
        self.names.properties()
    }

    fn space(&self, _: NodeId) -> Result<Space> {
        Ok(self.names.space())
    }

    fn root(&self) -> NodeId {
        self.names.root()
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        let directory = self.names.stat(node)?;
        let Ok(index) = self.index(node) else { return Ok(directory) };
        let member = &self.members[index];
        let file = Stat {
            kind: Kind::File,
            permissions: 0o444,
            links: 1,
            size: member.disk.size(),
            blocks: member.allocated.div_ceil(512),
            ..directory
        };
        Ok((self.attributes)(index, file))
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        match self.member(dir) {
            Ok(_) => Err(Error::NotDirectory),
            Err(_) => self.names.lookup(dir, name),
        }
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        match self.member(dir) {
            Ok(_) => Err(Error::NotDirectory),
            Err(_) => self.names.read_dir(dir, from, Kind::File, each),
        }
    }

    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        let disk = &self.member(file)?.disk;
        let rest = usize::try_from(disk.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buf.len().min(rest);
        if len > 0 {
            disk.read_at(&mut buf[..len], offset)?;
        }
        Ok(len)
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        self.names.end(link)?;
        Err(Error::Invalid)
    }

    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        let disk = &self.member(file)?.disk;
        if offset >= disk.size() { Err(Error::Invalid) } else { disk.extent_at(offset) }
    }

    fn forensics(&self) -> Result<&dyn Forensics> {
        Err(unsupported!("its files are disks as they are now"))
    }

    fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
        Err(read_only!("the directory of the disks is made up"))
    }
}

#[cfg(test)]
mod tests {
    use images::disk::Memory;

    use super::*;
    use crate::{read_file, resolve};

    fn member(name: &str, content: &str) -> Member {
        let disk = Arc::new(Memory::new(name, content.into()));
        Member { name: name.into(), disk, allocated: content.len() as u64 }
    }

    #[test]
    fn disks_are_files() {
        let view = Disks::new(vec![member("sda1", "one"), member("vg/root", "the root"), member("vg/e", "")]).unwrap();
        let node = |path: &str| resolve(&view, path.as_bytes(), true).unwrap();
        assert_eq!(read_file(&view, node("sda1"), 9).unwrap(), b"one");
        assert_eq!(read_file(&view, node("vg/root"), 9).unwrap(), b"the root");
        assert_eq!(read_file(&view, node("vg/e"), 9).unwrap(), b"");
        let mut buf = [0; 9];
        assert_eq!(view.read_at(node("vg/root"), &mut buf, 4).unwrap(), 4, "short at the end");
        assert_eq!(view.read_at(node("vg/root"), &mut buf, u64::MAX).unwrap(), 0);
        assert_eq!(view.stat(node("vg/root")).unwrap().size, 8);
        assert!(view.extent_at(node("sda1"), 3).is_err());
        assert!(matches!(view.read_at(node("vg"), &mut buf, 0), Err(Error::IsDirectory)));
        assert!(matches!(view.lookup(node("sda1"), b"x"), Err(Error::NotDirectory)));
        let mut kinds = Vec::new();
        view.read_dir(view.root(), 0, &mut |entry| {
            kinds.push(entry.kind.unwrap());
            true
        })
        .unwrap();
        assert_eq!(kinds, [Kind::File, Kind::Directory]);
        let [root, group] = [node("vg/root"), node("vg")];
        let view = view.with_attributes(|index, stat| Stat { blocks: stat.blocks + index as u64, ..stat });
        assert_eq!(view.stat(root).unwrap().blocks, 2, "one block, and the second member");
        assert_eq!(view.stat(group).unwrap().blocks, 0);
    }

    #[test]
    fn no_file_lies_in_another() {
        for names in [["a", "a/b"], ["a/b", "a"], ["a", "a"]] {
            assert!(Disks::new(names.map(|name| member(name, "")).into()).is_err(), "{names:?}");
        }
    }
}
