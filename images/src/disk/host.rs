//! A file of the host as a disk: the bottom of every stack.

mod writer;

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FileType, Mode, OFlags, SeekFrom as Whence, Stat, fstat, seek};
use rustix::io::Errno;

use super::claim::Claims;
use super::{Access, Data, Disk, Extent, Properties, Writer, check_range};
use crate::{Error, Result, read_only, unsupported};

/// A regular file or block device of the host.
pub struct HostFile {
    path: PathBuf,
    open: Arc<Open>,
}

/// The open file, which the disk and its writers share.
struct Open {
    /// The path as messages show it.
    name: String,
    file: File,
    access: Access,
    /// In bytes. Grows only by a writer.
    size: AtomicU64,
    /// The run of data that `extent_at` found last. Without it every piece of one large run would make the kernel
    /// look for the run's end again, which some file systems do page by page.
    last_data: Mutex<Range<u64>>,
    claims: Claims,
    /// Whether something was written that no flush began after.
    is_unflushed: AtomicBool,
    /// Held by the thread that flushes; the first error of a flush stays.
    flush: Mutex<Option<Arc<Error>>>,
}

impl HostFile {
    /// Opens a regular file or block device for reading, and refuses everything else by its kind, without opening it.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_for(path, Access::Read)
    }

    /// The same for `access`. Only a file that is opened for writing is ever written.
    pub fn open_for(path: &Path, access: Access) -> Result<Self> {
        let failed = |source| cannot_open(path, source);
        let found = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| failed(errno.into()))?;
        check_kind(path, &fstat(&found).map_err(|errno| failed(errno.into()))?)?;
        let file = match access {
            Access::Read => reopen(found).map_err(failed)?,
            Access::ReadWrite => reopen_for(found, access)
                .map_err(|source| Error::io(format!("cannot open {} for writing", printable(path)), source))?,
        };
        Self::of(path, file, access)
    }

    /// Wraps an open file, for reading; `path` names it in messages. A block device's size is found by seeking to its end.
    pub fn new(path: &Path, file: File) -> Result<Self> {
        Self::of(path, file, Access::Read)
    }

    /// The same for a file that is open for both, and may be written.
    pub fn writing(path: &Path, file: File) -> Result<Self> {
        Self::of(path, file, Access::ReadWrite)
    }

    fn of(path: &Path, file: File, access: Access) -> Result<Self> {
        let name = printable(path);
        let size = (&file)
            .seek(SeekFrom::End(0))
            .map_err(|source| Error::io(format!("cannot find the size of {name}"), source))?;
        let open = Open {
            name,
            file,
            access,
            size: size.into(),
            last_data: Mutex::default(),
            claims: Claims::default(),
            is_unflushed: AtomicBool::new(false),
            flush: Mutex::default(),
        };
        Ok(Self { path: path.to_owned(), open: Arc::new(open) })
    }

    /// The path that the file was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.open.file
    }

    /// What the host says of the open file: its owner, mode and inode.
    pub fn metadata(&self) -> Result<Metadata> {
        self.file().metadata().map_err(|source| Error::io(format!("cannot stat {self}"), source))
    }
}

/// The path in one line: it may come from an image, and must not talk to the terminal.
pub(crate) fn printable(path: &Path) -> String {
    let path = path.to_string_lossy();
    if path.chars().any(char::is_control) { path.escape_debug().to_string() } else { path.into_owned() }
}

/// Opens for reading the very file that `found` refers to, a descriptor with `O_PATH`.
///
/// Ask its kind before, of the descriptor: a path could lead elsewhere by now, and merely opening a device can have an
/// effect.
pub(crate) fn reopen(found: impl AsFd) -> io::Result<File> {
    reopen_for(found, Access::Read)
}

fn reopen_for(found: impl AsFd, access: Access) -> io::Result<File> {
    let mode = match access {
        Access::Read => OFlags::RDONLY,
        Access::ReadWrite => OFlags::RDWR,
    };
    let flags = mode | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    match rustix::fs::open(format!("/proc/self/fd/{}", found.as_fd().as_raw_fd()), flags, Mode::empty()) {
        Ok(file) => Ok(file.into()),
        // The file is there, so it is /proc that is not.
        Err(Errno::NOENT) => Err(io::Error::other("/proc is not mounted")),
        Err(errno) => Err(errno.into()),
    }
}

pub(crate) fn cannot_open(path: &Path, source: io::Error) -> Error {
    Error::io(format!("cannot open {}", printable(path)), source)
}

/// Fails unless the file is of a kind that can be a disk image.
pub(crate) fn check_kind(path: &Path, stat: &Stat) -> Result<()> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::BlockDevice => return Ok(()),
        FileType::Directory => "a directory",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        _ => "no file",
    };
    Err(unsupported!("{} is {kind}: a disk image is a regular file or a block device", printable(path)))
}

impl fmt::Display for HostFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.open.name)
    }
}

impl Disk for HostFile {
    fn size(&self) -> u64 {
        self.open.size.load(Ordering::Acquire)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        check_range(self, buf.len(), offset)?;
        self.file()
            .read_exact_at(buf, offset)
            .map_err(|source| Error::io(format!("cannot read {self} at byte {offset:#x}"), source))
    }

    fn extent_at(&self, offset: u64) -> Result<Extent<'_>> {
        check_range(self, 1, offset)?;
        let (file, size) = (self.file(), self.size());
        let host = |end| Ok(Extent { len: end - offset, data: Data::Host(file, offset) });
        let last = self.open.last_data.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if last.contains(&offset) {
            return host(last.end);
        }
        let find = |whence| seek(file, whence).map(|at| at.clamp(offset, size));
        match find(Whence::Data(offset)) {
            Ok(at) if at > offset => return Ok(Extent { len: at - offset, data: Data::Hole }),
            Ok(_) => (),
            // No data to the end of the file; but if that has come nearer, reading must say so.
            Err(Errno::NXIO) if self.metadata()?.len() < size => return host(size),
            Err(Errno::NXIO) => return Ok(Extent { len: size - offset, data: Data::Hole }),
            // Devices and file systems without SEEK_DATA: everything is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => return host(size),
            Err(errno) => return Err(Error::io(format!("cannot map {self}"), errno.into())),
        }
        // A hole at `offset` itself was punched since: the byte still reads as the file has it.
        let end = find(Whence::Hole(offset)).unwrap_or(size).max(offset + 1);
        *self.open.last_data.lock().unwrap_or_else(PoisonError::into_inner) = offset..end;
        host(end)
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn writer(&self, bytes: Range<u64>) -> Result<Writer> {
        match self.open.access {
            Access::Read => Err(read_only!("{self} is open for reading only")),
            Access::ReadWrite => writer::of(self, &self.open, bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn holes_and_data_of_a_sparse_file_are_exact() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sparse.img");
        let file = File::create(&path).unwrap();
        // Holes are multiples of the host's block size, which 64 KiB is a multiple of.
        const KIB64: u64 = 64 << 10;
        file.set_len(20 * KIB64).unwrap();
        for block in [2, 3, 10] {
            file.write_all_at(&[block as u8; KIB64 as usize], block * KIB64).unwrap();
        }
        let disk = HostFile::open(&path).unwrap();
        assert_eq!(disk.size(), 20 * KIB64);
        let at = |offset| {
            let extent = disk.extent_at(offset).unwrap();
            match extent.data {
                Data::Hole => (extent.len, None),
                Data::Host(_, at) => (extent.len, Some(at)),
                other => panic!("{other:?}"),
            }
        };
        for _ in 0..2 {
            assert_eq!(at(0), (2 * KIB64, None));
            assert_eq!(at(2 * KIB64 - 1), (1, None));
            assert_eq!(at(2 * KIB64), (2 * KIB64, Some(2 * KIB64)));
            assert_eq!(at(3 * KIB64 + 5), (KIB64 - 5, Some(3 * KIB64 + 5)));
            assert_eq!(at(4 * KIB64), (6 * KIB64, None));
            assert_eq!(at(11 * KIB64 - 1), (1, Some(11 * KIB64 - 1)));
            assert_eq!(at(11 * KIB64), (9 * KIB64, None), "the hole at the end");
        }
        assert!(disk.extent_at(20 * KIB64).is_err());
        let mut buf = [0; 4];
        disk.read_at(&mut buf, 4 * KIB64 - 2).unwrap();
        assert_eq!(buf, [3, 3, 0, 0]);
        let error = disk.read_at(&mut buf, 20 * KIB64 - 3).unwrap_err().to_string();
        assert!(
            error.ends_with("sparse.img at byte 0x13fffd: 4 bytes wanted, but it ends at byte 0x140000"),
            "{error}"
        );
    }

    #[test]
    fn many_threads_map_and_read_one_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..1u32 << 20).map(|i| (i / 4096 % 2 * (i % 251)) as u8).collect();
        for (at, chunk) in bytes.chunks(4096).enumerate().filter(|(at, _)| at % 2 == 1) {
            file.as_file().write_all_at(chunk, at as u64 * 4096).unwrap();
        }
        let disk = Arc::new(HostFile::open(file.path()).unwrap());
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (disk, bytes) = (disk.clone(), &bytes);
                scope.spawn(move || {
                    let mut at = thread * 777;
                    while at < disk.size() {
                        let extent = disk.extent_at(at).unwrap();
                        let mut buf = vec![1; extent.len as usize];
                        disk.read_at(&mut buf, at).unwrap();
                        assert_eq!(buf, bytes[at as usize..][..buf.len()]);
                        if extent.data.reads_zero() {
                            assert!(buf.iter().all(|byte| *byte == 0));
                        }
                        at += extent.len;
                    }
                });
            }
        });
    }

    #[test]
    fn other_kinds_of_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR).unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, want) in [
            (dir.path(), "is a directory: a disk image is a regular file or a block device"),
            (&fifo, "is a FIFO: "),
            (&socket, "is a socket: "),
            (Path::new("/dev/null"), "/dev/null is a character device: "),
            (Path::new("/nowhere/a\n\x1b[2Jb"), "cannot open /nowhere/a\\n\\u{1b}[2Jb: No such file"),
            (Path::new("/dev/null/x"), "cannot open /dev/null/x: Not a directory"),
        ] {
            let error = HostFile::open(path).err().unwrap().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn an_empty_file_is_an_empty_disk() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let disk = HostFile::open(file.path()).unwrap();
        assert_eq!(disk.size(), 0);
        disk.read_at(&mut [], 0).unwrap();
        assert!(disk.read_at(&mut [0], 0).is_err());
        assert!(disk.extent_at(0).is_err());
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_and_no_zeros() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8192).unwrap();
        let disk = HostFile::open(file.path()).unwrap();
        file.as_file().set_len(4096).unwrap();
        assert!(matches!(disk.read_at(&mut [0; 8192], 0), Err(Error::Io { .. })));
        let extent = disk.extent_at(8000).unwrap();
        assert_eq!((extent.len, extent.data.reads_zero()), (192, false));
    }

    #[test]
    fn io_errors_name_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(10).unwrap();
        let disk = HostFile::new(Path::new("some.img"), file.reopen().unwrap()).unwrap();
        file.as_file().set_len(0).unwrap();
        let error = disk.read_at(&mut [0; 4], 2).unwrap_err();
        assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof));
        assert!(error.to_string().starts_with("cannot read some.img at byte 0x2: "), "{error}");
    }
}
