//! Several file systems as one tree, as the guest itself mounts them.

mod written;

use std::collections::BTreeMap;
use std::sync::Arc;

use images::{Error, Extent, Result, unsupported};

use crate::{Entry, FileSystem, FileSystemMut, Forensics, Holds, Kind, NodeId, Properties, Space, Stat, resolve};

/// The top byte of a view's node is the index of the file system, the rest is the node there.
const INDEX_SHIFT: u32 = 56;
/// How many file systems one tree can hold: ours, so that the index fits.
const FILE_SYSTEMS_MAX: usize = 255;

/// File systems mounted into each other. The first has its own node numbers: alone, it is only passed through.
pub struct Mounts {
    mounted: Vec<Arc<dyn FileSystem>>,
    /// The mount points and the roots that cover them, both as nodes of the view.
    covered: BTreeMap<NodeId, NodeId>,
}

impl Mounts {
    /// A tree of this file system alone.
    pub fn new(root: Arc<dyn FileSystem>) -> Self {
        Self { mounted: vec![root], covered: BTreeMap::new() }
    }

    /// Mounts `fs` at a directory, found by its path in what is mounted so far, its links followed. A second mount at
    /// the same place covers the first.
    pub fn mount(&mut self, path: &[u8], fs: Arc<dyn FileSystem>) -> Result<()> {
        let point = resolve(self, path, true)?;
        if self.stat(point)?.kind != Kind::Directory {
            return Err(Error::NotDirectory);
        }
        let index = self.mounted.len();
        if index >= FILE_SYSTEMS_MAX {
            return Err(unsupported!("at most {FILE_SYSTEMS_MAX} file systems can be mounted into one tree"));
        }
        if fs.root().0 >> INDEX_SHIFT != 0 {
            return Err(unsupported!("a tree of several file systems cannot be mounted into another"));
        }
        let root = outer(index, fs.root());
        self.mounted.push(fs);
        self.covered.insert(point, root);
        Ok(())
    }

    /// Mounts a whole tree at a directory, found as by [`Self::mount`]: all that is mounted in it comes along.
    pub fn mount_tree(&mut self, path: &[u8], tree: Self) -> Result<()> {
        let point = resolve(self, path, true)?;
        if self.stat(point)?.kind != Kind::Directory {
            return Err(Error::NotDirectory);
        }
        let first = self.mounted.len();
        if first + tree.mounted.len() > FILE_SYSTEMS_MAX {
            return Err(unsupported!("at most {FILE_SYSTEMS_MAX} file systems can be mounted into one tree"));
        }
        let moved = |node: NodeId| NodeId(node.0 + ((first as u64) << INDEX_SHIFT));
        let root = moved(tree.mounted[0].root());
        self.covered.extend(tree.covered.iter().map(|(point, root)| (moved(*point), moved(*root))));
        self.mounted.extend(tree.mounted);
        self.covered.insert(point, root);
        Ok(())
    }

    /// The file system that holds a node, and its own number for the node.
    pub fn holder(&self, node: NodeId) -> Result<(&dyn FileSystem, NodeId)> {
        let (fs, _, node) = self.inner(node)?;
        Ok((fs, node))
    }

    /// The same with the file system's index.
    fn inner(&self, node: NodeId) -> Result<(&dyn FileSystem, usize, NodeId)> {
        let index = (node.0 >> INDEX_SHIFT) as usize;
        let fs = self.mounted.get(index).ok_or(Error::NotFound)?;
        Ok((fs.as_ref(), index, NodeId(node.0 & ((1 << INDEX_SHIFT) - 1))))
    }

    /// What is seen of a node that a file system gave: the node, or the root that covers it. The place that is covered is
    /// held by its mount.
    fn shown(&self, fs: &dyn FileSystem, index: usize, node: NodeId) -> NodeId {
        let found = outer(index, node);
        let shown = self.uncovered(found);
        if shown != found
            && let Some(holds) = fs.holds()
        {
            holds.forget(node, 1);
        }
        shown
    }

    /// The root that is mounted on a node, or the node.
    fn uncovered(&self, mut node: NodeId) -> NodeId {
        // Ends: a root has a higher index than the place that it covers.
        while let Some(root) = self.covered.get(&node) {
            node = *root;
        }
        node
    }
}

impl Holds for Mounts {
    fn hold(&self, node: NodeId) -> Result<()> {
        let (fs, _, node) = self.inner(node)?;
        fs.holds().map_or(Ok(()), |holds| holds.hold(node))
    }

    fn forget(&self, node: NodeId, times: u64) {
        let Ok((fs, _, node)) = self.inner(node) else { return };
        if let Some(holds) = fs.holds() {
            holds.forget(node, times);
        }
    }
}

/// The view's number for a node of the file system with this index.
fn outer(index: usize, node: NodeId) -> NodeId {
    debug_assert_eq!(node.0 >> INDEX_SHIFT, 0, "a driver's nodes leave the top byte to the views");
    NodeId(node.0 | (index as u64) << INDEX_SHIFT)
}

impl FileSystem for Mounts {
    fn properties(&self, node: NodeId) -> &Properties {
        match self.inner(node) {
            Ok((fs, _, node)) => fs.properties(node),
            Err(_) => self.mounted[0].properties(self.mounted[0].root()),
        }
    }

    fn space(&self, node: NodeId) -> Result<Space> {
        let (fs, _, node) = self.inner(node)?;
        fs.space(node)
    }

    fn root(&self) -> NodeId {
        self.uncovered(self.mounted[0].root())
    }

    fn stat(&self, node: NodeId) -> Result<Stat> {
        let (fs, _, node) = self.inner(node)?;
        fs.stat(node)
    }

    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        let (fs, index, dir) = self.inner(dir)?;
        let found = fs.lookup(dir, name)?;
        Ok(self.shown(fs, index, found))
    }

    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        let (fs, index, dir) = self.inner(dir)?;
        if self.covered.is_empty() {
            return fs.read_dir(dir, from, each);
        }
        fs.read_dir(dir, from, &mut |entry| {
            let node = self.shown(fs, index, entry.node);
            each(Entry { node, ..entry })
        })
    }

    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        let (fs, _, file) = self.inner(file)?;
        fs.read_at(file, buf, offset)
    }

    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        let (fs, _, link) = self.inner(link)?;
        fs.read_link(link)
    }

    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        let (fs, _, file) = self.inner(file)?;
        fs.extent_at(file, offset)
    }

    fn xattrs(&self, node: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let (fs, _, node) = self.inner(node)?;
        fs.xattrs(node)
    }

    fn may_have_xattr(&self, name: &[u8]) -> bool {
        self.mounted.iter().any(|fs| fs.may_have_xattr(name))
    }

    fn holds(&self) -> Option<&dyn Holds> {
        self.mounted.iter().any(|fs| fs.holds().is_some()).then_some(self)
    }

    /// Those of the file system, if there is one; several are asked each for itself, see [`Self::holder`].
    fn forensics(&self) -> Result<&dyn Forensics> {
        match &self.mounted[..] {
            [only] => only.forensics(),
            several => {
                Err(unsupported!("it is made of {} file systems, which are looked into one by one", several.len()))
            }
        }
    }

    fn writer(&self, node: NodeId) -> Result<&dyn FileSystemMut> {
        let (fs, _, node) = self.inner(node)?;
        fs.writer(node).map(|_| self as &dyn FileSystemMut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::sample::Sample;
    use crate::{Memory, New, NewContent, Rename, read_file};

    fn guest() -> Mounts {
        Mounts::new(Arc::new(Sample::new(&[
            ("boot/", ""),
            ("boot/hidden", "h"),
            ("run/", ""),
            ("var/", ""),
            ("var/run", "-> /run"),
            ("file", "f"),
        ])))
    }

    fn content(view: &Mounts, path: &str) -> Result<Vec<u8>> {
        read_file(view, resolve(view, path.as_bytes(), true)?, 100)
    }

    #[test]
    fn mounts_cover_directories() {
        let mut view = guest();
        assert_eq!(content(&view, "boot/hidden").unwrap(), b"h");
        view.mount(b"/boot", Arc::new(Sample::new(&[("efi/", ""), ("kernel", "k")]))).unwrap();
        view.mount(b"/boot/efi", Arc::new(Sample::new(&[("grub", "g"), ("up", "-> ../../file")]))).unwrap();
        view.mount(b"/var/run/", Arc::new(Sample::new(&[("lock", "l")]))).unwrap();
        assert!(matches!(content(&view, "boot/hidden"), Err(Error::NotFound)));
        assert_eq!(content(&view, "boot/kernel").unwrap(), b"k");
        assert_eq!(content(&view, "boot/efi/grub").unwrap(), b"g");
        assert_eq!(content(&view, "run/lock").unwrap(), b"l", "mounted through the guest's link");
        assert_eq!(content(&view, "boot/efi/../../file").unwrap(), b"f", "`..` leaves a mounted root");
        assert_eq!(content(&view, "boot/efi/up").unwrap(), b"f");
        let boot = resolve(&view, b"boot", true).unwrap();
        assert_eq!(view.space(boot).unwrap().files, 3, "the mounted one's");
        let mut listed = None;
        let mut see = |entry: Entry<'_>| {
            if entry.name == b"boot" {
                listed = Some(entry.node);
            }
            true
        };
        view.read_dir(view.root(), 0, &mut see).unwrap();
        assert_eq!(listed, Some(boot), "listed as looked up");
    }

    #[test]
    fn each_file_system_is_written_by_its_own() {
        let (root, home) = (Arc::new(Memory::new(1 << 20)), Arc::new(Memory::new(1 << 20)));
        let mut view = Mounts::new(root.clone());
        let new = New { content: NewContent::Directory, permissions: 0o755, umask: 0, owner: 0, group: 0, xattrs: &[] };
        for name in ["home", "boot", "tmp"] {
            view.writer(view.root()).unwrap().create(view.root(), name.as_bytes(), &new).unwrap();
        }
        view.mount(b"/home", home.clone()).unwrap();
        view.mount(b"/boot", Arc::new(Sample::new(&[("kernel", "k")]))).unwrap();
        let at = |path: &str| resolve(&view, path.as_bytes(), true).unwrap();
        let (top, home_dir) = (view.root(), at("home"));
        let file = New { content: NewContent::File, ..new };
        let made = view.create(home_dir, b"mine", &file).unwrap();
        assert_eq!((made, at("home/mine")), (made, made));
        view.write_at(made, b"text", 0).unwrap();
        assert_eq!(content(&view, "home/mine").unwrap(), b"text");
        let rename = |from: (NodeId, &str), to: (NodeId, &str)| {
            view.rename((from.0, from.1.as_bytes()), (to.0, to.1.as_bytes()), Rename::Replace)
        };
        assert!(matches!(rename((home_dir, "mine"), (top, "mine")), Err(Error::CrossDevice)));
        assert!(matches!(view.link(made, top, b"mine"), Err(Error::CrossDevice)));
        assert!(matches!(rename((top, "home"), (top, "house")), Err(Error::Busy)));
        assert!(matches!(rename((top, "tmp"), (top, "home")), Err(Error::Busy)));
        assert!(matches!(view.remove_dir(top, b"home"), Err(Error::Busy)));
        view.remove_dir(top, b"tmp").unwrap();
        assert!(matches!(view.writer(at("boot")), Err(Error::ReadOnly(_))));
        assert!(matches!(view.create(at("boot"), b"x", &file), Err(Error::ReadOnly(_))));
        view.sync(Some(made), false).unwrap();
        view.close().unwrap();
        assert!(root.is_closed() && home.is_closed());
    }

    #[test]
    fn whole_trees_are_mounted() {
        let mut inner = guest();
        inner.mount(b"boot", Arc::new(Sample::new(&[("efi/", ""), ("kernel", "k")]))).unwrap();
        inner.mount(b"boot/efi", Arc::new(Sample::new(&[("grub", "g")]))).unwrap();
        let mut view = guest();
        view.mount(b"var", Arc::new(Sample::new(&[("lib/", "")]))).unwrap();
        view.mount_tree(b"/var/lib", inner).unwrap();
        assert_eq!(content(&view, "file").unwrap(), b"f");
        assert_eq!(content(&view, "var/lib/file").unwrap(), b"f");
        assert_eq!(content(&view, "var/lib/boot/kernel").unwrap(), b"k");
        assert_eq!(content(&view, "var/lib/boot/efi/grub").unwrap(), b"g");
        let mut covered = guest();
        covered.mount(b"/", Arc::new(Sample::new(&[("top", "t")]))).unwrap();
        view.mount_tree(b"boot", covered).unwrap();
        assert_eq!(content(&view, "boot/top").unwrap(), b"t", "with its root covered");
        assert!(matches!(view.mount_tree(b"/file", guest()), Err(Error::NotDirectory)));
    }

    #[test]
    fn the_last_mount_wins() {
        let mut view = guest();
        for content in ["1", "2", "3"] {
            view.mount(b"boot", Arc::new(Sample::new(&[("n", content)]))).unwrap();
        }
        assert_eq!(content(&view, "boot/n").unwrap(), b"3");
        view.mount(b"/", Arc::new(Sample::new(&[("top", "t")]))).unwrap();
        assert_eq!(content(&view, "top").unwrap(), b"t");
        assert!(content(&view, "boot/n").is_err(), "the old root is covered");
    }

    #[test]
    fn bad_mounts_are_refused() {
        let mut view = guest();
        let fs = || Arc::new(Sample::new(&[]));
        assert!(matches!(view.mount(b"/none", fs()), Err(Error::NotFound)));
        assert!(matches!(view.mount(b"/file", fs()), Err(Error::NotDirectory)));
        let mut other = guest();
        other.mount(b"/", fs()).unwrap();
        assert!(matches!(view.mount(b"/boot", Arc::new(other)), Err(Error::Unsupported(_))));
        for _ in 1..FILE_SYSTEMS_MAX {
            view.mount(b"boot", fs()).unwrap();
        }
        assert!(matches!(view.mount(b"boot", fs()), Err(Error::Unsupported(_))));
        assert!(matches!(view.stat(NodeId(u64::MAX)), Err(Error::NotFound)));
    }
}
