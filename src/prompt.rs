//! A secret that is typed at the terminal, which does not show it.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use images::{Error, Result};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::terminal::Line;

/// The longest line that is taken, in bytes; ours. A terminal gives at most 4096.
pub const MAX_LINE: usize = 8192;

/// Signals that end or stop a program which is waiting for its user.
const SIGNALS: [Signal; 5] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGTSTP];

/// Asks for a line with `question`; what is typed is shown only with `echo`. `None` if there is no terminal to ask at,
/// or if it was closed.
///
/// A signal that ends or stops the program finds the terminal as it was before. Call it before threads are started.
pub fn ask(question: &str, echo: bool) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let failed = |error: std::io::Error| Error::io("cannot ask at the terminal", error);
    // Not standard input: that may be a file, and standard output may be a report.
    let Ok(mut terminal) = File::options().read(true).write(true).open("/dev/tty") else { return Ok(None) };
    let wanted: SigSet = SIGNALS.into_iter().collect();
    let before = SigSet::thread_get_mask().map_err(|errno| failed(errno.into()))?;
    loop {
        wanted.thread_block().map_err(|errno| failed(errno.into()))?;
        let line = ask_once(&mut terminal, question, echo, &wanted);
        // The signal that came is delivered now, as if nothing had been asked; after a stop the question comes again.
        before.thread_set_mask().map_err(|errno| failed(errno.into()))?;
        match line.map_err(failed)? {
            Answer::Line(line) => return Ok(line),
            Answer::Signal => {}
        }
    }
}

enum Answer {
    Line(Option<Zeroizing<Vec<u8>>>),
    Signal,
}

fn ask_once(terminal: &mut File, question: &str, echo: bool, wanted: &SigSet) -> std::io::Result<Answer> {
    let signals = SignalFd::with_flags(wanted, SfdFlags::SFD_CLOEXEC)?;
    let quiet = if echo { None } else { Some(Quiet::new(terminal.try_clone()?)?) };
    write!(terminal, "{}", Line(question))?;
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE));
    let answer = loop {
        let mut watched = [
            PollFd::from_borrowed_fd(terminal.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Err(errno) if errno == rustix::io::Errno::INTR => continue,
            other => other?,
        };
        if !watched[1].revents().is_empty() {
            break Answer::Signal;
        }
        match read_line(terminal.as_fd(), &mut line)? {
            Some(true) => break Answer::Line(Some(line)),
            Some(false) => {}
            None => break Answer::Line(None),
        }
    };
    drop(quiet);
    if !echo {
        terminal.write_all(b"\n")?;
    }
    Ok(answer)
}

/// Reads once, at most to the end of the line. Whether the line is complete, without its end; `None` at the end of the
/// input.
fn read_line(input: impl AsFd, line: &mut Vec<u8>) -> std::io::Result<Option<bool>> {
    let mut byte = Zeroizing::new([0]);
    loop {
        // Byte by byte: what is behind the line is not ours, and no buffer keeps a copy.
        match rustix::io::read(&input, &mut byte[..]) {
            Ok(0) => return Ok(if line.is_empty() { None } else { Some(true) }),
            Ok(_) if byte[0] == b'\n' => return Ok(Some(true)),
            // More would be moved in memory, and leave a copy behind.
            Ok(_) if line.len() == MAX_LINE => {
                return Err(std::io::Error::other(format!("a line of more than {MAX_LINE} bytes")));
            }
            Ok(_) => line.push(byte[0]),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The next line of standard input, without its end; `None` at the end.
pub fn next_line() -> Result<Option<Zeroizing<Vec<u8>>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE));
    let read = read_line(rustix::stdio::stdin(), &mut line);
    let read = read.map_err(|error| Error::io("cannot read a key from standard input", error))?;
    Ok(read.map(|_| line))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet {
    terminal: File,
    before: Termios,
}

impl Quiet {
    fn new(terminal: File) -> std::io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that went away shows nothing.
        let _ = tcsetattr(&self.terminal, OptionalActions::Drain, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_where_they_end() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"one\ntwo \0\n\nlast").unwrap();
        drop(writer);
        let next = || {
            let mut line = Vec::with_capacity(MAX_LINE);
            read_line(&reader, &mut line).unwrap().map(|_| line)
        };
        assert_eq!(next().as_deref(), Some(&b"one"[..]));
        assert_eq!(next().as_deref(), Some(&b"two \0"[..]));
        assert_eq!(next().as_deref(), Some(&b""[..]));
        assert_eq!(next().as_deref(), Some(&b"last"[..]));
        assert_eq!(next(), None);
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(&[b'x'; MAX_LINE + 1]).unwrap();
        let mut line = Vec::with_capacity(MAX_LINE);
        assert!(read_line(&reader, &mut line).is_err());
    }
}
