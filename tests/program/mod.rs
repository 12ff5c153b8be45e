//! The program under test: run, and what it mounted is unmounted again.
// The functions that the tests share are tests too, which clippy cannot see.
#![allow(clippy::unwrap_used)]
#![allow(dead_code, reason = "every test file uses a part of it")]

pub mod sparse;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// More than any of these commands needs; a hang fails the test instead of the whole run.
const PATIENCE: &str = "60";

/// The small guest of this repository.
pub fn guest() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/demo/guest.qcow2").display().to_string()
}

/// The program, to be run at most for a minute.
pub fn imgmount() -> Command {
    let mut command = toolbox::command("timeout");
    command.args(["--foreground", PATIENCE, env!("CARGO_BIN_EXE_imgmount")]);
    command
}

/// Runs it with these arguments.
pub fn run(arguments: &[&str]) -> Output {
    imgmount().args(arguments).output().unwrap()
}

/// Runs it, which must work, and returns what it printed.
pub fn works(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {} {said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Runs it, which must fail as every failure does: exit code 1, a message, no panic. Returns the message.
#[track_caller]
pub fn fails(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    assert!(said.starts_with("imgmount: ") || said.starts_with("error: "), "{arguments:?}: {said}");
    said
}

/// Fails, and every one of `words` is in the message.
#[track_caller]
pub fn fails_with(arguments: &[&str], words: &[&str]) {
    let said = fails(arguments);
    for word in words {
        assert!(said.contains(word), "{arguments:?}: {word:?} is not in: {said}");
    }
}

/// A directory to mount on, unmounted when it is dropped.
pub struct Point(tempfile::TempDir);

impl Point {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Mounts with these arguments.
    #[track_caller]
    pub fn mount(arguments: &[&str]) -> Self {
        let point = Self::new();
        works(&[arguments, &[point.text()]].concat());
        assert!(point.is_mounted(), "{arguments:?}: returned without an error, and nothing is mounted");
        point
    }

    pub fn text(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn is_mounted(&self) -> bool {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        table.lines().any(|line| line.split(' ').nth(4) == Some(self.text()))
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        if self.is_mounted() {
            let _ = toolbox::command("fusermount3").args(["-u", "-z"]).arg(self.path()).output();
        }
        // Removing the directory under a live mount would reach into the guest.
        if self.is_mounted() {
            self.0.disable_cleanup(true);
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < Duration::from_secs(20), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// qemu-img with these arguments, which must work.
#[track_caller]
pub fn qemu_img(arguments: &[&str]) {
    toolbox::run(toolbox::command("qemu-img").args(arguments));
}

/// A command, which must work: all that it said.
#[track_caller]
pub fn tool(words: &[&str]) -> String {
    let output = toolbox::output(toolbox::command(words[0]).args(&words[1..]));
    [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
}
