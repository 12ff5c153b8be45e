//! What a user may do, as far as another can tell: by the mode, where nothing but the mode decides.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{fstat, fstatfs, listxattr};
use rustix::io::{Errno, Result};

/// Our limit of the names of the extended attributes of one file, in bytes: Linux's `XATTR_LIST_MAX`.
const MAX_NAMES: usize = 65_536;

/// Kinds of file systems (`statfs(2)`) of which someone else decides, whatever the mode says: FUSE, SMB (three names of it),
/// 9p.
const DECIDED_ELSEWHERE: [u32; 5] = [FUSE, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997];
/// FUSE: a program says what is in it.
const FUSE: u32 = 0x6573_5546;

/// The user of whom is asked; `None` is everyone.
pub struct Modes(pub Option<u32>);

impl Modes {
    /// Fails with `ACCES` unless the user may search the directory for certain.
    pub fn check_search(&self, directory: BorrowedFd<'_>) -> Result<()> {
        self.check(directory, 0o1)
    }

    /// Fails with `ACCES` unless the user may read the file for certain.
    pub fn check_read(&self, file: BorrowedFd<'_>) -> Result<()> {
        self.check(file, 0o4)
    }

    /// Fails unless the mode grants `bit` to the user. Which groups he is in is not known: all classes must grant it.
    fn check(&self, file: BorrowedFd<'_>, bit: u32) -> Result<()> {
        let stat = fstat(file)?;
        let all = if self.0 == Some(stat.st_uid) { bit << 6 } else { bit << 6 | bit << 3 | bit };
        let kind = kind(file)?;
        let is_granted = stat.st_mode & all == all && !DECIDED_ELSEWHERE.contains(&kind);
        // An owner's rights are those of the mode, whatever list there is.
        let has_list = || self.0 != Some(stat.st_uid) && has_access_list(file);
        if is_granted && !has_list() { Ok(()) } else { Err(Errno::ACCESS) }
    }
}

/// Whether the file has an access list of whatever kind, or may have one.
pub fn has_access_list(file: BorrowedFd<'_>) -> bool {
    let mut names = vec![0u8; MAX_NAMES];
    match listxattr(format!("/proc/self/fd/{}", file.as_raw_fd()), &mut names[..]) {
        Ok(len) => names[..len].split(|byte| *byte == 0).any(is_access_list),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => false,
        Err(_) => true,
    }
}

/// Whether an extended attribute of this name is an access list: of POSIX, of NFS, of SMB. One for files that are to be
/// made says nothing of the directory itself.
fn is_access_list(name: &[u8]) -> bool {
    name.starts_with(b"system.") && name.windows(3).any(|three| three == b"acl") && name != b"system.posix_acl_default"
}

/// Whether a program says whose the file is, and not the kernel.
pub fn is_fuse(file: BorrowedFd<'_>) -> Result<bool> {
    Ok(kind(file)? == FUSE)
}

/// The kind of the file system that a file is on.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a magic number has 32 bits, in a word that may be longer and signed"
)]
fn kind(file: BorrowedFd<'_>) -> Result<u32> {
    Ok(fstatfs(file)?.f_type as u32)
}
