//! The directory that recovered files are written to: nothing in it is overwritten, and no link is followed.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use filesystems::{Kind, Stat, Time};
use images::{Error, Result};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// Only for who recovers, until the attributes are given back.
const PRIVATE: u32 = 0o700;

/// Attributes that give programs rights on the host, and that no image may hand out.
const NEVER_SET: &[&[u8]] = &[b"security.capability"];

/// Name spaces of attributes that the host's kernel and its services act on: labels of SELinux and Smack, signatures of
/// IMA and EVM, what overlayfs takes for its own. They are set only on request.
const HOSTS_OWN: &[&[u8]] = &[b"security.", b"trusted."];

/// A directory of the host, and the way into it by names alone.
///
/// The names come from an image: each is opened relative to its directory and without following links, so that none
/// leads out, whatever else happens in the directory meanwhile.
pub struct Destination {
    root: OwnedFd,
    is_root_user: bool,
    all_xattrs: bool,
}

impl Destination {
    /// Opens the directory, or makes it with all above it. `all_xattrs`: also give back the attributes that the host acts
    /// on.
    pub fn open(path: &Path, all_xattrs: bool) -> Result<Self> {
        let failed = |error| Error::io(format!("cannot write to {}", path.display()), error);
        DirBuilder::new().recursive(true).mode(PRIVATE).create(path).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        Ok(Self { root, is_root_user: rustix::process::geteuid().is_root(), all_xattrs })
    }

    /// Opens the directory at this path, and makes what is missing of it. Returns it with the number of leading names
    /// that were there already.
    pub fn directory(&self, path: &[&[u8]]) -> io::Result<(OwnedFd, usize)> {
        let mut at = self.root.try_clone()?;
        let mut there = 0;
        for (depth, name) in path.iter().enumerate() {
            match rustix::fs::mkdirat(&at, *name, Mode::from_raw_mode(PRIVATE)) {
                Ok(()) => {}
                Err(Errno::EXIST) if there == depth => there += 1,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            at = open_directory(&at, name)?;
        }
        Ok((at, there))
    }

    /// Opens a directory that is there.
    pub fn existing(&self, path: &[&[u8]]) -> io::Result<OwnedFd> {
        path.iter().try_fold(self.root.try_clone()?, |at, name| open_directory(&at, name))
    }

    /// Makes a file that is not there yet.
    pub fn file(&self, directory: &OwnedFd, name: &[u8]) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?.into())
    }

    /// Makes a symbolic link that is not there yet. It is never followed here.
    pub fn link(&self, directory: &OwnedFd, name: &[u8], target: &[u8], stat: &Stat) -> io::Result<()> {
        rustix::fs::symlinkat(target, directory, name)?;
        if self.is_root_user {
            let (owner, group) = owner(stat);
            rustix::fs::chownat(directory, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        rustix::fs::utimensat(directory, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// Makes a named pipe that is not there yet.
    pub fn fifo(&self, directory: &OwnedFd, name: &[u8], stat: &Stat) -> io::Result<()> {
        rustix::fs::mknodat(directory, name, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        rustix::fs::utimensat(directory, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    /// Removes a file that was made.
    pub fn remove(&self, directory: &OwnedFd, name: &[u8]) {
        // The error that led here is the one that counts.
        let _ = rustix::fs::unlinkat(directory, name, AtFlags::empty());
    }

    /// Gives a file or directory its attributes back, as far as the user may: owner, extended attributes, mode, times.
    /// Returns what could not be given.
    ///
    /// A file never gets set-user-id and set-group-id bits or capabilities back, and attributes that the host acts on only where
    /// that was asked for: an image must not plant them.
    pub fn restore(&self, node: &OwnedFd, stat: &Stat, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
        let mut missing = Vec::new();
        let tried = |missing: &mut Vec<String>, what: &str, result: rustix::io::Result<()>| {
            if let Err(errno) = result {
                missing.push(format!("{what}: {errno}"));
            }
        };
        if self.is_root_user {
            let (owner, group) = owner(stat);
            tried(&mut missing, "owner", rustix::fs::fchown(node, owner, group));
        }
        for (name, value) in xattrs {
            let text = String::from_utf8_lossy(name);
            if NEVER_SET.contains(&&name[..]) {
                tried(&mut missing, &text, Err(Errno::PERM));
            } else if !self.all_xattrs && HOSTS_OWN.iter().any(|space| name.starts_with(space)) {
                missing.push(format!("{text}: is set only with --all-xattrs"));
            } else {
                tried(&mut missing, &text, rustix::fs::fsetxattr(node, &name[..], value, XattrFlags::empty()));
            }
        }
        let allowed = if stat.kind == Kind::Directory { 0o1777 } else { 0o777 };
        if stat.permissions & !allowed & 0o7777 != 0 && stat.kind == Kind::File {
            tried(&mut missing, "set-user-id and set-group-id", Err(Errno::PERM));
        }
        tried(&mut missing, "mode", rustix::fs::fchmod(node, Mode::from_raw_mode((stat.permissions & allowed).into())));
        tried(&mut missing, "times", rustix::fs::futimens(node, &times(stat)));
        missing
    }
}

fn open_directory(at: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    // The highest number means "unchanged" to the kernel, and nobody.
    let known = |id: u32| (id != u32::MAX).then_some(id);
    (known(stat.owner).map(Uid::from_raw), known(stat.group).map(Gid::from_raw))
}

fn times(stat: &Stat) -> Timestamps {
    let time = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.min(999_999_999).into() };
    Timestamps { last_access: time(stat.accessed), last_modification: time(stat.modified) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_not_followed_and_files_not_overwritten() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        symlink(outside.path(), inside.path().join("link")).unwrap();
        symlink(outside.path().join("new"), inside.path().join("dangling")).unwrap();
        std::fs::write(inside.path().join("there"), "old").unwrap();
        let destination = Destination::open(inside.path(), false).unwrap();
        assert!(destination.directory(&[b"link"]).is_err());
        assert!(destination.directory(&[b"link", b"below"]).is_err());
        let (root, _) = destination.directory(&[]).unwrap();
        for name in [&b"dangling"[..], b"link", b"there"] {
            assert!(destination.file(&root, name).is_err());
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        assert_eq!(std::fs::read(inside.path().join("there")).unwrap(), b"old");
    }

    #[test]
    fn what_the_host_acts_on_is_set_on_request_only() {
        let inside = tempfile::tempdir().unwrap();
        let time = Time::default();
        let stat = Stat {
            kind: Kind::File,
            generation: 0,
            permissions: 0o600,
            links: 1,
            owner: u32::MAX,
            group: u32::MAX,
            size: 0,
            blocks: 0,
            device: (0, 0),
            accessed: time,
            modified: time,
            changed: time,
            created: None,
        };
        let names = ["user.a", "trusted.overlay.opaque", "security.ima", "security.capability"];
        let xattrs: Vec<_> = names.iter().map(|name| (name.as_bytes().to_vec(), b"y".to_vec())).collect();
        for (all, name) in [(false, "few"), (true, "all")] {
            let destination = Destination::open(inside.path(), all).unwrap();
            let (root, _) = destination.directory(&[]).unwrap();
            let file = destination.file(&root, name.as_bytes()).unwrap();
            let missing = destination.restore(&file.into(), &stat, &xattrs).join("; ");
            let has =
                |attribute: &str| rustix::fs::getxattr(inside.path().join(name), attribute, &mut [0; 8][..]).is_ok();
            assert!(!has("security.capability") && missing.contains("security.capability"), "{missing}");
            assert_eq!(missing.contains("security.ima: is set only with --all-xattrs"), !all, "{missing}");
            // Nobody but root can have set it.
            assert_eq!(has("trusted.overlay.opaque"), all && destination.is_root_user, "{missing}");
        }
    }

    #[test]
    fn directories_are_made_once() {
        let inside = tempfile::tempdir().unwrap();
        let destination = Destination::open(&inside.path().join("deep/new"), false).unwrap();
        assert_eq!(destination.directory(&[b"a", b"b"]).unwrap().1, 0);
        assert_eq!(destination.directory(&[b"a", b"c"]).unwrap().1, 1);
        assert_eq!(destination.directory(&[b"a", b"c"]).unwrap().1, 2);
        destination.existing(&[b"a", b"b"]).unwrap();
        assert!(destination.existing(&[b"a", b"x"]).is_err());
    }
}
