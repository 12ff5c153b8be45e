//! Each request of the kernel, and its answer.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use filesystems::{Kind, NewContent, Space};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl,
    ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use images::Error;

use super::change::Wanted;
use super::{BUFFER, Front, MAX_REQUEST};
use crate::fuse::Event;
use crate::fuse::attributes::{Owner, attributes, placeholder};
use crate::fuse::seek::{Whence, seek};
use crate::fuse::xattrs;

/// Requests that the kernel may have in flight for readahead. Its default, 16, is too few for several readers.
const MAX_BACKGROUND: u16 = 128;

/// The longest name that is said where the file system does not limit it, in bytes: Linux's NAME_MAX.
const NAME_MAX: u32 = 255;

/// `whence` of `lseek(2)` on Linux.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

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
        if self.checks {
            wanted |= InitFlags::FUSE_POSIX_ACL;
        }
        if self.writes {
            // Default ACLs decide whether a umask counts.
            wanted |= InitFlags::FUSE_WRITEBACK_CACHE | InitFlags::FUSE_HANDLE_KILLPRIV_V2 | InitFlags::FUSE_DONT_MASK;
        }
        if !self.options.direct_io {
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
            Ok(node) => self.stat_of_held(node).map(Some),
            Err(error) if matches!(error.root(), Error::NotFound) && self.keeps_negative(dir) => Ok(None),
            Err(error) => Err(error),
        });
        match found {
            // The number 0 says that there is no such name, and for how long that may be believed.
            Ok(None) => {
                let none = placeholder(INodeNo(0), None);
                let timeout = self.kept_in(dir, self.options.negative_timeout);
                reply.entry_with_ttls(&Duration::ZERO, &timeout, &none, Generation(0));
            }
            Ok(Some(found)) => self.reply_entry(dir, Ok(found), reply),
            Err(errno) => reply.error(errno),
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

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        if self.no_open {
            // The kernel asks once, then opens, closes and keeps the data of every file by itself. What is open it holds.
            reply.error(Errno::ENOSYS);
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
        _: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn lseek(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        if self.writes {
            // The kernel may have data that is not written yet, and it does not say so here: it takes all for data then.
            return reply.error(Errno::ENOSYS);
        }
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
            if name == xattrs::REPORT.as_bytes() && node == self.fs.root() {
                return Ok(self.report.map(|number| number.to_string().into_bytes()).ok_or(Errno::ENODATA));
            }
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
        // Where copies are written, they must not find what nobody can set.
        let owner = if self.writes { Owner::default() } else { self.owner };
        let list = self.reports.run("listxattr", node, || xattrs::list(&*self.fs, node, owner, root));
        Self::reply_xattr(list, size, reply);
    }

    /// Asked only where the kernel does not check permissions itself: then the user owns the image and may read all
    /// of it. Only a file without any execute bit cannot be executed, as for root.
    fn access(&self, _: &Request, inode: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let node = self.numbers.node(inode);
        if mask.contains(AccessFlags::W_OK) && !self.is_writable(node) {
            return reply.error(Errno::EROFS);
        }
        if !mask.contains(AccessFlags::X_OK) {
            return reply.ok();
        }
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

    /// The kernel takes this for "no need to ask". It writes what it has of a file before it closes it, and tells the
    /// caller what came of that.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.sync(self.numbers.node(inode), data_only, reply);
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, data_only: bool, reply: ReplyEmpty) {
        self.sync(self.numbers.node(inode), data_only, reply);
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

    fn setattr(
        &self,
        request: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        owner: Option<u32>,
        group: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        changed: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let node = self.numbers.node(inode);
        let wanted = Wanted { mode, owner, group, size, accessed, modified, changed };
        match self.reports.run("setattr", node, || self.set_stat(request, node, &wanted)) {
            Ok(stat) => {
                let attr = attributes(self.numbers.shown(node), &stat, self.owner);
                reply.attr(&self.kept_in(node, self.options.attr_timeout), &attr);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(&self, from: &Request, dir: INodeNo, name: &OsStr, mode: u32, umask: u32, device: u32, reply: ReplyEntry) {
        let dir = self.numbers.node(dir);
        match Self::special(mode, device) {
            Some(content) => {
                self.reply_entry(dir, self.make(from, dir, name.as_bytes(), (mode, umask), content), reply)
            }
            None => reply.error(Errno::EINVAL),
        }
    }

    fn mkdir(&self, from: &Request, dir: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let dir = self.numbers.node(dir);
        let made = self.make(from, dir, name.as_bytes(), (mode, umask), NewContent::Directory);
        self.reply_entry(dir, made, reply);
    }

    fn symlink(&self, from: &Request, dir: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let dir = self.numbers.node(dir);
        let content = NewContent::Symlink(target.as_os_str().as_bytes());
        self.reply_entry(dir, self.make(from, dir, name.as_bytes(), (0o777, 0), content), reply);
    }

    fn create(&self, from: &Request, dir: INodeNo, name: &OsStr, mode: u32, umask: u32, _: i32, reply: ReplyCreate) {
        let dir = self.numbers.node(dir);
        match self.make(from, dir, name.as_bytes(), (mode, umask), NewContent::File) {
            Ok((node, stat)) => {
                let attr = attributes(self.numbers.inode(node), &stat, self.owner);
                let timeout = self.kept_in(dir, self.options.attr_timeout.min(self.options.entry_timeout));
                let flags =
                    if self.options.direct_io { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::FOPEN_KEEP_CACHE };
                reply.created(&timeout, &attr, Generation(stat.generation), FileHandle(0), flags);
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn link(&self, _: &Request, inode: INodeNo, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let dir = self.numbers.node(dir);
        self.reply_entry(dir, self.link_to(self.numbers.node(inode), dir, name.as_bytes()), reply);
    }

    fn unlink(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let dir = self.numbers.node(dir);
        self.change("unlink", dir, reply, |writer| writer.remove(dir, name.as_bytes()));
    }

    fn rmdir(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let dir = self.numbers.node(dir);
        self.change("rmdir", dir, reply, |writer| writer.remove_dir(dir, name.as_bytes()));
    }

    fn rename(
        &self,
        _: &Request,
        dir: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (dir, to) = (self.numbers.node(dir), self.numbers.node(to));
        let Some(how) = Self::how_renamed(flags) else { return reply.error(Errno::EINVAL) };
        self.change("rename", dir, reply, |writer| {
            writer.rename((dir, name.as_bytes()), (to, new_name.as_bytes()), how)
        });
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let node = self.numbers.node(inode);
        match self.reports.run("write", node, || self.write_to(node, data, offset, flags)) {
            // A request is at most MAX_REQUEST long.
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn fallocate(&self, _: &Request, inode: INodeNo, _: FileHandle, at: u64, len: u64, mode: i32, reply: ReplyEmpty) {
        let node = self.numbers.node(inode);
        let Some(how) = Self::how_allocated(mode) else { return reply.error(Errno::EOPNOTSUPP) };
        let Some(end) = at.checked_add(len) else { return reply.error(Errno::EFBIG) };
        self.change("fallocate", node, reply, |writer| writer.allocate(node, at..end, how));
    }

    fn copy_file_range(
        &self,
        _: &Request,
        from: INodeNo,
        _: FileHandle,
        at: u64,
        to: INodeNo,
        _: FileHandle,
        to_at: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (from, to) = (self.numbers.node(from), self.numbers.node(to));
        match self.reports.run("copy_file_range", to, || self.copy((from, at), (to, to_at), len)) {
            // At most MOST_COPIED.
            Ok(copied) => reply.written(copied as u32),
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        from: &Request,
        inode: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        match self.set_xattr(from, self.numbers.node(inode), name.as_bytes(), Some(value), flags) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    fn removexattr(&self, from: &Request, inode: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match self.set_xattr(from, self.numbers.node(inode), name.as_bytes(), None, 0) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }
}
