//! The least that a FUSE server can do: one file of zeros, with the settings of imgmount's own mounts. The benchmark
//! reads it to see what the kernel leaves to be had.
//!
//! `zeros SIZE DIR` serves DIR/zeros until it is unmounted.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, InitFlags, KernelConfig, LockOwner,
    MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request, Session,
};

const ROOT: INodeNo = INodeNo(1);
const FILE: INodeNo = INodeNo(2);
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);
/// As `src/fuse/front.rs` has them.
const MAX_BACKGROUND: u16 = 128;
const MAX_REQUEST: u32 = 1 << 20;

static ZEROS: [u8; MAX_REQUEST as usize] = [0; MAX_REQUEST as usize];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let size = arguments.next().ok_or("no size")?.parse()?;
    let directory = arguments.next().ok_or("no directory")?;
    let mut config = Config::default();
    config.mount_options = vec![MountOption::RO, MountOption::NoSuid, MountOption::NoDev];
    config.n_threads = Some(std::thread::available_parallelism()?.get().clamp(2, 16));
    config.clone_fd = true;
    Ok(Session::new(Zeros { size }, Path::new(&directory), &config)?.run()?)
}

struct Zeros {
    size: u64,
}

impl Zeros {
    fn attributes(&self, ino: INodeNo) -> FileAttr {
        let (kind, size) = if ino == ROOT { (FileType::Directory, 0) } else { (FileType::RegularFile, self.size) };
        FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }
}

impl Filesystem for Zeros {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = InitFlags::FUSE_ASYNC_READ | InitFlags::FUSE_NO_OPEN_SUPPORT;
        let granted = wanted & config.capabilities();
        config.add_capabilities(granted).map_err(|_| io::Error::other("the kernel withdrew a capability"))?;
        let _ = config.set_max_background(MAX_BACKGROUND);
        let _ = config.set_max_write(MAX_REQUEST);
        Ok(())
    }

    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name.to_str() {
            Some("zeros") => reply.entry(&FOR_EVER, &self.attributes(FILE), Generation(0)),
            _ => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&FOR_EVER, &self.attributes(inode));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.error(Errno::ENOSYS);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        reply.data(&ZEROS[..left.min(size as usize).min(ZEROS.len())]);
    }
}
