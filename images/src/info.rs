//! What an image says of itself, without its content: format, sizes, snapshots, and the files that it consists of.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::disk::HostFile;
use crate::format::{FORMATS, Format, Opener, RAW, Request};
use crate::gate::{Found, Gate, Rules};
use crate::image::{self, Options};
use crate::{Disk, Error, Reservation, Result, ResultExt};

/// Reads what the image of one format says of itself. The files that it asks for are noted.
type Describe = fn(&Arc<dyn Disk>, &Request<'_>) -> Result<Description>;

/// The formats that say more of themselves than can be seen of any: a line for each. Of the others the sizes are
/// known and the files that they name.
static DESCRIBERS: &[(&str, Describe)] = &[
    ("qcow2", |file, _| crate::qcow2::describe(file)),
    ("qcow", |file, request| crate::qcow1::describe(file, request.budget)),
    ("ewf", crate::ewf::describe),
    ("ovf", crate::ovf::describe),
    ("ova", crate::ovf::describe_archive),
];

/// What one file of a format says of itself. All of it comes from the image, and none of it is safe to print as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Description {
    /// The size of the guest's disk in bytes; `None` if it could not be found out.
    pub virtual_size: Option<u64>,
    /// The unit of allocation in bytes.
    pub cluster_size: Option<u64>,
    /// How the guest's data is encrypted: `luks`, `aes`.
    pub encryption: Option<String>,
    /// Whether a writer has not closed it.
    pub dirty: bool,
    /// The file that has what this one does not.
    pub backing: Option<Named>,
    /// Other files that belong to it: extents, data files.
    pub files: Vec<Named>,
    /// The internal snapshots in the order of the file.
    pub snapshots: Vec<Snapshot>,
    /// The whole disks in it, if it is an appliance, in their order.
    pub disks: Vec<Contained>,
    /// What only this format has, with the field names of `qemu-img info`.
    pub specific: Map<String, Value>,
}

/// A file as an image names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name as it stands in the image.
    pub name: Vec<u8>,
    /// The format that the image says it has.
    pub format: Option<String>,
}

/// A disk of an appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contained {
    /// The name of its file as the appliance has it.
    pub name: String,
    /// The name of its format; `None` if it could not be found out.
    pub format: Option<&'static str>,
    /// The size of the guest's disk in bytes; `None` if it could not be found out.
    pub virtual_size: Option<u64>,
    /// Why it cannot be opened.
    pub problem: Option<String>,
}

impl Named {
    fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.name))
    }
}

/// An internal snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its identifier, which [`Options::snapshot`] takes; unique unless the image is damaged.
    pub id: String,
    /// Its name, which need not be unique.
    pub name: String,
    /// The size of the guest's disk when it was taken, in bytes.
    pub size: u64,
    /// When it was taken: seconds since 1970 in UTC, and nanoseconds.
    pub date: (u32, u32),
    /// How long the guest had run, in nanoseconds.
    pub vm_clock: u64,
    /// The size of the saved machine state in bytes; 0 if only the disk was saved.
    pub vm_state_size: u64,
    /// How many instructions the guest had executed, where that was counted.
    pub icount: Option<u64>,
}

/// What is kept of a snapshot, with an id and a name as long as QEMU shows them.
const SNAPSHOT_MEMORY: u64 = 600;

/// A file that belongs to an image.
#[derive(Debug)]
pub struct Member {
    /// The path under which it was opened.
    pub path: PathBuf,
    /// What the host says of it: its owner, its mode, the space that it takes.
    pub metadata: Metadata,
}

/// One image of a chain.
#[derive(Debug)]
pub struct Layer {
    /// The file itself.
    pub file: Member,
    /// Its size in bytes; of a block device too.
    pub file_size: u64,
    /// The name of its format.
    pub format: &'static str,
    /// What it says of itself.
    pub description: Description,
    /// The path of the backing file, if that was found: the next layer's.
    pub backing_path: Option<PathBuf>,
    /// The other files that belong to it, as far as they were found.
    pub files: Vec<Member>,
    /// Why a file that it names is not here.
    pub problem: Option<Error>,
    /// What the snapshots take.
    _memory: Reservation,
}

/// The layers of the image at `path`: itself, its backing file, and so on. Keys are not needed.
///
/// Fails if the image itself cannot be described. What is wrong further down is in the `problem` of the last layer.
pub fn info(path: &Path, options: &Options) -> Result<Vec<Layer>> {
    info_with(path, options, FORMATS)
}

/// [`info`] with a table of formats of its own.
fn info_with(path: &Path, options: &Options, formats: &'static [Format]) -> Result<Vec<Layer>> {
    let found = image::recognised(path, options, formats)?;
    let mut layers = Vec::new();
    let rules = Rules { backing: options.backing, formats, secrets: None, budget: &options.budget };
    describe(&found, rules, None, &mut layers)?;
    Ok(layers)
}

/// Adds the layer of `file`, and those below it. The recursion ends: the gate allows a chain only so many files.
fn describe(found: &Found, rules: Rules<'_>, namer: Option<&Gate<'_>>, layers: &mut Vec<Layer>) -> Result<()> {
    let gate = Gate::new(found, rules, namer)?;
    let (file, format) = (&found.file, found.format);
    let file_size = file.size();
    let member = Member { path: file.path().to_owned(), metadata: file.metadata()? };
    let mut problem = None;
    let description = match format {
        None => Description { virtual_size: Some(file_size), ..Description::default() },
        Some(format) => match DESCRIBERS.iter().find(|(name, _)| *name == format.name) {
            Some((_, describe)) => {
                let seen = Seen { gate: &gate, named: RefCell::default() };
                let request = Request { opener: &seen, snapshot: None, budget: rules.budget };
                let mut description = describe(&(file.clone() as Arc<dyn Disk>), &request).within(file)?;
                description.files.extend(seen.named.into_inner());
                description
            }
            None => opened(format, file.clone(), &gate, &mut problem),
        },
    };
    let mut files = Vec::new();
    for named in &description.files {
        match gate.locate(named.path(), named.format.as_deref()) {
            // What is asked for twice, as a file and as an image, is one.
            Ok(found) if files.iter().any(|member: &Member| member.path == found.file.path()) => {}
            Ok(found) => {
                files.push(Member { path: found.file.path().to_owned(), metadata: found.file.metadata()? });
            }
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    let memory = description.snapshots.len() as u64 * SNAPSHOT_MEMORY;
    let memory = rules.budget.take(memory, "the list of snapshots")?;
    let backing = description.backing.clone();
    let (at, format) = (layers.len(), format.map_or(RAW, |format| format.name));
    layers.push(Layer {
        file: member,
        file_size,
        format,
        description,
        backing_path: None,
        files,
        problem,
        _memory: memory,
    });
    let Some(backing) = backing else { return Ok(()) };
    let below = gate.locate(backing.path(), backing.format.as_deref()).and_then(|found| {
        layers[at].backing_path = Some(found.file.path().to_owned());
        describe(&found, rules, Some(&gate), layers)
    });
    if let Err(error) = below {
        layers[at].problem.get_or_insert(error);
    }
    Ok(())
}

/// What can be seen of an image whose format has no line in [`DESCRIBERS`]: it is opened, and the files are noted that
/// it asks for. One that has a format of its own is the parent; what is taken as it is, is a part.
fn opened(format: &Format, file: Arc<HostFile>, gate: &Gate<'_>, problem: &mut Option<Error>) -> Description {
    let seen = Seen { gate, named: RefCell::default() };
    let opened = (format.open)(file, &Request { opener: &seen, snapshot: None, budget: gate.budget() });
    let mut files = seen.named.into_inner();
    let parent = files.iter().position(|named| named.format.as_deref().is_some_and(|format| format != RAW));
    let backing = parent.map(|at| files.remove(at));
    let virtual_size = match opened {
        Ok(disk) => Some(disk.size()),
        Err(error) => {
            problem.get_or_insert(error);
            None
        }
    };
    Description { virtual_size, backing, files, ..Description::default() }
}

/// Passes on what is asked of the gate, and notes it.
struct Seen<'a> {
    gate: &'a Gate<'a>,
    named: RefCell<Vec<Named>>,
}

impl Opener for Seen<'_> {
    fn open(&self, name: &Path, format: Option<&str>) -> Result<Arc<dyn Disk>> {
        let named = Named { name: name.as_os_str().as_bytes().to_vec(), format: format.map(str::to_owned) };
        self.named.borrow_mut().push(named);
        self.gate.open(name, format)
    }

    fn open_inside(
        &self,
        inside: Arc<dyn Disk>,
        format: Option<&str>,
        snapshot: Option<&str>,
    ) -> Result<Arc<dyn Disk>> {
        self.gate.open_inside(inside, format, snapshot)
    }

    fn file_name(&self) -> Option<&OsStr> {
        self.gate.file_name()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::Memory;

    /// A format that says nothing of itself: its files name a part and, unless they are called so, a parent.
    static SILENT: &[Format] = &[Format {
        name: "silent",
        probe: |disk| Ok(disk.to_string().ends_with(".silent")),
        open: |disk, request| {
            request.opener.open(Path::new("part"), Some(RAW))?;
            match disk.to_string().ends_with("parent.silent") {
                true => Ok(Arc::new(Memory::new("m", vec![0; 99]))),
                false => request.opener.open(Path::new("parent.silent"), Some("silent")),
            }
        },
    }];

    #[test]
    fn formats_that_say_nothing_are_seen_from_outside() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (name, len) in [("top.silent", 10), ("parent.silent", 20), ("part", 30)] {
            fs::write(at(name), vec![0; len]).unwrap();
        }
        let info = || info_with(&at("top.silent"), &Options::default(), SILENT).unwrap();
        let layers = info();
        let seen: Vec<_> = layers
            .iter()
            .map(|layer| (layer.format, layer.file_size, layer.description.virtual_size, layer.files[0].path.clone()))
            .collect();
        assert_eq!(seen, [("silent", 10, Some(99), at("part")), ("silent", 20, Some(99), at("part"))]);
        assert_eq!(layers[0].backing_path, Some(at("parent.silent")));
        assert!(layers.iter().all(|layer| layer.problem.is_none()));
        fs::remove_file(at("part")).unwrap();
        let layers = info();
        assert_eq!((layers.len(), layers[0].description.virtual_size), (1, None));
        assert!(layers[0].problem.as_ref().unwrap().to_string().contains("No such file"));
    }

    #[test]
    fn a_raw_image_is_its_size() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let layers = info(file.path(), &Options::default()).unwrap();
        let [layer] = &layers[..] else { panic!("{layers:?}") };
        assert_eq!((layer.format, layer.description.virtual_size, layer.file_size), (RAW, Some(1 << 20), 1 << 20));
        assert_eq!(layer.description, Description { virtual_size: Some(1 << 20), ..Description::default() });
    }
}
