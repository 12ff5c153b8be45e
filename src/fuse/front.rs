//! The kernel's requests, answered from a file system that never changes.

mod directory;

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime};

use filesystems::{FileSystem, Kind, NodeId, Space};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use images::Error;

use super::Event;
use super::attributes::{Numbers, Owner, attributes, placeholder};
use super::errors::Reports;
use super::options::Options;
use super::seek::{Whence, seek};
use super::xattrs::{self, Unused};

/// Requests that the kernel may have in flight for readahead. Its default, 16, is too few for several readers.
const MAX_BACKGROUND: u16 = 128;

/// The largest request in bytes: bounds the buffer that each thread keeps. The kernel's default limit is the same.
const MAX_REQUEST: u32 = 1 << 20;

/// The longest name that is said where the file system does not limit it, in bytes: Linux's NAME_MAX.
const NAME_MAX: u32 = 255;

thread_local! {
    /// Where this thread reads to: made once, so that no read pays for zeroing it.
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A [`FileSystem`] as the kernel sees it.
pub struct Front {
    fs: Arc<dyn FileSystem>,
    numbers: Numbers,
    owner: Owner,
    options: Options,
    reports: Reports,
    /// Nodes are held: the kernel says what it opens, closes and forgets, and it is passed on.
    holds: bool,
    /// The kernel understands that files need not be opened.
    no_open: bool,
    /// The same for directories.
    no_opendir: bool,
    /// The kernel keeps ACLs and checks permissions by them.
    kernel_acls: bool,
    /// Extended attributes that no node has.
    unused: Unused,
    /// Told when no more requests come.
    events: Sender<Event>,
}

impl Front {
    pub fn new(fs: Arc<dyn FileSystem>, options: &Options, events: Sender<Event>) -> Self {
        Self {
            numbers: Numbers::new(fs.root()),
            owner: Owner { uid: options.uid, gid: options.gid, umask: options.umask },
            options: options.clone(),
            reports: Reports::default(),
            holds: fs.holds().is_some(),
            no_open: false,
            no_opendir: false,
            kernel_acls: false,
            unused: Unused::default(),
            events,
            fs,
        }
    }

    /// Takes back that a node is held; of a tree whose nodes are valid for ever, nothing.
    fn let_go(&self, node: NodeId, times: u64) {
        if self.holds
            && let Some(holds) = self.fs.holds()
        {
            holds.forget(node, times);
        }
    }

    /// Whether the kernel may remember that a name is not in this directory.
    fn keeps_negative(&self, dir: NodeId) -> bool {
        !self.options.negative_timeout.is_zero() && !self.fs.properties(dir).case_insensitive
    }

    /// How long the kernel may answer from its caches what is in this directory.
    ///
    /// With `allow_root` the kernel lets everybody in, and this process turns away who is neither root nor the user who
    /// mounts. So it must be asked: of every path, the name in the root directory is never kept. What lies below is
    /// reached through such a name only, and may be kept.
    fn kept_in(&self, dir: NodeId, timeout: Duration) -> Duration {
        if self.options.shuts_out_others() && dir == self.fs.root() { Duration::ZERO } else { timeout }
    }

    fn reply_xattr(answer: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
        match answer {
            Err(errno) => reply.error(errno),
            Ok(value) => match u32::try_from(value.len()) {
                Ok(len) if size == 0 => reply.size(len),
                Ok(len) if len <= size => reply.data(&value),
                _ => reply.error(Errno::ERANGE),
            },
        }
    }
}

/// The operations that change something: all have the same answer. The kernel sends them only if root has made the
/// mount writable behind our back.
macro_rules! read_only {
    ($(fn $name:ident($($argument:ident: $kind:ty),*) -> $reply:ty;)*) => {
        $(fn $name(&self, _: &Request, $($argument: $kind,)* reply: $reply) {
            $(let _ = $argument;)*
            reply.error(Errno::EROFS);
        })*
    };
}

impl Filesystem for Front {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let offered = config.capabilities();
        // Always readdirplus, not the kernel's choice (READDIRPLUS_AUTO): find, tar, du and cp read a whole directory
        // before they look at its files, and with AUTO get the attributes of the first 200 names only, then one LOOKUP
        // for each file. Of 20,000 files in one directory: find 0.35 s against 2.0 s; ls -f 0.28 s against 0.14 s.
        let mut wanted = InitFlags::FUSE_ASYNC_READ
            | InitFlags::FUSE_ASYNC_DIO
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_CACHE_SYMLINKS
            | InitFlags::FUSE_DO_READDIRPLUS;
        if self.options.default_permissions || self.options.allow_other {
            wanted |= InitFlags::FUSE_POSIX_ACL;
        }
        if !self.options.direct_io && !self.holds {
            wanted |= InitFlags::FUSE_NO_OPEN_SUPPORT;
        }
        // Whoever opens the root directory is to be asked for, see `kept_in`.
        if !self.options.shuts_out_others() {
            wanted |= InitFlags::FUSE_NO_OPENDIR_SUPPORT;
        }
        let granted = wanted & offered;
        self.no_open = granted.contains(InitFlags::FUSE_NO_OPEN_SUPPORT);
        self.kernel_acls = granted.contains(InitFlags::FUSE_POSIX_ACL);
        self.no_opendir = granted.contains(InitFlags::FUSE_NO_OPENDIR_SUPPORT);
        config.add_capabilities(granted).map_err(|_| io::Error::other("the kernel withdrew a capability"))?;
        // Both take any value that is not zero and not above the defaults.
        let _ = config.set_max_background(MAX_BACKGROUND);
        let _ = config.set_max_write(MAX_REQUEST);
        Ok(())
    }

    fn destroy(&mut self) {
        // Nobody listens any more after a second signal.
        let _ = self.events.send(Event::Ended);
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let dir = self.numbers.node(parent);
        let found = self.reports.run("lookup", dir, || match self.fs.lookup(dir, name.as_bytes()) {
            Ok(node) => Ok(Some(node)),
            Err(error) if matches!(error.root(), Error::NotFound) && self.keeps_negative(dir) => Ok(None),
            Err(error) => Err(error),
        });
        let entry_timeout = &self.kept_in(dir, self.options.entry_timeout);
        match found {
            Err(errno) => reply.error(errno),
            // The number 0 says that there is no such name, and for how long that may be believed.
            Ok(None) => {
                let none = placeholder(INodeNo(0), None);
                let timeout = self.kept_in(dir, self.options.negative_timeout);
                reply.entry_with_ttls(&Duration::ZERO, &timeout, &none, Generation(0));
            }
            Ok(Some(node)) => match self.reports.run("stat", node, || self.fs.stat(node)) {
                Err(errno) => {
                    self.let_go(node, 1);
                    reply.error(errno);
                }
                Ok(stat) => {
                    let attr = attributes(self.numbers.inode(node), &stat, self.owner);
                    let generation = Generation(stat.generation);
                    reply.entry_with_ttls(&self.options.attr_timeout, entry_timeout, &attr, generation);
                }
            },
        }
    }

    fn forget(&self, _: &Request, inode: INodeNo, times: u64) {
        if !self.holds {
            return;
        }
        // It needs no answer, so there is nobody to tell of an error.
        let node = self.numbers.node(inode);
        let _ = self.reports.run("forget", node, || {
            self.let_go(node, times);
            Ok(())
        });
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let node = self.numbers.node(inode);
        match self.reports.run("stat", node, || self.fs.stat(node)) {
            Ok(stat) => {
                let timeout = self.kept_in(node, self.options.attr_timeout);
                reply.attr(&timeout, &attributes(self.numbers.shown(node), &stat, self.owner));
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, _: &Request, inode: INodeNo, reply: ReplyData) {
        let node = self.numbers.node(inode);
        match self.reports.run("readlink", node, || self.fs.read_link(node)) {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn open(&self, _: &Request, inode: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.no_open {
            // The kernel asks once, then opens, closes and keeps the data of every file by itself.
            return reply.error(Errno::ENOSYS);
        }
        let node = self.numbers.node(inode);
        let held = self.reports.run("open", node, || self.fs.holds().map_or(Ok(()), |holds| holds.hold(node)));
        if let Err(errno) = held {
            reply.error(errno);
        } else if self.options.direct_io {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
        } else {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
        }
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let node = self.numbers.node(inode);
        BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let buffer = &mut buffer[..size];
            match self.reports.run("read", node, || self.fs.read_at(node, buffer, offset)) {
                Ok(len) => reply.data(&buffer[..len.min(size)]),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn release(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let node = self.numbers.node(inode);
        let released = self.reports.run("release", node, || {
            self.let_go(node, 1);
            Ok(())
        });
        match released {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn lseek(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let whence = match whence {
            SEEK_DATA => Whence::Data,
            SEEK_HOLE => Whence::Hole,
            _ => return reply.error(Errno::EINVAL),
        };
        let Ok(from) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        let node = self.numbers.node(inode);
        match self.reports.run("lseek", node, || seek(&*self.fs, node, from, whence)) {
            Ok(found) => match found.and_then(|at| i64::try_from(at).ok()) {
                Some(at) => reply.offset(at),
                None => reply.error(Errno::ENXIO),
            },
            Err(errno) => reply.error(errno),
        }
    }

    /// As for files; the kernel then also keeps the lists of names. (With READDIRPLUS_AUTO that would bring a LOOKUP
    /// for every name; with readdirplus throughout, the attributes are there before the list is.)
    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.no_opendir {
            reply.error(Errno::ENOSYS);
        } else {
            reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR);
        }
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let dir = self.numbers.node(inode);
        match self.reports.run("readdir", dir, || self.list(dir, offset, &mut reply)) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdirplus(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectoryPlus) {
        let dir = self.numbers.node(inode);
        match self.reports.run("readdir", dir, || self.list_with_attributes(dir, offset, &mut reply)) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn statfs(&self, _: &Request, inode: INodeNo, reply: ReplyStatfs) {
        let node = self.numbers.node(inode);
        match self.reports.run("statfs", node, || self.fs.space(node)) {
            Ok(Space { block_size, blocks, blocks_free, blocks_available, files, files_free }) => {
                let block = block_size.max(512);
                let name_max = match self.fs.properties(node).name_max {
                    0 => NAME_MAX,
                    name_max => name_max,
                };
                reply.statfs(blocks, blocks_free, blocks_available, files, files_free, block, name_max, block);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn getxattr(&self, _: &Request, inode: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let node = self.numbers.node(inode);
        let name = name.as_bytes();
        let value = self.reports.run("getxattr", node, || {
            Ok(match xattrs::get(&*self.fs, node, self.owner, name)? {
                Some(value) => Ok(value),
                // For a kernel that checks permissions by ACLs, "unsupported" would be an error of each check.
                None if !(self.kernel_acls && xattrs::is_acl(name)) && self.unused.is_unsupported(&*self.fs, name) => {
                    Err(Errno::EOPNOTSUPP)
                }
                None => Err(Errno::ENODATA),
            })
        });
        Self::reply_xattr(value.and_then(|value| value), size, reply);
    }

    fn listxattr(&self, request: &Request, inode: INodeNo, size: u32, reply: ReplyXattr) {
        let node = self.numbers.node(inode);
        let root = request.uid() == 0;
        let list = self.reports.run("listxattr", node, || xattrs::list(&*self.fs, node, self.owner, root));
        Self::reply_xattr(list, size, reply);
    }

    /// Asked only where the kernel does not check permissions itself: then the user owns the image and may read all
    /// of it. Only a file without any execute bit cannot be executed, as for root.
    fn access(&self, _: &Request, inode: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        if mask.contains(AccessFlags::W_OK) {
            return reply.error(Errno::EROFS);
        }
        if !mask.contains(AccessFlags::X_OK) {
            return reply.ok();
        }
        let node = self.numbers.node(inode);
        match self.reports.run("access", node, || self.fs.stat(node)) {
            Ok(stat) if stat.kind == Kind::File && stat.permissions & !self.owner.umask & 0o111 == 0 => {
                reply.error(Errno::EACCES);
            }
            Ok(_) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    // The kernel takes this for "no need to ask": it then answers these by itself.

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    read_only! {
        fn setattr(
            inode: INodeNo, mode: Option<u32>, uid: Option<u32>, gid: Option<u32>, size: Option<u64>,
            accessed: Option<TimeOrNow>, modified: Option<TimeOrNow>, changed: Option<SystemTime>,
            handle: Option<FileHandle>, created: Option<SystemTime>, flags_changed: Option<SystemTime>,
            saved: Option<SystemTime>, flags: Option<BsdFileFlags>
        ) -> ReplyAttr;
        fn mknod(parent: INodeNo, name: &OsStr, mode: u32, umask: u32, device: u32) -> ReplyEntry;
        fn mkdir(parent: INodeNo, name: &OsStr, mode: u32, umask: u32) -> ReplyEntry;
        fn unlink(parent: INodeNo, name: &OsStr) -> ReplyEmpty;
        fn rmdir(parent: INodeNo, name: &OsStr) -> ReplyEmpty;
        fn symlink(parent: INodeNo, name: &OsStr, target: &Path) -> ReplyEntry;
        fn rename(
            parent: INodeNo, name: &OsStr, new_parent: INodeNo, new_name: &OsStr, flags: RenameFlags
        ) -> ReplyEmpty;
        fn link(inode: INodeNo, new_parent: INodeNo, new_name: &OsStr) -> ReplyEntry;
        fn write(
            inode: INodeNo, handle: FileHandle, offset: u64, data: &[u8], write_flags: WriteFlags, flags: OpenFlags,
            lock_owner: Option<LockOwner>
        ) -> ReplyWrite;
        fn setxattr(inode: INodeNo, name: &OsStr, value: &[u8], flags: i32, position: u32) -> ReplyEmpty;
        fn removexattr(inode: INodeNo, name: &OsStr) -> ReplyEmpty;
        fn create(parent: INodeNo, name: &OsStr, mode: u32, umask: u32, flags: i32) -> ReplyCreate;
        fn fallocate(inode: INodeNo, handle: FileHandle, offset: u64, len: u64, mode: i32) -> ReplyEmpty;
        fn copy_file_range(
            inode: INodeNo, handle: FileHandle, offset: u64, to: INodeNo, to_handle: FileHandle, to_offset: u64,
            len: u64, flags: CopyFileRangeFlags
        ) -> ReplyWrite;
    }
}

/// `whence` of `lseek(2)` on Linux.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;
