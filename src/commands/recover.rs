//! `imgmount recover`: writes deleted files to a directory, as whole as they are, and a report.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use filesystems::view::Found;
use filesystems::{FileSystem, Kind, NodeId, Stat, State};
use images::Result;
use indicatif::ProgressBar;

use crate::cli::{Recover, Request};
use crate::copy::{Copied, copy};
use crate::deleted::{Bytes, Filter, Lost, Record, Source};
use crate::recover::destination::Destination;
use crate::recover::origin;
use crate::recover::report::{Item, Outcome, Report};
use crate::terminal;

/// The exit status where not everything that was asked for was written.
const INCOMPLETE: u8 = 2;

/// Recovers what the command line asks for. The value is the exit status.
pub fn run(request: &Request, options: &Recover) -> Result<u8> {
    terminal::start_log(options.selection.images.verbose, options.selection.images.trace);
    let stack = request.open()?;
    let sources = Source::selected(&stack, &options.selection)?;
    origin::check(&options.to)?;
    let images: Vec<_> = request.images()?.iter().map(|image| image.path.as_path()).collect();
    recover(&sources, &images, options)
}

/// A deleted file that is wanted.
struct Wanted<'a> {
    found: Found<'a>,
    path: Vec<u8>,
    stat: Stat,
}

/// Recovers from these file systems.
pub fn recover(sources: &[Source], images: &[&Path], options: &Recover) -> Result<u8> {
    let filter = Filter::new(&options.filters);
    let (mut searched, mut count, mut bytes) = (Vec::new(), 0u64, 0u64);
    for source in sources {
        let counted = each(source, &filter, log::Level::Warn, &mut |wanted| {
            (count, bytes) = (count + 1, bytes.saturating_add(wanted.stat.size));
            Ok(())
        });
        match counted {
            Ok(()) => searched.push(source),
            Err(error) => terminal::complain(&format!("{}: {error}", source.device)),
        }
    }
    if count == 0 {
        terminal::complain(&"no deleted file was found that is asked for; `imgmount deleted` lists them");
        return Ok(INCOMPLETE);
    }
    let bar = terminal::progress_bar(bytes);
    let destination = Destination::open(&options.to, options.all_xattrs)?;
    let mut report = Report::begin(&destination, images)?;
    for source in &searched {
        let mut writer = Writer { source, destination: &destination, options, bar: &bar, made: BTreeMap::new() };
        each(source, &filter, log::Level::Debug, &mut |file| {
            let item = writer.item(&file, &mut report.totals.bytes);
            if let Some(why) = &item.why {
                bar.suspend(|| {
                    let path = terminal::clean(&file.path);
                    terminal::complain(&format!("{}:/{path}: {why}", source.name));
                });
            }
            report.add(&item)
        })?;
        writer.finish_directories();
    }
    bar.finish_and_clear();
    let name = report.name.clone();
    let totals = report.finish()?;
    let mut text = format!("{} recovered", totals.recovered);
    for (count, what) in [
        (totals.unproven, "unproven"),
        (totals.partial, "in part"),
        (totals.skipped, "skipped"),
        (totals.failed, "failed"),
    ] {
        if count > 0 {
            text += &format!(", {count} {what}");
        }
    }
    let written = terminal::size(totals.bytes);
    let mut page = terminal::Page::default();
    page.line(format_args!("{text}, {written} written; see {}", options.to.join(name).display()));
    terminal::print(&page)?;
    let incomplete = searched.len() < sources.len() || totals.partial + totals.skipped + totals.failed > 0;
    Ok(if incomplete { INCOMPLETE } else { 0 })
}

/// Calls `each` with the deleted files of a file system that are wanted, one after the other: there may be very many.
/// What cannot be read is said in the log.
fn each<'a>(
    source: &'a Source,
    filter: &Filter,
    level: log::Level,
    each: &mut dyn FnMut(Wanted<'a>) -> Result<()>,
) -> Result<()> {
    for found in source.files.found()? {
        let path = source.files.path(found.node)?;
        let stat = source.files.source().stat(found.deleted.node);
        match stat {
            Ok(stat) if filter.wants(&found, &path, Some(&stat)) => each(Wanted { found, path, stat })?,
            Ok(_) => {}
            Err(error) => log::log!(level, "{}:/{}: {error}", source.name, terminal::clean(&path)),
        }
    }
    Ok(())
}

/// Writes the files of one file system, below a directory with the name of its device.
struct Writer<'a> {
    source: &'a Source,
    destination: &'a Destination,
    options: &'a Recover,
    bar: &'a ProgressBar,
    /// The directories that were made, by their paths in the tree of deleted files; they get their attributes last.
    made: BTreeMap<Vec<u8>, NodeId>,
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
    /// Writes one file, and says what became of it.
    fn item(&mut self, wanted: &Wanted<'a>, bytes: &mut u64) -> Item<'a> {
        let source = self.source;
        let (path, stat) = (&wanted.path, &wanted.stat);
        let found = Record::of(&source.device, &source.files, &wanted.found, path, Some(stat));
        let output = Bytes([source.name.as_bytes(), b"/", path].concat());
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

    fn write(&mut self, wanted: &Wanted<'_>, item: &mut Item<'_>) -> std::result::Result<u64, Refusal> {
        let (stat, fs, node) = (&wanted.stat, self.source.files.source(), wanted.found.deleted.node);
        let (parent, name) = match wanted.path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&wanted.path[..at], &wanted.path[at + 1..]),
            None => (&[][..], &wanted.path[..]),
        };
        let directory = match stat.kind {
            Kind::Directory => {
                self.directory(&wanted.path)?;
                return Ok(0);
            }
            Kind::CharDevice | Kind::BlockDevice | Kind::Socket => {
                return Err(Refusal::Skip("devices and sockets are not made; the report has what is known".into()));
            }
            Kind::File => {
                check_state(wanted, self.options.partial)?;
                self.directory(parent)?
            }
            Kind::Symlink | Kind::Fifo => self.directory(parent)?,
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
                let (lost, partial) = (&wanted.found.deleted.lost, self.options.partial);
                let copied = copy(&**fs, node, stat.size, lost, partial, &out, &|bytes| self.bar.inc(bytes));
                let Copied { sha256, lost, written } = copied.inspect_err(|_| {
                    self.destination.remove(&directory, name);
                })?;
                item.sha256 = sha256;
                item.missing = lost.iter().map(Lost::from).collect();
                if !lost.is_empty() {
                    item.outcome = Outcome::Partial;
                } else if wanted.found.deleted.state != State::Intact {
                    item.outcome = Outcome::Unproven;
                }
                item.attributes_not_set = self.restore(&out.into(), node, stat);
                Ok(written)
            }
        }
    }

    fn restore(&self, file: &OwnedFd, node: NodeId, stat: &Stat) -> Vec<String> {
        match self.source.files.source().xattrs(node) {
            Ok(xattrs) => self.destination.restore(file, stat, &xattrs),
            Err(error) => {
                let mut missing = self.destination.restore(file, stat, &[]);
                missing.push(format!("extended attributes: {error}"));
                missing
            }
        }
    }

    /// Opens or makes the directory at a path of the tree of deleted files.
    fn directory(&mut self, path: &[u8]) -> std::result::Result<OwnedFd, Refusal> {
        let device: Vec<&[u8]> = self.source.name.split('/').map(str::as_bytes).collect();
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
        let mut node = self.source.files.root();
        for (depth, name) in names.iter().enumerate() {
            node = self.source.files.lookup(node, name)?;
            if device.len() + depth >= there {
                self.made.insert(names[..=depth].join(&b'/'), node);
            }
        }
        Ok(directory)
    }

    /// Gives the directories that were made their attributes, from the deepest up: what is written in one changes it.
    fn finish_directories(&self) {
        let device = self.source.name.split('/').map(str::as_bytes);
        for (path, node) in self.made.iter().rev() {
            let names: Vec<&[u8]> = device.clone().chain(path.split(|byte| *byte == b'/')).collect();
            let Ok(directory) = self.destination.existing(&names) else { continue };
            let Ok(Some(behind)) = self.source.files.behind(*node) else { continue };
            if let Ok(stat) = self.source.files.stat(*node) {
                for missing in self.restore(&directory, behind, &stat) {
                    log::info!("{}:/{}: {missing}", self.source.name, terminal::clean(path));
                }
            }
        }
    }
}

/// Whether enough of a file is left to write it.
fn check_state(wanted: &Wanted<'_>, partial: bool) -> std::result::Result<(), Refusal> {
    let lost = wanted.found.deleted.lost.iter().map(|range| range.end.saturating_sub(range.start));
    let lost = terminal::size(lost.fold(0, u64::saturating_add));
    let size = terminal::size(wanted.stat.size);
    match wanted.found.deleted.state {
        State::Intact | State::Unproven => Ok(()),
        State::Partial if partial => Ok(()),
        State::Partial => Err(Refusal::Skip(format!("{lost} of {size} are gone; --partial writes what is left"))),
        State::Overwritten => Err(Refusal::Skip("its space was used again, nothing of it is left".into())),
        State::MetadataOnly => Err(Refusal::Skip("only its attributes are known".into())),
    }
}

#[cfg(test)]
mod tests;
