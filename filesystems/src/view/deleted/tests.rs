//! A small tree from which nodes were deleted, some of them impossible.

use std::sync::atomic::{AtomicUsize, Ordering};

use images::Disk;

use super::*;
use crate::view::sample::Sample;
use crate::{Evidence, Kind, Parent, State, Time, read_file, resolve};

/// Deleted nodes have the numbers from here.
const FIRST: u64 = 1000;

/// A sample with deleted nodes: directories have a name that ends with `/`.
struct Graveyard {
    live: Sample,
    dead: Vec<(Deleted, Kind)>,
    searches: AtomicUsize,
}

impl Graveyard {
    /// A line each: parent, name, inode, version and time of the delete, between bars; a parent is a live path, `#n` the
    /// deleted node with this index, or `?`.
    fn new(dead: &str) -> Self {
        let live = Sample::new(&[("etc/", ""), ("etc/cron/", ""), ("etc/hosts", "h"), ("unrelated/", "")]);
        let deleted = |(index, line): (usize, &str)| {
            let parts: Vec<&str> = line.trim().split('|').collect();
            let [parent, name, number, version, seconds] = parts[..] else { panic!("{line}") };
            let parent = match (parent.strip_prefix('#'), parent) {
                (Some(other), _) => Parent::Deleted(NodeId(FIRST + other.parse::<u64>().unwrap())),
                (None, "?") => Parent::Unknown,
                (None, path) => Parent::Live(resolve(&live, path.as_bytes(), true).unwrap()),
            };
            let kind = if name.ends_with('/') { Kind::Directory } else { Kind::File };
            let name = name.trim_end_matches('/');
            let deleted = Deleted {
                node: NodeId(FIRST + index as u64),
                parent,
                name: (!name.is_empty()).then(|| name.as_bytes().into()),
                number: number.parse().unwrap(),
                generation: Some(7),
                version: version.parse().unwrap(),
                deleted: Some(Time { seconds: seconds.parse().unwrap(), nanoseconds: 0 }),
                state: State::Partial,
                lost: [0..10, 20..25].into(),
                evidence: vec![Evidence {
                    what: "inode",
                    offset: 4096,
                    transaction: Some(3),
                    in_journal: true,
                    checksum: Some(true),
                }],
            };
            (deleted, kind)
        };
        let dead = dead.lines().filter(|line| !line.trim().is_empty()).enumerate().map(deleted).collect();
        Self { live, dead, searches: AtomicUsize::new(0) }
    }

    /// The same with another name for the deleted node of this index.
    fn also(mut self, index: usize, name: &str) -> Self {
        let (deleted, kind) = &self.dead[index];
        self.dead
            .push((Deleted { name: Some(name.as_bytes().into()), parent: Parent::Unknown, ..deleted.clone() }, *kind));
        self
    }

    fn dead(&self, node: NodeId) -> Option<&(Deleted, Kind)> {
        self.dead.get(usize::try_from(node.0.checked_sub(FIRST)?).unwrap())
    }
}

impl FileSystem for Graveyard {
    fn properties(&self, node: NodeId) -> &Properties {
        self.live.properties(node)
    }
    fn space(&self, node: NodeId) -> Result<Space> {
        self.live.space(node)
    }
    fn root(&self) -> NodeId {
        self.live.root()
    }
    fn stat(&self, node: NodeId) -> Result<Stat> {
        match self.dead(node) {
            Some((deleted, kind)) => {
                Ok(Stat { kind: *kind, size: 1, owner: deleted.number as u32, ..self.live.stat(self.root())? })
            }
            None => self.live.stat(node),
        }
    }
    fn lookup(&self, dir: NodeId, name: &[u8]) -> Result<NodeId> {
        self.live.lookup(dir, name)
    }
    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        self.live.read_dir(dir, from, each)
    }
    fn read_at(&self, file: NodeId, buf: &mut [u8], _: u64) -> Result<usize> {
        let (deleted, _) = self.dead(file).ok_or(Error::NotFound)?;
        buf[0] = deleted.number as u8;
        Ok(1)
    }
    fn read_link(&self, _: NodeId) -> Result<Vec<u8>> {
        Err(Error::Invalid)
    }
    fn extent_at(&self, _: NodeId, _: u64) -> Result<Extent<'_>> {
        Err(Error::Invalid)
    }
    fn xattrs(&self, _: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(vec![(b"user.own".into(), b"x".into()), (b"user.imgmount.state".into(), b"intact".into())])
    }
    fn forensics(&self) -> Result<&dyn Forensics> {
        Ok(self)
    }

    fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
        Err(Error::Invalid)
    }
}

impl Forensics for Graveyard {
    fn deleted(&self) -> Result<Arc<[Deleted]>> {
        self.searches.fetch_add(1, Ordering::Relaxed);
        Ok(self.dead.iter().map(|(deleted, _)| deleted.clone()).collect())
    }
    fn versions(&self, _: NodeId, _: &mut dyn FnMut(&Deleted) -> bool) -> Result<()> {
        Ok(())
    }
    fn unallocated(&self) -> Result<Arc<dyn Disk>> {
        Err(unsupported!("there is no disk below"))
    }
}

fn view(dead: &str) -> DeletedFiles {
    DeletedFiles::new(Arc::new(Graveyard::new(dead)), "/dev/sda1", Budget::default())
}

fn paths(view: &DeletedFiles) -> Vec<String> {
    let path = |found: Found<'_>| String::from_utf8(view.path(found.node).unwrap()).unwrap();
    view.found().unwrap().map(path).collect()
}

#[test]
fn nodes_are_where_they_were() {
    let view = view(
        "
         etc/cron|daily|20|0|5
         /|letters/|21|0|5
         #1|one|22|0|5
         #1|deep/|23|0|5
         #3|two|24|0|5
         ?|lost|25|0|5
         ?||26|0|5
         etc||27|0|5
    ",
    );
    let want = [
        "etc/#27",
        "etc/cron/daily",
        "letters",
        "letters/deep",
        "letters/deep/two",
        "letters/one",
        "orphans/#26",
        "orphans/lost",
    ];
    assert_eq!(paths(&view), want);
    for path in want {
        let node = resolve(&view, path.as_bytes(), false).unwrap();
        assert_eq!(view.path(node).unwrap(), path.as_bytes());
        if view.stat(node).unwrap().kind == Kind::File {
            assert_eq!(u32::from(read_file(&view, node, 4096).unwrap()[0]), view.stat(node).unwrap().owner);
        }
    }
    let names = |dir: &str| {
        let mut names = Vec::new();
        let each = &mut |entry: Entry<'_>| {
            assert_eq!(view.lookup(resolve(&view, dir.as_bytes(), true).unwrap(), entry.name).unwrap(), entry.node);
            names.push(String::from_utf8(entry.name.into()).unwrap());
            true
        };
        view.read_dir(resolve(&view, dir.as_bytes(), true).unwrap(), 0, each).unwrap();
        names
    };
    assert_eq!(names("/"), ["etc", "letters", "orphans"], "and nothing that has no deleted node below");
    assert_eq!(names("etc"), ["#27", "cron"], "no live files");
    assert!(view.lookup(view.root(), b"unrelated").is_err());
}

#[test]
fn equal_names_are_told_apart() {
    let long = "n".repeat(255);
    let view = view(&format!(
        "
         /|a|20|0|5
         /|a|21|0|9
         /|a|22|0|7
         /|a|22|0|6
         /|a|21|1|9
         /|a|21|2|9
         /|etc|23|0|5
         /|orphans|24|0|5
         ?|x|25|0|5
         etc|{long}|26|0|5
         etc|{long}|27|0|4
         etc|b|28|1|4
    "
    ));
    let want = [
        "a",
        "a#20",
        "a#21@1",
        "a#21@2",
        "a#22",
        "a#22.2",
        "etc/b#28@1",
        &format!("etc/{}#27", "n".repeat(252)),
        &format!("etc/{long}"),
        "etc#23",
        "orphans/x",
        "orphans#24",
    ];
    assert_eq!(paths(&view), want);
    let a = view.lookup(view.root(), b"a").unwrap();
    assert_eq!(view.stat(a).unwrap().owner, 21, "deleted last");
}

#[test]
fn of_a_directory_the_newest_version_is_shown_and_holds_all() {
    let view = view(
        "
         /|d/|20|1|5
         /|d/|20|0|5
         #0|old|21|0|5
         #1|new|22|0|5
         #2|in a file|23|0|5
    ",
    );
    assert_eq!(paths(&view), ["d", "d/new", "d/old", "orphans/in a file"]);
    assert_eq!(view.all().unwrap().len(), 5);
}

#[test]
fn loops_are_broken_and_depth_is_bounded() {
    let view = view(
        "
         #1|a/|20|0|5
         #2|b/|21|0|5
         #0|c/|22|0|5
         #3|self/|23|0|5
         #1|leaf|24|0|5
         #99|nowhere|25|0|5
    ",
    );
    let want = ["orphans/a", "orphans/a/c", "orphans/a/c/b", "orphans/a/c/b/leaf", "orphans/nowhere", "orphans/self"];
    assert_eq!(paths(&view), want);

    // A chain of directories a hundred thousand deep, the deepest first.
    let count = 100_000;
    let chain: String = (0..count).map(|at| format!("#{}|directory/|{}|0|5\n", at + 1, at + 20)).collect();
    let chain = format!("{chain}/|top/|{}|0|5", count + 20);
    let view = self::view(&chain);
    assert_eq!(view.found().unwrap().count(), count + 1);
    assert!(view.found().unwrap().all(|found| view.path(found.node).unwrap().len() < 4096));
}

#[test]
fn a_node_of_several_names_is_under_each() {
    let graveyard = Graveyard::new("etc|one|20|0|5").also(0, "two").also(0, "one");
    let view = DeletedFiles::new(Arc::new(graveyard), "sda1", Budget::default());
    assert_eq!(paths(&view), ["etc/one", "orphans/one", "orphans/two"]);
    for path in paths(&view) {
        assert_eq!(read_file(&view, resolve(&view, path.as_bytes(), false).unwrap(), 9).unwrap(), [20]);
    }
}

#[test]
fn the_evidence_is_in_attributes() {
    let view = view("etc|gone|20|0|1700000000");
    let node = resolve(&view, b"etc/gone", true).unwrap();
    let all = view.xattrs(node).unwrap();
    let value = |name: &str| {
        let mut values = all.iter().filter(|(other, _)| other == name.as_bytes());
        let value = values.next().map(|(_, value)| String::from_utf8(value.clone()).unwrap());
        assert!(values.next().is_none(), "{name} twice");
        value
    };
    for (name, want) in [
        ("user.imgmount.state", "partial"),
        ("user.imgmount.lost", "0+10 20+5"),
        ("user.imgmount.inode", "20"),
        ("user.imgmount.generation", "7"),
        ("user.imgmount.version", "0"),
        ("user.imgmount.deleted", "2023-11-14T22:13:20Z"),
        ("user.imgmount.evidence", "inode at byte 0x1000 of the journal, transaction 3, checksum verified"),
        ("user.imgmount.device", "/dev/sda1"),
        ("user.imgmount.path", "/etc/gone"),
        ("user.own", "x"),
    ] {
        assert_eq!(value(name).as_deref(), Some(want));
    }
    let live = view.xattrs(resolve(&view, b"etc", true).unwrap()).unwrap();
    assert_eq!(live.len(), 2, "a directory that is there has its own only");
}

#[test]
fn nothing_is_searched_before_it_is_asked_for() {
    let graveyard = Arc::new(Graveyard::new("etc|gone|20|0|5"));
    let view = DeletedFiles::new(graveyard.clone(), "sda1", Budget::default());
    assert_eq!(view.stat(view.root()).unwrap().kind, Kind::Directory);
    view.space(view.root()).unwrap();
    view.xattrs(view.root()).unwrap();
    assert_eq!(graveyard.searches.load(Ordering::Relaxed), 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| resolve(&view, b"etc/gone", true).unwrap());
        }
    });
    assert_eq!(graveyard.searches.load(Ordering::Relaxed), 1);
    assert!(matches!(view.stat(NodeId(u64::MAX)), Err(Error::NotFound)));
    assert!(matches!(view.stat(NodeId(0)), Err(Error::NotFound)));
}

#[test]
fn nothing_deleted_is_an_empty_directory() {
    let view = view("");
    assert_eq!(view.found().unwrap().count(), 0);
    assert!(matches!(view.lookup(view.root(), b"etc"), Err(Error::NotFound)));
}

#[test]
fn equal_names_cost_what_different_ones_do() {
    // A hundred thousand with a count of every length: with a search for each from one on this would not end.
    let long = "n".repeat(300);
    let lines: String = (0..100_000).map(|_| "/|same|9|0|5\n").collect();
    let lines = lines + &(0..2000).map(|_| format!("/|{long}|9|0|5\n")).collect::<String>();
    let view = view(&lines);
    let mut names = std::collections::HashSet::new();
    view.read_dir(view.root(), 0, &mut |entry| {
        assert!(entry.name.len() <= 255);
        names.insert(entry.name.to_vec())
    })
    .unwrap();
    assert_eq!(names.len(), 102_000);
    assert!([&b"same"[..], b"same#9", b"same#9.2", b"same#9.99999"].iter().all(|name| names.contains(*name)));
}

#[test]
fn what_the_budget_does_not_hold_is_not_shown() {
    let lines: String = (0..1000).map(|index| format!("/etc|name {index}|{}|0|5\n", 50 + index)).collect();
    let budget = Budget::new(400 << 10);
    let view = DeletedFiles::new(Arc::new(Graveyard::new(&lines)), "sda1", budget.clone());
    let shown = view.found().unwrap().count();
    assert!((500..1000).contains(&shown), "{shown}");
    assert!(budget.free() >= 200 << 10, "the other half is left");
    drop(view);
    assert_eq!(budget.free(), budget.limit());
}

#[test]
fn that_nothing_can_be_looked_for_is_not_that_there_is_nothing() {
    let view = DeletedFiles::new(Arc::new(Sample::new(&[("file", "f")])), "/dev/sda1", Budget::default());
    let why = "cannot look for deleted files on /dev/sda1: a sample never held anything else";
    assert_eq!(view.found().err().unwrap().to_string(), why);
    let listed = view.read_dir(view.root(), 0, &mut |_| true).unwrap_err();
    assert!(matches!(listed.root(), Error::Unsupported(_)), "{listed}");
    assert_eq!(listed.to_string(), why);
    assert_eq!(view.stat(view.root()).unwrap().kind, Kind::Directory, "the root needs no search");
}
