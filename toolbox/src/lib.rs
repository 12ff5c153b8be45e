//! Outside programs: which Debian package has each, and the one way in which tests and `cargo xtask` call them.
//!
//! [`command`] knows a program only if [`PACKAGES`] does, and `cargo xtask setup` installs what is in that table: a
//! test that calls something else fails wherever it runs, not only on a machine that lacks it. Under `cargo xtask` the
//! programs also see nothing but each other ([`search_path`]), so the lines of a shell are held to the table too.

mod packages;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::time::Duration;

pub use packages::{PACKAGES, Package, Purpose};

/// The user `nobody`, and its group: the one ordinary user that has a name on every machine, which `fusermount3` wants.
pub const NOBODY: u32 = 65534;

/// The variable that says where programs are looked for: in a directory that `cargo xtask` has made, which holds
/// those of the table.
pub const TOOLBOX: &str = "IMGMOUNT_TOOLBOX";

/// The file to which tests that cannot run here write their names, a line each, for `cargo xtask test` to read.
pub const NOT_RUN: &str = "IMGMOUNT_NOT_RUN";

/// Where Debian keeps the programs that an ordinary user's `PATH` leaves out.
const SYSTEM_DIRECTORIES: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// What QEMU 7.2 says when it was to find out how long a LUKS key takes, and its processor time, which is counted in
/// ticks, had not moved. Later ones try again, and so does [`output`].
const CLOCK_STOOD_STILL: &str = "Unable to get accurate CPU usage";

/// How often that is tried: fifty times in a row have failed.
const CLOCK_TRIES: u32 = 1000;

/// How often something is tried that may fail for a reason that passes.
const TRIES: u32 = 50;

/// The toolbox of this process, where it has made one.
static OWN_TOOLBOX: OnceLock<PathBuf> = OnceLock::new();

/// Makes all that this process starts from now on look for programs in this directory, and in no other.
pub fn open(toolbox: &Path) {
    OWN_TOOLBOX.get_or_init(|| toolbox.to_owned());
}

/// A command of an outside program, by its name, in a fixed language, because some output is read; or one of a program
/// of this workspace, by its path.
///
/// # Panics
///
/// If an outside program is in no package of the table, or is not there.
#[track_caller]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let program = program.as_ref();
    if program.as_encoded_bytes().contains(&b'/') {
        return Command::new(program);
    }
    let shown = program.display();
    let Some(package) = PACKAGES.iter().find(|package| package.programs().any(|known| known == program)) else {
        panic!("{shown} is in no package of toolbox/src/packages.rs: add it, and what it is for")
    };
    let path = search_path();
    if find(program, &path).is_none() {
        let Package { name, purposes, .. } = package;
        panic!("{shown} of the package {name}, for {purposes:?}, is not in {path}: see `cargo xtask setup`")
    }
    let mut command = Command::new(program);
    command.env("PATH", path).env("LC_ALL", "C.UTF-8");
    command
}

/// The same command, run by [`NOBODY`]. What was set for it is kept, but for the streams.
#[track_caller]
pub fn as_nobody(command: &Command) -> Command {
    let mut other = self::command("setpriv");
    other.args([&format!("--reuid={NOBODY}"), &format!("--regid={NOBODY}"), "--clear-groups", "--"]);
    other.arg(command.get_program()).args(command.get_args()).env("HOME", "/nonexistent");
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    command.get_current_dir().map(|directory| other.current_dir(directory));
    other
}

/// Runs a command, which must work.
///
/// # Panics
///
/// If it does not, with the command and what it said.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    let mut run = || command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut output = run();
    for tried in 1..CLOCK_TRIES {
        if output.status.success() || !said(&output).contains(CLOCK_STOOD_STILL) {
            break;
        }
        // Each time at another place between two ticks: it may begin right after one again and again.
        std::thread::sleep(Duration::from_micros(u64::from(tried) * 337 % 4000));
        output = run();
    }
    assert!(output.status.success(), "{command:?}: {}: {}", output.status, said(&output));
    output
}

/// Copies a program that is then to be run, by a process of its own: where this one had the copy open for writing, the
/// child of another test could still have it, and the kernel would refuse to run it (`ETXTBSY`).
#[track_caller]
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    output(command("cp").args([from.as_ref(), to.as_ref()]));
}

/// Runs a command, which must work; its standard output.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    String::from_utf8_lossy(&output(command).stdout).into_owned()
}

/// Unmounts what is mounted here; whether that worked. The child of another test may hold a file of it that was open
/// when it began, until it runs its program: for so long this tries again.
pub fn unmount(point: &Path) -> bool {
    for _ in 0..TRIES {
        if command("umount").arg("--quiet").arg(point).status().is_ok_and(|status| status.success()) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

/// All that a command said, with its standard output first.
fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// Whether this is root. If not, the test that asks is named as one that could not run, or not in whole.
pub fn is_root() -> bool {
    // The process's own directory belongs to its effective user.
    let root = std::fs::metadata("/proc/self").is_ok_and(|this| std::os::unix::fs::MetadataExt::uid(&this) == 0);
    if !root && let Some(file) = std::env::var_os(NOT_RUN) {
        // The test harness names its threads after the tests.
        let line = format!("{}, which needs root\n", std::thread::current().name().unwrap_or("a test"));
        let file = std::fs::File::options().append(true).create(true).open(file);
        let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, line.as_bytes()));
        written.expect("the list of what did not run can be written");
    }
    root
}

/// The `PATH` in which outside programs are looked for, and look for others: under `cargo xtask` a directory with the
/// programs of the table that were installed for what it does; else all that this process sees, and root's directories.
pub fn search_path() -> String {
    let toolbox = OWN_TOOLBOX.get().cloned().or_else(|| std::env::var_os(TOOLBOX).map(PathBuf::from));
    toolbox.map_or_else(whole_path, |toolbox| toolbox.display().to_string())
}

/// The `PATH` of this process, with root's directories.
pub fn whole_path() -> String {
    format!("{}:{SYSTEM_DIRECTORIES}", std::env::var("PATH").unwrap_or_default())
}

/// The file of a program in a `PATH`.
pub fn find(program: impl AsRef<OsStr>, path: &str) -> Option<PathBuf> {
    path.split(':').map(|directory| Path::new(directory).join(program.as_ref())).find(|file| file.is_file())
}

#[cfg(test)]
mod tests;
