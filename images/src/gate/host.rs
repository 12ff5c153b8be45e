//! The files of this host that an image on it names: found as the kernel finds them, opened for all who had a say.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

use super::ending;
use super::place::Place;
use super::principal::{Principal, Who};
use super::reader::is_of_host;
use super::walk::{self, Reached, walk};
use super::{Backing, Gate, MAX_PRINCIPALS};
use crate::disk::{HostFile, cannot_open, check_kind, printable, reopen};
use crate::origin::{Identity, Origin};
use crate::{Error, Result};

impl Gate<'_> {
    /// The file that `path` leads to, relative to `file`, the one of this image, if the image may have it; and who had a
    /// say in its name.
    pub(super) fn on_host(&self, file: &HostFile, path: &Path) -> Result<(Origin, Vec<Principal>)> {
        let place = self.place(file)?;
        let shown = place.shown.join(path);
        let (named, principals) = match self.rules.backing {
            Backing::Follow => (self.follow(place, path, &shown)?, Vec::new()),
            _ => self.open_for_all(file, place, path, &shown)?,
        };
        let named = HostFile::new(&shown, named)?;
        if self.rules.backing == Backing::Owner {
            self.note(&named, &principals)?;
        }
        Ok((Origin::Host(Arc::new(named)), principals))
    }

    /// Where the file of this image lies.
    pub(super) fn place(&self, file: &HostFile) -> Result<&Place> {
        if self.place.get().is_none() {
            let place = Place::of(file).map_err(|_| {
                Error::Unsupported(format!("it names another file, but the directory of {} is not found", file))
            })?;
            let _ = self.place.set(place);
        }
        Ok(self.place.get().expect("it was set above"))
    }

    /// Those who had a say in what this image names.
    pub(super) fn principals(&self, file: &HostFile) -> Result<&[Principal]> {
        if self.principals.get().is_none() {
            let mut all = self.named_by.clone();
            for author in authors(&self.image, file)? {
                author.join(&mut all);
            }
            if let Some(format) = self.probed {
                let says = |place: &Place| ending::says(&place.name, format, self.wrappers > 0, self.rules.formats);
                if !self.place(file).is_ok_and(says) {
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
        self.check_chain(&printable(path), &identity(&stat))?;
        reopen(found).map_err(|error| cannot_open(path, error))
    }

    /// Opens what `name` leads to, if everyone may who had a say in it; and says who had.
    fn open_for_all(
        &self,
        image: &HostFile,
        place: &Place,
        name: &Path,
        path: &Path,
    ) -> Result<(File, Vec<Principal>)> {
        let Reached { file: found, stat, links } =
            walk(place.directory.as_fd(), name, None).map_err(|errno| not_found(path, errno))?;
        check_kind(path, &stat)?;
        self.check_chain(&printable(path), &identity(&stat))?;
        let mut principals = self.principals(image)?.to_vec();
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

    /// Notes who made `file`, which is read for this image, and who had a say in its name.
    fn note(&self, file: &HostFile, principals: &[Principal]) -> Result<()> {
        let authors = authors(&file.to_string(), file)?;
        let mut read = self.read.borrow_mut();
        principals.iter().cloned().chain(authors).for_each(|principal| principal.join(&mut read));
        Ok(())
    }
}

/// What tells a file of the host from others.
fn identity(stat: &Stat) -> Identity {
    Identity::File(stat.st_dev, stat.st_ino)
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
