//! `imgmount timeline`: the times of every file, live and deleted, in the form that mactime and Plaso read.
//!
//! The body file of The Sleuth Kit 3.0 and later: `MD5|name|inode|mode|UID|GID|size|atime|mtime|ctime|crtime`, see
//! <https://wiki.sleuthkit.org/index.php?title=Body_file>. Rows of live files are those of `fls -r -m`.

use filesystems::{Kind, NodeId, Stat, Time};
use images::{Error, Result};
use serde::Serialize;

use crate::cli::{Request, Timeline};
use crate::deleted::{Attributes, Bytes};
use crate::place::Place;
use crate::terminal::{self, JsonArray, Output};
use crate::walk::{Name, Step, Walk};

/// Prints the timeline. The value is the exit status: 1 if something could not be read, which is said.
pub fn run(request: &Request, options: &Timeline) -> Result<u8> {
    let stack = request.session.open()?;
    let places = options.places.selection()?.places(&stack)?;
    let out = if options.json { Out::Json(JsonArray::open()?) } else { Out::Body(Output::open()) };
    let mut timeline = Writer { out, failed: false };
    for place in &places {
        timeline.live(place)?;
        timeline.deleted(place)?;
    }
    match timeline.out {
        Out::Json(array) => array.finish()?,
        Out::Body(out) => out.finish()?,
    }
    Ok(timeline.failed.into())
}

enum Out {
    Json(JsonArray),
    Body(Output),
}

/// One row as JSON.
#[derive(Serialize)]
struct Json<'a> {
    device: &'a str,
    path: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Bytes>,
    inode: u64,
    /// Whether it is deleted.
    deleted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(flatten)]
    attributes: Option<Attributes>,
}

/// A name, live or deleted, and what it is the name of.
struct Row<'a> {
    path: &'a [u8],
    /// The kind that the directory says.
    kind: Option<Kind>,
    node: NodeId,
    /// The number by which the file system knows it.
    number: u64,
    /// For a deleted file, its state and when that happened.
    deleted: Option<(String, Option<Time>)>,
}

impl Out {
    /// Whether nobody reads any more.
    fn is_gone(&self) -> bool {
        match self {
            Self::Json(array) => array.is_gone(),
            Self::Body(out) => out.is_gone(),
        }
    }
}

struct Writer {
    out: Out,
    failed: bool,
}

impl Writer {
    /// Every name that is there.
    fn live(&mut self, place: &Place) -> Result<()> {
        let tree = &*place.tree;
        let mut walk = Walk::new(tree, tree.root(), place.prefix.as_bytes(), &place.budget);
        while let Some(step) = walk.step() {
            match step {
                Step::Name(Name { path, node, kind, stat }) => {
                    self.row(place, &Row { path, kind, node, number: node.0, deleted: None }, stat)?;
                }
                Step::Gap(path, why) => self.complain(place, path, &why),
            }
            if self.out.is_gone() {
                break;
            }
        }
        Ok(())
    }

    /// The deleted files, in their newest versions.
    fn deleted(&mut self, place: &Place) -> Result<()> {
        let found = match place.deleted.found() {
            Ok(found) => found,
            Err(error) => {
                terminal::complain(&error.to_string());
                self.failed = true;
                return Ok(());
            }
        };
        for found in found.filter(|found| found.deleted.version == 0) {
            let path = [place.prefix.as_bytes(), b"/", &place.deleted.path(found.node)?].concat();
            let node = found.deleted.node;
            let stat = place.tree.stat(node);
            let kind = stat.as_ref().ok().map(|stat| stat.kind);
            let deleted = Some((found.deleted.state.to_string(), found.deleted.deleted));
            self.row(place, &Row { path: &path, kind, node, number: found.deleted.number, deleted }, stat)?;
        }
        Ok(())
    }

    /// Writes a row. A node that cannot be read has one without attributes.
    fn row(&mut self, place: &Place, row: &Row<'_>, stat: Result<Stat>) -> Result<()> {
        let stat = match stat {
            Ok(stat) => Some(stat),
            Err(error) => {
                self.complain(place, row.path, &error);
                None
            }
        };
        let is_link = stat.is_some_and(|stat| stat.kind == Kind::Symlink);
        let target = if is_link { place.tree.read_link(row.node).ok() } else { None };
        match &mut self.out {
            Out::Body(out) => out.record(&body(row, stat.as_ref(), target.as_deref())),
            Out::Json(array) => array.push(&Json {
                device: &place.device,
                path: Bytes(row.path.to_vec()),
                target: target.map(Bytes),
                inode: row.number,
                deleted: row.deleted.is_some(),
                deleted_at: row.deleted.as_ref().and_then(|(_, time)| Some(time.as_ref()?.to_string())),
                state: row.deleted.as_ref().map(|(state, _)| state.clone()),
                attributes: stat.as_ref().map(Attributes::from),
            }),
        }
    }

    fn complain(&mut self, place: &Place, path: &[u8], error: &Error) {
        terminal::complain(&format!("{}:{}: {error}", place.name, terminal::clean(path)));
        self.failed = true;
    }
}

/// A line of a body file.
fn body(row: &Row<'_>, stat: Option<&Stat>, target: Option<&[u8]>) -> Vec<u8> {
    let mut line = b"0|".to_vec();
    line.extend(row.path);
    if let Some(target) = target {
        line.extend(b" -> ");
        line.extend(target);
    }
    if row.deleted.is_some() {
        line.extend(b" (deleted)");
    }
    // As fls has it for control characters; a separator would shift the fields behind it.
    for byte in &mut line[2..] {
        if *byte < 0x20 || *byte == b'|' {
            *byte = b'^';
        }
    }
    let (mode, owner, group, size) =
        stat.map_or(("----------".to_owned(), 0, 0, 0), |s| (mode(s), s.owner, s.group, s.size));
    let kind = row.kind.map_or('-', |kind| if kind == Kind::Socket { 's' } else { letter(kind) });
    let number = row.number;
    line.extend(format!("|{number}|{kind}/{mode}|{owner}|{group}|{size}").bytes());
    // The delete is the last change of the attributes: what the inode itself says after it.
    let deleted = row.deleted.as_ref().and_then(|(_, time)| *time);
    let times = stat
        .map(|stat| [stat.accessed, stat.modified, deleted.unwrap_or(stat.changed), stat.created.unwrap_or_default()]);
    for time in times.unwrap_or_default() {
        line.extend(format!("|{}", time.seconds).bytes());
    }
    line
}

/// The Sleuth Kit's letter for a kind of node.
fn letter(kind: Kind) -> char {
    match kind {
        Kind::File => 'r',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
        Kind::Fifo => 'p',
        Kind::Socket => 'h',
    }
}

/// The mode as `ls` has it, with The Sleuth Kit's letter at its start.
fn mode(stat: &Stat) -> String {
    let bits = stat.permissions;
    let mut text = String::from(letter(stat.kind));
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let three = bits >> shift;
        text.push(if three & 4 != 0 { 'r' } else { '-' });
        text.push(if three & 2 != 0 { 'w' } else { '-' });
        text.push(match (three & 1 != 0, bits & special != 0) {
            (true, true) => set,
            (false, true) => unset,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}
