//! The FUSE front: a [`FileSystem`] becomes a mount.

mod attributes;
mod errors;
mod front;
mod options;
mod privileges;
mod seek;
mod written;
mod xattrs;

use std::fs::{self, File};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};

use filesystems::FileSystem;
use fuser::{Config, MountOption, Session, SessionACL};
use images::{Error, Result};
use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{major, minor};
use rustix::process::geteuid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::mounts::unmount;
use front::Front;
pub use options::Options;
use written::{COMMIT, Report, Written};
pub use written::{DURABLE, ENDED};
pub use xattrs::{PID as PID_ATTRIBUTE, REPORT as REPORT_ATTRIBUTE};

/// The part after `fuse.` of the type of our mounts.
pub const SUBTYPE: &str = "imgmount";

/// At least two threads, so that one slow request does not stop all others.
const FEWEST_THREADS: usize = 2;

/// More threads than this find no more work, and each keeps a buffer. Ours.
const MOST_THREADS: usize = 16;

/// How far the kernel reads ahead where we may say so, in KiB: as root. It starts with 128. Measured: 512 make reading in
/// order a sixth faster, more add nothing.
const READ_AHEAD_KIB: u32 = 512;

/// What the thread that called [`serve`] waits for.
enum Event {
    /// No requests are read any more.
    Ended,
    Signal(i32),
}

/// Mounts `fs` on `mountpoint`, calls `ready` on the same thread when the mount can be used, and serves it until it
/// is unmounted. SIGINT, SIGTERM and SIGHUP unmount it; if it is in use, it vanishes from the tree and is served until
/// the last user is gone, or until a second signal.
///
/// `written` are the file systems in `fs` that are written; without one the mount is read-only. They are made durable every few
/// seconds, and closed at the end, whatever that was.
///
/// Fails if it cannot be mounted, with the error of `ready`, after unmounting, and if not everything could be written.
pub fn serve(
    fs: Arc<dyn FileSystem>,
    written: Vec<Arc<dyn FileSystem>>,
    mountpoint: &Path,
    options: &Options,
    ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    errors::log_panics();
    let mountpoint = check(mountpoint)?;
    let (events, received) = channel();
    // Before the mount exists, so that no signal can leave it behind.
    let signals = watch_signals(events.clone())?;
    let written = Arc::new(Written::new(written));
    let mut report = if written.is_empty() { None } else { Some(Report::new()?) };
    let front = Front::new(fs, written.clone(), report.as_ref().map(Report::number), options, events);
    let served = mount_and_serve(front, &written, &mountpoint, options, &received, ready);
    report.iter_mut().for_each(Report::ended);
    let closed = written.close();
    report.iter_mut().for_each(|report| report.closed(&closed));
    signals.end();
    served.and(closed)
}

fn mount_and_serve(
    front: Front,
    written: &Written,
    mountpoint: &Path,
    options: &Options,
    received: &Receiver<Event>,
    ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let serving = |error| Error::io(format!("cannot serve {}", mountpoint.display()), error);
    let config = config(options, !written.is_empty());
    let session = Session::new(front, mountpoint, &config).map_err(|error| explain(mountpoint, error))?;
    let mount = Mount { point: mountpoint, device: session.as_fd().try_clone_to_owned().map_err(serving)? };
    // Not dropped: fuser 0.18 would unmount once more what is unmounted already, and hit what is mounted there by then.
    let _session = ManuallyDrop::new(session.spawn().map_err(serving)?);
    if geteuid().is_root() {
        mount.read_further_ahead();
    }
    if let Err(error) = ready() {
        mount.leave();
        return Err(error);
    }
    let mut leaving = false;
    loop {
        match received.recv_timeout(COMMIT) {
            Err(RecvTimeoutError::Timeout) => written.commit(),
            Ok(Event::Signal(signal)) if leaving => {
                let why = io::Error::other(format!("ended by a second signal ({signal})"));
                return Err(Error::io(format!("{} is still in use", mountpoint.display()), why));
            }
            Ok(Event::Signal(_)) => {
                leaving = true;
                mount.leave();
            }
            Ok(Event::Ended) if mount.is_gone() => return Ok(()),
            Ok(Event::Ended) | Err(RecvTimeoutError::Disconnected) => {
                mount.leave();
                return Err(serving(io::Error::other("the kernel's requests cannot be read")));
            }
        }
    }
}

/// A mount that this process serves.
struct Mount<'a> {
    point: &'a Path,
    /// The connection to the kernel.
    device: OwnedFd,
}

impl Mount<'_> {
    /// Whether the kernel has let go of it.
    fn is_gone(&self) -> bool {
        let mut fds = [PollFd::new(&self.device, PollFlags::empty())];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Lets the kernel read further ahead; without it, reading is only slower. Containers may not allow it to root either.
    fn read_further_ahead(&self) {
        let set = || {
            let device = fs::metadata(self.point)?.dev();
            let bdi = format!("/sys/class/bdi/{}:{}/read_ahead_kb", major(device), minor(device));
            fs::write(bdi, READ_AHEAD_KIB.to_string())
        };
        set().unwrap_or_else(|error: io::Error| log::debug!("the kernel's read-ahead stays as it is: {error}"));
    }

    /// Unmounts; if it is in use, it is taken out of the tree at once and ends with its last user.
    fn leave(&self) {
        if self.is_gone() {
            return;
        }
        let Err(why) = unmount(self.point, false) else { return };
        log::warn!("{why}; it is detached now and ends with its last user");
        if let Err(why) = unmount(self.point, true) {
            log::error!("cannot unmount {}: {why}", self.point.display());
        }
    }
}

/// The thread that waits for signals.
struct SignalWatch {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl SignalWatch {
    fn end(self) {
        self.handle.close();
        // It cannot panic, and if it did, the hook has said so.
        let _ = self.thread.join();
    }
}

fn watch_signals(events: Sender<Event>) -> Result<SignalWatch> {
    let failed = |error| Error::io("cannot watch for signals", error);
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let handle = signals.handle();
    let thread = thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                // Nobody listens any more once the session has ended.
                let _ = events.send(Event::Signal(signal));
            }
        })
        .map_err(failed)?;
    Ok(SignalWatch { handle, thread })
}

/// fuser's view of the options.
fn config(options: &Options, writes: bool) -> Config {
    let mut mount_options = vec![
        if writes { MountOption::RW } else { MountOption::RO },
        MountOption::NoSuid,
        MountOption::NoDev,
        // As text it reaches the kernel on both ways, directly and through fusermount3.
        MountOption::CUSTOM(format!("subtype={}", options.subtype)),
    ];
    let source = options.fsname.as_deref().unwrap_or("imgmount");
    mount_options.push(MountOption::FSName(if geteuid().is_root() {
        source.into()
    } else {
        // fusermount3 takes the backslash off again.
        source.replace('\\', "\\\\").replace(',', "\\,")
    }));
    if options.checks_permissions() {
        mount_options.push(MountOption::DefaultPermissions);
    }
    if let Some(bytes) = options.max_read {
        mount_options.push(MountOption::CUSTOM(format!("max_read={bytes}")));
    }
    if options.noexec {
        mount_options.push(MountOption::NoExec);
    }
    if options.noatime {
        mount_options.push(MountOption::NoAtime);
    }
    let mut config = Config::default();
    config.mount_options = mount_options;
    config.acl = match (options.allow_other, options.allow_root) {
        (true, _) => SessionACL::All,
        (false, true) => SessionACL::RootAndOwner,
        (false, false) => SessionACL::Owner,
    };
    let cores = thread::available_parallelism().map_or(FEWEST_THREADS, usize::from);
    config.n_threads = Some(threads(cores, options.waits));
    config.clone_fd = true;
    config
}

/// How many threads answer: on one core each, unless they wait.
fn threads(cores: usize, wait: bool) -> usize {
    if wait { MOST_THREADS } else { cores.clamp(FEWEST_THREADS, MOST_THREADS) }
}

/// Finds what would make the mount fail, where a plain reason can be given. Returns the absolute path.
fn check(mountpoint: &Path) -> Result<PathBuf> {
    let cannot = || format!("cannot mount on {}", mountpoint.display());
    let unusable = |error: io::Error| Error::io(cannot(), dead(&error).unwrap_or(error));
    let absolute = mountpoint.canonicalize().map_err(unusable)?;
    let kind = fs::metadata(&absolute).map_err(unusable)?;
    if !kind.is_dir() {
        return Err(Error::io(cannot(), io::Error::from(io::ErrorKind::NotADirectory)));
    }
    match File::options().read(true).write(true).open("/dev/fuse") {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let why = "/dev/fuse is missing; load the module with `modprobe fuse`, in a container give it with \
                       `--device /dev/fuse`";
            return Err(Error::io(cannot(), io::Error::other(why)));
        }
        Err(error) => return Err(Error::io(format!("{}: cannot open /dev/fuse", cannot()), error)),
    }
    Ok(absolute)
}

/// The reason in words, if an error says that nobody serves what is mounted there.
fn dead(error: &io::Error) -> Option<io::Error> {
    let is_dead = error.raw_os_error() == Some(Errno::ENOTCONN as i32);
    is_dead.then(|| io::Error::other("the program behind an earlier mount is gone; `fusermount3 -u` it first"))
}

/// Why a mount failed, in one line.
fn explain(mountpoint: &Path, error: io::Error) -> Error {
    let what = format!("cannot mount on {}", mountpoint.display());
    // The mountpoint and the device exist: what was not found is the program that mounts for ordinary users.
    if error.kind() == io::ErrorKind::NotFound {
        let why = "an ordinary user needs the program fusermount3; `apt install fuse3`";
        return Error::io(what, io::Error::other(why));
    }
    // A server that ends just now has passed the check.
    let error = dead(&error).unwrap_or(error);
    let text = error.to_string();
    let line = text.lines().find(|line| !line.trim().is_empty()).map(str::trim);
    match line {
        Some(line) => Error::io(what, io::Error::other(line.to_owned())),
        None => Error::io(what, io::Error::other("fusermount3 failed and gave no reason")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_has_more_threads_than_cores() {
        assert_eq!([1, 2, 8, 64].map(|cores| threads(cores, false)), [2, 2, 8, MOST_THREADS]);
        assert_eq!([1, 64].map(|cores| threads(cores, true)), [MOST_THREADS; 2]);
    }
}
