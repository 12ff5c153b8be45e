//! The examples of docs/SEMANTICS.md and docs/FORENSICS.md, run as they stand there: as root, and as an ordinary user.

#![allow(clippy::unwrap_used)] // An unwrap that fails fails the test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Output;

/// A command of an example and what it prints.
struct Example {
    line: usize,
    command: String,
    output: String,
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for (index, text) in page.lines().enumerate() {
        match (inside, text) {
            (false, "```console") => inside = true,
            (true, "```") => inside = false,
            (true, text) => match text.strip_prefix("$ ") {
                Some(command) => {
                    examples.push(Example { line: index + 1, command: command.into(), output: String::new() })
                }
                None => {
                    let example = examples.last_mut().expect("a block starts with a command");
                    example.output += &format!("{text}\n");
                }
            },
            (false, _) => {}
        }
    }
    examples
}

/// A folder with the guest in it, mounted at `mnt`.
struct Place {
    directory: tempfile::TempDir,
    user: Option<u32>,
}

impl Place {
    fn new(user: Option<u32>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Self { directory, user };
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/demo");
        for name in ["base.qcow2", "guest.qcow2", "deleted.txt"] {
            fs::copy(golden.join(name), place.path().join(name)).unwrap();
        }
        fs::create_dir(place.path().join("mnt")).unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // The program where another user can run it.
        toolbox::copy_program(env!("CARGO_BIN_EXE_imgmount"), place.path().join("imgmount"));
        if user.is_some() {
            for name in [".", "base.qcow2", "guest.qcow2", "deleted.txt", "mnt"] {
                chown(place.path().join(name), user, user).unwrap();
            }
        }
        place.run("sha256sum *.qcow2 >images.sha256");
        place
    }

    fn path(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    fn run(&self, command: &str) -> Output {
        let path = format!("{}:{}", self.path().display(), toolbox::search_path());
        let mut shell = toolbox::command("sh");
        shell.args(["-c", command]).current_dir(self.path()).env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC");
        let mut run = if self.user.is_some() { toolbox::as_nobody(&shell) } else { shell };
        run.output().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.run("imgmount unmount --quiet mnt");
    }
}

/// A page, what is done before its examples, and the least number of them.
const PAGES: &[(&str, &str, usize)] =
    &[("SEMANTICS.md", "imgmount -a guest.qcow2 -i mnt", 25), ("FORENSICS.md", "true", 12)];

fn all_hold(user: Option<u32>) {
    for (page, before, least) in PAGES {
        holds(user, page, before, *least);
    }
}

fn holds(user: Option<u32>, page: &str, before: &str, least: usize) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page)).unwrap();
    let examples = examples(&text);
    assert!(examples.len() >= least, "only {} examples were found", examples.len());
    let place = Place::new(user);
    let mounted = place.run(before);
    assert!(mounted.status.success(), "{}", String::from_utf8_lossy(&mounted.stderr));
    let mut broken = Vec::new();
    for example in examples {
        let output = place.run(&example.command);
        let seen = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let mut seen: Vec<_> = seen.lines().collect();
        let mut want: Vec<_> = example.output.lines().collect();
        // The order of the two streams is not the example's matter.
        seen.sort_unstable();
        want.sort_unstable();
        if seen != want {
            broken.push(format!("line {}: {}\n  prints {seen:?}\n  wanted {want:?}", example.line, example.command));
        }
    }
    assert!(broken.is_empty(), "docs/{page} as user {user:?}\n{}", broken.join("\n"));
}

#[test]
fn the_examples_hold_for_who_runs_the_tests() {
    all_hold(None);
}

#[test]
fn the_examples_hold_for_an_ordinary_user() {
    // Who is not root is an ordinary user himself, and the test above has shown it.
    if toolbox::is_root() {
        all_hold(Some(toolbox::NOBODY));
    }
}
