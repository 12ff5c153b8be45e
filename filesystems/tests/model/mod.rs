//! A file system in memory that is simple enough to be right, random operations on it and on the one under test, and the
//! comparison of both.
//!
//! [`Model::apply`] does an operation to both and compares the answers; [`Model::compare`] compares the trees. What a file
//! system cannot have is in its [`Rules`], and is never asked for.

#![allow(clippy::unwrap_used)]
#![allow(dead_code)] // Every test binary that has this module uses a part of it.

mod apply;
pub mod operation;
pub mod tree;

use std::collections::BTreeMap;
use std::sync::Arc;

use filesystems::{Allocation, FileSystem, Kind, NodeId, Time};

#[allow(unused_imports)] // As above.
pub use operation::{Operation, operations};
#[allow(unused_imports)]
pub use tree::{Seen, Tree};

/// How many random sequences are tried: few, or for the long run as many as `SEQUENCES` says.
pub fn sequences(few: u32) -> u32 {
    std::env::var("SEQUENCES").ok().and_then(|count| count.parse().ok()).unwrap_or(few)
}

/// What the file system under test has.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whether names that differ in their case only are the same.
    pub case_insensitive: bool,
    pub links: bool,
    /// Symbolic links, and named pipes.
    pub symlinks: bool,
    /// Whether permissions are kept as they are given.
    pub permissions: bool,
    pub xattrs: bool,
    pub exchange: bool,
    pub allocations: &'static [Allocation],
    /// In bytes: what `Collapse` and `Insert` want.
    pub block_size: u64,
    /// The unit of modification times in nanoseconds; at least 1.
    pub time_unit: u64,
    /// The latest modification time in seconds; later ones become this.
    pub last_second: i64,
    /// Files are kept below this size in bytes, but for what is appended.
    pub file_max: u64,
    /// Whether the file system may be full: then `NoSpace` is a good answer to everything, and changes nothing.
    pub may_be_full: bool,
}

impl Rules {
    /// A time as the file system keeps it.
    pub fn rounded(&self, time: Time) -> Time {
        let nanoseconds = time.seconds.min(self.last_second) as i128 * 1_000_000_000 + i128::from(time.nanoseconds);
        let rounded = nanoseconds - nanoseconds.rem_euclid(i128::from(self.time_unit));
        Time {
            seconds: rounded.div_euclid(1_000_000_000) as i64,
            nanoseconds: rounded.rem_euclid(1_000_000_000) as u32,
        }
    }

    fn key(&self, name: &str) -> String {
        if self.case_insensitive { name.to_lowercase() } else { name.to_owned() }
    }
}

/// The number of a node in the model.
type Id = u64;

const ROOT: Id = 0;

#[derive(Clone, Debug)]
struct Node {
    kind: Kind,
    content: Arc<Vec<u8>>,
    permissions: u16,
    modified: Option<Time>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of a directory: its names by their keys.
    names: BTreeMap<String, (String, Id)>,
}

/// The file system in memory, and what is held in the one under test.
#[derive(Clone, Debug)]
pub struct Model {
    pub rules: Rules,
    nodes: BTreeMap<Id, Node>,
    /// What is held, as an open file is.
    open: Vec<(Id, NodeId)>,
    next: Id,
}

impl Model {
    /// An empty tree.
    pub fn new(rules: Rules) -> Self {
        let mut model = Self { rules, nodes: BTreeMap::new(), open: Vec::new(), next: ROOT };
        model.make(Kind::Directory, Vec::new());
        model
    }

    fn make(&mut self, kind: Kind, content: Vec<u8>) -> Id {
        let permissions = match (self.rules.permissions, kind) {
            (false, _) => 0,
            (_, Kind::Symlink) => 0o777,
            _ => 0o750,
        };
        let (names, xattrs) = (BTreeMap::new(), BTreeMap::new());
        let node = Node { kind, content: Arc::new(content), permissions, modified: None, xattrs, names };
        let id = self.next;
        self.nodes.insert(id, node);
        self.next += 1;
        id
    }

    /// How many names a node has.
    fn links(&self, id: Id) -> u32 {
        let names = self.nodes.values().flat_map(|node| node.names.values());
        names.filter(|(_, named)| *named == id).count() as u32
    }

    /// Every directory with its path, the root first.
    fn directories(&self) -> Vec<(String, Id)> {
        let (mut found, mut at) = (vec![(String::new(), ROOT)], 0);
        while let Some((path, id)) = found.get(at).cloned() {
            let directories = self.nodes[&id].names.values().filter(|(_, id)| self.nodes[id].kind == Kind::Directory);
            found.extend(directories.map(|(name, id)| (format!("{path}/{name}"), *id)));
            at += 1;
        }
        found
    }

    /// Every path but the root.
    fn paths(&self) -> Vec<(String, Id)> {
        let names = |(path, dir): (String, Id)| {
            let names = self.nodes[&dir].names.values();
            names.map(move |(name, id)| (format!("{path}/{name}"), *id)).collect::<Vec<_>>()
        };
        self.directories().into_iter().flat_map(names).collect()
    }

    fn seen(&self, id: Id) -> Seen {
        let Node { kind, content, permissions, modified, xattrs, .. } = &self.nodes[&id];
        let links = if *kind == Kind::Directory { 0 } else { self.links(id) };
        Seen {
            kind: *kind,
            content: content.clone(),
            links,
            permissions: *permissions,
            modified: *modified,
            xattrs: xattrs.clone(),
        }
    }

    /// The whole tree.
    pub fn tree(&self) -> Tree {
        self.paths().into_iter().map(|(path, id)| (path, self.seen(id))).collect()
    }

    /// How many files are open that have no name any more.
    pub fn unnamed(&self) -> usize {
        let files = self.nodes.iter().filter(|(_, node)| node.kind == Kind::File);
        files.filter(|(id, _)| self.links(**id) == 0).count()
    }

    /// Fails unless the file system has this tree, and holds what is open.
    pub fn compare(&self, fs: &dyn FileSystem, when: &str) {
        let found = tree::read(fs, &self.rules).unwrap_or_else(|error| panic!("{when}: {error}"));
        tree::assert_same(&found, &self.tree(), &self.rules, when);
        for (id, node) in &self.open {
            let when = format!("{when}: an open node with {} names", self.links(*id));
            let mut found = tree::see(fs, *node, &self.rules).unwrap_or_else(|error| panic!("{when}: {error}"));
            let wanted = self.seen(*id);
            if wanted.links == 0 {
                found.links = 0;
            }
            tree::assert_one(&found, &wanted, &self.rules, &when);
        }
    }

    /// Closes what is open, as whoever unmounts does.
    pub fn close_all(&mut self, fs: &dyn FileSystem) {
        for (_, node) in self.open.drain(..) {
            tree::forget(fs, node);
        }
        self.drop_unnamed();
    }

    /// Forgets what has no name and is not open.
    fn drop_unnamed(&mut self) {
        let gone = |id: &Id| *id != ROOT && self.links(*id) == 0 && !self.open.iter().any(|(open, _)| open == id);
        let gone: Vec<Id> = self.nodes.keys().copied().filter(gone).collect();
        gone.iter().for_each(|id| drop(self.nodes.remove(id)));
    }
}

/// What is at the same path with the same content in all of these: of a tree that was made durable, and of those that came
/// after it, what a cut of the power must have left.
pub fn kept<'a>(first: &Tree, later: impl IntoIterator<Item = &'a Tree>) -> Tree {
    let mut kept = first.clone();
    for tree in later {
        kept.retain(|path, seen| tree.get(path).is_some_and(|other| other == seen));
    }
    kept
}
