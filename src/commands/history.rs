//! `imgmount history`: the earlier versions of a file's attributes, as far as the disk remembers them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use filesystems::view::Mounts;
use filesystems::{Deleted, NodeId, Stat, resolve};
use images::{Error, Result, unsupported};
use serde::Serialize;

use crate::cli::{History, Request};
use crate::deleted::{Attributes, Bytes, Record};
use crate::place::Place;
use crate::terminal;

/// Prints the versions, the newest first.
pub fn run(request: &Request, options: &History) -> Result<()> {
    let stack = request.session.open()?;
    let path = options.path.as_os_str().as_bytes();
    let (tree, places) = options.places.selection()?.tree(&stack)?;
    // The deepest mount point above the path holds it, if it was deleted.
    let holds = places.iter().filter_map(|place| Some((place, place.inside(path)?)));
    let (place, rest) = holds.max_by_key(|(place, _)| place.prefix.len()).unwrap_or((&places[0], path));
    show(&Versions::find(&tree, path, place, rest)?, place, options)
}

/// What is known of one file.
struct Versions {
    /// As it is now, if it is still there.
    current: Option<Stat>,
    /// What it was before, and its attributes then.
    earlier: Vec<(Deleted, Option<Stat>)>,
}

impl Versions {
    /// Of what is at `path` in a tree, or was at `rest` of this file system.
    fn find(tree: &Mounts, path: &[u8], place: &Place, rest: &[u8]) -> Result<Self> {
        let shown = OsStr::from_bytes(path).display();
        match resolve(tree, path, false) {
            Ok(node) => {
                let (fs, node) = tree.holder(node)?;
                let cannot = |why| unsupported!("cannot look for earlier versions of {shown}: {why}");
                let mut earlier = Vec::new();
                fs.forensics().map_err(cannot)?.versions(node, &mut |version| {
                    earlier.push((version.clone(), fs.stat(version.node).ok()));
                    true
                })?;
                Ok(Self { current: Some(fs.stat(node)?), earlier })
            }
            Err(error) if matches!(error.root(), Error::NotFound | Error::NotDirectory) => {
                let missing = || Error::Usage(format!("{shown}: no such file, and none was found that was deleted"));
                let node = resolve(&*place.deleted, rest, false).map_err(|_| missing())?;
                Self::of_deleted(place, node).ok_or_else(missing)
            }
            Err(error) => Err(error),
        }
    }

    /// Of a node in the tree of deleted files.
    fn of_deleted(place: &Place, node: NodeId) -> Option<Self> {
        let behind = place.deleted.behind(node).ok()??;
        let all = place.deleted.all().ok()?;
        let one = all.iter().find(|deleted| deleted.node == behind)?;
        let same = |other: &&Deleted| (other.number, other.generation) == (one.number, one.generation);
        let mut earlier: Vec<_> = all.iter().filter(same).cloned().collect();
        earlier.sort_by_key(|version| version.version);
        let stat = |version: &Deleted| place.tree.stat(version.node).ok();
        let earlier = earlier.into_iter().map(|version| (stat(&version), version));
        Some(Self { current: None, earlier: earlier.map(|(stat, version)| (version, stat)).collect() })
    }
}

/// The answer as JSON.
#[derive(Serialize)]
struct Json<'a> {
    device: &'a str,
    path: Bytes,
    current: Option<Attributes>,
    versions: Vec<Record<'a>>,
}

fn show(versions: &Versions, place: &Place, options: &History) -> Result<()> {
    if options.json {
        let record =
            |(version, stat): &(Deleted, Option<Stat>)| Record::of_version(&place.device, version, stat.as_ref());
        return terminal::print_json(&Json {
            device: &place.device,
            path: Bytes(options.path.as_os_str().as_bytes().to_vec()),
            current: versions.current.as_ref().map(Attributes::from),
            versions: versions.earlier.iter().map(record).collect(),
        });
    }
    let head = ["VERSION", "STATE", "SIZE", "MODE", "OWNER", "MODIFIED", "CHANGED", "DELETED", "FOUND IN"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let row = |name: String, state: String, stat: Option<&Stat>, deleted: Option<String>, found: String| {
        let of = |text: &dyn Fn(&Stat) -> String| stat.map(text).unwrap_or_default();
        vec![
            name,
            state,
            of(&|stat| stat.size.to_string()),
            of(&|stat| format!("{:04o}", stat.permissions)),
            of(&|stat| format!("{}:{}", stat.owner, stat.group)),
            of(&|stat| stat.modified.to_string()),
            of(&|stat| stat.changed.to_string()),
            deleted.unwrap_or_default(),
            found,
        ]
    };
    if let Some(stat) = &versions.current {
        rows.push(row("now".into(), "live".into(), Some(stat), None, String::new()));
    }
    for (version, stat) in &versions.earlier {
        let found = version.evidence.first().map(ToString::to_string).unwrap_or_default();
        let deleted = version.deleted.map(|time| time.to_string());
        rows.push(row(version.version.to_string(), version.state.to_string(), stat.as_ref(), deleted, found));
    }
    let mut page = terminal::Page::default();
    page.table(rows);
    terminal::print(&page)
}
