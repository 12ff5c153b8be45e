//! What was deleted from a file system, as a tree: each node in its directory, under its name, with the evidence.

mod tree;

use std::sync::{Arc, OnceLock};

use images::{Budget, Error, Extent, Result, ResultExt, read_only, unsupported};

use self::tree::{Tree, What};
use crate::{Deleted, Entry, FileSystem, FileSystemMut, Forensics, NodeId, Properties, Space, Stat};

/// All attributes that tell of a deletion begin like this; the guest's own of such names are not shown.
const PREFIX: &str = "user.imgmount.";

/// The deleted nodes of a file system in the directories in which they were.
///
/// Directories that are still there appear with their own attributes where something deleted lies below them, and hold
/// nothing else. Nodes whose directory nobody remembers are in `orphans`. Of several nodes with one path the one that
/// was deleted last has the plain name, the others are `name#inode`; older versions are `name#inode@N`. A node without
/// a name is `#inode`. What is read is the driver's node.
///
/// The search runs once, when something below the root is first asked for.
pub struct DeletedFiles {
    fs: Arc<dyn FileSystem>,
    device: String,
    properties: Properties,
    tree: OnceLock<std::result::Result<Tree, Arc<Error>>>,
    budget: Budget,
}

/// A deleted node and its place in the tree.
#[derive(Clone, Copy)]
pub struct Found<'a> {
    /// What the driver says of it; its `node` is the driver's.
    pub deleted: &'a Deleted,
    /// Its node in this view.
    pub node: NodeId,
}

impl DeletedFiles {
    /// What was deleted from `fs`, which lies on the device of this name. What `budget` does not hold is not shown, which
    /// is said.
    pub fn new(fs: Arc<dyn FileSystem>, device: impl Into<String>, budget: Budget) -> Self {
        let of_source = fs.properties(fs.root()).clone();
        let properties = Properties { case_insensitive: false, name_max: tree::NAME_MAX, ..of_source };
        Self { fs, device: device.into(), properties, tree: OnceLock::new(), budget }
    }

    /// The file system from which it was deleted.
    pub fn source(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    /// Everything that is in the tree, in the order of the paths; parents come before what is in them.
    pub fn found(&self) -> Result<impl Iterator<Item = Found<'_>>> {
        let tree = self.tree()?;
        Ok(tree.in_order().map(|(place, index)| Found { deleted: &tree.deleted[index], node: node(place) }))
    }

    /// All that the driver found, with the versions of directories that have no place in the tree.
    pub fn all(&self) -> Result<&[Deleted]> {
        Ok(&self.tree()?.deleted)
    }

    /// The path of a node of this view, without a slash at its start.
    pub fn path(&self, node: NodeId) -> Result<Vec<u8>> {
        let tree = self.tree()?;
        Ok(tree.path(place(tree, node)?))
    }

    /// The node of the file system that stands behind a node of this view; none behind `orphans`.
    pub fn behind(&self, node: NodeId) -> Result<Option<NodeId>> {
        // The root is known without a search.
        if node == self.root() {
            return Ok(Some(self.fs.root()));
        }
        let tree = self.tree()?;
        Ok(match tree.places[place(tree, node)?].what {
            What::Live(node) => Some(node),
            What::Deleted(index) => Some(tree.deleted[index].node),
            What::Orphans => None,
        })
    }

    fn tree(&self) -> Result<&Tree> {
        let tree = self.tree.get_or_init(|| self.search().map_err(Arc::new));
        tree.as_ref().map_err(|error| Error::Shared(error.clone()))
    }

    /// That nothing can be looked for is not that there is nothing.
    fn search(&self) -> Result<Tree> {
        let cannot = |why| unsupported!("cannot look for deleted files on {}: {why}", self.device);
        let forensics = self.fs.forensics().map_err(cannot)?;
        Tree::of(&*self.fs, forensics, &self.budget).within(&self.device)
    }

    /// The driver's node, for what only nodes other than `orphans` have.
    fn inner(&self, node: NodeId) -> Result<NodeId> {
        self.behind(node)?.ok_or(Error::IsDirectory)
    }
}

/// The number of the root is 1.
fn node(place: usize) -> NodeId {
    NodeId(place as u64 + 1)
}

fn place(tree: &Tree, node: NodeId) -> Result<usize> {
    let place = node.0.checked_sub(1).and_then(|place| usize::try_from(place).ok());
    place.filter(|&place| place < tree.places.len()).ok_or(Error::NotFound)
}

impl FileSystem for DeletedFiles {
    fn properties(&self, _: NodeId) -> &Properties {
        &self.properties
    }

    fn space(&self, _: NodeId) -> Result<Space> {
        self.fs.space(self.fs.root())
    }

    fn root(&self) -> NodeId {
        node(tree::ROOT)
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        match self.behind(node)? {
            Some(inner) => self.fs.stat(inner),
            None => {
                let root = self.fs.stat(self.fs.root())?;
                Ok(Stat { permissions: 0o700, links: 2, size: 0, blocks: 0, ..root })
            }
        }
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let tree = self.tree()?;
        tree.child(place(tree, dir)?, name).map(node).ok_or(Error::NotFound)
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        let tree = self.tree()?;
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        for (position, &at) in tree.places[place(tree, dir)?].children.iter().enumerate().skip(from) {
            let child = &tree.places[at];
            if !each(Entry { name: &child.name, node: node(at), kind: child.kind, next: position as u64 + 1 }) {
                break;
            }
        }
        Ok(())
    }

    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.fs.read_at(self.inner(file)?, buf, offset)
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        self.fs.read_link(self.behind(link)?.ok_or(Error::Invalid)?)
    }

    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        self.fs.extent_at(self.inner(file)?, offset)
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let Some(inner) = self.behind(node)? else { return Ok(Vec::new()) };
        if node == self.root() {
            return self.fs.xattrs(inner);
        }
        let tree = self.tree()?;
        let at = place(tree, node)?;
        let What::Deleted(index) = tree.places[at].what else { return self.fs.xattrs(inner) };
        let mut all = evidence(&tree.deleted[index], &self.device, tree.path(at));
        match self.fs.xattrs(inner) {
            Ok(own) => all.extend(own.into_iter().filter(|(name, _)| !name.starts_with(PREFIX.as_bytes()))),
            // The evidence must be seen all the same.
            Err(error) => all.push((format!("{PREFIX}xattrs_lost").into(), error.to_string().into())),
        }
        Ok(all)
    }

    fn forensics(&self) -> Result<&dyn Forensics> {
        Err(unsupported!("it shows deleted files, and none are deleted from it"))
    }

    fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
        Err(read_only!("deleted files are shown as they were, and are not written"))
    }
}

/// What is known of a deleted node, as extended attributes.
fn evidence(deleted: &Deleted, device: &str, path: Vec<u8>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let lost: Vec<_> = deleted.lost.iter().map(|lost| format!("{}+{}", lost.start, lost.end - lost.start)).collect();
    let lines: Vec<_> = deleted.evidence.iter().map(ToString::to_string).collect();
    let texts = [
        ("state", Some(deleted.state.to_string())),
        ("lost", Some(lost.join(" ")).filter(|text| !text.is_empty())),
        ("inode", Some(deleted.number.to_string())),
        ("generation", deleted.generation.map(|generation| generation.to_string())),
        ("version", Some(deleted.version.to_string())),
        ("deleted", deleted.deleted.map(|time| time.to_string())),
        ("evidence", Some(lines.join("\n")).filter(|text| !text.is_empty())),
        ("device", Some(device.to_owned())),
    ];
    let known = texts.into_iter().filter_map(|(name, text)| Some((name, text?.into_bytes())));
    let path = [&b"/"[..], &path].concat();
    known.chain([("path", path)]).map(|(name, value)| (format!("{PREFIX}{name}").into(), value)).collect()
}

#[cfg(test)]
mod tests;
