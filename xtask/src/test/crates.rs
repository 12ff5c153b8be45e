//! What `cargo test` runs, a step for each program that it makes: the unit tests of a crate, or one file of its tests.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::report::Report;
use crate::command::{command, pass_through, read, run as run_command};
use crate::workspace::cargo;

/// What cargo says of a program that it has made, and a part of that.
#[derive(Deserialize)]
struct Made {
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// How many random sequences the long run tries where `cargo test` tries a few.
const SEQUENCES: &str = "300";
/// The same for each feature set of ext: some 2,000 in all. And how often the process is killed for each of three.
const EXT_SEQUENCES: &str = "120";
const KILLS: &str = "67";

/// What the names of all these steps begin with.
pub const START: &str = "tests: ";

pub fn run(report: &mut Report) {
    if !report.wants(START) {
        return;
    }
    let mut made = Vec::new();
    report.needed_step("tests: built", || {
        made = build()?;
        Ok(())
    });
    let Ok(list) = tempfile::NamedTempFile::new() else { return report.leave_out("cargo test".to_owned()) };
    for made in &made {
        report.step(&made.step(), || made.test(list.path()));
    }
    report.step("tests: examples of the documentation", || {
        run_command(&mut cargo(&["test", "--quiet", "--workspace", "--doc"]))
    });
    for line in fs::read_to_string(list.path()).unwrap_or_default().lines() {
        report.leave_out(line.to_owned());
    }
}

/// Random changes of file systems, many more than `cargo test` tries.
pub fn many_sequences(report: &mut Report) {
    for test in ["fat_write", "ext_write", "ext_power_cut"] {
        report.step(&format!("long: random sequences of {test}"), || {
            let arguments = ["test", "--quiet", "--release", "-p", "filesystems", "--test", test];
            run_command(cargo(&arguments).env("SEQUENCES", SEQUENCES).env("IMGMOUNT_SEQUENCES", EXT_SEQUENCES))
        });
    }
    report.step("long: the process is killed 201 times", || {
        run_command(cargo(&["test", "--quiet", "--release", "--test", "ext_killed"]).env("IMGMOUNT_KILLS", KILLS))
    });
}

fn build() -> Result<Vec<Made>> {
    let arguments = ["test", "--quiet", "--workspace", "--no-run"];
    pass_through(&mut cargo(&arguments))?;
    let told = read(cargo(&arguments).arg("--message-format=json"))?;
    // What cargo says of other things has other fields.
    let made = told.lines().filter_map(|line| serde_json::from_str::<Made>(line).ok());
    Ok(made.filter(|made| made.profile.test && made.executable.is_some()).collect())
}

impl Made {
    fn step(&self) -> String {
        let unit = !self.target.kind.iter().any(|kind| kind == "test");
        let file = if unit { "unit tests" } else { &self.target.name };
        let folder = self.folder().and_then(Path::file_name).unwrap_or_default();
        format!("{START}{}, {file}", folder.to_string_lossy())
    }

    fn folder(&self) -> Option<&Path> {
        self.manifest_path.parent()
    }

    /// Runs it where cargo would, with a list for the tests that cannot run here.
    fn test(&self, list: &Path) -> Result<()> {
        let program = self.executable.as_ref().context("cargo made no program")?;
        let mut test = command(program, ["--quiet"]);
        test.current_dir(self.folder().context("a manifest is in a folder")?);
        test.env(toolbox::TOOLBOX, toolbox::search_path()).env(toolbox::NOT_RUN, list);
        run_command(&mut test)
    }
}
