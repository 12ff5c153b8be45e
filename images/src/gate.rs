//! The one gate for the files that an image names: where they are, and whether the image may have them.
//!
//! The rule is SECURITY.md's: such a file is opened on behalf of everyone who had a say in its name, and the kernel
//! decides whether he may.

mod credentials;
mod ending;
mod modes;
mod place;
mod principal;
mod reader;
mod walk;

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

use crate::crypt::{Attempt, EncryptedImage, ImageKey, ImageLock, Secrets};
use crate::disk::{HostFile, cannot_open, check_kind, printable, reopen};
use crate::format::{self, Format, Opener, Request};
use crate::image::{Options, open_layer};
use crate::name::Name;
use crate::{Budget, Disk, Error, Result, ResultExt};
use place::Place;
use principal::{Principal, Who};
use reader::{Readers, is_of_host};
use walk::{Reached, walk};

pub(crate) use place::path_of;

/// How many files one image may consist of, each named by the one before; ours, the formats have no limit.
const MAX_DEPTH: usize = 128;
/// How many wrappers may lie around an image; ours. An appliance of a compressed image has two.
const MAX_WRAPPERS: usize = 4;
/// How many users may have had a say in one name; ours.
const MAX_PRINCIPALS: usize = 512;

/// Which files an image may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backing {
    /// Those that everyone can read who had a say in the name: the owners of the images and links that lead there. Who
    /// hands over an image gets no file by it that he could not read.
    #[default]
    Owner,
    /// All that this process can read.
    Follow,
    /// None.
    None,
}

/// What holds for an image and for all files below it.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub backing: Backing,
    pub formats: &'static [Format],
    pub secrets: Option<&'a dyn Secrets>,
    pub budget: &'a Budget,
}

impl<'a> Rules<'a> {
    /// Those that `options` ask for, with this table of formats.
    pub fn of(options: &'a Options, formats: &'static [Format]) -> Self {
        Self { backing: options.backing, formats, secrets: options.secrets.as_deref(), budget: &options.budget }
    }
}

/// An image file that was found, and what is known of it before its content is read.
pub(crate) struct Found {
    /// The file, open for reading.
    pub file: Arc<HostFile>,
    /// Its format; `None` is raw.
    pub format: Option<&'static Format>,
    /// Whether the user or the image that names it said the format. Else its content did.
    pub is_told: bool,
    /// The format that it looks like, though it is not read as one.
    pub looks_like: Option<&'static str>,
    /// Those who had a say in its name.
    principals: Vec<Principal>,
}

impl Found {
    /// A file that the user named.
    pub fn by_user(file: HostFile, format: Option<&'static Format>, is_told: bool) -> Self {
        Self { file: Arc::new(file), format, is_told, looks_like: None, principals: Vec::new() }
    }
}

/// Opens the files that one image names, and knows the images above it.
pub(crate) struct Gate<'a> {
    file: Arc<HostFile>,
    /// How messages show the image.
    image: String,
    metadata: Metadata,
    rules: Rules<'a>,
    namer: Option<&'a Gate<'a>>,
    /// How many files the chain has down to this image, itself included.
    depth: usize,
    /// Whether another image names the file.
    is_named: bool,
    /// How many wrappers lie around the image in that file.
    wrappers: usize,
    /// The format that the content says, where nobody else does.
    probed: Option<&'static str>,
    /// Those who had a say in the name of the file.
    named_by: Vec<Principal>,
    /// Those who had a say in what this image names: they, and who may have written it. Asked for when it names a file.
    principals: OnceCell<Vec<Principal>>,
    /// The owners of the files that were opened for this image, of which an image may be made that lies in them.
    read: RefCell<Vec<Principal>>,
    /// Those who open files for others, of the whole chain.
    readers: Rc<Readers>,
    place: OnceCell<Place>,
    failed_below: Cell<bool>,
}

impl<'a> Gate<'a> {
    /// The gate for what the image in `found` names; `namer` is the gate that the file itself came through.
    pub fn new(found: &Found, rules: Rules<'a>, namer: Option<&'a Gate<'a>>) -> Result<Self> {
        Ok(Self {
            file: found.file.clone(),
            image: found.file.to_string(),
            metadata: found.file.metadata()?,
            rules,
            namer,
            depth: namer.map_or(1, |namer| namer.depth + 1),
            is_named: namer.is_some(),
            wrappers: 0,
            probed: found.format.filter(|_| !found.is_told).map(|format| format.name),
            named_by: found.principals.clone(),
            principals: OnceCell::new(),
            read: RefCell::default(),
            readers: namer.map(|namer| namer.readers.clone()).unwrap_or_default(),
            place: OnceCell::new(),
            failed_below: Cell::new(false),
        })
    }

    /// The gate for what `inside` names, an image that lies in the file of this one; of it the content says that it is of
    /// the format `probed`, unless another does.
    fn within(&'a self, inside: &dyn Disk, probed: Option<&'static str>) -> Result<Self> {
        if self.wrappers == MAX_WRAPPERS {
            return Err(Error::Unsupported(format!("an image in more than {MAX_WRAPPERS} wrappers")));
        }
        let mut named_by = Vec::new();
        if self.rules.backing == Backing::Owner {
            named_by = self.principals()?.to_vec();
            self.read.borrow().iter().for_each(|reader| reader.clone().join(&mut named_by));
        }
        Ok(Self {
            file: self.file.clone(),
            image: inside.to_string(),
            metadata: self.metadata.clone(),
            rules: self.rules,
            namer: Some(self),
            depth: self.depth + 1,
            is_named: self.is_named,
            wrappers: self.wrappers + 1,
            probed,
            named_by,
            principals: OnceCell::new(),
            read: RefCell::default(),
            readers: self.readers.clone(),
            place: OnceCell::new(),
            failed_below: Cell::new(false),
        })
    }

    /// What the image and all that it names may hold.
    pub fn budget(&self) -> &Budget {
        self.rules.budget
    }

    /// Whether a file that this image names was found, but could not be read as an image.
    pub fn failed_below(&self) -> bool {
        self.failed_below.get()
    }

    /// Fails if the file at `named` is an image of this chain, or if the chain is too deep.
    fn check_chain(&self, named: &Path, stat: &Stat) -> Result<()> {
        let mut above = Some(self);
        while let Some(gate) = above {
            if (gate.metadata.dev(), gate.metadata.ino()) == (stat.st_dev, stat.st_ino) {
                let named = printable(named);
                return Err(Error::Unsupported(format!("a loop: it names {named}, which leads back to it")));
            }
            above = gate.namer;
        }
        if self.depth >= MAX_DEPTH {
            return Err(Error::Unsupported(format!("more than {MAX_DEPTH} files, each naming the next")));
        }
        Ok(())
    }

    /// Where the file of this image lies.
    fn place(&self) -> Result<&Place> {
        if self.place.get().is_none() {
            let place = Place::of(&self.file).map_err(|_| {
                Error::Unsupported(format!("it names another file, but the directory of {} is not found", self.file))
            })?;
            let _ = self.place.set(place);
        }
        Ok(self.place.get().expect("it was set above"))
    }

    /// Those who had a say in what this image names.
    fn principals(&self) -> Result<&[Principal]> {
        if self.principals.get().is_none() {
            let mut all = self.named_by.clone();
            for author in authors(&self.image, &self.file)? {
                author.join(&mut all);
            }
            if let Some(format) = self.probed {
                let says = |place: &Place| ending::says(&place.name, format, self.wrappers > 0);
                if !self.place().is_ok_and(says) {
                    let is_top = !self.is_named && self.wrappers == 0;
                    Principal::content(&self.image, format, is_top).join(&mut all);
                }
            }
            let _ = self.principals.set(all);
        }
        Ok(self.principals.get().expect("it was set above"))
    }

    /// Opens what `name` leads to, as this process may; `path` is shown. Nobody is asked.
    fn follow(&self, place: &Place, name: &Path, path: &Path) -> Result<File> {
        let failed = |errno: Errno| cannot_open(path, errno.into());
        let found = openat(&place.directory, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        let stat = fstat(&found).map_err(failed)?;
        check_kind(path, &stat)?;
        self.check_chain(path, &stat)?;
        reopen(found).map_err(|error| cannot_open(path, error))
    }

    /// Opens what `name` leads to, if everyone may who had a say in it; and says who had.
    fn open_for_all(&self, place: &Place, name: &Path, path: &Path) -> Result<(File, Vec<Principal>)> {
        let Reached { file: found, stat, links } =
            walk(place.directory.as_fd(), name, None).map_err(|errno| not_found(path, errno))?;
        check_kind(path, &stat)?;
        self.check_chain(path, &stat)?;
        let mut principals = self.principals()?.to_vec();
        let add = |principals: &mut Vec<Principal>, links: &[walk::Link]| {
            for link in links {
                Principal::link(link).map_err(|errno| cannot_open(path, errno.into()))?.join(principals);
            }
            Ok::<_, Error>(())
        };
        add(&mut principals, &links)?;
        let mut file = None;
        let mut asked: Vec<Who> = Vec::new();
        let mut next = 0;
        // Who sees other links on his way adds their owners.
        while let Some(principal) = principals.get(next).cloned() {
            next += 1;
            let who = principal.on(stat.st_dev);
            if asked.contains(&who) {
                continue;
            }
            asked.push(who);
            for reader in self.readers.of(who).iter() {
                let opened = reader.open(place, name, &stat).map_err(|error| match is_of_host(&error) {
                    true => cannot_open(path, error),
                    false => Error::Denied(principal.denial(&printable(path), stat.st_dev)),
                })?;
                add(&mut principals, &opened.links)?;
                file = Some(opened.file);
            }
            if principals.len() > MAX_PRINCIPALS {
                return Err(Error::Denied(format!("it is the work of more than {MAX_PRINCIPALS} users")));
            }
        }
        let file = match file {
            Some(file) => file,
            None => reopen(found).map_err(|error| cannot_open(path, error))?,
        };
        Ok((file, principals))
    }
}

impl Opener for Gate<'_> {
    fn open(&self, name: &Path, format: Option<&str>) -> Result<Arc<dyn Disk>> {
        let found = self.locate(name, format)?;
        let opened = open_layer(&found, None, self.rules, Some(self));
        self.failed_below.set(opened.is_err());
        opened
    }

    fn unlock(&self, lock: &ImageLock, attempt: &mut Attempt<'_>) -> Result<ImageKey> {
        match self.rules.secrets {
            Some(secrets) => secrets.unlock(&EncryptedImage { path: self.file.path(), lock }, attempt),
            None => Err(format::no_key(lock)),
        }
    }

    fn open_inside(
        &self,
        inside: Arc<dyn Disk>,
        format: Option<&str>,
        snapshot: Option<&str>,
    ) -> Result<Arc<dyn Disk>> {
        let name = inside.to_string();
        let is_told = format.is_some();
        let format = match format {
            Some(format) => format::named(format, self.rules.formats)?,
            None => format::recognise(&*inside, self.rules.formats)?,
        };
        let Some(format) = format else {
            return match snapshot {
                Some(_) => Err(Error::Unsupported(format!("{name} is a raw image, which has no snapshots"))),
                None if self.is_named && !is_told => Err(self.unrecognised(&name)),
                None => Ok(inside),
            };
        };
        let gate = self.within(&*inside, Some(format.name).filter(|_| !is_told))?;
        let opened = (format.open)(inside, &Request { opener: &gate, snapshot, budget: self.rules.budget });
        self.failed_below.set(opened.is_err() && gate.failed_below());
        opened.within(name)
    }

    fn file_name(&self) -> Option<&OsStr> {
        self.place().ok().map(|place| &*place.name)
    }
}

impl Gate<'_> {
    /// The file that `name` says and its format, if the image may have it: [`Opener::open`] without reading it.
    pub fn locate(&self, name: &Path, format: Option<&str>) -> Result<Found> {
        if self.rules.backing == Backing::None {
            let name = printable(name);
            return Err(Error::Denied(format!("it names {name}, and --backing=none allows no other file")));
        }
        self.rules.budget.count_file()?;
        let name = Name::parse(name)?;
        let format = name.format.as_deref().or(format);
        let format = match format.map(|format| format::named(format, self.rules.formats)) {
            Some(Ok(format)) => Some(format),
            Some(Err(error)) => return Err(Error::Unsupported(error.to_string())),
            None => None,
        };
        let place = self.place()?;
        let path = place.shown.join(&name.path);
        let (file, principals) = match self.rules.backing {
            Backing::Follow => (self.follow(place, &name.path, &path)?, Vec::new()),
            _ => self.open_for_all(place, &name.path, &path)?,
        };
        let file = HostFile::new(&path, file)?;
        if self.rules.backing == Backing::Owner {
            self.note(&file, &principals)?;
        }
        let is_told = format.is_some();
        let format = match format {
            Some(format) => format,
            // A guest may have the whole of a block device.
            None if is_block_device(&file)? => return Err(self.unrecognised(&file.to_string())),
            None => match format::recognise(&file, self.rules.formats)? {
                None => return Err(self.unrecognised(&file.to_string())),
                found => found,
            },
        };
        Ok(Found { file: Arc::new(file), format, is_told, looks_like: None, principals })
    }

    /// Notes who made `file`, which is read for this image, and who had a say in its name.
    fn note(&self, file: &HostFile, principals: &[Principal]) -> Result<()> {
        let authors = authors(&file.to_string(), file)?;
        let mut read = self.read.borrow_mut();
        principals.iter().cloned().chain(authors).for_each(|principal| principal.join(&mut read));
        Ok(())
    }

    /// A guest can write the start of a raw disk, and so choose the format that the next probe finds: a disk whose
    /// format is not recorded is therefore never taken for raw.
    fn unrecognised(&self, named: &str) -> Error {
        Error::Unknown(format!(
            "no format is recorded for its backing file {named}, and none is recognised; if it is raw, record that \
             with: qemu-img rebase -u -F raw -b {named} {}",
            self.image
        ))
    }
}

/// Why the walk to `path` ended.
fn not_found(path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::LOOP => Error::Denied(format!(
            "it names {}, which leads through more than 40 links, or through one of /proc to what a process has open; \
             --backing=follow follows the latter",
            printable(path)
        )),
        errno => cannot_open(path, errno.into()),
    }
}

/// Those who may have written an image.
fn authors(image: &str, file: &HostFile) -> Result<Vec<Principal>> {
    Principal::authors(image, file.file()).map_err(|errno| Error::io(format!("cannot stat {file}"), errno.into()))
}

/// Whether the file is a block device.
pub(crate) fn is_block_device(file: &HostFile) -> Result<bool> {
    use std::os::unix::fs::FileTypeExt;
    Ok(file.metadata()?.file_type().is_block_device())
}

#[cfg(test)]
mod tests;
