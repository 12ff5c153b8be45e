//! What an image says of itself, without its content: format, sizes, snapshots, and the files that it consists of.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::format::{Format, Opener, RAW, Request};
use crate::gate::{Found, Gate, Rules};
use crate::image::{self, Options};
use crate::origin::Origin;
use crate::{Disk, Error, Location, Reservation, Result, ResultExt};

pub use crate::description::{Contained, Description, Named, Snapshot};

/// What is kept of a snapshot, with an id and a name as long as QEMU shows them.
const SNAPSHOT_MEMORY: u64 = 600;

/// A file that belongs to an image.
#[derive(Debug)]
pub struct Member {
    /// Where it was opened.
    pub location: Location,
    /// What the host says of it, if it is a file of the host: its owner, its mode, the space that it takes.
    pub metadata: Option<Metadata>,
}

impl Member {
    fn of(origin: &Origin) -> Result<Self> {
        Ok(Self { location: origin.location(), metadata: origin.metadata()? })
    }
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
    /// Where the backing file is, if that was found: the next layer's.
    pub backing: Option<Location>,
    /// The other files that belong to it, as far as they were found.
    pub files: Vec<Member>,
    /// Why a file that it names is not here.
    pub problem: Option<Error>,
    /// What the snapshots take.
    _memory: Reservation,
}

/// The layers of the image at `location`: itself, its backing file, and so on. Keys are not needed.
///
/// Fails if the image itself cannot be described. What is wrong further down is in the `problem` of the last layer.
pub fn info(location: &Path, options: &Options) -> Result<Vec<Layer>> {
    let found = image::recognised(location, options)?;
    let mut layers = Vec::new();
    describe(&found, Rules { secrets: None, ..options.rules() }, None, &mut layers)?;
    Ok(layers)
}

/// Adds the layer of `file`, and those below it. The recursion ends: the gate allows a chain only so many files.
fn describe(found: &Found, rules: Rules<'_>, namer: Option<&Gate<'_>>, layers: &mut Vec<Layer>) -> Result<()> {
    let gate = Gate::new(found, rules, namer)?;
    let (file, format) = (found.origin.disk(), found.format);
    let (file_size, member) = (file.size(), Member::of(&found.origin)?);
    let mut problem = None;
    let description = match (format, format.and_then(|format| format.describe)) {
        (None, _) => Description { virtual_size: Some(file_size), ..Description::default() },
        (_, Some(says)) => {
            let seen = Seen { gate: &gate, named: RefCell::default() };
            let request = Request { opener: &seen, snapshot: None, budget: rules.budget };
            let mut description = says(&file, &request).within(&file)?;
            description.files.extend(seen.named.into_inner());
            description
        }
        (Some(format), None) => opened(format, file, &gate, &mut problem),
    };
    let mut files = Vec::new();
    for named in &description.files {
        match gate.locate(named.path(), named.format.as_deref()) {
            // What is asked for twice, as a file and as an image, is one.
            Ok(found) if files.iter().any(|member: &Member| member.location == found.origin.location()) => {}
            Ok(found) => files.push(Member::of(&found.origin)?),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    let memory = description.snapshots.len() as u64 * SNAPSHOT_MEMORY;
    let memory = rules.budget.take(memory, "the list of snapshots")?;
    let backing = description.backing.clone();
    let (at, format) = (layers.len(), format.map_or(RAW, |format| format.name));
    layers.push(Layer { file: member, file_size, format, description, backing: None, files, problem, _memory: memory });
    let Some(backing) = backing else { return Ok(()) };
    let below = gate.locate(backing.path(), backing.format.as_deref()).and_then(|found| {
        layers[at].backing = Some(found.origin.location());
        describe(&found, rules, Some(&gate), layers)
    });
    if let Err(error) = below {
        layers[at].problem.get_or_insert(error);
    }
    Ok(())
}

/// What can be seen of an image whose format describes nothing: it is opened, and the files are noted that
/// it asks for. One that has a format of its own is the parent; what is taken as it is, is a part.
fn opened(format: &Format, file: Arc<dyn Disk>, gate: &Gate<'_>, problem: &mut Option<Error>) -> Description {
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

    fn formats(&self) -> &'static [Format] {
        self.gate.formats()
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
    static SILENT: &[Format] = &[Format::new(
        "silent",
        |disk| Ok(disk.to_string().ends_with(".silent")),
        |disk, request| {
            request.opener.open(Path::new("part"), Some(RAW))?;
            if disk.to_string().ends_with("parent.silent") {
                return Ok(Arc::new(Memory::new("m", vec![0; 99])));
            }
            request.opener.open(Path::new("parent.silent"), Some("silent"))
        },
    )];

    #[test]
    fn formats_that_say_nothing_are_seen_from_outside() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for (name, len) in [("top.silent", 10), ("parent.silent", 20), ("part", 30)] {
            fs::write(at(name), vec![0; len]).unwrap();
        }
        let options = Options { formats: SILENT, ..Options::default() };
        let info = || info(&at("top.silent"), &options).unwrap();
        let host = |name: &str| Location::Host(at(name));
        let layers = info();
        let seen: Vec<_> = layers
            .iter()
            .map(|layer| {
                (layer.format, layer.file_size, layer.description.virtual_size, layer.files[0].location.clone())
            })
            .collect();
        assert_eq!(seen, [("silent", 10, Some(99), host("part")), ("silent", 20, Some(99), host("part"))]);
        assert_eq!(layers[0].backing, Some(host("parent.silent")));
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
