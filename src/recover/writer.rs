//! Writes the deleted files of one file system, and gives them back what belonged to them.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;

use filesystems::{FileSystem, Kind, NodeId, Stat, State};
use indicatif::ProgressBar;

use super::destination::Destination;
use super::report::{Item, Outcome};
use super::wanted::Wanted;
use crate::copy::{Content, Copied};
use crate::deleted::{Bytes, Lost, Record};
use crate::place::Place;
use crate::terminal;

/// Writes the files of one file system, below a directory with the name of its device.
pub struct Writer<'a> {
    place: &'a Place,
    destination: &'a Destination,
    partial: bool,
    bar: &'a ProgressBar,
    /// The directories that were made, by their paths; they get their attributes last.
    made: BTreeMap<Vec<u8>, Made>,
}

/// What a directory that was made is here.
struct Made {
    node: NodeId,
    /// Whether it is a node of the file system; else of the tree of deleted files.
    living: bool,
}

/// Why a file was not written.
enum Refusal {
    /// It was not tried.
    Skip(String),
    /// It was tried in vain.
    Fail(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AlreadyExists => Self::Skip("there is a file of this name already".into()),
            _ => Self::Fail(error.to_string()),
        }
    }
}

impl From<images::Error> for Refusal {
    fn from(error: images::Error) -> Self {
        Self::Fail(error.to_string())
    }
}

impl<'a> Writer<'a> {
    /// For this file system. With `partial`, also what only a part is left of.
    pub fn new(place: &'a Place, destination: &'a Destination, partial: bool, bar: &'a ProgressBar) -> Self {
        Self { place, destination, partial, bar, made: BTreeMap::new() }
    }

    /// Writes one file, and says what became of it.
    pub fn item(&mut self, wanted: &Wanted<'_>, bytes: &mut u64) -> Item<'a> {
        let place = self.place;
        let (path, stat) = (&wanted.path, &wanted.stat);
        let found = Record::of(&place.device, &*place.tree, wanted.deleted, path, Some(stat));
        let output = Bytes([place.name.as_bytes(), b"/", path].concat());
        let mut item = Item {
            outcome: Outcome::Recovered,
            output: None,
            sha256: None,
            why: None,
            missing: Vec::new(),
            attributes_not_set: Vec::new(),
            found,
        };
        match self.write(wanted, &mut item) {
            Ok(written) => {
                *bytes += written;
                item.output = Some(output);
            }
            Err(Refusal::Skip(why)) => (item.outcome, item.why) = (Outcome::Skipped, Some(why)),
            Err(Refusal::Fail(why)) => (item.outcome, item.why) = (Outcome::Failed, Some(why)),
        }
        item
    }

    fn write(&mut self, wanted: &Wanted<'_>, item: &mut Item<'_>) -> Result<u64, Refusal> {
        let (stat, fs, node) = (&wanted.stat, &self.place.tree, wanted.deleted.node);
        let (parent, name) = match wanted.path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&wanted.path[..at], &wanted.path[at + 1..]),
            None => (&[][..], &wanted.path[..]),
        };
        let directory = match stat.kind {
            Kind::Directory => {
                self.directory(&wanted.path, wanted.living)?;
                return Ok(0);
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Socket => {
                return Err(Refusal::Skip("devices and sockets are not made; the report has what is known".into()));
            }
            Kind::File => {
                check_state(wanted, self.partial)?;
                self.directory(parent, wanted.living)?
            }
            Kind::Symlink | Kind::Fifo => self.directory(parent, wanted.living)?,
        };
        match stat.kind {
            Kind::Symlink => {
                let target = fs.read_link(node)?;
                self.destination.link(&directory, name, &target, stat)?;
                Ok(0)
            }
            Kind::Fifo => {
                self.destination.fifo(&directory, name, stat)?;
                Ok(0)
            }
            _ => {
                let out = self.destination.file(&directory, name)?;
                let lost = &wanted.deleted.lost;
                let content = Content { tree: &**fs, file: node, size: stat.size, lost, partial: self.partial };
                let copied = content.copy_to(&out, &|bytes| self.bar.inc(bytes));
                let Copied { sha256, lost, written } = copied.inspect_err(|_| {
                    self.destination.remove(&directory, name);
                })?;
                item.sha256 = sha256;
                item.missing = lost.iter().map(Lost::from).collect();
                if !lost.is_empty() {
                    item.outcome = Outcome::Partial;
                } else if wanted.deleted.state != State::Intact {
                    item.outcome = Outcome::Unproven;
                }
                item.attributes_not_set = self.restore(&out.into(), node, stat);
                Ok(written)
            }
        }
    }

    fn restore(&self, file: &OwnedFd, node: NodeId, stat: &Stat) -> Vec<String> {
        match self.place.tree.xattrs(node) {
            Ok(xattrs) => self.destination.restore(file, stat, &xattrs),
            Err(error) => {
                let mut missing = self.destination.restore(file, stat, &[]);
                missing.push(format!("extended attributes: {error}"));
                missing
            }
        }
    }

    /// Opens or makes the directory at a path of the file system, or of the tree of deleted files.
    fn directory(&mut self, path: &[u8], living: bool) -> Result<OwnedFd, Refusal> {
        let device: Vec<&[u8]> = self.place.name.split('/').map(str::as_bytes).collect();
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let all: Vec<&[u8]> = device.iter().chain(&names).copied().collect();
        let (directory, there) = self.destination.directory(&all).map_err(|error| {
            let kind = rustix::io::Errno::from_io_error(&error);
            match kind {
                Some(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
                    Refusal::Skip("what has the name of its directory is a file or a link".into())
                }
                _ => error.into(),
            }
        })?;
        let tree: &dyn FileSystem = if living { &*self.place.tree } else { &*self.place.deleted };
        let mut node = tree.root();
        for (depth, name) in names.iter().enumerate() {
            node = tree.lookup(node, name)?;
            if device.len() + depth >= there {
                self.made.insert(names[..=depth].join(&b'/'), Made { node, living });
            }
        }
        Ok(directory)
    }

    /// What a directory is in the file system, with its attributes; nothing for the directory of orphans.
    fn attributes(&self, made: &Made) -> Option<(NodeId, Stat)> {
        let Place { tree, deleted, .. } = self.place;
        if made.living {
            return Some((made.node, tree.stat(made.node).ok()?));
        }
        Some((deleted.behind(made.node).ok()??, deleted.stat(made.node).ok()?))
    }

    /// Gives the directories that were made their attributes, from the deepest up: what is written in one changes it.
    pub fn finish_directories(&self) {
        let device = self.place.name.split('/').map(str::as_bytes);
        for (path, made) in self.made.iter().rev() {
            let names: Vec<&[u8]> = device.clone().chain(path.split(|byte| *byte == b'/')).collect();
            let Ok(directory) = self.destination.existing(&names) else { continue };
            let Some((node, stat)) = self.attributes(made) else { continue };
            for missing in self.restore(&directory, node, &stat) {
                log::info!("{}:/{}: {missing}", self.place.name, terminal::clean(path));
            }
        }
    }
}

/// Whether enough of a file is left to write it.
fn check_state(wanted: &Wanted<'_>, partial: bool) -> Result<(), Refusal> {
    let lost = wanted.deleted.lost.iter().map(|range| range.end.saturating_sub(range.start));
    let lost = terminal::size(lost.fold(0, u64::saturating_add));
    let size = terminal::size(wanted.stat.size);
    match wanted.deleted.state {
        State::Intact | State::Unproven => Ok(()),
        State::Partial if partial => Ok(()),
        State::Partial => Err(Refusal::Skip(format!("{lost} of {size} are gone; --partial writes what is left"))),
        State::Overwritten => Err(Refusal::Skip("its space was used again, nothing of it is left".into())),
        State::MetadataOnly => Err(Refusal::Skip("only its attributes are known".into())),
    }
}
