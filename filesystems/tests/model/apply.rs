//! One operation, done to the model and to the file system under test.

use std::mem::discriminant;
use std::ops::Range;
use std::sync::Arc;

use filesystems::{Allocation, Changes, FileSystem, FileSystemMut, Kind, New, NewContent, NodeId, Rename, Time};
use images::{Error, Result};

use super::operation::{Place, name, noise};
use super::{Id, Model, Operation, ROOT, tree};

/// What the model says: done, or all of the errors of which one is right.
type Answer = std::result::Result<(), Vec<Error>>;

/// A node of the file system under test, held by `lookup` until this is dropped.
struct Held<'a>(&'a dyn FileSystem, NodeId);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        tree::forget(self.0, self.1);
    }
}

impl Model {
    /// Does an operation to both, and fails unless both say the same of it.
    pub fn apply(&mut self, fs: &dyn FileSystem, operation: &Operation) {
        let mut after = self.clone();
        let Some((answer, wanted)) = after.both(fs, operation) else { return };
        match (answer, wanted) {
            (Ok(()), Ok(())) => {
                *self = after;
                self.drop_unnamed();
            }
            (Err(error), Err(wanted)) if wanted.iter().any(|one| discriminant(one) == discriminant(error.root())) => {}
            (Err(error), _) if self.rules.may_be_full && matches!(error.root(), Error::NoSpace) => {}
            (answer, wanted) => panic!("{operation:?}: {answer:?}, want {wanted:?}"),
        }
    }

    /// The answers of both; none if there is nothing to do it to. The model has changed only if it says so.
    fn both(&mut self, fs: &dyn FileSystem, operation: &Operation) -> Option<(Result<()>, Answer)> {
        use Operation::*;
        let writer = fs.writer(fs.root()).expect("it is written");
        Some(match operation {
            Create(at) => self.create(fs, writer, *at, NewContent::File),
            MakeDirectory(at) => self.create(fs, writer, *at, NewContent::Directory),
            Symlink(at, len) => {
                let target = "t/".repeat(usize::from(len % 300) + 1);
                self.create(fs, writer, *at, NewContent::Symlink(target.as_bytes()))
            }
            Fifo(at) => self.create(fs, writer, *at, NewContent::Fifo),
            Link(node, to) => {
                let (id, held) = self.pick(fs, *node, |kind| kind != Kind::Directory)?;
                let (dir, target, name) = self.place(fs, *to);
                let done = writer.link(held.1, target.1, name.as_bytes());
                // What has lost its last name gets none again.
                let is_gone = self.links(id) == 0;
                let answer = match self.add(dir, &name, id) {
                    Ok(()) if is_gone => Err(vec![Error::NotFound]),
                    Err(wanted) if is_gone => Err(wanted.into_iter().chain([Error::NotFound]).collect()),
                    answer => answer,
                };
                (done, answer)
            }
            Remove(at) => {
                let (dir, held, name) = self.place(fs, *at);
                (writer.remove(held.1, name.as_bytes()), self.remove(dir, &name, false))
            }
            RemoveDirectory(at) => {
                let (dir, held, name) = self.place(fs, *at);
                (writer.remove_dir(held.1, name.as_bytes()), self.remove(dir, &name, true))
            }
            Rename(from, to, how) => {
                let ((from, from_held, from_name), (to, to_held, to_name)) =
                    (self.place(fs, *from), self.place(fs, *to));
                let (one, other) = ((from_held.1, from_name.as_bytes()), (to_held.1, to_name.as_bytes()));
                (writer.rename(one, other, *how), self.rename((from, &from_name), (to, &to_name), *how))
            }
            Open(node) => {
                let (id, held) = self.pick(fs, *node, |_| true)?;
                let done = fs.holds()?.hold(held.1);
                self.open.push((id, held.1));
                (done, Ok(()))
            }
            Close(number) => {
                let number = usize::from(*number) % self.open.len().max(1);
                let (_, node) = (number < self.open.len()).then(|| self.open.remove(number))?;
                tree::forget(fs, node);
                (Ok(()), Ok(()))
            }
            Sync => (writer.sync(None, false), Ok(())),
            other => return self.change(fs, writer, other),
        })
    }

    /// The same for what changes a node.
    fn change(
        &mut self,
        fs: &dyn FileSystem,
        writer: &dyn FileSystemMut,
        operation: &Operation,
    ) -> Option<(Result<()>, Answer)> {
        use Operation::*;
        let is_file = |kind| kind == Kind::File;
        Some(match operation {
            Write(file, at, len, seed) => {
                let (id, held) = self.pick(fs, *file, is_file)?;
                let data = noise(*seed, *at, *len);
                self.put(id, *at, &data);
                (writer.write_at(held.1, &data, *at), Ok(()))
            }
            Append(file, len, seed) => {
                let (id, held) = self.pick(fs, *file, is_file)?;
                let at = self.nodes[&id].content.len() as u64;
                // Many of these make no file of any length.
                let len = if at < 4 * self.rules.file_max { *len } else { 0 };
                let data = noise(*seed, at, len);
                self.put(id, at, &data);
                (writer.write_at(held.1, &data, at), Ok(()))
            }
            Truncate(file, size) => {
                let (id, held) = self.pick(fs, *file, is_file)?;
                self.edit(id, |content| content.resize(*size as usize, 0));
                (writer.set_stat(held.1, &Changes { size: Some(*size), ..Changes::default() }), Ok(()))
            }
            Allocate(file, at, len, how) => {
                let (id, held) = self.pick(fs, *file, is_file)?;
                let bytes = *at..at + len;
                (writer.allocate(held.1, bytes.clone(), *how), self.allocate(id, bytes, *how))
            }
            SetPermissions(node, mode) => {
                let (id, held) = self.pick(fs, *node, |kind| kind != Kind::Symlink)?;
                self.nodes.get_mut(&id).unwrap().permissions = *mode;
                (writer.set_stat(held.1, &Changes { permissions: Some(*mode), ..Changes::default() }), Ok(()))
            }
            SetModified(node, seconds) => {
                let (id, held) = self.pick(fs, *node, |_| true)?;
                let time = Time { seconds: *seconds, nanoseconds: (*seconds % 1000) as u32 * 999_999 };
                self.nodes.get_mut(&id).unwrap().modified = Some(time);
                (writer.set_stat(held.1, &Changes { modified: Some(time), ..Changes::default() }), Ok(()))
            }
            SetXattr(node, name, len) => {
                let (id, held) = self.pick(fs, *node, |kind| matches!(kind, Kind::File | Kind::Directory))?;
                let name = format!("user.{}", "n".repeat(usize::from(*name) * 3 + 1)).into_bytes();
                let value = len.map(|len| noise(len as u8, 0, len));
                let done = writer.set_xattr(held.1, &name, value.as_deref(), filesystems::SetXattr::Any);
                let xattrs = &mut self.nodes.get_mut(&id).unwrap().xattrs;
                let answer = match value {
                    Some(value) => {
                        xattrs.insert(name, value);
                        Ok(())
                    }
                    None => xattrs.remove(&name).map(drop).ok_or_else(|| vec![Error::NotFound]),
                };
                (done, answer)
            }
            _ => unreachable!("the others are done elsewhere"),
        })
    }

    /// A node other than the root that is open or has a name, if there is one of these kinds, and its id on the other side.
    fn pick<'a>(&self, fs: &'a dyn FileSystem, number: u16, kinds: impl Fn(Kind) -> bool) -> Option<(Id, Held<'a>)> {
        let named = self.paths().into_iter().map(|(path, id)| (id, Some(path)));
        let open = self.open.iter().map(|(id, _)| (*id, None));
        let mut all: Vec<(Id, Option<String>)> = named.chain(open).collect();
        all.retain(|(id, _)| {
            kinds(self.nodes[id].kind) && self.links(*id) > 0 || self.nodes[id].kind == Kind::File && kinds(Kind::File)
        });
        let (id, path) = all.get(usize::from(number) % all.len().max(1))?.clone();
        let held = match path {
            Some(path) => find(fs, &path),
            None => {
                let (_, node) = self.open.iter().find(|(open, _)| *open == id).unwrap();
                fs.holds().unwrap().hold(*node).unwrap();
                Held(fs, *node)
            }
        };
        if let Some((_, open)) = self.open.iter().find(|(open, _)| *open == id) {
            assert_eq!(held.1, *open, "a node that is held has one id");
        }
        Some((id, held))
    }

    /// A directory on both sides, and a name.
    fn place<'a>(&self, fs: &'a dyn FileSystem, Place { dir, name: number }: Place) -> (Id, Held<'a>, String) {
        let all = self.directories();
        let (path, id) = &all[usize::from(dir) % all.len()];
        (*id, find(fs, path), name(number))
    }

    fn create(
        &mut self,
        fs: &dyn FileSystem,
        writer: &dyn FileSystemMut,
        at: Place,
        content: NewContent<'_>,
    ) -> (Result<()>, Answer) {
        let (dir, held, name) = self.place(fs, at);
        let new = New { content, permissions: 0o750, umask: 0, owner: 0, group: 0, xattrs: &[] };
        let done = writer.create(held.1, name.as_bytes(), &new).map(|node| drop(Held(fs, node)));
        let (kind, content) = match content {
            NewContent::Directory => (Kind::Directory, Vec::new()),
            NewContent::Symlink(target) => (Kind::Symlink, target.to_vec()),
            NewContent::Fifo => (Kind::Fifo, Vec::new()),
            _ => (Kind::File, Vec::new()),
        };
        let id = self.make(kind, content);
        // A directory passes on set-group-id to those in it.
        if kind == Kind::Directory {
            let inherited = self.nodes[&dir].permissions & 0o2000;
            self.nodes.get_mut(&id).unwrap().permissions |= inherited;
        }
        (done, self.add(dir, &name, id))
    }

    fn named(&self, dir: Id, name: &str) -> Option<Id> {
        self.nodes[&dir].names.get(&self.rules.key(name)).map(|(_, id)| *id)
    }

    fn touch(&mut self, id: Id) {
        self.nodes.get_mut(&id).unwrap().modified = None;
    }

    fn add(&mut self, dir: Id, name: &str, id: Id) -> Answer {
        if self.named(dir, name).is_some() {
            return Err(vec![Error::Exists]);
        }
        let key = self.rules.key(name);
        self.nodes.get_mut(&dir).unwrap().names.insert(key, (name.to_owned(), id));
        self.touch(dir);
        Ok(())
    }

    fn remove(&mut self, dir: Id, name: &str, directory: bool) -> Answer {
        let node = self.named(dir, name).ok_or_else(|| vec![Error::NotFound])?;
        let node = &self.nodes[&node];
        match (directory, node.kind == Kind::Directory) {
            (false, true) => return Err(vec![Error::IsDirectory]),
            (true, false) => return Err(vec![Error::NotDirectory]),
            _ if !node.names.is_empty() => return Err(vec![Error::NotEmpty]),
            _ => {}
        }
        self.nodes.get_mut(&dir).unwrap().names.remove(&self.rules.key(name));
        self.touch(dir);
        Ok(())
    }

    /// Whether a directory lies in another one, or is it.
    fn lies_in(&self, id: Id, outer: Id) -> bool {
        let parent = |id: Id| {
            let is_parent = |node: &&Id| self.nodes[node].names.values().any(|(_, child)| *child == id);
            self.nodes.keys().find(is_parent).copied()
        };
        let mut at = Some(id);
        while let Some(id) = at.filter(|id| *id != outer && *id != ROOT) {
            at = parent(id);
        }
        at == Some(outer)
    }

    fn rename(&mut self, from: (Id, &str), to: (Id, &str), how: Rename) -> Answer {
        let is_directory = |id: Id| self.nodes[&id].kind == Kind::Directory;
        let moved = self.named(from.0, from.1).ok_or_else(|| vec![Error::NotFound])?;
        let there = self.named(to.0, to.1);
        let mut errors = Vec::new();
        if is_directory(moved) && self.lies_in(to.0, moved) {
            errors.push(Error::Invalid);
        }
        match (there, how) {
            (Some(_), Rename::NoReplace) => errors.push(Error::Exists),
            (None, Rename::Exchange) => errors.push(Error::NotFound),
            (Some(there), Rename::Exchange) if is_directory(there) && self.lies_in(from.0, there) => {
                errors.push(Error::Invalid);
            }
            (Some(there), Rename::Replace) if there != moved => {
                match (is_directory(moved), is_directory(there)) {
                    (true, false) => errors.push(Error::NotDirectory),
                    (false, true) => errors.push(Error::IsDirectory),
                    _ => {}
                }
                if !self.nodes[&there].names.is_empty() {
                    errors.push(Error::NotEmpty);
                }
            }
            _ => {}
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let (from_key, to_key) = (self.rules.key(from.1), self.rules.key(to.1));
        if there == Some(moved) && (how == Rename::Exchange || (from.0, &from_key) != (to.0, &to_key)) {
            return Ok(()); // Two names of one node: nothing happens.
        }
        let old = self.nodes.get_mut(&from.0).unwrap().names.remove(&from_key).unwrap();
        let replaced = self.nodes.get_mut(&to.0).unwrap().names.insert(to_key, (to.1.to_owned(), moved));
        if let (Rename::Exchange, Some((to_name, there))) = (how, replaced) {
            // Each name stays as it was written; what it names has changed.
            self.nodes.get_mut(&to.0).unwrap().names.insert(self.rules.key(to.1), (to_name, moved));
            self.nodes.get_mut(&from.0).unwrap().names.insert(from_key, (old.0, there));
        }
        self.touch(from.0);
        self.touch(to.0);
        Ok(())
    }

    fn edit(&mut self, id: Id, change: impl FnOnce(&mut Vec<u8>)) {
        let node = self.nodes.get_mut(&id).unwrap();
        change(Arc::make_mut(&mut node.content));
        node.modified = None;
    }

    fn put(&mut self, id: Id, at: u64, data: &[u8]) {
        if data.is_empty() {
            return; // Whether the time changes is nobody's promise.
        }
        self.edit(id, |content| {
            let (at, end) = (at as usize, at as usize + data.len());
            content.resize(content.len().max(end), 0);
            content[at..end].copy_from_slice(data);
        });
    }

    fn allocate(&mut self, id: Id, bytes: Range<u64>, how: Allocation) -> Answer {
        let size = self.nodes[&id].content.len();
        let (start, end) = (bytes.start as usize, bytes.end as usize);
        let is_whole = [bytes.start, bytes.end].iter().all(|at| at.is_multiple_of(self.rules.block_size));
        match how {
            Allocation::Collapse if !is_whole || end >= size => return Err(vec![Error::Invalid]),
            Allocation::Insert if !is_whole || start >= size => return Err(vec![Error::Invalid]),
            _ => {}
        }
        self.edit(id, |content| match how {
            Allocation::Extend => content.resize(size.max(end), 0),
            Allocation::KeepSize => {}
            Allocation::PunchHole | Allocation::Zero { keep_size: true } => {
                content[start.min(size)..end.min(size)].fill(0);
            }
            Allocation::Zero { keep_size: false } => {
                content.resize(size.max(end), 0);
                content[start..end].fill(0);
            }
            Allocation::Collapse => drop(content.drain(start..end)),
            Allocation::Insert => drop(content.splice(start..start, vec![0; end - start])),
        });
        Ok(())
    }
}

/// What a path of the model is on the other side.
fn find<'a>(fs: &'a dyn FileSystem, path: &str) -> Held<'a> {
    let mut at = Held(fs, fs.root());
    for name in path.split('/').skip(1) {
        let next = fs.lookup(at.1, name.as_bytes()).unwrap_or_else(|error| panic!("{path}, at {name}: {error}"));
        at = Held(fs, next);
    }
    at
}
