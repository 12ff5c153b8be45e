//! `imgmount unmount`: takes a mount away and returns when the process that served it is gone. Drop-in for
//! guestunmount.

mod users;

use std::env;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};
use signal_hook::consts::{SIGINT, SIGQUIT};

use crate::fuse::{PID_ATTRIBUTE, SUBTYPE};
use crate::mounts::{Mount, mounted_at, unmount};
use crate::terminal;
use users::User;

/// The most retries, as guestunmount has it: the pause doubles each time.
pub const MOST_RETRIES: u32 = 63;

/// The longest pause between two attempts: after that, doubling helps nobody. Ours.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// How long the process that served may take to end once the mount is gone. Ours.
const LONGEST_END: Duration = Duration::from_secs(60);

/// How long the mount may take to say who serves it. Ours.
const LONGEST_ANSWER: Duration = Duration::from_secs(5);

/// Makes a run of this program answer only with the number of the process behind a mount, see [`ask_as`].
const ASK_VARIABLE: &str = "IMGMOUNT_ASK_PID";

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
}

/// Unmounts, prints its errors, and returns the exit code: 0 done, 1 the program failed, 2 it could not be unmounted,
/// 3 nothing is mounted there.
pub fn run(request: &Request) -> u8 {
    if let Some(directory) = env::var_os(ASK_VARIABLE) {
        return answer(Path::new(&directory));
    }
    let (code, message, users) = match attempt(request) {
        Ok(()) => return 0,
        Err(Failure::Program(message)) => (1, message, Vec::new()),
        Err(Failure::InUse(message, users)) => (2, message, users),
        Err(Failure::NotMounted(message)) => (3, message, Vec::new()),
    };
    if !request.quiet || code == 1 {
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
    let server = server(&mount);
    if server.is_none() && mount.kind != format!("fuse.{SUBTYPE}") {
        let message = format!("{}: this is a mount of type {}, not of imgmount", point.display(), mount.kind);
        return Err(Failure::Program(message));
    }
    let ended = server.and_then(open_process);
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
    match (ended, server) {
        (Some(process), Some(pid)) if !wait_for_end(&process) => {
            let message = format!(
                "{} is unmounted, but process {pid} still serves it: is it mounted in another mount namespace?",
                point.display()
            );
            Err(Failure::InUse(message, Vec::new()))
        }
        _ => Ok(()),
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

/// The process that serves a mount, as the mount itself says.
fn server(mount: &Mount) -> Option<u32> {
    if !mount.kind.starts_with("fuse.") {
        return None;
    }
    match ask(&mount.point) {
        Ok(pid) => Some(pid),
        // Not even root may look into another user's mount. He may ask in that user's name.
        Err(Errno::EACCES) if geteuid().is_root() => mount.user.and_then(|user| ask_as(&mount.point, user)),
        Err(_) => None,
    }
}

/// Asks the mount. One that hangs must not make us hang: then there is no answer.
fn ask(point: &Path) -> Result<u32, Errno> {
    let (answers, answer) = channel();
    let point = point.to_owned();
    thread::spawn(move || {
        // Nobody listens to an answer that comes too late.
        let _ = answers.send(ask_now(&point));
    });
    answer.recv_timeout(LONGEST_ANSWER).unwrap_or(Err(Errno::ETIMEDOUT))
}

fn ask_now(point: &Path) -> Result<u32, Errno> {
    let mut value = [0u8; 16];
    let len = rustix::fs::getxattr(point, PID_ATTRIBUTE, &mut value[..])
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
    value.get(..len).and_then(|v| std::str::from_utf8(v).ok()).and_then(|v| v.parse().ok()).ok_or(Errno::EINVAL)
}

/// Runs this program again as another user, only to ask; the kernel compares all of a process's ids.
fn ask_as(point: &Path, (uid, gid): (u32, u32)) -> Option<u32> {
    let mut words = env::args_os();
    let output = Command::new("/proc/self/exe")
        // It may be `guestunmount`.
        .arg0(words.next().unwrap_or_else(|| "imgmount".into()))
        .args(words)
        .env(ASK_VARIABLE, point)
        .uid(uid)
        .gid(gid)
        .current_dir("/")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

fn answer(point: &Path) -> u8 {
    match ask(point) {
        Ok(pid) => {
            let mut page = terminal::Page::default();
            page.line(pid);
            terminal::print(&page).map_or(1, |()| 0)
        }
        Err(_) => 1,
    }
}

fn open_process(pid: u32) -> Option<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Waits for a process to end; false if it takes too long.
fn wait_for_end(process: &OwnedFd) -> bool {
    let deadline = Instant::now() + LONGEST_END;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(errno) if errno == rustix::io::Errno::INTR => {}
            Err(_) => return false,
        }
    }
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
