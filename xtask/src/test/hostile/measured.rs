//! A run of the program, with the processor time and the memory that it took.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command::{any_output, command};

/// What a run may hold at its peak, in KiB, and take of a processor, in seconds.
const MEMORY: u64 = 256 << 10;
const SECONDS: f64 = 20.0;
/// When it is ended because it does not even use the processor: on a busy machine the other bound comes late.
const PATIENCE: &str = "120";
/// How many bytes of what it prints are looked at.
const PRINTED: usize = 1 << 20;
/// How many entries of a mounted tree are looked at, and how much is read of each file, in bytes.
const ENTRIES: usize = 300;
const READ: u64 = 1 << 20;

/// What a run cost.
#[derive(Clone, Default)]
pub struct Measured {
    /// The largest resident set, in KiB.
    memory: u64,
    /// Of the processor.
    seconds: f64,
}

impl Measured {
    /// The most of both.
    pub fn most(&self, other: &Self) -> Self {
        Self { memory: self.memory.max(other.memory), seconds: self.seconds.max(other.seconds) }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB, {:.1} s of a processor", self.memory >> 10, self.seconds)
    }
}

/// How a run went.
pub struct Outcome {
    pub measured: Measured,
    status: ExitStatus,
    errors: String,
}

impl Outcome {
    /// Runs the program with these arguments; files go to `out`.
    pub fn of_command(program: &Path, arguments: &[&str], out: &Path) -> Result<Self> {
        let mut run = measured(program, out);
        run.args(arguments).stdout(File::create(out.join("stdout"))?).stderr(File::create(out.join("stderr"))?);
        let status = run.status().context("cannot start time")?;
        Self::ended(status, out)
    }

    /// Mounts with these arguments, looks at what is mounted, and unmounts.
    pub fn of_mount(program: &Path, arguments: &[&str], out: &Path) -> Result<Self> {
        let point = out.join("mounted");
        fs::create_dir(&point)?;
        let mut run = measured(program, out);
        run.args(arguments).arg("--no-fork").arg(&point);
        run.stdout(File::create(out.join("stdout"))?).stderr(File::create(out.join("stderr"))?);
        let mut server = run.spawn().context("cannot start time")?;
        let status = match wait_for_mount(&mut server, &point)? {
            Some(status) => status,
            None => {
                look(&point, &mut ENTRIES.clone());
                let unmounted = any_output(command(program, ["unmount"]).arg(&point))?;
                if !unmounted.status.success() {
                    any_output(command("umount", ["-l"]).arg(&point))?;
                }
                server.wait()?
            }
        };
        Self::ended(status, out)
    }

    fn ended(status: ExitStatus, out: &Path) -> Result<Self> {
        let text = fs::read_to_string(out.join("measured"))?;
        let line = text.lines().last().unwrap_or_default();
        let mut numbers = line.split(' ').map(str::parse::<f64>);
        let mut next = || numbers.next().and_then(Result::ok).with_context(|| format!("time says {text:?}"));
        let (memory, user, system) = (next()? as u64, next()?, next()?);
        let mut errors = fs::read(out.join("stderr"))?;
        errors.truncate(PRINTED);
        let errors = String::from_utf8_lossy(&errors).into_owned();
        Ok(Self { measured: Measured { memory, seconds: user + system }, status, errors })
    }

    /// What is wrong with it.
    pub fn faults(&self) -> impl Iterator<Item = String> {
        let Measured { memory, seconds } = self.measured;
        let last = self.errors.lines().last().unwrap_or_default().to_owned();
        let faults = [
            (memory > MEMORY).then(|| format!("{} MiB, want at most {}", memory >> 10, MEMORY >> 10)),
            (seconds > SECONDS).then(|| format!("{seconds:.1} s of a processor, want at most {SECONDS}")),
            (!matches!(self.status.code(), Some(0..=2))).then(|| format!("{}: {last}", self.status)),
            self.status.signal().map(|signal| format!("ended by signal {signal}")),
            self.errors.contains("panicked").then(|| format!("a panic: {last}")),
            (self.status.code() == Some(1) && self.errors.trim().is_empty())
                .then(|| "failed without a word".to_owned()),
            self.errors
                .chars()
                .any(|c| c.is_control() && c != '\n')
                .then(|| "what the image says talks to the terminal".to_owned()),
        ];
        faults.into_iter().flatten()
    }
}

/// The program, run with bounds, its cost written to `out/measured`.
fn measured(program: &Path, out: &Path) -> Command {
    let cpu = format!("--cpu={}", SECONDS as u32 + 5);
    let mut measured = command("time", ["-q", "-f", "%M %U %S", "-o"]);
    measured.arg(out.join("measured"));
    let bounded: [&OsStr; 6] =
        ["timeout".as_ref(), "-k".as_ref(), "5".as_ref(), PATIENCE.as_ref(), "prlimit".as_ref(), cpu.as_ref()];
    measured.args(bounded).arg(program);
    measured
}

/// Waits until something is mounted, or until the program ended.
fn wait_for_mount(server: &mut Child, point: &Path) -> Result<Option<ExitStatus>> {
    let since = Instant::now();
    loop {
        if let Some(status) = server.try_wait()? {
            return Ok(Some(status));
        }
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        if mounts.lines().any(|line| line.split(' ').nth(1) == point.to_str()) {
            return Ok(None);
        }
        // `timeout` ends it.
        std::thread::sleep(Duration::from_millis(if since.elapsed().as_secs() < 1 { 2 } else { 50 }));
    }
}

/// Looks at the entries of a tree, and at the start of its files. Errors are answers, too.
fn look(directory: &Path, left: &mut usize) {
    use std::io::Read;
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.map_while(Result::ok) {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            look(&entry.path(), left);
        } else if metadata.is_file()
            && let Ok(file) = File::open(entry.path())
        {
            let _ = file.take(READ).read_to_end(&mut Vec::new());
        }
    }
}
