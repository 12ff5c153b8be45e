//! Serving in the background: the command returns when the mount is usable, and a process stays that serves it.
//!
//! A program without unsafe code cannot fork. The command therefore runs itself again with the same arguments and
//! waits. The second process stays in the caller's session until the mount is usable, so that whatever ends the
//! command before (Ctrl-C, a closed terminal) ends it too; then it reports, becomes a session of its own and lets go of
//! the terminal.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus, Stdio};

use images::{Error, Result};
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::words::{self, Words};

/// Tells the second process that it is one, and the number of the pipe on which it reports.
const PIPE_VARIABLE: &str = "IMGMOUNT_READY_PIPE";

/// The exit code when the second process was killed.
const FAILED: u8 = 1;

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Serve in this process: guestmount's `--no-fork`.
    pub foreground: bool,
    /// Where to write the number of the process that serves; removed when it has ended.
    pub pid_file: Option<PathBuf>,
    /// An inherited file descriptor: it gets one zero byte when the mount is usable, and is closed.
    pub fd: Option<RawFd>,
    /// The words of the command line, with which the program is run again.
    pub words: Words,
}

/// Which of the two processes this is.
#[derive(Debug)]
pub enum Role {
    /// The command: its work is done, this is its exit code. The other process has printed its errors.
    Command(u8),
    /// The process that serves.
    Server(Server),
}

/// The process that serves: what it has to report, and to whom.
#[derive(Debug)]
pub struct Server {
    command: Option<File>,
    pid_file: Option<PathBuf>,
    fd: Option<File>,
}

/// Becomes one of the two processes. Call it when the arguments have been checked, and before a file is opened or a
/// thread started.
///
/// Fails if the plan names a file descriptor that cannot be written, or the program cannot be run again.
pub fn begin(plan: &Plan) -> Result<Role> {
    let command = match env::var_os(PIPE_VARIABLE) {
        Some(number) => Some(accept(&number)?),
        None => None,
    };
    if command.is_none() && !plan.foreground {
        // Only a check: the other process inherits it, and claims it.
        plan.fd.map(open).transpose()?;
        return launch(&plan.words).map(Role::Command);
    }
    let fd = plan.fd.map(claim).transpose()?;
    let pid_file = match &plan.pid_file {
        // The path must outlive the change of directory.
        Some(path) => Some(std::path::absolute(path).map_err(|error| Error::io(pid_file_failed(path), error))?),
        None => None,
    };
    Ok(Role::Server(Server { command, pid_file, fd }))
}

impl Server {
    /// Reports that the mount is usable, in guestmount's order: pid file, byte on the file descriptor, end of the
    /// command. After that the process of a background mount has no terminal and lives in `/`.
    ///
    /// Call it once, on the thread that called [`begin`]. Fails if a report cannot be given; nothing must stay then.
    pub fn ready(&mut self) -> Result<()> {
        if let Some(path) = &self.pid_file {
            write_pid_file(path).map_err(|error| Error::io(pid_file_failed(path), error))?;
        }
        if let Some(mut fd) = self.fd.take() {
            fd.write_all(&[0]).map_err(|error| Error::io("cannot report on the file descriptor of --fd", error))?;
        }
        let Some(mut command) = self.command.take() else { return Ok(()) };
        detach(&mut command)
    }

    /// Removes the pid file. Call it when everything else has ended.
    pub fn finish(self) {
        if let Some(path) = &self.pid_file {
            // Only our own: a mount that failed early has written none, and must not take another's away.
            if fs::read_to_string(path).is_ok_and(|text| text == pid_line()) {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// The first process: starts the second and waits until it reports or ends.
fn launch(words: &Words) -> Result<u8> {
    let failed = |error: io::Error| Error::io("cannot start the process that serves", error);
    let (mut reports, reporter) = io::pipe().map_err(failed)?;
    rustix::io::fcntl_setfd(&reporter, rustix::io::FdFlags::empty()).map_err(|error| failed(error.into()))?;
    let (mut command, inherited) = words.again()?;
    command.env(PIPE_VARIABLE, reporter.as_raw_fd().to_string()).stdin(Stdio::inherit());
    let mut child = command.spawn().map_err(failed)?;
    drop(inherited);
    drop(reporter);
    let mut byte = [0];
    if reports.read_exact(&mut byte).is_ok() {
        return Ok(0);
    }
    let status = child.wait().map_err(failed)?;
    Ok(exit_code(status))
}

fn exit_code(status: ExitStatus) -> u8 {
    match status.code().map(u8::try_from) {
        // It must not end well without having reported.
        Some(Ok(0)) | Some(Err(_)) | None => FAILED,
        Some(Ok(code)) => code,
    }
}

/// The second process: takes over its end of the pipe.
fn accept(number: &OsString) -> Result<File> {
    let failed = |error| Error::io(format!("{PIPE_VARIABLE} is for the program's own use"), error);
    let number: RawFd = number
        .to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| failed(io::Error::from(io::ErrorKind::InvalidInput)))?;
    let pipe = claim(number)?;
    // Ends with the command as long as it has not reported.
    set_pdeathsig(Signal::SIGTERM).map_err(|errno| failed(errno.into()))?;
    words::keep_name();
    Ok(pipe)
}

/// Opens what an inherited file descriptor refers to once more, for writing: a pipe, a terminal or a file.
fn open(number: RawFd) -> Result<File> {
    File::options().append(true).open(format!("/proc/self/fd/{number}")).map_err(|error| {
        let error = if error.kind() == io::ErrorKind::NotFound { Errno::EBADF.into() } else { error };
        Error::io(format!("cannot write to file descriptor {number}"), error)
    })
}

/// The same, and closes the inherited one, so that its reader sees the end when ours is closed.
fn claim(number: RawFd) -> Result<File> {
    let file = open(number)?;
    // The standard ones stay open until the terminal is let go.
    if number > 2 {
        let failed = |errno: Errno| Error::io(format!("cannot close file descriptor {number}"), errno.into());
        nix::unistd::close(number).map_err(failed)?;
    }
    Ok(file)
}

/// Reports to the command, and lets go of everything that belongs to it.
fn detach(command: &mut File) -> Result<()> {
    let failed = |error: io::Error| Error::io("cannot go to the background", error);
    let null = File::options().read(true).write(true).open("/dev/null").map_err(failed)?;
    set_pdeathsig(None).map_err(|errno| failed(errno.into()))?;
    nix::unistd::setsid().map_err(|errno| failed(errno.into()))?;
    env::set_current_dir("/").map_err(failed)?;
    // Fails if the command is gone: then nobody wants the mount.
    command.write_all(&[0]).map_err(failed)?;
    rustix::stdio::dup2_stdin(&null).map_err(|errno| failed(errno.into()))?;
    rustix::stdio::dup2_stdout(&null).map_err(|errno| failed(errno.into()))?;
    rustix::stdio::dup2_stderr(&null).map_err(|errno| failed(errno.into()))
}

fn write_pid_file(path: &Path) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.write_all(pid_line().as_bytes())
}

fn pid_line() -> String {
    format!("{}\n", process::id())
}

fn pid_file_failed(path: &Path) -> String {
    format!("cannot write the pid file {}", path.display())
}
