//! Names in directories in directories: what is common to the trees that are made up.

use images::{Error, Result, unsupported};

use crate::{Entry, Identity, Kind, NodeId, Properties, Space, Stat};

/// The root; the node with index `i` is `FIRST + i`.
const FIRST: u64 = 1;
/// The longest name in bytes: Linux's NAME_MAX.
const NAME_MAX: u32 = 255;
/// The unit in which there are no blocks, in bytes: a page.
const BLOCK_SIZE: u32 = 4096;

/// A tree of names. Each of the paths that it was made from is an end, known by its index; what is above is made up.
pub(super) struct Hierarchy {
    nodes: Vec<Node>,
    properties: Properties,
}

struct Node {
    name: Vec<u8>,
    /// Which of the paths ends here.
    end: Option<usize>,
    /// Indices of nodes, in the order of the paths.
    children: Vec<usize>,
}

impl Hierarchy {
    /// A tree of these paths, relative and without `.` and `..`. They must differ; if `leaves`
    /// is set, none may lead through another.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a [u8]>, leaves: bool) -> Result<Self> {
        let properties = Properties {
            identity: Identity { kind: "directory".into(), ..Identity::default() },
            name_max: NAME_MAX,
            ..Properties::default()
        };
        let mut tree = Self { nodes: vec![Node { name: Vec::new(), end: None, children: Vec::new() }], properties };
        for (end, path) in paths.into_iter().enumerate() {
            let text = String::from_utf8_lossy(path);
            let mut at = 0;
            for name in path.split(|byte| *byte == b'/') {
                if name.is_empty()
                    || name.len() > NAME_MAX as usize
                    || name.contains(&0)
                    || matches!(name, b"." | b"..")
                {
                    return Err(unsupported!("{text:?} cannot be the name of a directory"));
                }
                if leaves && tree.nodes[at].end.is_some() {
                    return Err(Error::Ambiguous(format!("{text:?} leads through another name")));
                }
                at = tree.child(at, name).unwrap_or_else(|| tree.add(at, name));
            }
            let node = &mut tree.nodes[at];
            if node.end.is_some() || leaves && !node.children.is_empty() {
                return Err(Error::Ambiguous(format!("two directories are to be called {text:?}")));
            }
            node.end = Some(end);
        }
        Ok(tree)
    }

    fn add(&mut self, parent: usize, name: &[u8]) -> usize {
        let at = self.nodes.len();
        self.nodes.push(Node { name: name.to_vec(), end: None, children: Vec::new() });
        self.nodes[parent].children.push(at);
        at
    }

    fn child(&self, parent: usize, name: &[u8]) -> Option<usize> {
        self.nodes[parent].children.iter().copied().find(|&at| self.nodes[at].name == name)
    }

    fn index(&self, node: NodeId) -> Result<usize> {
        let index = node.0.checked_sub(FIRST).and_then(|index| usize::try_from(index).ok());
        index.filter(|&index| index < self.nodes.len()).ok_or(Error::NotFound)
    }

    /// Which of the paths ends at this node, if one does.
    pub fn end(&self, node: NodeId) -> Result<Option<usize>> {
        Ok(self.nodes[self.index(node)?].end)
    }

    pub fn root(&self) -> NodeId {
        NodeId(FIRST)
    }

    /// The attributes that a made-up directory has.
    pub fn stat(&self, node: NodeId) -> Result<Stat> {
        let children = self.nodes[self.index(node)?].children.len();
        let subdirectories = u32::try_from(children).unwrap_or(u32::MAX - 2);
        Ok(Stat { links: 2 + subdirectories, ..Stat::directory() })
    }

    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// The space of names that take none.
    pub fn space(&self) -> Space {
        Space { block_size: BLOCK_SIZE, ..Space::default() }
    }

    pub fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let found = self.child(self.index(dir)?, name).ok_or(Error::NotFound)?;
        Ok(NodeId(FIRST + found as u64))
    }

    /// As a file system reads a directory; `ends` is the kind of the nodes at which paths end.
    pub fn read_dir(&self, dir: NodeId, from: u64, ends: Kind, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for (position, &at) in self.nodes[self.index(dir)?].children.iter().enumerate().skip(from) {
            let (child, node) = (&self.nodes[at], NodeId(FIRST + at as u64));
            let kind = Some(if child.end.is_some() { ends } else { Kind::Directory });
            if !each(Entry { name: &child.name, node, kind, next: position as u64 + 1 }) {
                break;
            }
        }
        Ok(())
    }
}
