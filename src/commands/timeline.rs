//! `imgmount timeline`: the times of every file, live and deleted, in the form that mactime and Plaso read.
//!
//! The body file of The Sleuth Kit 3.0 and later: `MD5|name|inode|mode|UID|GID|size|atime|mtime|ctime|crtime`, see
//! <https://wiki.sleuthkit.org/index.php?title=Body_file>. Rows of live files are those of `fls -r -m`.

use std::collections::{HashSet, VecDeque};

use filesystems::{Kind, NodeId, Stat, Time};
use images::{Error, Result, unsupported};
use serde::Serialize;

use crate::cli::{Request, Timeline};
use crate::deleted::{Attributes, Bytes, Source};
use crate::inspect;
use crate::stack::Stack;
use crate::terminal::{self, JsonArray, Output};

/// How deep directories may lie in each other; ours. A path of the kernel has at most 2048 names.
const DEPTH_MAX: usize = 2048;
/// The longest path, in bytes, below which is listed what is in it; Linux's PATH_MAX.
const PATH_MAX: usize = 4096;
/// How much of a directory is read at once, in bytes; ours.
const CHUNK: usize = 16 << 10;
/// What a directory that was read takes in memory, in bytes, about.
const SEEN: u64 = 32;

/// Prints the timeline. The value is the exit status: 1 if something could not be read, which is said.
pub fn run(request: &Request, options: &Timeline) -> Result<u8> {
    terminal::start_log(options.images.verbose, options.images.trace);
    let stack = request.open()?;
    let places = places(&stack, options)?;
    let out = if options.json { Out::Json(JsonArray::open()?) } else { Out::Body(Output::open()) };
    let mut timeline = Writer { out, failed: false };
    for (prefix, source) in &places {
        timeline.live(source, prefix.as_bytes())?;
        timeline.deleted(source, prefix.as_bytes())?;
    }
    match timeline.out {
        Out::Json(array) => array.finish()?,
        Out::Body(out) => out.finish()?,
    }
    Ok(timeline.failed.into())
}

/// The file systems, and what stands before their paths: nothing, or a path without a slash at its end.
fn places(stack: &Stack, options: &Timeline) -> Result<Vec<(String, Source)>> {
    if options.inspector {
        let (guest, _tree) = inspect::guest(stack, options.root.as_deref())?;
        for warning in &guest.warnings {
            log::warn!("{warning}");
        }
        let place = |(dir, at): &(String, usize)| Ok((dir.trim_end_matches('/').to_owned(), Source::open(stack, *at)?));
        return guest.mounts.iter().map(place).collect();
    }
    if !options.mount.is_empty() {
        let place = |text: &String| {
            let (device, dir) = text.split_once(':').unwrap_or((text, "/"));
            if !dir.starts_with('/') {
                return Err(Error::Usage(format!("-m {text}: the directory {dir} must begin with /")));
            }
            Ok((dir.trim_end_matches('/').to_owned(), Source::open(stack, stack.expect(device)?)?))
        };
        return options.mount.iter().map(place).collect();
    }
    let all = Source::all(stack);
    let only = all.len() == 1;
    let prefix = |source: &Source| if only { String::new() } else { format!("/{}", source.name) };
    match all.is_empty() {
        true => Err(stack.no_file_system()),
        false => Ok(all.into_iter().map(|source| (prefix(&source), source)).collect()),
    }
}

enum Out {
    Json(JsonArray),
    Body(Output),
}

/// One row as JSON.
#[derive(Serialize)]
struct Row<'a> {
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

/// A name, and what it is the name of.
struct Name<'a> {
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

/// Name, node, and the kind where the directory says it.
type LevelEntry = (Box<[u8]>, NodeId, Option<Kind>);

/// A directory that is being read, piece by piece.
struct Level {
    dir: NodeId,
    /// How long its path is.
    path_len: usize,
    /// Where reading goes on; `None` at its end.
    next: Option<u64>,
    /// What was read and is not listed yet.
    entries: VecDeque<LevelEntry>,
}

impl Level {
    fn new(dir: NodeId, path_len: usize) -> Self {
        Self { dir, path_len, next: Some(0), entries: VecDeque::new() }
    }
}

struct Writer {
    out: Out,
    failed: bool,
}

impl Writer {
    /// Every name that is there, directories before what is in them, in the order of the disk.
    fn live(&mut self, source: &Source, prefix: &[u8]) -> Result<()> {
        let root = source.files.source().root();
        let (mut seen, mut held) = (HashSet::from([root]), source.budget.empty());
        let mut path = prefix.to_vec();
        let mut levels = vec![Level::new(root, path.len())];
        while let Some(level) = levels.last_mut() {
            path.truncate(level.path_len);
            if level.entries.is_empty() {
                self.read_on(source, level, &path);
            }
            let Some((name, node, kind)) = level.entries.pop_front() else {
                levels.pop();
                continue;
            };
            path.push(b'/');
            path.extend_from_slice(&name);
            let stat = self.row(source, &Name { path: &path, kind, node, number: node.0, deleted: None })?;
            if self.out.is_gone() {
                break;
            }
            // A directory that lies in itself is listed once.
            if stat.is_none_or(|stat| stat.kind != Kind::Directory) || seen.contains(&node) {
                continue;
            }
            if levels.len() >= DEPTH_MAX || path.len() > PATH_MAX {
                let why = unsupported!("it lies too deep: what is in it is not listed");
                self.complain(source, &path, &why);
            } else if let Err(error) = held.grow(SEEN, "the list of the directories that were read") {
                self.complain(source, &path, &error);
            } else {
                seen.insert(node);
                levels.push(Level::new(node, path.len()));
            }
        }
        Ok(())
    }

    /// Reads the next entries of a directory; an error is said, and what was read before it counts.
    fn read_on(&mut self, source: &Source, level: &mut Level, path: &[u8]) {
        let Some(from) = level.next.take() else { return };
        let (entries, next, mut bytes) = (&mut level.entries, &mut level.next, 0);
        let listed = source.files.source().read_dir(level.dir, from, &mut |entry| {
            entries.push_back((entry.name.into(), entry.node, entry.kind));
            bytes += size_of::<LevelEntry>() + entry.name.len();
            *next = (bytes >= CHUNK).then_some(entry.next);
            next.is_none()
        });
        if let Err(error) = listed {
            level.next = None;
            self.complain(source, path, &error);
        }
    }

    /// The deleted files, in their newest versions.
    fn deleted(&mut self, source: &Source, prefix: &[u8]) -> Result<()> {
        let found = match source.files.found() {
            Ok(found) => found,
            Err(error) => {
                self.complain(source, b"/", &error);
                return Ok(());
            }
        };
        for found in found.into_iter().filter(|found| found.deleted.version == 0) {
            let path = [prefix, b"/", &source.files.path(found.node)?].concat();
            let node = found.deleted.node;
            let kind = source.files.source().stat(node).ok().map(|stat| stat.kind);
            let deleted = Some((found.deleted.state.to_string(), found.deleted.deleted));
            self.row(source, &Name { path: &path, kind, node, number: found.deleted.number, deleted })?;
        }
        Ok(())
    }

    /// Writes a row. A node that cannot be read has one without attributes.
    fn row(&mut self, source: &Source, name: &Name<'_>) -> Result<Option<Stat>> {
        let fs = source.files.source();
        let stat = match fs.stat(name.node) {
            Ok(stat) => Some(stat),
            Err(error) => {
                self.complain(source, name.path, &error);
                None
            }
        };
        let is_link = stat.is_some_and(|stat| stat.kind == Kind::Symlink);
        let target = if is_link { fs.read_link(name.node).ok() } else { None };
        match &mut self.out {
            Out::Body(out) => out.record(&body(name, stat.as_ref(), target.as_deref()))?,
            Out::Json(array) => array.push(&Row {
                device: &source.device,
                path: Bytes(name.path.to_vec()),
                target: target.map(Bytes),
                inode: name.number,
                deleted: name.deleted.is_some(),
                deleted_at: name.deleted.as_ref().and_then(|(_, time)| Some(time.as_ref()?.to_string())),
                state: name.deleted.as_ref().map(|(state, _)| state.clone()),
                attributes: stat.as_ref().map(Attributes::from),
            })?,
        }
        Ok(stat)
    }

    fn complain(&mut self, source: &Source, path: &[u8], error: &Error) {
        terminal::complain(&format!("{}:{}: {error}", source.name, terminal::clean(path)));
        self.failed = true;
    }
}

/// A line of a body file.
fn body(name: &Name<'_>, stat: Option<&Stat>, target: Option<&[u8]>) -> Vec<u8> {
    let mut line = b"0|".to_vec();
    line.extend(name.path);
    if let Some(target) = target {
        line.extend(b" -> ");
        line.extend(target);
    }
    if name.deleted.is_some() {
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
    let kind = name.kind.map_or('-', |kind| if kind == Kind::Socket { 's' } else { letter(kind) });
    let number = name.number;
    line.extend(format!("|{number}|{kind}/{mode}|{owner}|{group}|{size}").bytes());
    // The delete is the last change of the attributes: what the inode itself says after it.
    let deleted = name.deleted.as_ref().and_then(|(_, time)| *time);
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
