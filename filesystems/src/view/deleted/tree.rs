//! Where each deleted node belongs: directories that are found, loops that are broken, names that differ.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use images::{Budget, Reservation, Result};

use crate::{Deleted, FileSystem, Forensics, Kind, NodeId, Parent};

/// The index of the root.
pub const ROOT: usize = 0;
/// The directory of nodes whose own directory nobody remembers. No file system's real name keeps it from that.
const ORPHANS: &[u8] = b"orphans";
/// The longest name in bytes: Linux's NAME_MAX.
pub const NAME_MAX: u32 = 255;
/// The most that a count behind a name takes: a dot and ten digits.
const COUNT_MAX: usize = 11;
/// The longest path in bytes: Linux's PATH_MAX. A node whose directories are longer is an orphan.
const PATH_MAX: usize = 4096;
/// How many deleted nodes are shown, and how many directories are searched for those in which they were; ours.
const NODES_MAX: usize = 1 << 22;
/// What a deleted node takes here in bytes, about: its place, and while the tree is made what is known of it.
const NODE: usize = 256;
/// What a live directory takes beside its name.
const LIVE: usize = 160;

/// The tree, and what the driver said of the nodes in it.
pub struct Tree {
    /// All of them; the places are those of the first.
    pub deleted: Arc<[Deleted]>,
    pub places: Vec<Place>,
    _held: Reservation,
}

/// A name in the tree.
pub struct Place {
    pub name: Arc<[u8]>,
    parent: usize,
    pub what: What,
    pub kind: Option<Kind>,
    /// In the order of their names.
    pub children: Vec<usize>,
}

/// What a name stands for.
#[derive(Clone, Copy)]
pub enum What {
    /// A directory that is still there: the file system's node.
    Live(NodeId),
    /// A deleted node, by its index.
    Deleted(usize),
    /// The directory of the orphans.
    Orphans,
}

/// In which directory a deleted node is put.
#[derive(Clone, Copy)]
enum Home {
    Live(NodeId),
    /// The deleted directory of this index.
    Deleted(usize),
    Orphans,
}

/// A live directory and the way to it.
struct Live {
    node: NodeId,
    parent: usize,
    name: Arc<[u8]>,
    path_len: usize,
}

impl Tree {
    /// Asks the file system for its deleted nodes and puts them in their places.
    pub fn of(fs: &dyn FileSystem, forensics: &dyn Forensics, budget: &Budget) -> Result<Self> {
        let list = forensics.deleted()?;
        // The other half is for what is done with the tree.
        let (mut held, most) = (budget.empty(), budget.free() / 2);
        let mut fits = |bytes: usize| held.bytes() + bytes as u64 <= most && held.try_grow(bytes as u64);
        let named = |one: &Deleted| NODE + 3 * one.name.as_ref().map_or(0, |name| name.len()).min(NAME_MAX as usize);
        let count = list.iter().take(NODES_MAX).take_while(|one| fits(named(one))).count();
        if count < list.len() {
            let all = list.len();
            log::warn!("{all} deleted nodes were found, the first {count} are shown; --memory gives the program more");
        }
        let deleted = &list[..count];
        let kinds: Vec<_> = deleted.iter().map(|one| fs.stat(one.node).ok().map(|stat| stat.kind)).collect();
        let wanted = deleted.iter().filter_map(|one| match one.parent {
            Parent::Live(node) => Some(node),
            _ => None,
        });
        let live = search(fs, wanted.collect(), &mut fits)?;
        let live_at: HashMap<NodeId, usize> = live.iter().enumerate().map(|(at, dir)| (dir.node, at)).collect();
        let (mut homes, shown) = homes(deleted, &kinds, &live_at);
        let order = settle(deleted, &mut homes, |dir| live[live_at[&dir]].path_len);

        let root = Place {
            name: Arc::default(),
            parent: ROOT,
            what: What::Live(fs.root()),
            kind: Some(Kind::Directory),
            children: Vec::new(),
        };
        let mut tree = Self { deleted: list.clone(), places: vec![root], _held: held };
        let orphans = homes.iter().zip(&shown).any(|(home, shown)| *shown && matches!(home, Home::Orphans));
        let orphans = orphans.then(|| tree.add(ROOT, ORPHANS.into(), What::Orphans, Some(Kind::Directory)));
        let mut live_places = HashMap::from([(fs.root(), ROOT)]);
        let mut places = vec![ROOT; count];
        for index in order.into_iter().filter(|&index| shown[index]) {
            let parent = match homes[index] {
                Home::Live(node) => tree.live(&live, live_at[&node], &mut live_places),
                Home::Deleted(directory) => places[directory],
                Home::Orphans => orphans.expect("made where there is an orphan"),
            };
            places[index] = tree.add(parent, Arc::default(), What::Deleted(index), kinds[index]);
        }
        tree.name_all();
        Ok(tree)
    }

    fn add(&mut self, parent: usize, name: Arc<[u8]>, what: What, kind: Option<Kind>) -> usize {
        let at = self.places.len();
        self.places.push(Place { name, parent, what, kind, children: Vec::new() });
        self.places[parent].children.push(at);
        at
    }

    /// The place of a live directory, made with all above it.
    fn live(&mut self, live: &[Live], at: usize, known: &mut HashMap<NodeId, usize>) -> usize {
        let mut missing = Vec::new();
        let mut at = at;
        let mut place = loop {
            match known.get(&live[at].node) {
                Some(&place) => break place,
                None => missing.push(at),
            }
            at = live[at].parent;
        };
        for at in missing.into_iter().rev() {
            let dir = &live[at];
            place = self.add(place, dir.name.clone(), What::Live(dir.node), Some(Kind::Directory));
            known.insert(dir.node, place);
        }
        place
    }

    /// Gives every place a name that its neighbours do not have, and sorts the neighbours by name.
    fn name_all(&mut self) {
        for at in 0..self.places.len() {
            let mut children = std::mem::take(&mut self.places[at].children);
            // Who comes first has the plain name: what is still there, then what was deleted last; old versions never.
            children.sort_by_key(|&child| match self.places[child].what {
                What::Orphans => (0, 0, Reverse(None), 0, child),
                What::Live(node) => (1, 0, Reverse(None), node.0, child),
                What::Deleted(index) => {
                    let one = &self.deleted[index];
                    (2, one.version, Reverse(one.deleted), one.number, child)
                }
            });
            let mut names = Neighbours::default();
            for &child in &children {
                let (name, number, version) = match self.places[child].what {
                    What::Deleted(index) => {
                        let one = &self.deleted[index];
                        (one.name.as_ref().filter(|name| usable(name)), one.number, one.version)
                    }
                    What::Live(node) => (Some(&self.places[child].name), node.0, 0),
                    What::Orphans => (Some(&self.places[child].name), 0, 0),
                };
                let name = names.distinct(name, number, version);
                self.places[child].name = name;
            }
            children.sort_by(|a, b| self.places[*a].name.cmp(&self.places[*b].name));
            self.places[at].children = children;
        }
    }

    /// The place with this name in another.
    pub fn child(&self, at: usize, name: &[u8]) -> Option<usize> {
        let children = &self.places[at].children;
        let found = children.binary_search_by(|&child| (*self.places[child].name).cmp(name)).ok()?;
        Some(children[found])
    }

    /// The path to a place, without a slash at its start.
    pub fn path(&self, mut at: usize) -> Vec<u8> {
        let mut names = Vec::new();
        while at != ROOT {
            names.push(&*self.places[at].name);
            at = self.places[at].parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// All deleted nodes as `(place, index)`, in the order of their paths.
    pub fn in_order(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut stack = vec![ROOT];
        let places = std::iter::from_fn(move || {
            let at = stack.pop()?;
            stack.extend(self.places[at].children.iter().rev());
            Some(at)
        });
        places.filter_map(|at| match self.places[at].what {
            What::Deleted(index) => Some((at, index)),
            What::Live(_) | What::Orphans => None,
        })
    }
}

/// Whether a directory can have an entry of this name.
fn usable(name: &[u8]) -> bool {
    !name.is_empty() && !matches!(name, b"." | b"..") && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

/// The names that are given in one directory.
#[derive(Default)]
struct Neighbours {
    used: HashSet<Arc<[u8]>>,
    /// The highest number that was tried behind a name.
    counts: HashMap<Box<[u8]>, u32>,
}

impl Neighbours {
    /// `name`, `name#inode` or `name#inode@N`, and where even that is used, with a number behind it: a name that no
    /// other has. So many equal names cost no more than so many different ones.
    fn distinct(&mut self, name: Option<&Arc<[u8]>>, number: u64, version: u32) -> Arc<[u8]> {
        let plain = name.filter(|name| name.len() <= NAME_MAX as usize && version == 0);
        if let Some(plain) = plain.filter(|plain| self.used.insert(Arc::clone(plain))) {
            return plain.clone();
        }
        let version = if version == 0 { String::new() } else { format!("@{version}") };
        let end = format!("#{number}{version}");
        let name = name.map(|name| &**name).unwrap_or_default();
        let upto = |room: usize| [&name[..name.len().min(room)], end.as_bytes()].concat();
        let first: Arc<[u8]> = upto(NAME_MAX as usize - end.len()).into();
        if self.used.insert(first.clone()) {
            return first;
        }
        // With room for any count behind it: who counts on shares no number with others.
        let base: Box<[u8]> = upto(NAME_MAX as usize - end.len() - COUNT_MAX).into();
        let count = self.counts.entry(base.clone()).or_insert(1);
        loop {
            *count += 1;
            let name: Arc<[u8]> = [&*base, format!(".{count}").as_bytes()].concat().into();
            if self.used.insert(name.clone()) {
                return name;
            }
        }
    }
}

/// The live directories that are wanted and all above them, found by walking the tree from its root, the first.
fn search(fs: &dyn FileSystem, mut wanted: HashSet<NodeId>, fits: &mut dyn FnMut(usize) -> bool) -> Result<Vec<Live>> {
    let mut found = vec![Live { node: fs.root(), parent: 0, name: Arc::default(), path_len: 0 }];
    let mut seen = HashSet::from([fs.root()]);
    wanted.remove(&fs.root());
    let mut at = 0;
    while at < found.len() && !wanted.is_empty() {
        let (dir, path_len) = (found[at].node, found[at].path_len);
        let listed = fs.read_dir(dir, 0, &mut |entry| {
            let is_directory = match entry.kind {
                Some(kind) => kind == Kind::Directory,
                None => fs.stat(entry.node).is_ok_and(|stat| stat.kind == Kind::Directory),
            };
            let path_len = path_len + entry.name.len() + 1;
            let is_wanted = is_directory && path_len < PATH_MAX && !seen.contains(&entry.node);
            // Without room, what was in those that are not known are orphans.
            if is_wanted && found.len() < NODES_MAX && fits(LIVE + entry.name.len()) {
                seen.insert(entry.node);
                wanted.remove(&entry.node);
                found.push(Live { node: entry.node, parent: at, name: entry.name.into(), path_len });
            }
            !wanted.is_empty()
        });
        // What was in a damaged directory can be found elsewhere, or is an orphan.
        if let Err(error) = listed {
            log::debug!("the search for the directories of deleted files passes over node {}: {error}", dir.0);
        }
        at += 1;
    }
    Ok(found)
}

/// The directory of each deleted node, and whether the node is shown: of a directory only the newest version is, and
/// holds what was in any of them.
fn homes(deleted: &[Deleted], kinds: &[Option<Kind>], live: &HashMap<NodeId, usize>) -> (Vec<Home>, Vec<bool>) {
    let is_directory = |index: usize| kinds[index] == Some(Kind::Directory);
    let mut newest: HashMap<(u64, Option<u32>), usize> = HashMap::new();
    for (index, one) in deleted.iter().enumerate().filter(|(index, _)| is_directory(*index)) {
        let best = newest.entry((one.number, one.generation)).or_insert(index);
        if one.version < deleted[*best].version {
            *best = index;
        }
    }
    let of = |index: usize| newest.get(&(deleted[index].number, deleted[index].generation)).copied();
    let by_node: HashMap<NodeId, usize> = deleted.iter().enumerate().map(|(index, one)| (one.node, index)).collect();
    let home = |one: &Deleted| match one.parent {
        Parent::Live(node) if live.contains_key(&node) => Home::Live(node),
        Parent::Deleted(node) => match by_node.get(&node).filter(|&&index| is_directory(index)) {
            Some(&index) => of(index).map_or(Home::Orphans, Home::Deleted),
            None => Home::Orphans,
        },
        Parent::Live(_) | Parent::Unknown => Home::Orphans,
    };
    let shown = (0..deleted.len()).map(|index| !is_directory(index) || of(index) == Some(index)).collect();
    (deleted.iter().map(home).collect(), shown)
}

/// Makes orphans of nodes that lie in themselves or too deep, and returns an order in which directories come before
/// what is in them.
fn settle(deleted: &[Deleted], homes: &mut [Home], live_len: impl Fn(NodeId) -> usize) -> Vec<usize> {
    const NEW: usize = usize::MAX;
    const OPEN: usize = usize::MAX - 1;
    /// The most that a name gets in front and behind: a slash, and what tells it apart.
    const ADDED: usize = 48;
    let mut path_len = vec![NEW; deleted.len()];
    let mut order = Vec::with_capacity(deleted.len());
    let mut chain: Vec<usize> = Vec::new();
    for start in 0..deleted.len() {
        // Up to a directory that is settled; one that is met twice is where a loop is broken.
        let mut at = start;
        while path_len[at] == NEW {
            path_len[at] = OPEN;
            chain.push(at);
            if let Home::Deleted(directory) = homes[at] {
                at = directory;
            }
        }
        if path_len[at] == OPEN && matches!(homes[at], Home::Deleted(_)) {
            homes[at] = Home::Orphans;
            // The end of the chain lies in this one now, and all else of the loop below the end.
            let from = chain.iter().position(|&index| index == at).expect("an open node is in the chain");
            chain[from..].rotate_left(1);
        }
        while let Some(index) = chain.pop() {
            let above = match homes[index] {
                Home::Deleted(directory) => path_len[directory],
                Home::Live(node) => live_len(node),
                Home::Orphans => ORPHANS.len(),
            };
            let own = deleted[index].name.as_ref().map_or(0, |name| name.len()).min(NAME_MAX as usize) + ADDED;
            path_len[index] = above + own;
            if path_len[index] > PATH_MAX {
                homes[index] = Home::Orphans;
                path_len[index] = ORPHANS.len() + own;
            }
            order.push(index);
        }
    }
    order
}
