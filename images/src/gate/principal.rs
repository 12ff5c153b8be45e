//! Those who had a say in which file an image names.

use std::fmt;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Stat, fstat};
use rustix::io::Result;

use super::credentials::is_private_group;
use super::modes::{has_access_list, is_fuse};
use super::walk::Link;
use crate::disk::printable;

/// The number of all users that have none in this user namespace (`/proc/sys/kernel/overflowuid`), and of `nobody`, who is
/// as little known.
const UNKNOWN: u32 = 65_534;

/// Someone who had a say in a name: the file is opened on his behalf too.
#[derive(Clone, Debug)]
pub struct Principal {
    who: Who,
    /// The device of the FUSE file system by which he is known. Whom it calls so on other file systems is unknown.
    device: Option<u64>,
    why: Why,
}

/// Whom the host knows him as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// The user of this number.
    User(u32),
    /// Someone in the group of this number.
    Member(u32),
    /// Nobody knows who it was: he gets what everyone may read.
    Anyone,
}

/// How he had a say.
#[derive(Clone, Debug)]
enum Why {
    /// The image of this name is his.
    Owner(String),
    /// He may write the image of this name.
    Writer(String),
    /// The symbolic link of this name is his.
    Link(String),
    /// The content of this image was taken for one of this format, and nobody said that it is one.
    Content { image: String, format: &'static str, is_top: bool },
}

impl Principal {
    /// Those who may have written the image called `image` in `file`: its owner, and whom the mode lets write.
    pub fn authors(image: &str, file: &File) -> Result<Vec<Self>> {
        let stat = fstat(file)?;
        let (mode, writer) = (stat.st_mode, || Why::Writer(image.to_owned()));
        let mut authors = vec![Self::of(&stat, file, Why::Owner(image.to_owned()))?];
        // Of an access list the mode shows only that there may be writers, in the bits of the group.
        if mode & 0o002 != 0 || mode & 0o020 != 0 && has_access_list(file.as_fd()) {
            authors.push(Self { who: Who::Anyone, device: None, why: writer() });
        } else if mode & 0o020 != 0 && !is_private_group(stat.st_gid, stat.st_uid) {
            authors.push(Self { who: Who::Member(stat.st_gid), why: writer(), ..authors[0].clone() });
        }
        Ok(authors)
    }

    /// The owner of a symbolic link.
    pub fn link(link: &Link) -> Result<Self> {
        Self::of(&link.stat, &link.file, Why::Link(printable(Path::new(&link.name))))
    }

    /// Whoever wrote the content of an image.
    pub fn content(image: &str, format: &'static str, is_top: bool) -> Self {
        Self { who: Who::Anyone, device: None, why: Why::Content { image: image.to_owned(), format, is_top } }
    }

    fn of(stat: &Stat, file: impl AsFd, why: Why) -> Result<Self> {
        let device = is_fuse(file.as_fd())?.then_some(stat.st_dev);
        let who = if stat.st_uid == UNKNOWN { Who::Anyone } else { Who::User(stat.st_uid) };
        Ok(Self { who, device, why })
    }

    /// Who he is for a file on this device.
    pub fn on(&self, device: u64) -> Who {
        if self.device.is_none_or(|his| his == device) { self.who } else { Who::Anyone }
    }

    /// Adds him to `all`, unless he is there.
    pub fn join(self, all: &mut Vec<Self>) {
        if !all.iter().any(|other| (other.who, other.device) == (self.who, self.device)) {
            all.push(self);
        }
    }

    /// Why an image may not have the file of this name on this device, because he may not read it.
    pub fn denial(&self, named: &str, device: u64) -> String {
        let says = Denied { named, principal: self, device };
        format!("it names {says}; {}", self.remedy())
    }

    fn remedy(&self) -> String {
        match &self.why {
            Why::Content { format, is_top: true, .. } => {
                format!("--format={format} says that it is one, --format=raw that it is a guest's disk")
            }
            _ => "--backing=follow allows it".to_owned(),
        }
    }
}

/// What is not allowed, and for whose sake.
struct Denied<'a> {
    named: &'a str,
    principal: &'a Principal,
    device: u64,
}

impl fmt::Display for Denied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.named;
        match (&self.principal.why, self.principal.on(self.device)) {
            (Why::Owner(image), Who::User(user)) => {
                write!(f, "{named}, which user {user}, the owner of {image}, may not read")
            }
            (Why::Link(link), Who::User(user)) => {
                write!(f, "{named}, which user {user}, whose link {link} leads there, may not read")
            }
            (Why::Writer(image), Who::Member(group)) => {
                write!(f, "{named}, which not every user of group {group} may read, and these may write {image}")
            }
            (Why::Writer(image), _) => {
                write!(f, "{named}, which not every user may read, and others than its owner may write {image}")
            }
            (Why::Owner(what) | Why::Link(what), _) => {
                let why = if self.principal.device.is_some() { "what a FUSE program says" } else { "not known here" };
                write!(f, "{named}, which not every user may read, and the owner of {what} is {why}")
            }
            (Why::Content { image, format, .. }, _) => write!(
                f,
                "{named}, which not every user may read, and only its content, which a guest can write, says that \
                 {image} is a {format} image"
            ),
        }
    }
}
