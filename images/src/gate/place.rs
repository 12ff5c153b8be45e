//! Where an open file lies: the directory that the names in an image are relative to.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Stat, fstat, stat, statat};
use rustix::io::Errno;

use super::walk::is_same;
use crate::disk::HostFile;
use crate::origin::path_of;

/// The directory in which an open file lies, and its name there: of the file itself, not of a link that led to it.
pub struct Place {
    /// The directory, with `O_PATH`.
    pub directory: OwnedFd,
    /// Its path, as the kernel has it.
    pub path: PathBuf,
    /// Its path as the user or the image above gave it, if that leads there.
    pub shown: PathBuf,
    /// The name of the file.
    pub name: OsString,
}

impl Place {
    /// Where `file` lies. Fails if that cannot be found out: it may be deleted.
    pub fn of(file: &HostFile) -> rustix::io::Result<Self> {
        let its = fstat(file.file())?;
        let given = file.path();
        // Where the kernel's path is one of another mount namespace, the given one may lead there.
        let found = [path_of(file), Some(given.to_owned())].into_iter().flatten().find_map(|path| beside(&path, &its));
        let (directory, name) = found.ok_or(Errno::NOENT)?;
        let path = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).map_err(|_| Errno::NOENT)?;
        let shown = match directory_in(given) {
            parent
                if stat(or_here(parent))
                    .is_ok_and(|parent| fstat(&directory).is_ok_and(|it| is_same(&parent, &it))) =>
            {
                parent.to_owned()
            }
            _ => path.clone(),
        };
        Ok(Self { directory, path, shown, name })
    }
}

/// The directory of `path` and the name in it, if the file of `its` lies there and is no link to it.
fn beside(path: &Path, its: &Stat) -> Option<(OwnedFd, OsString)> {
    let name = path.file_name()?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(or_here(directory_in(path)), flags, Mode::empty()).ok()?;
    let found = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    is_same(&found, its).then(|| (directory, name.to_owned()))
}

fn directory_in(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn or_here(directory: &Path) -> &Path {
    if directory.as_os_str() == OsStr::new("") { Path::new(".") } else { directory }
}
