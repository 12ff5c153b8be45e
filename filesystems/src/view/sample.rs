//! A small tree in memory, for the tests of paths and views.

use images::{Data, Error, Extent, Result, read_only, unsupported};

use crate::{Entry, FileSystem, FileSystemMut, Forensics, Kind, NodeId, Properties, Space, Stat};

struct Node {
    parent: u64,
    name: Vec<u8>,
    kind: Kind,
    content: Vec<u8>,
}

/// Nodes by their id, less one; the root is the first and its own parent.
pub(crate) struct Sample(Vec<Node>, Properties);

impl Sample {
    /// A tree of `path, content` in which parents come first: `d/` is a directory, `-> target` a link.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let root = Node { parent: 1, name: Vec::new(), kind: Kind::Directory, content: Vec::new() };
        let mut sample = Self(vec![root], Properties::default());
        for (path, content) in files {
            let (kind, content) = match content.strip_prefix("-> ") {
                _ if path.ends_with('/') => (Kind::Directory, ""),
                Some(target) => (Kind::Symlink, target),
                None => (Kind::File, *content),
            };
            let (parent, name) =
                path.trim_end_matches('/').rsplit_once('/').unwrap_or(("", path.trim_end_matches('/')));
            let parent = crate::resolve(&sample, parent.as_bytes(), false).unwrap().0;
            sample.0.push(Node { parent, name: name.into(), kind, content: content.into() });
        }
        sample
    }

    fn node(&self, node: NodeId) -> Result<&Node> {
        usize::try_from(node.0).ok().and_then(|id| self.0.get(id.checked_sub(1)?)).ok_or(Error::NotFound)
    }
}

impl FileSystem for Sample {
    fn properties(&self, _: NodeId) -> &Properties {
        &self.1
    }

    fn space(&self, _: NodeId) -> Result<Space> {
        Ok(Space { files: self.0.len() as u64, ..Space::default() })
    }

    fn root(&self) -> NodeId {
        NodeId(1)
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        let node = self.node(node)?;
        Ok(Stat { kind: node.kind, links: 1, size: node.content.len() as u64, ..Stat::directory() })
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let mut found = Err(Error::NotFound);
        self.read_dir(dir, 0, &mut |entry| {
            if entry.name == name {
                found = Ok(entry.node);
            }
            true
        })?;
        found
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        if self.node(dir)?.kind != Kind::Directory {
            return Err(Error::NotDirectory);
        }
        for (node, id) in self.0.iter().zip(1..).skip(1.max(from as usize)) {
            let entry = Entry { name: &node.name, node: NodeId(id), kind: Some(node.kind), next: id };
            if node.parent == dir.0 && !each(entry) {
                break;
            }
        }
        Ok(())
    }

    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        let rest = self.node(file)?.content.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        match self.node(link)? {
            node if node.kind == Kind::Symlink => Ok(node.content.clone()),
            _ => Err(Error::Invalid),
        }
    }

    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        Ok(Extent { len: self.node(file)?.content.len() as u64 - offset, data: Data::Opaque })
    }

    fn forensics(&self) -> Result<&dyn Forensics> {
        Err(unsupported!("a sample never held anything else"))
    }

    fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
        Err(read_only!("a sample is not written"))
    }
}
