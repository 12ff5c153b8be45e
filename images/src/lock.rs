//! The locks by which QEMU, and this program, tell others what they do with an image.
//!
//! Each permission has a bit. Whoever uses one holds a shared byte-range lock (of the open file description) at byte 100 plus
//! the bit's number, and whoever does not share one with others at 200 plus it; two that contradict each other are a conflict:
//! <https://gitlab.com/qemu-project/qemu/-/blob/master/block/file-posix.c> (`RAW_LOCK_PERM_BASE`, `RAW_LOCK_SHARED_BASE`),
//! <https://gitlab.com/qemu-project/qemu/-/blob/master/include/block/block-common.h> (`BLK_PERM_*`). A lock goes with the file.
//!
//! Who only reads takes no lock, so that it never keeps a guest from starting.

mod holder;

use std::fs::File;
use std::io;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::{Disk, Error, Result};
use holder::holders;

/// Where the locks of the permissions in use begin, and those of the permissions that are not shared.
const USED: i64 = 100;
const NOT_SHARED: i64 = 200;
/// The numbers of the bits: `BLK_PERM_CONSISTENT_READ`, `BLK_PERM_WRITE` and `BLK_PERM_RESIZE`.
const READ: i64 = 0;
const WRITE: i64 = 1;
const RESIZE: i64 = 3;

/// What somebody does with an image, and what he does not share: the bits.
struct Permissions {
    used: &'static [i64],
    not_shared: &'static [i64],
}

/// A writer leaves others what they read.
const WRITER: Permissions = Permissions { used: &[READ, WRITE, RESIZE], not_shared: &[WRITE, RESIZE] };
/// Whose image must not change.
const BASE: Permissions = Permissions { used: &[READ], not_shared: &[WRITE, RESIZE] };

/// Whether a process of this host has the file open for writing. `false` where the file system cannot tell.
pub(crate) fn has_writer(file: &File) -> bool {
    [WRITE, RESIZE].into_iter().any(|bit| is_locked(file, USED + bit).unwrap_or(false))
}

/// Takes the locks of a writer of `disk`, which is in `file`, as long as that is open. Fails if somebody else writes it, or
/// relies on what it is, and says who where that can be known.
pub(crate) fn for_writing(disk: &dyn Disk, file: &File) -> Result<()> {
    take(disk, file, &WRITER)
}

/// Takes the locks of somebody who relies on what `disk` is. Fails if somebody writes it.
pub(crate) fn against_writing(disk: &dyn Disk, file: &File) -> Result<()> {
    take(disk, file, &BASE)
}

/// Takes all locks first and looks then, so that of two who do this at the same time at most one goes on.
fn take(disk: &dyn Disk, file: &File, wanted: &Permissions) -> Result<()> {
    let bytes = |from: i64, bits: &'static [i64]| bits.iter().map(move |bit| from + bit);
    let own = || bytes(USED, wanted.used).chain(bytes(NOT_SHARED, wanted.not_shared));
    let taken = own().try_for_each(|byte| set(file, byte, libc::F_RDLCK));
    let found = taken.and_then(|()| {
        let others = bytes(USED, wanted.not_shared).chain(bytes(NOT_SHARED, wanted.used));
        for byte in others {
            if is_locked(file, byte)? {
                return Ok(Some(byte));
            }
        }
        Ok(None)
    });
    if matches!(found, Ok(None)) {
        return Ok(());
    }
    for byte in own() {
        let _ = set(file, byte, libc::F_UNLCK);
    }
    match found {
        Ok(found) => Err(in_use(disk, file, found.unwrap_or_default())),
        Err(Errno::ENOLCK | Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINVAL) => Err(Error::Denied(format!(
            "{disk} is not written: its file system has no locks, so that nobody can know whether a guest uses it"
        ))),
        Err(errno) => Err(Error::io(format!("cannot lock {disk}"), io::Error::from(errno))),
    }
}

/// That somebody holds the lock at `byte`.
fn in_use(disk: &dyn Disk, file: &File, byte: i64) -> Error {
    let who = match &holders(file, byte)[..] {
        [] => "another process".to_owned(),
        holders => holders.join(", "),
    };
    let what = if byte < NOT_SHARED { "writes it" } else { "does not let others write it" };
    Error::Denied(format!("{disk} is in use: {who} {what}"))
}

/// A lock of one byte.
fn lock_at(byte: i64, kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: byte, l_len: 1, l_pid: 0 }
}

fn set(file: &File, byte: i64, kind: i32) -> nix::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock_at(byte, kind))).map(drop)
}

/// Whether another open file holds a lock at `byte`.
fn is_locked(file: &File, byte: i64) -> nix::Result<bool> {
    let mut lock = lock_at(byte, libc::F_WRLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(lock.l_type != libc::F_UNLCK as i16)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Child, Stdio};

    use super::*;

    /// A qemu-io process that has the file open, until it is dropped.
    struct QemuIo(Child);

    impl QemuIo {
        fn open(options: &[&str], path: &std::path::Path) -> Self {
            let mut child = toolbox::command("qemu-io")
                .args(options)
                .arg(path)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            // It answers a command only after the image is open.
            child.stdin.as_mut().unwrap().write_all(b"length\n").unwrap();
            let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
            let line = lines.next().expect("qemu-io answers").unwrap();
            assert!(line.contains("MiB") || line.contains("KiB"), "{line}");
            Self(child)
        }
    }

    impl Drop for QemuIo {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_writing_qemu_is_noticed_and_a_reading_one_is_not() {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(1 << 20).unwrap();
        let file = File::open(image.path()).unwrap();
        assert!(!has_writer(&file));
        let reader = QemuIo::open(&["-r", "-f", "raw"], image.path());
        assert!(!has_writer(&file), "a reader writes nothing");
        drop(reader);
        let writer = QemuIo::open(&["-f", "raw"], image.path());
        assert!(has_writer(&file));
        let disk = crate::open(image.path(), &crate::Options::default()).expect("reading works all the same");
        assert_eq!(disk.size(), 1 << 20);
        drop(writer);
        assert!(!has_writer(&file), "the lock goes with the process");
    }

    /// Runs a tool of QEMU on an image; what it says if it fails.
    fn qemu(words: &[&str]) -> std::result::Result<(), String> {
        let done = toolbox::command(words[0]).args(&words[1..]).output().unwrap();
        let text = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
        if done.status.success() && !text.contains("lock") { Ok(()) } else { Err(text) }
    }

    fn write(path: &std::path::Path) -> Result<std::sync::Arc<dyn Disk>> {
        crate::open(path, &crate::Options { access: crate::Access::ReadWrite, ..Default::default() })
    }

    #[test]
    fn a_writer_and_qemu_keep_each_other_out() {
        let folder = tempfile::tempdir().unwrap();
        for format in ["raw", "qcow2"] {
            let path = folder.path().join(format);
            let name = path.to_str().unwrap();
            qemu(&["qemu-img", "create", "-q", "-f", format, name, "1M"]).unwrap();
            // One that writes, and one that relies on what it reads: the reader of a raw file shares it.
            for options in [&["-f", format][..], &["-r", "-f", format]] {
                if options[0] == "-r" && format == "raw" {
                    continue;
                }
                let other = QemuIo::open(options, &path);
                let error = write(&path).err().unwrap().to_string();
                let want = format!("{name} is in use: qemu-io (process {}) ", other.0.id());
                assert!(error.starts_with(&want), "{error}");
                drop(other);
            }
            let ours = write(&path).unwrap();
            let error = qemu(&["qemu-io", "-f", format, "-c", "write 0 512", name]).unwrap_err();
            assert!(error.contains("lock"), "{error}");
            qemu(&["qemu-img", "convert", "-O", "raw", name, "/dev/null"]).unwrap_err();
            // Two who write, of one program: who it is is known.
            let error = write(&path).err().unwrap().to_string();
            assert!(error.contains(&format!("(process {}) writes it", std::process::id())), "{error}");
            let read = crate::open(&path, &crate::Options::default()).expect("readers go on");
            assert!(has_writer(&File::open(&path).unwrap()));
            drop((ours, read));
            qemu(&["qemu-io", "-f", format, "-c", "write 0 512", name]).unwrap();
            write(&path).unwrap();
        }
    }

    #[test]
    fn what_lies_below_an_overlay_is_not_written_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let (base, over) = (folder.path().join("base"), folder.path().join("over"));
        std::fs::write(&base, [1; 65536]).unwrap();
        let options = crate::Options::default();
        let [first, second] = [&over, &folder.path().join("second")]
            .map(|path| crate::open_overlay(&base, Some(path), &options).expect("two may rely on one"));
        let name = base.to_str().unwrap();
        qemu(&["qemu-io", "-f", "raw", "-c", "write 0 512", name]).unwrap_err();
        assert!(write(&base).is_err() && crate::open_overlay(&base, Some(&over), &options).is_err());
        qemu(&["qemu-io", "-r", "-f", "raw", "-c", "read 0 512", name]).unwrap();
        drop((first, second));
        let other = QemuIo::open(&["-f", "raw"], &base);
        let error = crate::open_overlay(&base, Some(&over), &options).err().unwrap().to_string();
        assert!(error.contains(&format!("qemu-io (process {}) writes it", other.0.id())), "{error}");
    }
}
