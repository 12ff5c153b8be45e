//! Errors on their way to the kernel: one mapping to errno, one line in the log each, panics included.

use std::any::Any;
use std::cell::Cell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

use filesystems::NodeId;
use fuser::Errno;
use images::{Error, Result};

/// How many different errors are logged: enough to see what is wrong with an image, too few to fill a disk. Ours.
const MOST_REPORTS: usize = 1000;

/// The kernel's "structure needs cleaning": what its own file systems answer for damaged metadata.
const EUCLEAN: i32 = 117;

thread_local! {
    /// Whether this thread is inside a request, for the panic hook.
    static IN_REQUEST: Cell<bool> = const { Cell::new(false) };
}

/// The errno of an error. The first group follows who must act, as [`Error`] does: EIO means that the host failed,
/// EUCLEAN that the image is damaged, EOPNOTSUPP that this program does not read it.
pub fn errno(error: &Error) -> Errno {
    match error.root() {
        Error::Corrupt { .. } => Errno::from_i32(EUCLEAN),
        Error::Unsupported(_) => Errno::EOPNOTSUPP,
        Error::ReadOnly(_) => Errno::EROFS,
        Error::Denied(_) => Errno::EACCES,
        Error::Memory(_) => Errno::ENOMEM,
        Error::NotFound => Errno::ENOENT,
        Error::NotDirectory => Errno::ENOTDIR,
        Error::IsDirectory => Errno::EISDIR,
        Error::Invalid => Errno::EINVAL,
        Error::NameTooLong => Errno::ENAMETOOLONG,
        Error::Exists => Errno::EEXIST,
        Error::NotEmpty => Errno::ENOTEMPTY,
        Error::NoSpace => Errno::ENOSPC,
        Error::TooManyLinks => Errno::EMLINK,
        Error::TooLarge => Errno::EFBIG,
        Error::NotPermitted => Errno::EPERM,
        Error::Busy => Errno::EBUSY,
        Error::CrossDevice => Errno::EXDEV,
        _ => Errno::EIO,
    }
}

/// Whether an error is the ordinary answer to a question, and nothing to log.
fn is_ordinary(error: &Error) -> bool {
    matches!(
        error.root(),
        Error::NotFound
            | Error::NotDirectory
            | Error::IsDirectory
            | Error::Invalid
            | Error::NameTooLong
            | Error::Exists
            | Error::NotEmpty
            | Error::NoSpace
            | Error::TooManyLinks
            | Error::TooLarge
            | Error::NotPermitted
            | Error::Busy
            | Error::CrossDevice
    )
}

/// Runs requests, and logs what goes wrong: each operation on each node once.
#[derive(Default)]
pub struct Reports {
    seen: Mutex<HashSet<(&'static str, NodeId)>>,
}

impl Reports {
    /// The answer of `request`, or the errno of its error. A panic in it is EIO.
    pub fn run<T>(
        &self,
        operation: &'static str,
        node: NodeId,
        request: impl FnOnce() -> Result<T>,
    ) -> std::result::Result<T, Errno> {
        let before = IN_REQUEST.replace(true);
        let answer = catch_unwind(AssertUnwindSafe(request));
        IN_REQUEST.set(before);
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                self.report(operation, node, &error);
                Err(errno(&error))
            }
            // The hook has logged it.
            Err(_payload) => Err(Errno::EIO),
        }
    }

    /// Logs an error that is not ordinary, unless the same operation on the same node was logged before.
    pub fn report(&self, operation: &'static str, node: NodeId, error: &Error) {
        if is_ordinary(error) {
            return;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_REPORTS || !seen.insert((operation, node)) {
            return;
        }
        let last = seen.len() == MOST_REPORTS;
        drop(seen);
        log::warn!("{operation} of inode {}: {error}", node.0);
        if last {
            log::warn!("{MOST_REPORTS} errors were reported; further ones are answered and not reported");
        }
    }
}

/// Makes a panic inside a request one line of the log; all others go where they went before.
pub fn log_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IN_REQUEST.get() {
                let place = info.location().map_or_else(|| "unknown place".into(), ToString::to_string);
                log::error!("bug in a request, answered with EIO: {}, at {place}", message(info.payload()));
            } else {
                before(info);
            }
        }));
    });
}

fn message(payload: &(dyn Any + Send)) -> &str {
    match payload.downcast_ref::<String>() {
        Some(text) => text,
        None => payload.downcast_ref::<&str>().copied().unwrap_or("panic"),
    }
}

#[cfg(test)]
mod tests {
    use images::{ResultExt, corrupt, unsupported};

    use super::*;

    #[test]
    fn errnos() {
        for (error, wanted) in [
            (corrupt!("inode", 5u64, "bad"), EUCLEAN),
            (unsupported!("encrypted file"), Errno::EOPNOTSUPP.code()),
            (Error::io("read", std::io::Error::other("gone")), Errno::EIO.code()),
            (Error::NotFound, Errno::ENOENT.code()),
            (Error::ReadOnly("no".into()), Errno::EROFS.code()),
        ] {
            let within: Result<()> = Err(error).within("p1 of vm.qcow2");
            assert_eq!(errno(&within.unwrap_err()).code(), wanted);
        }
    }

    #[test]
    fn a_panic_is_an_error() {
        log_panics();
        let reports = Reports::default();
        let answer: std::result::Result<(), _> = reports.run("read", NodeId(7), || panic!("odd"));
        assert_eq!(answer, Err(Errno::EIO));
        assert_eq!(reports.run("read", NodeId(7), || Ok(3)), Ok(3));
    }

    #[test]
    fn reports_are_bounded() {
        let reports = Reports::default();
        for node in 0..2 * MOST_REPORTS as u64 {
            reports.report("stat", NodeId(node), &corrupt!("inode", node, "bad"));
            reports.report("stat", NodeId(node), &Error::NotFound);
        }
        assert_eq!(reports.seen.lock().unwrap().len(), MOST_REPORTS);
    }
}
