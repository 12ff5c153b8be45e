//! The process that serves a mount: which it is, when it has ended, and what it said of the last writes.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};

use crate::fuse::{DURABLE, ENDED, PID_ATTRIBUTE, REPORT_ATTRIBUTE};
use crate::mounts::Mount;
use crate::terminal;

/// How long the process that served may take to end once the mount is gone. Ours. While it writes, it may take as long as
/// it takes.
const LONGEST_END: Duration = Duration::from_secs(60);

/// How long the mount may take to say who serves it. Ours.
const LONGEST_ANSWER: Duration = Duration::from_secs(5);

/// Makes a run of this program answer only with what the mount says of its process, see [`ask_as`].
const ASK_VARIABLE: &str = "IMGMOUNT_ASK_PID";

/// What a mount says: the number of its process, and of the pipe of that process that says what came of the last writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    pid: u32,
    report: Option<u32>,
}

/// The process behind a mount.
pub struct Server {
    pid: u32,
    process: Option<OwnedFd>,
    /// Where the mount is written.
    report: Option<File>,
}

/// What became of it after the mount was taken away.
pub enum End {
    /// It has ended, and all is well.
    Gone,
    /// It has not; its number.
    Serves(u32),
    /// It has ended without making everything durable: why.
    Failed(String),
}

impl Server {
    /// The process that serves a mount, as the mount itself says.
    pub fn of(mount: &Mount) -> Option<Self> {
        if !mount.kind.starts_with("fuse.") {
            return None;
        }
        let Answer { pid, report } = match ask(&mount.point) {
            Ok(answer) => answer,
            // Not even root may look into another user's mount. He may ask in that user's name.
            Err(Errno::EACCES) if geteuid().is_root() => mount.user.and_then(|user| ask_as(&mount.point, user))?,
            Err(_) => return None,
        };
        let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let report = report.and_then(|number| File::open(format!("/proc/{pid}/fd/{number}")).ok());
        Some(Self { pid, process, report })
    }

    /// Waits until it has ended.
    pub fn end(self) -> End {
        let Some(mut report) = self.report else {
            let gone = self.process.is_none_or(|process| wait_for(&process, Some(LONGEST_END)));
            return if gone { End::Gone } else { End::Serves(self.pid) };
        };
        if !wait_for(&report, Some(LONGEST_END)) {
            return End::Serves(self.pid);
        }
        // It writes now, and says how that went when it has ended or is about to.
        let mut said = String::new();
        let read = report.read_to_string(&mut said);
        if let Some(process) = self.process {
            wait_for(&process, None);
        }
        match (read, said.strip_prefix(ENDED)) {
            (Ok(_), Some(DURABLE)) => End::Gone,
            (Ok(_), Some("")) => End::Failed("its process ended before it was done".to_owned()),
            (Ok(_), Some(why)) => End::Failed(why.trim_end().to_owned()),
            (Ok(_), None) => End::Failed("its process ended without a word".to_owned()),
            (Err(error), _) => End::Failed(format!("nobody knows: {error}")),
        }
    }
}

/// Asks the mount. One that hangs must not make us hang: then there is no answer.
fn ask(point: &Path) -> Result<Answer, Errno> {
    let (answers, answer) = channel();
    let point = point.to_owned();
    thread::spawn(move || {
        let asked =
            number(&point, PID_ATTRIBUTE).map(|pid| Answer { pid, report: number(&point, REPORT_ATTRIBUTE).ok() });
        // Nobody listens to an answer that comes too late.
        let _ = answers.send(asked);
    });
    answer.recv_timeout(LONGEST_ANSWER).unwrap_or(Err(Errno::ETIMEDOUT))
}

/// The number that is an attribute's value.
fn number(point: &Path, attribute: &str) -> Result<u32, Errno> {
    let mut value = [0u8; 16];
    let len = rustix::fs::getxattr(point, attribute, &mut value[..])
        .map_err(|errno| Errno::from_raw(errno.raw_os_error()))?;
    value.get(..len).and_then(|v| std::str::from_utf8(v).ok()).and_then(|v| v.parse().ok()).ok_or(Errno::EINVAL)
}

/// Runs this program again as another user, only to ask; the kernel compares all of a process's ids.
fn ask_as(point: &Path, (uid, gid): (u32, u32)) -> Option<Answer> {
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
    let text = String::from_utf8(output.stdout).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse);
    Some(Answer { pid: numbers.next()?.ok()?, report: numbers.next().and_then(Result::ok) })
}

/// If this run is only to ask: prints the answer, and returns the exit code.
pub fn answer() -> Option<u8> {
    let point = env::var_os(ASK_VARIABLE)?;
    let Ok(Answer { pid, report }) = ask(Path::new(&point)) else { return Some(1) };
    let mut page = terminal::Page::default();
    page.line(pid);
    report.iter().for_each(|number| page.line(number));
    Some(terminal::print(&page).map_or(1, |()| 0))
}

/// Waits until there is something to read, or the other end is gone, as of a process that has ended; false if it takes
/// too long.
fn wait_for(what: &impl std::os::fd::AsFd, longest: Option<Duration>) -> bool {
    let deadline = longest.map(|longest| Instant::now() + longest);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout =
            left.map(|left| Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() });
        match poll(&mut [PollFd::new(what, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Write, pipe};

    use super::*;

    #[test]
    fn what_came_of_the_last_writes_is_told() {
        let end = |said: &str| {
            let (reader, mut writer) = pipe().unwrap();
            writer.write_all(said.as_bytes()).unwrap();
            drop(writer);
            let report = Some(File::from(OwnedFd::from(reader)));
            match (Server { pid: 1, process: None, report }).end() {
                End::Gone => "durable".to_owned(),
                End::Serves(_) => "serves".to_owned(),
                End::Failed(why) => why,
            }
        };
        assert_eq!(end("ended\ndurable\n"), "durable");
        assert_eq!(end("ended\nx.img: write: no space left on device\n"), "x.img: write: no space left on device");
        assert_eq!(end("ended\n"), "its process ended before it was done");
        assert_eq!(end(""), "its process ended without a word");
    }
}
