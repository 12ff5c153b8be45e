//! Opening a file on behalf of someone: the kernel decides, or the modes where this process cannot be him.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::Stat;
use rustix::io::Errno;

use super::credentials::{self, Credentials};
use super::modes::Modes;
use super::place::Place;
use super::principal::Who;
use super::walk::{self, Link, is_same, root, walk};
use crate::disk::reopen;

/// Someone as whom a file is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    credentials: Credentials,
    /// Of whom the modes are asked if this process cannot take the credentials.
    user: Option<u32>,
}

/// Those who read for whom, of all images of a chain: the host's database of accounts is asked once for each.
#[derive(Default)]
pub struct Readers(RefCell<HashMap<Who, Rc<[Reader]>>>);

impl Readers {
    /// Those who must be able to open a file for `who`, as [`Reader::all`] has them.
    pub fn of(&self, who: Who) -> Rc<[Reader]> {
        self.0.borrow_mut().entry(who).or_insert_with(|| Reader::all(who).into()).clone()
    }
}

/// What was opened, and the links that were passed.
pub struct Opened {
    pub file: File,
    pub links: Vec<Link>,
}

impl Reader {
    /// Those who must be able to open a file for `who`; none beside this process itself for its own user, and for root.
    fn all(who: Who) -> Vec<Self> {
        match who {
            Who::User(0) => Vec::new(),
            Who::User(user) if rustix::process::geteuid().as_raw() == user && !credentials::are_beyond_any_user() => {
                Vec::new()
            }
            Who::User(user) => {
                let all = Credentials::of(user).into_iter();
                all.map(|credentials| Self { credentials, user: Some(user) }).collect()
            }
            Who::Member(group) => vec![Self { credentials: Credentials::of_member(group), user: None }],
            Who::Anyone => vec![Self { credentials: Credentials::of_nobody(), user: None }],
        }
    }

    /// Opens `name` beside the file in `place`, if it leads him to the file of `want` too.
    pub fn open(&self, place: &Place, name: &Path, want: &Stat) -> io::Result<Opened> {
        match self.credentials.run(|| find(place, name, want, None)) {
            Ok(opened) => opened,
            Err(error) if is_of_host(&error) => Err(error),
            Err(_) => find(place, name, want, Some(&Modes(self.user))),
        }
    }
}

/// Opens `name` as the calling thread may: it must reach the directory from the top, and the file of `want` from there.
fn find(place: &Place, name: &Path, want: &Stat, modes: Option<&Modes>) -> io::Result<Opened> {
    let directory = walk(root()?.as_fd(), &place.path, modes)?;
    let is_there = directory.links.is_empty() && directory.is(&rustix::fs::fstat(&place.directory)?);
    if !is_there {
        return Err(Errno::ACCESS.into());
    }
    let walk::Reached { file, stat, links } = walk(directory.file.as_fd(), name, modes)?;
    if !is_same(&stat, want) {
        return Err(Errno::ACCESS.into());
    }
    if let Some(modes) = modes {
        modes.check_read(file.as_fd())?;
    }
    Ok(Opened { file: reopen(file)?, links })
}

/// Whether the host failed, which says nothing of anyone's rights.
pub fn is_of_host(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    errno.is_some_and(|errno| {
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO, Errno::AGAIN, Errno::INTR].contains(&errno)
    })
}
