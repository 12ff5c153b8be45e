//! The one gate for the files that an image names: where they are, and whether the image may have them.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::crypt::{Attempt, EncryptedImage, ImageKey, ImageLock, Secrets};
use crate::disk::{HostFile, printable};
use crate::format::{self, Format, Opener, Request};
use crate::image::{Options, open_layer};
use crate::name::Name;
use crate::{Budget, Disk, Error, Result, ResultExt};

/// How many files one image may consist of, each named by the one before; ours, the formats have no limit.
const MAX_DEPTH: usize = 128;
/// How many wrappers may lie around an image; ours. An appliance of a compressed image has two.
const MAX_WRAPPERS: usize = 4;

/// Which files an image may name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backing {
    /// Those that the image's own owner can read: who hands over an image gets no file by it that he could not read.
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

/// Opens the files that one image names, and knows the images above it.
pub(crate) struct Gate<'a> {
    path: PathBuf,
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
    failed_below: Cell<bool>,
}

impl<'a> Gate<'a> {
    /// The gate for what the image in `file` names; `namer` is the gate that `file` itself came through.
    pub fn new(file: &HostFile, rules: Rules<'a>, namer: Option<&'a Gate<'a>>) -> Result<Self> {
        Ok(Self {
            path: file.path().to_owned(),
            image: file.to_string(),
            metadata: file.metadata()?,
            rules,
            namer,
            depth: namer.map_or(1, |namer| namer.depth + 1),
            is_named: namer.is_some(),
            wrappers: 0,
            failed_below: Cell::new(false),
        })
    }

    /// The gate for what `inside` names, an image that lies in the file of this one.
    fn within(&'a self, inside: &dyn Disk) -> Result<Self> {
        if self.wrappers == MAX_WRAPPERS {
            return Err(Error::Unsupported(format!("an image in more than {MAX_WRAPPERS} wrappers")));
        }
        Ok(Self {
            path: self.path.clone(),
            image: inside.to_string(),
            metadata: self.metadata.clone(),
            rules: self.rules,
            namer: Some(self),
            depth: self.depth + 1,
            is_named: self.is_named,
            wrappers: self.wrappers + 1,
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

    /// Fails if `named` is an image of this chain, or if the chain is too deep.
    fn check_chain(&self, named: &HostFile, metadata: &Metadata) -> Result<()> {
        let mut above = Some(self);
        while let Some(gate) = above {
            if (gate.metadata.dev(), gate.metadata.ino()) == (metadata.dev(), metadata.ino()) {
                return Err(Error::Unsupported(format!("a loop: it names {named}, which leads back to it")));
            }
            above = gate.namer;
        }
        if self.depth >= MAX_DEPTH {
            return Err(Error::Unsupported(format!("more than {MAX_DEPTH} files, each naming the next")));
        }
        Ok(())
    }

    /// Fails with `Denied` unless the policy lets this image have the open file `named`.
    fn check_owner(&self, named: &HostFile, metadata: &Metadata) -> Result<()> {
        if self.rules.backing == Backing::Follow {
            return Ok(());
        }
        let image = Reader { uid: self.metadata.uid(), gid: self.metadata.gid() };
        if image.may_have(metadata) && (metadata.uid() == image.uid || image.reaches(named)) {
            return Ok(());
        }
        Err(Error::Denied(format!(
            "it belongs to user {} and names {named} of user {}, which that user may not read; --backing=follow \
             allows it",
            image.uid,
            metadata.uid()
        )))
    }
}

impl Opener for Gate<'_> {
    fn open(&self, name: &Path, format: Option<&str>) -> Result<Arc<dyn Disk>> {
        let (file, format) = self.locate(name, format)?;
        let opened = open_layer(file, format, None, self.rules, Some(self));
        self.failed_below.set(opened.is_err());
        opened
    }

    fn unlock(&self, lock: &ImageLock, attempt: &mut Attempt<'_>) -> Result<ImageKey> {
        match self.rules.secrets {
            Some(secrets) => secrets.unlock(&EncryptedImage { path: &self.path, lock }, attempt),
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
        let gate = self.within(&*inside)?;
        let opened = (format.open)(inside, &Request { opener: &gate, snapshot, budget: self.rules.budget });
        self.failed_below.set(opened.is_err() && gate.failed_below());
        opened.within(name)
    }

    fn file_name(&self) -> Option<&OsStr> {
        self.path.file_name()
    }
}

impl Gate<'_> {
    /// The file that `name` says and its format, if the image may have it: [`Opener::open`] without reading it.
    pub fn locate(&self, name: &Path, format: Option<&str>) -> Result<(HostFile, Option<&'static Format>)> {
        if self.rules.backing == Backing::None {
            let name = printable(name);
            return Err(Error::Denied(format!("it names {name}, and --backing=none allows no other file")));
        }
        let name = Name::parse(name)?;
        let format = name.format.as_deref().or(format);
        let format = match format.map(|format| format::named(format, self.rules.formats)) {
            Some(Ok(format)) => Some(format),
            Some(Err(error)) => return Err(Error::Unsupported(error.to_string())),
            None => None,
        };
        let path = self.path.parent().unwrap_or(Path::new("")).join(&name.path);
        let file = HostFile::open(&path)?;
        let metadata = file.metadata()?;
        self.check_chain(&file, &metadata)?;
        self.check_owner(&file, &metadata)?;
        let format = match format {
            Some(format) => format,
            None => match format::recognise(&file, self.rules.formats)? {
                None => return Err(self.unrecognised(&file.to_string())),
                found => found,
            },
        };
        Ok((file, format))
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

/// The owner of an image, as someone who wants to read a file.
struct Reader {
    uid: u32,
    gid: u32,
}

impl Reader {
    /// Whether he may read a file with this owner and mode. What belongs to him he may; root may everything.
    fn may_have(&self, file: &Metadata) -> bool {
        file.uid() == self.uid || self.has_bit(file, 0o4)
    }

    /// Whether he can reach the file: search each directory on the way to where it really lies.
    fn reaches(&self, named: &HostFile) -> bool {
        if self.is_answered_by_the_kernel() {
            return true;
        }
        // The path of the open file, whatever the name leads to by now.
        let Ok(path) = fs::read_link(format!("/proc/self/fd/{}", named.file().as_raw_fd())) else { return false };
        path.ancestors().skip(1).all(|dir| fs::metadata(dir).is_ok_and(|dir| self.has_bit(&dir, 0o1)))
    }

    /// Whether this process is the image's owner (or the image is root's): then what it could open, he can.
    fn is_answered_by_the_kernel(&self) -> bool {
        self.uid == 0 || rustix::process::geteuid().as_raw() == self.uid
    }

    /// Whether the mode grants him `bit` (4 read, 1 search), by the one class of the three that applies to him.
    fn has_bit(&self, file: &Metadata, bit: u32) -> bool {
        let class = match file {
            _ if self.is_answered_by_the_kernel() => return true,
            file if file.uid() == self.uid => 6,
            file if file.gid() == self.gid => 3,
            _ => 0,
        };
        file.mode() >> class & bit != 0
    }
}

#[cfg(test)]
mod tests;
