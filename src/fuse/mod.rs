//! The FUSE front: a [`FileSystem`] becomes a mount.

mod attributes;
mod errors;
mod front;
mod options;
mod seek;
mod xattrs;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use filesystems::FileSystem;
use fuser::{Config, MountOption, Session, SessionACL, SessionUnmounter};
use images::{Error, Result};
use nix::errno::Errno;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::geteuid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use front::Front;
pub use options::Options;
pub use xattrs::PID as PID_ATTRIBUTE;

/// The part after `fuse.` of the type of our mounts.
pub const SUBTYPE: &str = "imgmount";

/// At least two threads, so that one slow request does not stop all others.
const FEWEST_THREADS: usize = 2;

/// More threads than this find no more work, and each keeps a buffer. Ours.
const MOST_THREADS: usize = 16;

/// What the thread that called [`serve`] waits for.
enum Event {
    Ended(io::Result<()>),
    Signal(i32),
}

/// Mounts `fs` on `mountpoint`, calls `ready` on the same thread when the mount can be used, and serves it until it
/// is unmounted. SIGINT, SIGTERM and SIGHUP unmount it; if it is in use, it vanishes from the tree and is served until
/// the last user is gone, or until a second signal.
///
/// Fails if it cannot be mounted, and with the error of `ready`, after unmounting.
pub fn serve(
    fs: Arc<dyn FileSystem>,
    mountpoint: &Path,
    options: &Options,
    ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    errors::log_panics();
    let mountpoint = check(mountpoint)?;
    let (events, received) = channel();
    // Before the mount exists, so that no signal can leave it behind.
    let signals = watch_signals(events.clone())?;
    let served = mount_and_serve(fs, &mountpoint, options, events, &received, ready);
    signals.end();
    served
}

fn mount_and_serve(
    fs: Arc<dyn FileSystem>,
    mountpoint: &Path,
    options: &Options,
    events: Sender<Event>,
    received: &Receiver<Event>,
    ready: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let front = Front::new(fs, options);
    let mut session = Session::new(front, mountpoint, &config(options)).map_err(|error| explain(mountpoint, error))?;
    let mut unmounter = session.unmount_callable();
    let server = thread::Builder::new()
        .name("session".into())
        .spawn(move || {
            // Nobody listens any more after a second signal.
            let _ = events.send(Event::Ended(session.run()));
        })
        .map_err(|error| Error::io("cannot start a thread", error))?;
    let outcome = ready();
    if outcome.is_err() {
        leave(&mut unmounter, mountpoint);
        join(server);
        return outcome;
    }
    let mut leaving = false;
    loop {
        match received.recv() {
            Ok(Event::Signal(signal)) if leaving => {
                let what = format!("{} is still in use", mountpoint.display());
                return Err(Error::io(what, io::Error::other(format!("ended by a second signal ({signal})"))));
            }
            Ok(Event::Signal(_)) => {
                leaving = true;
                leave(&mut unmounter, mountpoint);
            }
            Ok(Event::Ended(result)) => {
                join(server);
                return result.map_err(|error| Error::io(format!("serving {}", mountpoint.display()), error));
            }
            Err(_) => {
                let bug = io::Error::other("the session ended without a word");
                return Err(Error::io(format!("serving {}", mountpoint.display()), bug));
            }
        }
    }
}

/// Unmounts; a mount that is in use is taken out of the tree at once and ends with its last user.
fn leave(unmounter: &mut SessionUnmounter, mountpoint: &Path) {
    let Err(error) = unmounter.unmount() else { return };
    if error.raw_os_error() == Some(Errno::EBUSY as i32) {
        log::warn!("{} is in use; it is detached now and ends with its last user", mountpoint.display());
        if unmount(mountpoint, UnmountFlags::DETACH).is_ok() {
            return;
        }
    }
    log::error!("cannot unmount {}: {error}", mountpoint.display());
}

fn join(server: JoinHandle<()>) {
    // A panic was reported by the hook.
    let _ = server.join();
}

/// The thread that waits for signals.
struct SignalWatch {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl SignalWatch {
    fn end(self) {
        self.handle.close();
        join(self.thread);
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
fn config(options: &Options) -> Config {
    let mut mount_options = vec![
        MountOption::RO,
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
    if options.default_permissions || options.allow_other {
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
    config.n_threads = Some(cores.clamp(FEWEST_THREADS, MOST_THREADS));
    config.clone_fd = true;
    config
}

/// Finds what would make the mount fail, where a plain reason can be given. Returns the absolute path.
fn check(mountpoint: &Path) -> Result<PathBuf> {
    let cannot = || format!("cannot mount on {}", mountpoint.display());
    let absolute = mountpoint.canonicalize().map_err(|error| match error.raw_os_error() {
        Some(code) if code == Errno::ENOTCONN as i32 => Error::io(
            cannot(),
            io::Error::other("the program behind an earlier mount is gone; `fusermount3 -u` it first"),
        ),
        _ => Error::io(cannot(), error),
    })?;
    let kind = fs::metadata(&absolute).map_err(|error| Error::io(cannot(), error))?;
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

/// Why a mount failed, in one line.
fn explain(mountpoint: &Path, error: io::Error) -> Error {
    let what = format!("cannot mount on {}", mountpoint.display());
    // The mountpoint and the device exist: what was not found is the program that mounts for ordinary users.
    if error.kind() == io::ErrorKind::NotFound {
        let why = "an ordinary user needs the program fusermount3; `apt install fuse3`";
        return Error::io(what, io::Error::other(why));
    }
    let text = error.to_string();
    let line = text.lines().find(|line| !line.trim().is_empty()).map(str::trim);
    match line {
        Some(line) => Error::io(what, io::Error::other(line.to_owned())),
        None => Error::io(what, io::Error::other("fusermount3 failed and gave no reason")),
    }
}
