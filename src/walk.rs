//! A walk over a tree: every name in it, however large, deep or damaged it is.

use std::collections::{HashSet, VecDeque};

use filesystems::{FileSystem, Kind, NodeId, Stat};
use images::{Budget, Error, Reservation, Result, unsupported};

/// How deep directories may lie in each other; ours. A path of the kernel has at most 2048 names.
const DEPTH_MAX: usize = 2048;
/// The longest path, in bytes, below which is listed what is in it; Linux's PATH_MAX.
const PATH_MAX: usize = 4096;
/// How much of a directory is read at once, in bytes; ours.
const CHUNK: usize = 16 << 10;
/// What a directory that was read takes in memory, in bytes, about.
const SEEN: u64 = 32;

/// A walk, as far as it has come: directories before what is in them, names in the order of the disk. It goes on when it is
/// asked for the next [`Step`], and holds no more than a piece of each directory on the way.
///
/// What cannot be read is a step too, and the walk goes on behind it. A directory that lies in itself is entered once.
pub struct Walk<'a> {
    tree: &'a dyn FileSystem,
    path: Vec<u8>,
    levels: Vec<Level>,
    /// The directory of the last step, which is entered next.
    below: Option<NodeId>,
    /// The node of the last step where it is no directory: given back with the next. Directories are held, so that one that
    /// is met again is known.
    last: Option<NodeId>,
    seen: HashSet<NodeId>,
    held: Reservation,
}

/// What a walk comes to.
pub enum Step<'a> {
    /// A name.
    Name(Name<'a>),
    /// The rest of this directory cannot be listed.
    Gap(&'a [u8], Error),
}

/// A name, and what it is the name of.
pub struct Name<'a> {
    /// The whole path.
    pub path: &'a [u8],
    /// What it is the name of.
    pub node: NodeId,
    /// The kind, where the directory says it.
    pub kind: Option<Kind>,
    /// The attributes, as far as they can be read.
    pub stat: Result<Stat>,
}

/// Name, node, and the kind where the directory says it.
type Entry = (Box<[u8]>, NodeId, Option<Kind>);

/// A directory that is being read, piece by piece.
struct Level {
    directory: NodeId,
    /// How long its path is.
    path_len: usize,
    /// Where reading goes on; `None` at its end.
    next: Option<u64>,
    /// What was read and is not listed yet.
    entries: VecDeque<Entry>,
}

impl Level {
    fn new(directory: NodeId, path_len: usize) -> Self {
        Self { directory, path_len, next: Some(0), entries: VecDeque::new() }
    }

    /// Reads the next entries. What was read before an error counts.
    fn read_on(&mut self, tree: &dyn FileSystem, from: u64) -> Result<()> {
        let (entries, next, mut bytes) = (&mut self.entries, &mut self.next, 0);
        let listed = tree.read_dir(self.directory, from, &mut |entry| {
            entries.push_back((entry.name.into(), entry.node, entry.kind));
            bytes += size_of::<Entry>() + entry.name.len();
            *next = (bytes >= CHUNK).then_some(entry.next);
            next.is_none()
        });
        listed.inspect_err(|_| self.next = None)
    }
}

impl<'a> Walk<'a> {
    /// Over all that is below this directory, whose path is `prefix`, without a slash at its end. What the walk keeps is a part
    /// of `budget`.
    pub fn new(tree: &'a dyn FileSystem, directory: NodeId, prefix: &[u8], budget: &Budget) -> Self {
        Self {
            tree,
            path: prefix.to_vec(),
            levels: vec![Level::new(directory, prefix.len())],
            below: None,
            last: None,
            seen: HashSet::from([directory]),
            held: budget.empty(),
        }
    }

    /// What comes next; `None` at the end.
    pub fn step(&mut self) -> Option<Step<'_>> {
        if let (Some(last), Some(holds)) = (self.last.take(), self.tree.holds()) {
            holds.forget(last, 1);
        }
        if let Some(directory) = self.below.take()
            && let Err(why) = self.enter(directory)
        {
            return Some(Step::Gap(&self.path, why));
        }
        let (name, node, kind) = loop {
            let level = self.levels.last_mut()?;
            self.path.truncate(level.path_len);
            if level.entries.is_empty()
                && let Some(from) = level.next.take()
                && let Err(why) = level.read_on(self.tree, from)
            {
                return Some(Step::Gap(&self.path, why));
            }
            match level.entries.pop_front() {
                Some(entry) => break entry,
                None => self.levels.pop(),
            };
        };
        self.path.push(b'/');
        self.path.extend_from_slice(&name);
        let stat = self.tree.stat(node);
        let is_directory = stat.as_ref().is_ok_and(|stat| stat.kind == Kind::Directory);
        self.below = (is_directory && !self.seen.contains(&node)).then_some(node);
        self.last = (!is_directory).then_some(node);
        Some(Step::Name(Name { path: &self.path, node, kind, stat }))
    }

    fn enter(&mut self, directory: NodeId) -> Result<()> {
        if self.levels.len() >= DEPTH_MAX || self.path.len() > PATH_MAX {
            return Err(unsupported!("it lies too deep: what is in it is not listed"));
        }
        self.held.grow(SEEN, "the list of the directories that were read")?;
        self.seen.insert(directory);
        self.levels.push(Level::new(directory, self.path.len()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use filesystems::view::{Directory, Disks, Member};
    use filesystems::{FileSystemMut, Forensics, Holds, Properties, Space};
    use images::Extent;
    use images::disk::Memory;

    use super::*;

    /// A tree that counts how often its nodes are held.
    struct Held(Disks, AtomicU64);

    impl Holds for Held {
        fn hold(&self, _: NodeId) -> Result<()> {
            self.1.fetch_add(1, Relaxed);
            Ok(())
        }
        fn forget(&self, _: NodeId, times: u64) {
            self.1.fetch_sub(times, Relaxed);
        }
    }

    impl FileSystem for Held {
        fn properties(&self, node: NodeId) -> &Properties {
            self.0.properties(node)
        }
        fn space(&self, node: NodeId) -> Result<Space> {
            self.0.space(node)
        }
        fn root(&self) -> NodeId {
            self.0.root()
        }
        fn stat(&self, node: NodeId) -> Result<Stat> {
            self.0.stat(node)
        }
        fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
            self.0.lookup(dir, name).inspect(|node| self.hold(*node).expect("it only counts"))
        }
        fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(filesystems::Entry<'_>) -> bool) -> Result<()> {
            self.0.read_dir(dir, from, &mut |entry| self.hold(entry.node).is_ok() && each(entry))
        }
        fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
            self.0.read_at(file, buf, offset)
        }
        fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
            self.0.read_link(link)
        }
        fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
            self.0.extent_at(file, offset)
        }
        fn holds(&self) -> Option<&dyn Holds> {
            Some(self)
        }
        fn forensics(&self) -> Result<&dyn Forensics> {
            self.0.forensics()
        }

        fn writer(&self, node: NodeId) -> Result<&dyn FileSystemMut> {
            self.0.writer(node)
        }
    }

    #[test]
    fn files_are_given_back_when_the_walk_goes_on() {
        let member = |n: u32| {
            let name = format!("{}/{n}", n % 10).into_bytes();
            Member { name, disk: Arc::new(Memory::new("m", Vec::new())), allocated: 0 }
        };
        let tree = Held(Disks::new((0..1000).map(member).collect()).unwrap(), AtomicU64::new(0));
        assert_eq!(names(&mut Walk::new(&tree, tree.root(), b"", &Budget::default())).len(), 1010);
        assert_eq!(tree.1.load(Relaxed), 10, "the directories");
    }

    fn names(walk: &mut Walk<'_>) -> Vec<String> {
        let mut names = Vec::new();
        while let Some(step) = walk.step() {
            match step {
                Step::Name(name) => names.push(String::from_utf8(name.path.to_vec()).unwrap()),
                Step::Gap(path, why) => names.push(format!("{}: {why}", String::from_utf8_lossy(path))),
            }
        }
        names
    }

    #[test]
    fn directories_come_before_what_is_in_them() {
        let tree = Directory::new(&[b"a".to_vec(), b"a/x/deep".to_vec(), b"b".to_vec()]).unwrap();
        let mut walk = Walk::new(&tree, tree.root(), b"/boot", &Budget::default());
        assert_eq!(names(&mut walk), ["/boot/a", "/boot/a/x", "/boot/a/x/deep", "/boot/b"]);
        assert!(walk.step().is_none(), "the end stays the end");
    }

    #[test]
    fn a_large_directory_is_read_in_pieces_and_each_name_once() {
        let many: Vec<Vec<u8>> = (0..5000).map(|n| format!("{n:04}").into_bytes()).collect();
        let tree = Directory::new(&many).unwrap();
        let mut walk = Walk::new(&tree, tree.root(), b"", &Budget::default());
        walk.step().unwrap();
        assert!(walk.levels[0].entries.len() < 1000, "no more than a piece is held");
        assert_eq!(names(&mut walk).len(), 4999);
    }

    #[test]
    fn what_memory_does_not_hold_is_a_gap_and_the_walk_goes_on() {
        let tree = Directory::new(&[b"a/x".to_vec(), b"b".to_vec()]).unwrap();
        let seen = names(&mut Walk::new(&tree, tree.root(), b"", &Budget::new(SEEN - 1)));
        assert!(seen[0] == "/a" && seen[1].starts_with("/a: ") && seen[2] == "/b", "{seen:?}");
    }
}
