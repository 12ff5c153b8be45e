//! How the tree changes.

use std::ops::Range;

use images::{Error, Result, read_only, unsupported};

use super::node::{Content, Node, now};
use super::{BLOCK, Memory, NAME_MAX, SIZE_MAX, Tree, is_directory};
use crate::acl::Acl;
use crate::{Allocation, Changes, FileSystemMut, Kind, New, NewContent, NodeId, Rename, SetXattr};

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

/// The most names that a node can have: ext4's.
const LINKS_MAX: u32 = 65000;

/// The bit of a directory that gives its group to what is made in it.
const SET_GROUP_ID: u16 = 0o2000;

impl Memory {
    /// The tree, if it may still be written.
    fn writable(&self) -> Result<std::sync::MutexGuard<'_, Tree>> {
        let tree = self.tree();
        if tree.closed { Err(read_only!("the tree in memory is closed")) } else { Ok(tree) }
    }
}

impl Tree {
    /// Takes a name that is free in a directory that is there.
    fn free_name(&self, dir: NodeId, name: &[u8]) -> Result<()> {
        match self.named(dir, name) {
            Ok(_) => Err(Error::Exists),
            // A directory that was removed and is held takes no names.
            Err(Error::NotFound) if self.node(dir)?.stat.links > 0 => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Gives a name to a node; a directory counts in its parent.
    fn give(&mut self, dir: NodeId, name: &[u8], id: NodeId) -> Result<()> {
        let directory = is_directory(&self.node(id)?.stat);
        let parent = self.node_mut(dir)?;
        parent.names_mut()?.set(name, id);
        parent.stat.links += u32::from(directory);
        parent.is_modified();
        if directory {
            self.node_mut(id)?.parent = dir;
        }
        Ok(())
    }

    /// Takes a name away; the node stays as it is.
    fn take(&mut self, dir: NodeId, name: &[u8], id: NodeId) -> Result<()> {
        let directory = is_directory(&self.node(id)?.stat);
        let parent = self.node_mut(dir)?;
        parent.names_mut()?.remove(name);
        parent.stat.links -= u32::from(directory);
        parent.is_modified();
        Ok(())
    }

    /// Notes that a node has a name less, and ends it with the last.
    fn unlinked(&mut self, id: NodeId) -> Result<()> {
        let node = self.node_mut(id)?;
        node.stat.links = if is_directory(&node.stat) { 0 } else { node.stat.links - 1 };
        node.stat.changed = now();
        self.end(id);
        Ok(())
    }

    /// Whether a directory is another one, or lies below it.
    fn is_below(&self, mut dir: NodeId, above: NodeId) -> bool {
        while dir != super::ROOT {
            if dir == above {
                return true;
            }
            let Ok(node) = self.node(dir) else { return false };
            dir = node.parent;
        }
        above == super::ROOT
    }

    /// Whether a node can be replaced by another one.
    fn replaceable(&self, by: NodeId, there: NodeId) -> Result<()> {
        let there = self.node(there)?;
        match (is_directory(&self.node(by)?.stat), is_directory(&there.stat)) {
            (true, false) => Err(Error::NotDirectory),
            (false, true) => Err(Error::IsDirectory),
            (true, true) if !there.names()?.is_empty() => Err(Error::NotEmpty),
            _ => Ok(()),
        }
    }

    fn exchange(&mut self, from: (NodeId, &[u8]), to: (NodeId, &[u8]), (a, b): (NodeId, NodeId)) -> Result<()> {
        if self.is_below(from.0, b) {
            return Err(Error::Invalid);
        }
        self.take(from.0, from.1, a)?;
        self.take(to.0, to.1, b)?;
        self.give(from.0, from.1, b)?;
        self.give(to.0, to.1, a)?;
        self.node_mut(b)?.stat.changed = now();
        Ok(())
    }

    /// Counts the pages of a file anew after a change of it.
    fn change_pages<T>(&mut self, file: NodeId, change: impl FnOnce(&mut Node) -> Result<T>) -> Result<T> {
        let node = self.node_mut(file)?;
        let before = node.pages();
        let result = change(node);
        let after = node.pages();
        self.used = self.used + after - before;
        result
    }
}

/// The node that is asked for, in a directory of this group, permissions and default list.
fn made(new: &New<'_>, dir: &Node) -> Result<Node> {
    let content = match new.content {
        NewContent::File => Content::File(Default::default()),
        NewContent::Directory => Content::directory(),
        NewContent::Symlink(target) => Content::Symlink(target.to_vec()),
        NewContent::CharDevice(major, minor) => Content::Other(Kind::CharDevice, (major, minor)),
        NewContent::BlockDevice(major, minor) => Content::Other(Kind::BlockDevice, (major, minor)),
        NewContent::Fifo => Content::Other(Kind::Fifo, (0, 0)),
        NewContent::Socket => Content::Other(Kind::Socket, (0, 0)),
    };
    let passes_on = dir.stat.permissions & SET_GROUP_ID != 0;
    let group = if passes_on { dir.stat.group } else { new.group };
    let mut node = Node::new(content, new.permissions & 0o7777, (new.owner, group));
    if is_directory(&node.stat) {
        node.stat.links = 2;
        if passes_on {
            node.stat.permissions |= SET_GROUP_ID;
        }
    }
    match dir.xattrs.get(DEFAULT) {
        _ if node.stat.kind == Kind::Symlink => {}
        None => node.stat.permissions &= !new.umask,
        Some(value) => {
            let acl = Acl::parse(value)?.inherited(node.stat.permissions & 0o777);
            node.stat.permissions = node.stat.permissions & 0o7000 | acl.permissions();
            if !acl.is_minimal() {
                node.xattrs.insert(ACCESS.to_vec(), acl.value());
            }
            if is_directory(&node.stat) {
                node.xattrs.insert(DEFAULT.to_vec(), value.clone());
            }
        }
    }
    node.xattrs.extend(new.xattrs.iter().map(|(name, value)| (name.to_vec(), value.to_vec())));
    Ok(node)
}

impl FileSystemMut for Memory {
    fn create(&self, dir: NodeId, name: &[u8], new: &New<'_>) -> Result<NodeId> {
        let mut tree = self.writable()?;
        tree.free_name(dir, name)?;
        let mut node = made(new, tree.node(dir)?)?;
        node.held = 1;
        let id = NodeId(tree.next);
        tree.next += 1;
        tree.nodes.insert(id.0, node);
        tree.give(dir, name, id)?;
        Ok(id)
    }

    fn link(&self, node: NodeId, dir: NodeId, name: &[u8]) -> Result<()> {
        let mut tree = self.writable()?;
        let stat = tree.node(node)?.stat;
        if is_directory(&stat) {
            return Err(Error::NotPermitted);
        }
        if stat.links == 0 {
            return Err(Error::NotFound);
        }
        if stat.links >= LINKS_MAX {
            return Err(Error::TooManyLinks);
        }
        tree.free_name(dir, name)?;
        tree.give(dir, name, node)?;
        let linked = tree.node_mut(node)?;
        linked.stat.links += 1;
        linked.stat.changed = now();
        Ok(())
    }

    fn remove(&self, dir: NodeId, name: &[u8]) -> Result<()> {
        let mut tree = self.writable()?;
        let id = tree.named(dir, name)?;
        if is_directory(&tree.node(id)?.stat) {
            return Err(Error::IsDirectory);
        }
        tree.take(dir, name, id)?;
        tree.unlinked(id)
    }

    fn remove_dir(&self, dir: NodeId, name: &[u8]) -> Result<()> {
        let mut tree = self.writable()?;
        let id = tree.named(dir, name)?;
        if !tree.node(id)?.names()?.is_empty() {
            return Err(Error::NotEmpty);
        }
        tree.take(dir, name, id)?;
        tree.unlinked(id)
    }

    fn rename(&self, from: (NodeId, &[u8]), to: (NodeId, &[u8]), how: Rename) -> Result<()> {
        let mut tree = self.writable()?;
        let id = tree.named(from.0, from.1)?;
        let there = match tree.named(to.0, to.1) {
            Ok(there) => Some(there),
            Err(Error::NotFound) if how != Rename::Exchange && tree.node(to.0)?.stat.links > 0 => None,
            Err(error) => return Err(error),
        };
        if tree.is_below(to.0, id) {
            return Err(Error::Invalid);
        }
        if let Some(there) = there {
            if how == Rename::NoReplace {
                return Err(Error::Exists);
            }
            // Two names of one node: nothing happens.
            if there == id {
                return Ok(());
            }
            if how == Rename::Exchange {
                tree.exchange(from, to, (id, there))?;
            } else {
                tree.replaceable(id, there)?;
                tree.take(to.0, to.1, there)?;
                tree.unlinked(there)?;
            }
        }
        if how != Rename::Exchange {
            tree.take(from.0, from.1, id)?;
            tree.give(to.0, to.1, id)?;
        }
        tree.node_mut(id)?.stat.changed = now();
        Ok(())
    }

    fn write_at(&self, file: NodeId, data: &[u8], offset: u64) -> Result<()> {
        let mut tree = self.writable()?;
        let end = offset.checked_add(data.len() as u64).filter(|end| *end <= SIZE_MAX).ok_or(Error::TooLarge)?;
        if tree.used + tree.node(file)?.file()?.missing(&(offset..end)) > self.blocks {
            return Err(Error::NoSpace);
        }
        tree.change_pages(file, |node| {
            node.file_mut()?.write(data, offset);
            node.stat.size = node.stat.size.max(end);
            node.is_modified();
            Ok(())
        })
    }

    fn allocate(&self, file: NodeId, bytes: Range<u64>, how: Allocation) -> Result<()> {
        let mut tree = self.writable()?;
        let size = tree.node(file)?.stat.size;
        if bytes.is_empty() {
            return Err(Error::Invalid);
        }
        let keeps = matches!(how, Allocation::KeepSize | Allocation::PunchHole | Allocation::Zero { keep_size: true });
        let takes = matches!(how, Allocation::Extend | Allocation::KeepSize | Allocation::Zero { .. });
        if bytes.end > SIZE_MAX {
            return Err(Error::TooLarge);
        }
        if takes && tree.used + tree.node(file)?.file()?.missing(&bytes) > self.blocks {
            return Err(Error::NoSpace);
        }
        let len = bytes.end - bytes.start;
        let cuts = matches!(how, Allocation::Collapse | Allocation::Insert);
        if cuts && (!(bytes.start | len).is_multiple_of(BLOCK) || bytes.start >= size) {
            return Err(Error::Invalid);
        }
        if how == Allocation::Collapse && bytes.end >= size {
            return Err(Error::Invalid);
        }
        if how == Allocation::Insert && size + len > SIZE_MAX {
            return Err(Error::TooLarge);
        }
        tree.change_pages(file, |node| {
            let pages = node.file_mut()?;
            match how {
                Allocation::Extend | Allocation::KeepSize => pages.fill(&bytes),
                Allocation::PunchHole => pages.zero(&bytes),
                Allocation::Zero { .. } => {
                    pages.zero(&bytes);
                    pages.fill(&bytes);
                }
                Allocation::Collapse => {
                    pages.zero(&bytes);
                    pages.shift(bytes.end / BLOCK, -(len / BLOCK).cast_signed());
                    node.stat.size -= len;
                }
                Allocation::Insert => {
                    pages.shift(bytes.start / BLOCK, (len / BLOCK).cast_signed());
                    node.stat.size += len;
                }
            }
            if !keeps && !cuts {
                node.stat.size = node.stat.size.max(bytes.end);
            }
            node.is_modified();
            Ok(())
        })
    }

    fn set_stat(&self, node: NodeId, changes: &Changes) -> Result<()> {
        let mut tree = self.writable()?;
        if let Some(size) = changes.size {
            tree.node(node)?.file()?;
            if size > SIZE_MAX {
                return Err(Error::TooLarge);
            }
            tree.change_pages(node, |file| {
                let pages = file.file_mut()?;
                // To the end of the last page, and whatever was allocated behind.
                pages.zero(&(size..SIZE_MAX));
                file.stat.size = size;
                file.is_modified();
                Ok(())
            })?;
        }
        let node = tree.node_mut(node)?;
        if let Some(permissions) = changes.permissions {
            node.stat.permissions = permissions & 0o7777;
            if let Some(value) = node.xattrs.get_mut(ACCESS) {
                *value = Acl::parse(value)?.with_permissions(permissions & 0o777).value();
            }
        }
        node.stat.owner = changes.owner.unwrap_or(node.stat.owner);
        node.stat.group = changes.group.unwrap_or(node.stat.group);
        node.stat.accessed = changes.accessed.unwrap_or(node.stat.accessed);
        node.stat.modified = changes.modified.unwrap_or(node.stat.modified);
        node.stat.changed = changes.changed.unwrap_or_else(now);
        Ok(())
    }

    fn set_xattr(&self, node: NodeId, name: &[u8], value: Option<&[u8]>, how: SetXattr) -> Result<()> {
        let mut tree = self.writable()?;
        let node = tree.node_mut(node)?;
        let known = [&b"user."[..], b"trusted.", b"security."].iter().any(|prefix| name.starts_with(prefix));
        if name.len() > NAME_MAX || !(known || name == ACCESS || name == DEFAULT) {
            return Err(unsupported!("attribute {}", name.escape_ascii()));
        }
        match (node.xattrs.contains_key(name), how) {
            (true, SetXattr::Create) => return Err(Error::Exists),
            (false, SetXattr::Replace) => return Err(Error::NotFound),
            (false, _) if value.is_none() => return Err(Error::NotFound),
            _ => {}
        }
        match value {
            None => drop(node.xattrs.remove(name)),
            Some(value) if name == ACCESS => {
                let acl = Acl::parse(value)?;
                node.stat.permissions = node.stat.permissions & 0o7000 | acl.permissions();
                if acl.is_minimal() {
                    node.xattrs.remove(ACCESS);
                } else {
                    node.xattrs.insert(ACCESS.to_vec(), acl.value());
                }
            }
            Some(value) => drop(node.xattrs.insert(name.to_vec(), value.to_vec())),
        }
        node.stat.changed = now();
        Ok(())
    }

    fn sync(&self, _: Option<NodeId>, _: bool) -> Result<()> {
        self.writable().map(drop)
    }

    fn close(&self) -> Result<()> {
        self.tree().closed = true;
        Ok(())
    }
}
