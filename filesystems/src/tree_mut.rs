//! The write half of the second noun: how a tree is changed.

use std::ops::Range;

use images::Result;

use crate::node::{NodeId, Time};

/// The write half of a [`FileSystem`](crate::FileSystem), which gives it, or the reason why there is none.
///
/// Each call is whole or nothing: after an error, and after a crash once its caller was answered or not, all of it is there or
/// nothing, but that a crash may leave a part of what [`write_at`](Self::write_at) and
/// [`allocate`](Self::allocate) wrote. Nothing is durable before [`sync`](Self::sync) says so. Several threads may call at the same
/// time. Whoever may do what was decided before: nothing here looks at permissions.
///
/// Errors, beside those of the host and the image: those named at each call; `NoSpace`; `ReadOnly`, if this tree is not written,
/// or no more, because an earlier write failed; `NotPermitted` for what the node's own flags forbid (immutable, append-only);
/// `Unsupported` for what this driver does not write in this file system, by name.
pub trait FileSystemMut: Send + Sync {
    /// Makes a node in a directory and gives its id, which is held once as by `lookup`. Fails with `Exists` if the name
    /// is taken.
    fn create(&self, dir: NodeId, name: &[u8], new: &New<'_>) -> Result<NodeId>;

    /// Gives a node that is no directory one more name. Fails with `Exists` if the name is taken, with `TooManyLinks`.
    fn link(&self, node: NodeId, dir: NodeId, name: &[u8]) -> Result<()>;

    /// Removes a name that is not a directory's (`IsDirectory`). With its last name a node ends, unless it is held.
    fn remove(&self, dir: NodeId, name: &[u8]) -> Result<()>;

    /// Removes an empty directory: fails with `NotDirectory` or `NotEmpty`.
    fn remove_dir(&self, dir: NodeId, name: &[u8]) -> Result<()>;

    /// Moves a name, at once: at no time, also not after a crash, is there neither of both, or less than one that was there.
    /// Fails with `Exists`, `NotEmpty`, `IsDirectory` or `NotDirectory` as rename(2) does, and with `Invalid` if a directory
    /// would come to lie in itself.
    fn rename(&self, from: (NodeId, &[u8]), to: (NodeId, &[u8]), how: Rename) -> Result<()>;

    /// Writes all of `data` at `offset` (bytes) of a file, which becomes longer if it ends before. Fails with `TooLarge` if
    /// the file system has no such offset.
    fn write_at(&self, file: NodeId, data: &[u8], offset: u64) -> Result<()>;

    /// Changes the space that a file takes in these bytes. Fails with `Invalid` where `how` says so.
    fn allocate(&self, file: NodeId, bytes: Range<u64>, how: Allocation) -> Result<()>;

    /// Changes attributes, all or none. The time of the change is the present unless `changes` has one.
    fn set_stat(&self, node: NodeId, changes: &Changes) -> Result<()>;

    /// Sets an extended attribute by its full name, or removes it. Fails with `Exists` or `NotFound` as `how` says, with
    /// `NotFound` if there is none to be removed, with `Unsupported` for a name that the file system cannot have.
    ///
    /// `system.posix_acl_access` and `system.posix_acl_default` have the form of Linux's extended attributes; the first one
    /// changes the permissions as well.
    fn set_xattr(&self, node: NodeId, name: &[u8], value: Option<&[u8]>, how: SetXattr) -> Result<()>;

    /// What was done to a node before is durable when this returns; without one, what was done to any. With `data_only` the
    /// times of the node need not be.
    fn sync(&self, node: Option<NodeId>, data_only: bool) -> Result<()>;

    /// Makes everything durable and the file system clean, as an unmount does. Nothing can be written afterwards.
    fn close(&self) -> Result<()>;
}

/// A node that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct New<'a> {
    /// What it is.
    pub content: NewContent<'a>,
    /// The lower 12 bits of the mode, as the caller wants them.
    pub permissions: u16,
    /// The bits that are taken away, unless the directory has a default ACL, which decides instead.
    pub umask: u16,
    /// The owner's user id.
    pub owner: u32,
    /// The group id, unless the directory passes on its own (`g+s`).
    pub group: u32,
    /// Extended attributes that it has from the start, with their full names.
    pub xattrs: &'a [(&'a [u8], &'a [u8])],
}

/// What a new node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewContent<'a> {
    /// An empty regular file.
    File,
    /// An empty directory.
    Directory,
    /// A symbolic link to this target, 1 byte or longer.
    Symlink(&'a [u8]),
    /// A character device: major and minor number.
    CharDevice(u32, u32),
    /// A block device: major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// What happens to a name that is there already when another one is moved to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rename {
    /// It is replaced.
    #[default]
    Replace,
    /// It stays, and nothing is moved: `Exists`.
    NoReplace,
    /// It goes where the other one was; both must be there.
    Exchange,
}

/// What [`FileSystemMut::allocate`] does with some bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// They have space, and read as before. The file becomes longer if they end behind it.
    Extend,
    /// The same, but the size stays.
    KeepSize,
    /// They read as zeros and take no space where whole blocks do; the size stays.
    PunchHole,
    /// They read as zeros and have space. The file becomes longer if they end behind it, unless `keep_size`.
    Zero {
        /// The size stays.
        keep_size: bool,
    },
    /// They are cut out, and what is behind moves forward: whole blocks inside of the file, or `Invalid`.
    Collapse,
    /// A hole is put there, and what is behind moves back: whole blocks inside of the file, or `Invalid`.
    Insert,
}

/// What is wanted of an attribute that is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SetXattr {
    /// Nothing: it is there afterwards.
    #[default]
    Any,
    /// It is new: `Exists` if it is not.
    Create,
    /// It is there already: `NotFound` if it is not.
    Replace,
}

/// Attributes that change; `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The size of a file in bytes. What is cut off is gone; what is new reads as zeros.
    pub size: Option<u64>,
    /// The lower 12 bits of the mode.
    pub permissions: Option<u16>,
    /// The owner's user id.
    pub owner: Option<u32>,
    /// The group id.
    pub group: Option<u32>,
    /// The last access.
    pub accessed: Option<Time>,
    /// The last change of the content.
    pub modified: Option<Time>,
    /// The last change of the attributes.
    pub changed: Option<Time>,
}
