//! `imgmount unmount`: takes a mount away and returns when the process that served it is gone. Drop-in for
//! guestunmount.

mod server;
mod users;

use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGINT, SIGQUIT};

use crate::fuse::SUBTYPE;
use crate::mounts::{mounted_at, unmount};
use crate::terminal;
use server::{End, Server};
use users::User;

/// The most retries, as guestunmount has it: the pause doubles each time.
pub const MOST_RETRIES: u32 = 63;

/// The longest pause between two attempts: after that, doubling helps nobody. Ours.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The directory on which the image is mounted.
    pub directory: PathBuf,
    /// Wait first until the other end of this inherited file descriptor, a pipe, is closed.
    pub fd: Option<RawFd>,
    /// Say nothing when it cannot be unmounted or is not mounted; the exit code says it.
    pub quiet: bool,
    /// Say what is done.
    pub verbose: bool,
    /// How often to try again, after 1, 2, 4, 8 ... seconds; at most [`MOST_RETRIES`]. guestunmount's default is 5.
    pub retries: u32,
}

/// Why a mount is still there; the number is the exit code.
#[derive(Debug)]
enum Failure {
    /// The program failed, or was asked for something that it does not do: 1.
    Program(String),
    /// Every attempt failed: 2.
    InUse(String, Vec<User>),
    /// There is nothing to unmount: 3.
    NotMounted(String),
    /// It is unmounted, and not everything that was written is on the host's disk: 4.
    NotDurable(String),
}

/// Unmounts, prints its errors, and returns the exit code: 0 done, 1 the program failed, 2 it could not be unmounted,
/// 3 nothing is mounted there, 4 it is unmounted and not everything that was written could be made durable.
pub fn run(request: &Request) -> u8 {
    if let Some(code) = server::answer() {
        return code;
    }
    let (code, message, users) = match attempt(request) {
        Ok(()) => return 0,
        Err(Failure::Program(message)) => (1, message, Vec::new()),
        Err(Failure::InUse(message, users)) => (2, message, users),
        Err(Failure::NotMounted(message)) => (3, message, Vec::new()),
        Err(Failure::NotDurable(message)) => (4, message, Vec::new()),
    };
    if !request.quiet || matches!(code, 1 | 4) {
        print(message);
        users.iter().for_each(|user| terminal::say("  ", user));
    }
    code
}

fn attempt(request: &Request) -> Result<(), Failure> {
    if let Some(fd) = request.fd {
        wait_for_end_of(fd).map_err(|error| {
            // It is looked for by its name in /proc.
            let error = if error.kind() == io::ErrorKind::NotFound { Errno::EBADF.into() } else { error };
            Failure::Program(format!("cannot read from file descriptor {fd}: {error}"))
        })?;
    }
    let point = resolve(&request.directory)
        .map_err(|error| Failure::Program(format!("{}: {error}", request.directory.display())))?;
    let mount = mounted_at(&point)
        .map_err(|error| Failure::Program(format!("cannot read the table of mounts: {error}")))?
        .ok_or_else(|| Failure::NotMounted(format!("{}: nothing is mounted here", point.display())))?;
    let server = Server::of(&mount);
    if server.is_none() && mount.kind != format!("fuse.{SUBTYPE}") {
        let message = format!("{}: this is a mount of type {}, not of imgmount", point.display(), mount.kind);
        return Err(Failure::Program(message));
    }
    let mut pause = Duration::from_secs(1);
    let mut left = request.retries.min(MOST_RETRIES);
    while let Err(why) = unmount(&point, false) {
        if left == 0 {
            let message = format!("cannot unmount {}: {why}", point.display());
            return Err(Failure::InUse(message, users::users(&point)));
        }
        left -= 1;
        if request.verbose {
            print(format!("{why}; next attempt in {} s", pause.as_secs()));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    if request.verbose {
        print(format!("{} is unmounted", point.display()));
    }
    match server.map_or(End::Gone, Server::end) {
        End::Gone => Ok(()),
        End::Serves(pid) => {
            let message = format!(
                "{} is unmounted, but process {pid} still serves it: is it mounted in another mount namespace?",
                point.display()
            );
            Err(Failure::InUse(message, Vec::new()))
        }
        End::Failed(why) => {
            Err(Failure::NotDurable(format!("{}: not everything could be written: {why}", point.display())))
        }
    }
}

/// The absolute path without links. A mount whose server is gone cannot be looked at, so the last part of the path
/// is then taken as it is.
fn resolve(directory: &Path) -> io::Result<PathBuf> {
    directory.canonicalize().or_else(|error| {
        let absolute = std::path::absolute(directory)?;
        match (absolute.parent(), absolute.file_name()) {
            (Some(parent), Some(name)) if error.kind() != io::ErrorKind::NotFound => {
                Ok(parent.canonicalize()?.join(name))
            }
            _ => Err(error),
        }
    })
}

/// Waits until nobody can write to a pipe any more. SIGINT and SIGQUIT, meant for the program at the other end, do not
/// end the wait.
fn wait_for_end_of(number: RawFd) -> io::Result<()> {
    for signal in [SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    // Without this flag the open would wait for a writer.
    let pipe = File::options()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(format!("/proc/self/fd/{number}"))?;
    if number > 2 {
        nix::unistd::close(number)?;
    }
    loop {
        let mut fds = [PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::empty())];
        match poll(&mut fds, None) {
            Ok(_) if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) => return Ok(()),
            Ok(_) => {}
            Err(errno) if errno == rustix::io::Errno::INTR => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A message for the user; whether anybody can read it is not our concern.
fn print(message: impl Display) {
    terminal::say("imgmount unmount: ", &message);
}
