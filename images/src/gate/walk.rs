//! From a directory to what a name in it leads to, one component after the other: who had a say on the way is seen.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, readlinkat};
use rustix::io::{Errno, Result};

use super::modes::Modes;

/// How many symbolic links may be passed: Linux's limit.
const MAX_LINKS: usize = 40;
/// How many components a name may have, those of its links with it; ours. A name of Linux has 4096 bytes.
const MAX_COMPONENTS: usize = 1024;

const FIND: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What a name leads to.
pub struct Reached {
    /// The file, with `O_PATH`: found and not opened.
    pub file: OwnedFd,
    /// What the host says of it.
    pub stat: Stat,
    /// The symbolic links that were passed.
    pub links: Vec<Link>,
}

impl Reached {
    /// Whether this is the file that `other` is.
    pub fn is(&self, other: &Stat) -> bool {
        is_same(&self.stat, other)
    }
}

/// Whether both are of one file.
pub fn is_same(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// A symbolic link on the way.
pub struct Link {
    /// Its name in its directory.
    pub name: OsString,
    /// The link itself.
    pub file: OwnedFd,
    /// What the host says of it.
    pub stat: Stat,
}

/// Finds what `name` leads to from the directory `start`, as the calling thread may. What `modes` do not grant is not
/// passed either.
///
/// No magic link of `/proc` is followed: one leads to what a process has, through no directory.
pub fn walk(start: BorrowedFd<'_>, name: &Path, modes: Option<&Modes>) -> Result<Reached> {
    let mut way = Way { here: openat(start, c".", FIND | OFlags::DIRECTORY, Mode::empty())?, links: Vec::new(), modes };
    let mut ahead = VecDeque::new();
    way.enter(name.as_os_str(), &mut ahead)?;
    let mut passed = 0;
    while let Some(component) = ahead.pop_front() {
        passed += 1;
        if passed > MAX_COMPONENTS {
            return Err(Errno::NAMETOOLONG);
        }
        let found = way.find(&component, !ahead.is_empty())?;
        match found.stat {
            None => way.here = found.file,
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                let text = way.follow(component, found.file, stat)?;
                way.enter(&text, &mut ahead)?;
            }
            Some(_) if !ahead.is_empty() => return Err(Errno::NOTDIR),
            Some(stat) => return Ok(Reached { file: found.file, stat, links: way.links }),
        }
    }
    let stat = fstat(&way.here)?;
    Ok(Reached { file: way.here, stat, links: way.links })
}

/// Where a walk is.
struct Way<'a> {
    here: OwnedFd,
    links: Vec<Link>,
    modes: Option<&'a Modes>,
}

/// One component; of one that is known to be a directory nothing more was asked.
struct Component {
    file: OwnedFd,
    stat: Option<Stat>,
}

impl Way<'_> {
    /// Puts the components of `name` before those that are ahead, and goes to `/` if it starts there.
    fn enter(&mut self, name: &OsStr, ahead: &mut VecDeque<OsString>) -> Result<()> {
        let bytes = name.as_bytes();
        if bytes.is_empty() {
            return Err(Errno::NOENT);
        }
        if bytes.starts_with(b"/") {
            self.here = root()?;
        }
        // After a last slash comes the directory itself, which a file is not.
        let is_directory = bytes.ends_with(b"/");
        let components = bytes.split(|byte| *byte == b'/').filter(|component| !component.is_empty());
        let components = components.chain(is_directory.then_some(b".".as_slice()));
        for component in components.rev() {
            ahead.push_front(OsStr::from_bytes(component).to_owned());
        }
        Ok(())
    }

    fn find(&self, name: &OsStr, is_directory: bool) -> Result<Component> {
        if let Some(modes) = self.modes {
            modes.check_search(self.here.as_fd())?;
        }
        if is_directory {
            match openat(&self.here, name, FIND | OFlags::DIRECTORY, Mode::empty()) {
                Ok(file) => return Ok(Component { file, stat: None }),
                Err(Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(errno),
            }
        }
        let file = openat(&self.here, name, FIND, Mode::empty())?;
        let stat = Some(fstat(&file)?);
        Ok(Component { file, stat })
    }

    /// Where the link leads, if the kernel would follow it.
    fn follow(&mut self, name: OsString, file: OwnedFd, stat: Stat) -> Result<OsString> {
        if self.links.len() == MAX_LINKS {
            return Err(Errno::LOOP);
        }
        // Links of others in directories like /tmp are not followed where the host is set up so, and no magic ones.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        openat2(&self.here, &name, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
        let text = readlinkat(&file, c"", Vec::new())?;
        self.links.push(Link { name, file, stat });
        Ok(OsString::from_vec(text.into_bytes()))
    }
}

/// The directory at the top.
pub fn root() -> Result<OwnedFd> {
    rustix::fs::open(c"/", FIND | OFlags::DIRECTORY, Mode::empty())
}
