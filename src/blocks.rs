//! `--blocks`: every disk, partition, volume and internal snapshot as a sparse file that any tool can read.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use filesystems::view::{Disks, Member};
use filesystems::{FileSystem, Stat, Time};
use images::disk::Fill;
use images::info::Layer;
use images::{Disk, Error, Extent, Location, Properties, Result, ResultExt, Writer, corrupt, read_only};

use crate::session::Session;
use crate::stack::{Level, Stack};
use crate::terminal;

/// How many extents are added up for `st_blocks`; ours. What follows counts as allocated.
const MOST_EXTENTS: usize = 1 << 16;
/// How many snapshots of one image are shown; ours. `--snapshot` opens any.
const MOST_SNAPSHOTS: usize = 1000;
/// The longest name that is made, in bytes; below Linux's NAME_MAX, to leave room for what tells names apart.
const LONGEST_NAME: usize = 200;

/// The tree of files. Each is named as its device is, without `/dev/`; a snapshot as its disk, with `@` and its name.
pub fn tree(stack: &Stack, session: &Session) -> Result<Arc<dyn FileSystem>> {
    let mut names = Names::default();
    let (mut blocks, mut members) = (Vec::new(), Vec::new());
    let mut add = |name: &str, disk: Arc<dyn Disk>, attributes, snapshot| {
        let name = names.add(name).into_bytes();
        members.push(Member { name, disk: disk.clone(), allocated: 0 });
        blocks.push(Block { disk, attributes, snapshot, allocated: OnceLock::new() });
    };
    let mut attributes: Vec<Attributes> = Vec::new();
    let mut snapshots = Vec::new();
    for (at, device) in stack.devices.iter().enumerate() {
        // The disks come first, in the order of the images.
        if device.level == Level::Disk {
            let image = session.image_of(at)?;
            let options = session.image_options(at, image);
            let layers = images::info(&image.path, &options)?;
            attributes.push(Attributes::of_image(&layers));
            // The process that serves has another working directory.
            let path = options.absolute(&image.path)?;
            snapshots.push((at, path, options, layers));
        } else {
            let below = device.on.iter().map(|&below| attributes[below]);
            attributes.push(below.reduce(Attributes::narrow).unwrap_or_default());
        }
        match &device.disk {
            Ok(disk) => add(&device.name, disk.clone(), attributes[at], None),
            Err(error) => log::warn!("{} is not shown: {error}", device.name),
        }
    }
    for (at, path, options, layers) in snapshots {
        let found = layers.first().map(|layer| &layer.description.snapshots[..]).unwrap_or_default();
        let name = &stack.devices[at].name;
        if found.len() > MOST_SNAPSHOTS {
            let more = found.len() - MOST_SNAPSHOTS;
            log::warn!("{name}: {more} of {} snapshots are not shown; --snapshot opens them", found.len());
        }
        for snapshot in found.iter().take(MOST_SNAPSHOTS) {
            if i64::try_from(snapshot.size).is_err() {
                log::warn!("{name}: snapshot {} is not shown: {} bytes", snapshot.id.escape_debug(), snapshot.size);
                continue;
            }
            let wanted = if snapshot.name.is_empty() { &snapshot.id } else { &snapshot.name };
            let later = Arc::new(Snapshot {
                path: path.clone(),
                options: images::Options { snapshot: Some(snapshot.id.clone()), ..options.clone() },
                size: snapshot.size,
                opened: OnceLock::new(),
            });
            // A snapshot's date is when its content was last changed.
            let (seconds, nanoseconds) = snapshot.date;
            let modified = Time { seconds: seconds.into(), nanoseconds: nanoseconds.min(999_999_999) };
            let attributes = Attributes { modified, ..attributes[at] };
            add(&format!("{name}@{}", wanted.replace('/', "_")), later.clone(), attributes, Some(later));
        }
    }
    let view = Disks::new(members)?;
    Ok(Arc::new(view.with_attributes(move |index, stat| blocks[index].stat(stat))))
}

/// What stands behind a file.
struct Block {
    disk: Arc<dyn Disk>,
    attributes: Attributes,
    snapshot: Option<Arc<Snapshot>>,
    /// In bytes, counted when somebody asks for the first time.
    allocated: OnceLock<u64>,
}

impl Block {
    fn stat(&self, stat: Stat) -> Stat {
        let allocated = *self.allocated.get_or_init(|| match &self.snapshot {
            // Not kept open: listing a thousand snapshots must not use up the process's files.
            Some(snapshot) => snapshot.open().map_or(stat.size, |disk| allocated(&*disk)),
            None => allocated(&*self.disk),
        });
        let Attributes { owner, group, permissions, modified, accessed, changed } = self.attributes;
        let blocks = allocated.div_ceil(512);
        Stat { owner, group, permissions, blocks, modified, accessed, changed, ..stat }
    }
}

/// How many bytes of a disk are data.
fn allocated(disk: &dyn Disk) -> u64 {
    match Fill::of(disk, MOST_EXTENTS) {
        Ok(fill) if fill.rest == 0 => fill.data,
        // Programs look for holes only in a file that takes less space than its size.
        Ok(fill) => (fill.data + fill.rest).min(disk.size().saturating_sub(512)),
        Err(error) => {
            log::warn!("{disk}: what is allocated cannot be counted: {error}");
            disk.size()
        }
    }
}

/// What the host says of the files that a device is in: who may read all of them may read the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Attributes {
    owner: u32,
    group: u32,
    permissions: u16,
    modified: Time,
    accessed: Time,
    changed: Time,
}

impl Attributes {
    fn of_image(layers: &[Layer]) -> Self {
        let files = layers.iter().flat_map(|layer| std::iter::once(&layer.file).chain(&layer.files));
        let mut all = files.map(|member| member.metadata.as_ref().map_or_else(Self::of_this_process, Self::of_file));
        let Some(own) = all.next() else { return Self::default() };
        let narrowed = all.fold(own, Self::narrow);
        // The times are the image's own.
        Self { permissions: narrowed.permissions, ..own }
    }

    /// Of what is no file of the host: it was read on behalf of who started this process.
    fn of_this_process() -> Self {
        let (owner, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self { owner, group, permissions: 0o400, ..Self::default() }
    }

    fn of_file(file: &std::fs::Metadata) -> Self {
        let time = |seconds, nanoseconds: i64| Time { seconds, nanoseconds: u32::try_from(nanoseconds).unwrap_or(0) };
        Self {
            owner: file.uid(),
            group: file.gid(),
            permissions: (file.mode() & 0o444) as u16,
            modified: time(file.mtime(), file.mtime_nsec()),
            accessed: time(file.atime(), file.atime_nsec()),
            changed: time(file.ctime(), file.ctime_nsec()),
        }
    }

    /// What is left to the owner, the group and others of this file, if they need another one too.
    fn narrow(self, other: Self) -> Self {
        let may = |bit: bool, class: u16| if bit { 0o4 << class } else { 0 };
        let has = |of: Self, class: u16| of.permissions >> class & 0o4 != 0;
        let group = has(other, 0) || self.group == other.group && has(other, 3);
        let owner = group || self.owner == other.owner && has(other, 6);
        let allowed = may(owner, 6) | may(group, 3) | may(has(other, 0), 0);
        Self {
            permissions: self.permissions & allowed,
            modified: self.modified.max(other.modified),
            accessed: self.accessed.max(other.accessed),
            changed: self.changed.max(other.changed),
            ..self
        }
    }
}

/// An internal snapshot, opened when it is first read.
struct Snapshot {
    path: PathBuf,
    options: images::Options,
    size: u64,
    opened: OnceLock<std::result::Result<Arc<dyn Disk>, Arc<Error>>>,
}

impl Snapshot {
    fn open(&self) -> Result<Arc<dyn Disk>> {
        let disk = images::open(&self.path, &self.options)?;
        match disk.size() {
            size if size == self.size => Ok(disk),
            size => {
                Err(corrupt!("snapshot table entry", 0u64, "{size} bytes, it had {} before", self.size)).within(self)
            }
        }
    }

    fn opened(&self) -> Result<&dyn Disk> {
        let opened = self.opened.get_or_init(|| self.open().map_err(Arc::new));
        opened.as_deref().map_err(|error| Error::Shared(error.clone()))
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.options.snapshot.as_deref().unwrap_or_default();
        let location = Location::of(&self.path, self.options.sources);
        let path = terminal::clean(location.shown().as_encoded_bytes());
        write!(f, "snapshot {} of {path}", id.escape_debug())
    }
}

impl Disk for Snapshot {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.opened()?.read_at(buf, offset)
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        self.opened()?.extent_at(offset)
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn writer(&self, _: Range<u64>) -> Result<Writer> {
        Err(read_only!("{self} cannot be written: it is what a disk was"))
    }
}

/// Names of files that are safe on any host, and differ.
#[derive(Default)]
struct Names {
    files: HashSet<String>,
    directories: HashSet<String>,
    /// The last number given to one of several with the same name.
    numbers: HashMap<String, u64>,
}

impl Names {
    /// The path for the device of this name. What an image chose to call something may be anything: a name that cannot
    /// be one is changed, and one that is taken gets `~2`.
    fn add(&mut self, device: &str) -> String {
        let path = device.strip_prefix("/dev/").unwrap_or(device);
        let (directories, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut at = String::new();
        for directory in directories.split('/').filter(|directory| !directory.is_empty()) {
            // The same directory for all that is in it: counted from the start.
            at = differing(&at, &safe(directory), &mut HashMap::new(), |path| self.files.contains(path));
            self.directories.insert(at.clone());
        }
        let taken = |path: &str| self.files.contains(path) || self.directories.contains(path);
        let path = differing(&at, &safe(name), &mut self.numbers, taken);
        self.files.insert(path.clone());
        path
    }
}

fn differing(directory: &str, name: &str, numbers: &mut HashMap<String, u64>, taken: impl Fn(&str) -> bool) -> String {
    let start = if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") };
    if !taken(&start) {
        return start;
    }
    // What was given stays taken: looking from the start again would be slow where very many have one name.
    let last = numbers.entry(start.clone()).or_insert(1);
    loop {
        *last += 1;
        let path = format!("{start}~{last}");
        if !taken(&path) {
            return path;
        }
    }
}

/// One name without what a host or a terminal would take amiss.
fn safe(name: &str) -> String {
    let mut safe = String::new();
    for c in name.chars() {
        let c = if terminal::is_harmful(c) || c == '/' { '_' } else { c };
        if safe.len() + c.len_utf8() > LONGEST_NAME {
            break;
        }
        safe.push(c);
    }
    if safe.is_empty() || safe == "." || safe == ".." { format!("_{safe}") } else { safe }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_differ() {
        let mut names = Names::default();
        let long = "ä".repeat(300);
        for (device, want) in [
            ("/dev/sda", "sda"),
            ("/dev/sda1", "sda1"),
            ("/dev/vg/root", "vg/root"),
            ("/dev/sda/root", "sda~2/root"),
            ("/dev/vg/root", "vg/root~2"),
            ("/dev/vg", "vg~2"),
            ("/dev/../..", "_../_.."),
            ("/dev/a\n\0b", "a__b"),
            ("/dev/", "_"),
            ("/dev//x", "x"),
            ("/dev/sda@..", "sda@.."),
            (&long, &"ä".repeat(100)),
        ] {
            assert_eq!(names.add(device), want, "{device:?}");
        }
    }

    #[test]
    fn who_may_read_a_device_may_read_all_its_files() {
        let file = |owner, group, permissions| Attributes { owner, group, permissions, ..Attributes::default() };
        for (one, other, want) in [
            ((0, 0, 0o444), (0, 0, 0o444), 0o444),
            ((0, 0, 0o444), (0, 0, 0o440), 0o440),
            ((0, 0, 0o444), (0, 0, 0o400), 0o400),
            ((1, 1, 0o444), (0, 0, 0o400), 0),
            ((1, 1, 0o444), (0, 1, 0o440), 0o440),
            ((1, 1, 0o440), (0, 0, 0o444), 0o440),
            ((1, 1, 0o400), (0, 0, 0o444), 0o400),
            ((1, 1, 0o444), (1, 2, 0o440), 0o400),
        ] {
            let narrowed = file(one.0, one.1, one.2).narrow(file(other.0, other.1, other.2));
            assert_eq!(narrowed.permissions, want, "{one:?} {other:?}");
        }
    }
}
