//! The locks by which QEMU tells others that it has an image open for writing.
//!
//! QEMU holds a byte-range lock (of the open file description) for each permission that it uses, at a byte that
//! stands for the permission: <https://gitlab.com/qemu-project/qemu/-/blob/master/block/file-posix.c>
//! (`RAW_LOCK_PERM_BASE`), <https://gitlab.com/qemu-project/qemu/-/blob/master/include/block/block-common.h>
//! (`BLK_PERM_*`). We only ask; a reader takes no lock, so that it never keeps a guest from starting.

use std::fs::File;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// `RAW_LOCK_PERM_BASE` plus the bit number of `BLK_PERM_WRITE`.
const WRITE: i64 = 100 + 1;
/// `RAW_LOCK_PERM_BASE` plus the bit number of `BLK_PERM_RESIZE`.
const RESIZE: i64 = 100 + 3;

/// Whether a QEMU process of this host has the file open for writing. `false` where the file system cannot tell.
pub(crate) fn has_writer(file: &File) -> bool {
    [WRITE, RESIZE].into_iter().any(|byte| is_locked(file, byte))
}

fn is_locked(file: &File, byte: i64) -> bool {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock)) {
        Ok(_) => lock.l_type != libc::F_UNLCK as i16,
        Err(_) => false,
    }
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
            assert!(line.contains("MiB"), "{line}");
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
}
