//! Recovery from a file system that is made up, with everything that can be wrong with a deleted file.

#![allow(clippy::single_range_in_vec_init, reason = "a file may have lost one range")]

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::sync::Arc;
use std::{fs, io};

use filesystems::{
    Deleted, Entry, FileSystem, FileSystemMut, Forensics, Kind, NodeId, Parent, Properties, Space, Stat, State, Time,
};
use images::{Data, Disk, Error, Extent};
use sha2::{Digest, Sha256};

use super::*;
use crate::cli::Request;

/// Deleted nodes have the numbers from here; 1 is the root, 2 a live directory `live`.
const FIRST: u64 = 100;

struct Grave {
    parent: Parent,
    name: &'static str,
    kind: Kind,
    permissions: u16,
    /// Zeros of 4096 bytes in a row are holes.
    content: Vec<u8>,
    state: State,
    lost: Vec<std::ops::Range<u64>>,
    /// Cannot be read, whatever the state says.
    bad: Vec<std::ops::Range<u64>>,
}

impl Grave {
    fn file(parent: Parent, name: &'static str, content: impl Into<Vec<u8>>) -> Self {
        let (state, content) = (State::Intact, content.into());
        Self { parent, name, kind: Kind::File, permissions: 0o4640, content, state, lost: vec![], bad: vec![] }
    }

    fn directory(parent: Parent, name: &'static str) -> Self {
        Self { kind: Kind::Directory, permissions: 0o750, ..Self::file(parent, name, "") }
    }
}

struct Synthetic {
    graves: Vec<Grave>,
    properties: Properties,
}

impl Synthetic {
    fn grave(&self, node: NodeId) -> Result<&Grave> {
        let index = node.0.checked_sub(FIRST).ok_or(Error::NotFound)?;
        self.graves.get(index as usize).ok_or(Error::NotFound)
    }
}

const MODIFIED: Time = Time { seconds: 1_600_000_000, nanoseconds: 7 };

impl FileSystem for Synthetic {
    fn properties(&self, _: NodeId) -> &Properties {
        &self.properties
    }
    fn space(&self, _: NodeId) -> Result<Space> {
        Ok(Space::default())
    }
    fn root(&self) -> NodeId {
        NodeId(1)
    }
    fn stat(&self, node: NodeId) -> Result<Stat> {
        let (kind, permissions, size) = match self.grave(node) {
            Ok(grave) => (grave.kind, grave.permissions, grave.content.len() as u64),
            Err(_) => (Kind::Directory, 0o711, 0),
        };
        let (generation, links, owner, group, blocks, device) = (0, 0, 1234, 5678, 0, (1, 3));
        let (accessed, modified, changed, created) = (Time::default(), MODIFIED, MODIFIED, None);
        Ok(Stat {
            kind,
            generation,
            permissions,
            links,
            owner,
            group,
            size,
            blocks,
            device,
            accessed,
            modified,
            changed,
            created,
        })
    }
    fn lookup(&self, _: NodeId, _: &[u8]) -> Result<NodeId> {
        Err(Error::NotFound)
    }
    fn read_dir(&self, dir: NodeId, from: u64, each: &mut dyn FnMut(Entry<'_>) -> bool) -> Result<()> {
        if dir.0 == 1 && from == 0 {
            each(Entry { name: b"live", node: NodeId(2), kind: Some(Kind::Directory), next: 1 });
        }
        Ok(())
    }
    fn read_at(&self, file: NodeId, buf: &mut [u8], offset: u64) -> Result<usize> {
        let grave = self.grave(file)?;
        let rest = &grave.content[(offset as usize).min(grave.content.len())..];
        let len = rest.len().min(buf.len());
        let end = offset + len as u64;
        if grave.lost.iter().chain(&grave.bad).any(|gone| gone.start < end && offset < gone.end) {
            return Err(Error::io("gone", io::Error::other("gone")));
        }
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }
    fn read_link(&self, link: NodeId) -> Result<Vec<u8>> {
        Ok(self.grave(link)?.content.clone())
    }
    fn extent_at(&self, file: NodeId, offset: u64) -> Result<Extent<'_>> {
        let content = &self.grave(file)?.content;
        let end = (offset as usize / 4096 * 4096 + 4096).min(content.len());
        let piece = &content[offset as usize..end];
        let is_hole = piece.len() == 4096 && piece.iter().all(|byte| *byte == 0);
        Ok(Extent { len: piece.len() as u64, data: if is_hole { Data::Hole } else { Data::Opaque } })
    }
    fn xattrs(&self, _: NodeId) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(vec![(b"user.origin".into(), b"made up".into()), (b"security.capability".into(), b"cap".into())])
    }
    fn forensics(&self) -> Result<&dyn Forensics> {
        Ok(self)
    }

    fn writer(&self, _: NodeId) -> Result<&dyn FileSystemMut> {
        Err(Error::Invalid)
    }
}

impl Forensics for Synthetic {
    fn deleted(&self) -> Result<Arc<[Deleted]>> {
        let deleted = |(index, grave): (usize, &Grave)| Deleted {
            node: NodeId(FIRST + index as u64),
            parent: grave.parent,
            name: Some(grave.name.as_bytes().into()),
            number: 50 + index as u64,
            generation: None,
            version: 0,
            deleted: Some(Time { seconds: 1_700_000_000 + index as i64, nanoseconds: 0 }),
            state: grave.state,
            lost: grave.lost.clone().into(),
            evidence: Vec::new(),
        };
        Ok(self.graves.iter().enumerate().map(deleted).collect())
    }
    fn versions(&self, _: NodeId, _: &mut dyn FnMut(&Deleted) -> bool) -> Result<()> {
        Ok(())
    }
    fn unallocated(&self) -> Result<Arc<dyn Disk>> {
        Err(Error::Invalid)
    }
}

/// Recovers everything to `to`, with more options, and returns the exit status and the report.
fn recovered(graves: Vec<Grave>, to: &Path, options: &[&str]) -> (u8, serde_json::Value) {
    recovered_with(graves, None, to, options)
}

/// The same with another file system beside that of the graves.
fn recovered_with(graves: Vec<Grave>, other: Option<Place>, to: &Path, options: &[&str]) -> (u8, serde_json::Value) {
    let words = ["imgmount", "recover", "-a", "made-up", "--to"].into_iter().map(OsString::from);
    let words = words.chain([to.into()]).chain(options.iter().map(OsString::from));
    let request = Request::parse(words.collect()).unwrap().unwrap();
    let Some(cli::Command::Recover(options)) = &request.cli.command else { panic!() };
    let fs = Arc::new(Synthetic { graves, properties: Properties::default() });
    let place = Place::of("/dev/vg/root", 1 << 20, fs, images::Budget::default());
    let places: Vec<_> = [place].into_iter().chain(other).collect();
    let code = run_on(&places, &[Path::new("made-up")], options).unwrap();
    let mut reports: Vec<_> = fs::read_dir(to)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    reports.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    let report = reports.last().map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap());
    (code, report.unwrap_or_default())
}

#[test]
fn a_file_system_that_cannot_be_searched_is_no_success() {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("out");
    let made_up = Arc::new(filesystems::view::Directory::new(&[]).unwrap());
    let other = Place::of("/dev/sdb1", 1 << 20, made_up, images::Budget::default());
    let graves = vec![Grave::file(Parent::Live(NodeId(1)), "one", "1")];
    let (code, report) = recovered_with(graves, Some(other), &to, &[]);
    assert_eq!(code, INCOMPLETE, "{report:#}");
    assert_eq!(fs::read(to.join("vg/root/one")).unwrap(), b"1");
}

fn item<'a>(report: &'a serde_json::Value, path: &str) -> &'a serde_json::Value {
    let files = report["files"].as_array().unwrap();
    files.iter().find(|file| file["found"]["path"] == path).unwrap_or_else(|| panic!("no {path} in the report"))
}

fn hash(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn files_come_back_with_paths_times_modes_holes_and_hashes() {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("new/out");
    let mut sparse = vec![0; 9 << 20];
    sparse[5 << 20..(5 << 20) + 5000].fill(7);
    let root = Parent::Live(NodeId(1));
    let graves = vec![
        Grave::file(Parent::Live(NodeId(2)), "note", "a note"),
        Grave::directory(root, "letters"),
        Grave::file(Parent::Deleted(NodeId(FIRST + 1)), "one", "first letter"),
        Grave::file(root, "sparse", sparse.clone()),
        Grave::file(root, "empty", ""),
        Grave { kind: Kind::Symlink, ..Grave::file(root, "link", "/etc/passwd") },
        Grave { kind: Kind::Fifo, ..Grave::file(root, "fifo", "") },
    ];
    let (code, report) = recovered(graves, &to, &[]);
    assert_eq!(code, 0, "{report:#}");
    let base = to.join("vg/root");
    assert_eq!(fs::read(base.join("live/note")).unwrap(), b"a note");
    assert_eq!(fs::read(base.join("letters/one")).unwrap(), b"first letter");
    assert_eq!(fs::read(base.join("sparse")).unwrap(), sparse);
    assert_eq!(fs::read_link(base.join("link")).unwrap(), Path::new("/etc/passwd"));
    let stat = |path: &str| fs::symlink_metadata(base.join(path)).unwrap();
    assert!(stat("sparse").blocks() * 512 < 64 << 10, "holes are holes");
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&stat("fifo").file_type()));
    for path in ["live/note", "letters/one", "sparse", "empty", "link", "letters", "live"] {
        assert_eq!((stat(path).mtime(), stat(path).mtime_nsec()), (1_600_000_000, 7), "{path}");
    }
    assert_eq!(stat("live/note").permissions().mode() & 0o7777, 0o640, "without the set-user-id bit");
    assert_eq!(stat("letters").permissions().mode() & 0o7777, 0o750);
    assert_eq!(stat("live").permissions().mode() & 0o7777, 0o711, "a directory that is there, as it is");
    if rustix::process::geteuid().is_root() {
        for path in ["live/note", "link", "letters"] {
            assert_eq!((stat(path).uid(), stat(path).gid()), (1234, 5678), "{path}");
        }
    }
    for (path, content) in [("/live/note", &b"a note"[..]), ("/sparse", &sparse), ("/empty", b"")] {
        let item = item(&report, path);
        assert_eq!(item["sha256"], hash(content), "{path}");
        assert_eq!(item["outcome"], "recovered");
        assert_eq!(item["output"], format!("vg/root{path}"));
        let unset = item["attributes_not_set"].to_string();
        assert!(unset.contains("security.capability") && unset.contains("set-user-id"), "{unset}");
    }
    assert_eq!(report["totals"]["recovered"], 7);
}

#[test]
fn what_is_gone_is_a_hole_only_if_asked_for_and_always_said() {
    let place = tempfile::tempdir().unwrap();
    let root = Parent::Live(NodeId(1));
    let content: Vec<u8> = (0..40_000u32).map(|n| (n % 251) as u8 + 1).collect();
    let graves = || {
        let file = |name, state| Grave { state, ..Grave::file(root, name, content.clone()) };
        vec![
            Grave { lost: vec![4096..8192, 20_000..20_010], ..file("partial", State::Partial) },
            // The driver promised too much: nothing wrong must come of it.
            Grave { bad: vec![10_000..10_001], ..file("unreadable", State::Intact) },
            Grave { lost: vec![0..40_000], ..file("overwritten", State::Overwritten) },
            file("attributes", State::MetadataOnly),
            Grave { kind: Kind::CharDevice, ..file("null", State::Intact) },
            file("unproven", State::Unproven),
        ]
    };
    let (code, report) = recovered(graves(), &place.path().join("a"), &[]);
    assert_eq!(code, INCOMPLETE);
    assert_eq!(item(&report, "/unproven")["outcome"], "unproven", "never called recovered");
    assert!(!place.path().join("a/vg/root/unreadable").exists(), "no half file is left");
    for (path, outcome) in [
        ("/partial", "skipped"),
        ("/unreadable", "failed"),
        ("/overwritten", "skipped"),
        ("/attributes", "skipped"),
        ("/null", "skipped"),
    ] {
        assert_eq!(item(&report, path)["outcome"], outcome, "{path}");
        assert!(item(&report, path)["why"].is_string() && item(&report, path)["output"].is_null(), "{path}");
    }

    let (code, report) = recovered(graves(), &place.path().join("b"), &["--partial"]);
    assert_eq!(code, INCOMPLETE);
    let mut want = content.clone();
    want[4096..8192].fill(0);
    want[20_000..20_010].fill(0);
    assert_eq!(fs::read(place.path().join("b/vg/root/partial")).unwrap(), want);
    let partial = item(&report, "/partial");
    assert_eq!(partial["outcome"], "partial");
    let missing = serde_json::json!([{"offset": 4096, "length": 4096}, {"offset": 20_000, "length": 10}]);
    assert_eq!(partial["missing"], missing);
    assert_eq!(partial["sha256"], hash(&want));
    // What could not be read is narrowed down to a page.
    let mut want = content;
    want[8192..12_288].fill(0);
    assert_eq!(fs::read(place.path().join("b/vg/root/unreadable")).unwrap(), want);
    assert_eq!(item(&report, "/unreadable")["missing"], serde_json::json!([{"offset": 8192, "length": 4096}]));
    assert_eq!(item(&report, "/unreadable")["outcome"], "partial");
}

#[test]
fn nothing_is_overwritten_and_no_link_followed() {
    let place = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let base = place.path().join("vg/root");
    fs::create_dir_all(&base).unwrap();
    fs::write(base.join("there"), "mine").unwrap();
    symlink(outside.path(), base.join("live")).unwrap();
    symlink(outside.path().join("new"), base.join("dangling")).unwrap();
    let root = Parent::Live(NodeId(1));
    let graves = || {
        vec![
            Grave::file(root, "there", "theirs"),
            Grave::file(Parent::Live(NodeId(2)), "note", "a note"),
            Grave::file(root, "dangling", "x"),
            Grave::file(root, "..", "up"),
            Grave::file(root, "a/b", "slash"),
            Grave::file(root, "fine", "fine"),
        ]
    };
    let (code, report) = recovered(graves(), place.path(), &[]);
    assert_eq!(code, INCOMPLETE);
    assert_eq!(fs::read(base.join("there")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(fs::read(base.join("fine")).unwrap(), b"fine");
    assert_eq!(fs::read(base.join("#53")).unwrap(), b"up");
    assert_eq!(fs::read(base.join("#54")).unwrap(), b"slash");
    assert_eq!(fs::read_dir(place.path().join("vg")).unwrap().count(), 1);
    for path in ["/there", "/live/note", "/dangling"] {
        assert_eq!(item(&report, path)["outcome"], "skipped", "{path}");
    }
    // Once more: nothing is done twice, and the first report stays.
    let (_, report) = recovered(graves(), place.path(), &["fine"]);
    assert_eq!(item(&report, "/fine")["outcome"], "skipped");
    assert!(place.path().join("report.json").exists() && place.path().join("report-2.json").exists());
}

#[test]
fn only_what_is_asked_for() {
    let root = Parent::Live(NodeId(1));
    let graves = || {
        vec![
            Grave::file(root, "a.txt", "12345"),
            Grave::file(root, "b.dat", "1234567890"),
            Grave { state: State::Partial, ..Grave::file(Parent::Live(NodeId(2)), "c.txt", "1") },
        ]
    };
    for (options, want) in [
        (&["*.txt"][..], &["/a.txt", "/live/c.txt"][..]),
        (&["/*.txt"], &["/a.txt"]),
        (&["live"], &["/live/c.txt"]),
        (&["--min-size", "6"], &["/b.dat"]),
        (&["--max-size", "5", "--state", "intact"], &["/a.txt"]),
        (&["--deleted-after", "@1700000001"], &["/b.dat", "/live/c.txt"]),
        (&["--deleted-before", "@1700000001"], &["/a.txt"]),
        (&["nothing"], &[]),
    ] {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("out");
        let (code, report) = recovered(graves(), &to, options);
        let files = report["files"].as_array().cloned().unwrap_or_default();
        let paths: Vec<_> = files.iter().map(|file| file["found"]["path"].as_str().unwrap()).collect();
        assert_eq!(paths, want, "{options:?}");
        assert!(!want.is_empty() || (code == INCOMPLETE && !to.exists()), "nothing is made for nothing");
    }
}
