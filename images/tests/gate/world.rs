//! A directory with files and links of several users, and ways to be one of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use images::{Disk, Error, Options};
use rustix::fs::XattrFlags;
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

pub const ROOT: u32 = 0;
/// Has an account on every Debian, and a group of its own.
pub const DAEMON: u32 = 1;
/// These have none.
pub const ALICE: u32 = 61001;
pub const BOB: u32 = 61002;
pub const NOBODY: u32 = 61009;
/// A group that nobody is in.
pub const GROUP: u32 = 61003;
pub const NO_GROUP: u32 = 61010;

/// A directory that everyone can search; gone when the test is.
pub struct World(tempfile::TempDir);

impl World {
    pub fn new() -> Self {
        let world = Self(tempfile::tempdir().unwrap());
        fs::set_permissions(world.0.path(), fs::Permissions::from_mode(0o755)).unwrap();
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn directory(&self, name: &str, user: u32, mode: u32) {
        fs::create_dir_all(self.path(name)).unwrap();
        self.own(name, user, user, mode);
    }

    pub fn write(&self, name: &str, bytes: &[u8], user: u32, group: u32, mode: u32) {
        fs::write(self.path(name), bytes).unwrap();
        self.own(name, user, group, mode);
    }

    pub fn own(&self, name: &str, user: u32, group: u32, mode: u32) {
        chown(self.path(name), Some(user), Some(group)).expect("this test needs root: it gives files away");
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub fn link(&self, name: &str, to: impl AsRef<Path>, user: u32) {
        symlink(to, self.path(name)).unwrap();
        lchown(self.path(name), Some(user), Some(user)).unwrap();
    }

    /// Gives the file a POSIX access list with an entry for the user. The mode's group bits become its mask.
    pub fn list(&self, name: &str, user: u32, rights: u16) {
        let mode = fs::metadata(self.path(name)).unwrap().permissions().mode() as u16;
        let mask = mode >> 3 & 7 | rights;
        // linux/posix_acl_xattr.h: tag, rights and id of the owner, a user, the group, the mask, others.
        let none = u32::MAX;
        let entries = [
            (1, mode >> 6 & 7, none),
            (2, rights, user),
            (4, mode >> 3 & 7, none),
            (16, mask, none),
            (32, mode & 7, none),
        ];
        let mut value = 2u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            value.extend(u16::to_le_bytes(tag));
            value.extend(rights.to_le_bytes());
            value.extend(id.to_le_bytes());
        }
        rustix::fs::setxattr(self.path(name), "system.posix_acl_access", &value, XattrFlags::empty()).unwrap();
    }

    /// Mounts something at a directory of this world.
    pub fn mount(&self, name: &str, arguments: &[&str]) -> Mounted {
        let path = self.path(name);
        fs::create_dir_all(&path).unwrap();
        let status = toolbox::command("mount").args(arguments).arg(&path).status().unwrap();
        assert!(status.success(), "this test needs root: mount {arguments:?}");
        Mounted(path)
    }

    /// Opens an image of this world.
    pub fn open(&self, name: &str, options: &Options) -> Result<Arc<dyn Disk>, Error> {
        images::open(&self.path(name), options)
    }

    /// Why the image is not opened, without the path of this world.
    pub fn refusal(&self, name: &str) -> String {
        let error =
            self.open(name, &Options::default()).err().unwrap_or_else(|| panic!("{name} is opened")).to_string();
        assert!(!error.contains(char::is_control), "{error:?}");
        error.replace(self.0.path().to_str().unwrap(), "WORLD")
    }
}

/// A mount, until it is dropped.
pub struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = toolbox::command("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Does `work` as an ordinary user, on a thread of its own: of Linux, that is all that an ordinary user is.
pub fn as_user<T: Send>(user: u32, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
            set_thread_groups(&[]).expect("this test needs root");
            set_thread_res_gid(group, group, group).unwrap();
            set_thread_res_uid(user, user, user).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}
