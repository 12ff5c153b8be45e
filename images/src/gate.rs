//! The one gate for the files that an image names: where they are, and whether the image may have them.
//!
//! The rule is SECURITY.md's: such a file is opened on behalf of everyone who had a say in its name, and the kernel
//! decides whether he may.

mod credentials;
mod ending;
mod found;
mod host;
mod modes;
mod place;
mod principal;
mod reader;
mod remote;
mod walk;

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::crypt::{Attempt, EncryptedImage, ImageKey, ImageLock, Secrets};
use crate::disk::printable;
use crate::format::{self, Format, Opener, Request};
use crate::name::Name;
use crate::origin::{Identity, Origin};
use crate::{Budget, Disk, Error, Result, ResultExt};
use place::Place;
use principal::Principal;
use reader::Readers;

pub(crate) use found::Found;

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
    /// The formats that there are.
    pub formats: &'static [Format],
    pub secrets: Option<&'a dyn Secrets>,
    pub budget: &'a Budget,
}

/// Opens the files that one image names, and knows the images above it.
pub(crate) struct Gate<'a> {
    /// What the image comes from.
    origin: Origin,
    /// How messages show the image.
    image: String,
    identity: Identity,
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
    file_name: OnceCell<Option<OsString>>,
    failed_below: Cell<bool>,
}

impl<'a> Gate<'a> {
    /// The gate for what the image in `found` names; `namer` is the gate that the file itself came through.
    pub fn new(found: &Found, rules: Rules<'a>, namer: Option<&'a Gate<'a>>) -> Result<Self> {
        Ok(Self {
            origin: found.origin.clone(),
            image: found.origin.disk().to_string(),
            identity: found.origin.identity()?,
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
            file_name: OnceCell::new(),
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
        if let (Backing::Owner, Origin::Host(file)) = (self.rules.backing, &self.origin) {
            named_by = self.principals(file)?.to_vec();
            self.read.borrow().iter().for_each(|reader| reader.clone().join(&mut named_by));
        }
        Ok(Self {
            origin: self.origin.clone(),
            image: inside.to_string(),
            identity: self.identity.clone(),
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
            file_name: OnceCell::new(),
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

    /// Fails if `named`, which this tells from all others, is an image of this chain, or if the chain is too deep.
    fn check_chain(&self, named: &str, identity: &Identity) -> Result<()> {
        let mut above = Some(self);
        while let Some(gate) = above {
            if gate.identity == *identity {
                return Err(Error::Unsupported(format!("a loop: it names {named}, which leads back to it")));
            }
            above = gate.namer;
        }
        if self.depth >= MAX_DEPTH {
            return Err(Error::Unsupported(format!("more than {MAX_DEPTH} files, each naming the next")));
        }
        Ok(())
    }
}

impl Opener for Gate<'_> {
    fn open(&self, name: &Path, format: Option<&str>) -> Result<Arc<dyn Disk>> {
        let found = self.locate(name, format)?;
        let opened = found.open(None, self.rules, Some(self));
        self.failed_below.set(opened.is_err());
        opened
    }

    fn unlock(&self, lock: &ImageLock, attempt: &mut Attempt<'_>) -> Result<ImageKey> {
        match self.rules.secrets {
            Some(secrets) => secrets.unlock(&EncryptedImage { location: &self.origin.location(), lock }, attempt),
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
            None => format::recognise(&inside, self.rules.formats)?,
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

    fn formats(&self) -> &'static [Format] {
        self.rules.formats
    }

    fn file_name(&self) -> Option<&OsStr> {
        let name = self.file_name.get_or_init(|| match &self.origin {
            Origin::Host(file) => self.place(file).ok().map(|place| place.name.clone()),
            Origin::Remote(remote) => remote.address().file_name(),
        });
        name.as_deref()
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
        let (origin, principals) = match &self.origin {
            Origin::Host(file) => self.on_host(file, &name.path)?,
            Origin::Remote(remote) => (self.beside(remote, &name)?, Vec::new()),
        };
        let is_told = format.is_some();
        let format = match format {
            Some(format) => format,
            // A guest may have the whole of a block device.
            None if origin.is_block_device()? => return Err(self.unrecognised(&origin.to_string())),
            None => match format::recognise(&origin.disk(), self.rules.formats)? {
                None => return Err(self.unrecognised(&origin.to_string())),
                found => found,
            },
        };
        Ok(Found { origin, format, is_told, looks_like: None, principals })
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

#[cfg(test)]
mod tests;
