//! `cargo xtask test`: every test there is, in the order from fast to long.

mod ext;
mod fuzz;
mod golden;
mod guest;
mod hostile;
mod journal;
mod recovery;
mod stage;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::command::pass_through;
use crate::mount::is_root;
use crate::packages::{self, Purpose};
use crate::{check, interrupt, workspace};

pub use hostile::make_all as make_hostile;
use stage::Stage;

/// What ran, and how it went.
#[derive(Default)]
pub struct Report {
    passed: u32,
    failed: Vec<String>,
    needs_root: Vec<&'static str>,
    only: Option<String>,
}

impl Report {
    /// Runs one step, says what it is and how it went; an error is kept and the next step runs.
    fn step(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        if self.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) || interrupt::check().is_err() {
            return;
        }
        let since = Instant::now();
        let result = step();
        let seconds = since.elapsed().as_secs_f32();
        match result {
            Ok(()) => {
                println!("{name} ... ok ({seconds:.1} s)");
                self.passed += 1;
            }
            Err(error) => {
                println!("{name} ... FAILED ({seconds:.1} s)\n{error:#}");
                self.failed.push(name.to_owned());
            }
        }
    }

    /// A step that cannot run as an ordinary user; it is named in the end.
    fn root_step(&mut self, name: &'static str, step: impl FnOnce(&mut Self)) {
        if is_root() { step(self) } else { self.needs_root.push(name) }
    }
}

/// Runs everything; with `only`, the steps whose names contain it.
pub fn run(long: bool, program: Option<PathBuf>, only: Option<String>) -> Result<()> {
    packages::ensure(Purpose::Test)?;
    if long {
        packages::ensure(Purpose::Fuzz)?;
        fuzz::install()?;
    }
    let mut report = Report { only, ..Report::default() };
    report.step("check: formatting, lints, documentation", check::run_all);
    report.step("cargo test", || pass_through(&mut workspace::cargo(&["test", "--workspace", "--no-fail-fast"])));

    let program = program.map_or_else(workspace::release, Ok)?;
    let stage = Stage::new(&program)?;
    golden::run(&mut report, &stage);
    hostile::run(&mut report, &stage, long);
    ext::run(&mut report, &stage);
    report.root_step("walks of ext2, ext3 and ext4 against the kernel's mounts", |report| {
        ext::run_as_root(report, &stage)
    });
    report
        .root_step("journals that need recovery, against the kernel's recovery", |report| journal::run(report, &stage));
    report.root_step("deleted files, against other tools and the true content", |report| recovery::run(report, &stage));
    report.root_step("walks of a whole Debian against the kernel's mount", |report| guest::run(report, &stage, long));
    drop(stage);
    if long {
        report.root_step("fuzz targets, each for a short time", fuzz::run);
    }

    interrupt::check()?;
    for name in &report.needs_root {
        println!("not run, it needs root: {name}");
    }
    for name in &report.failed {
        println!("failed: {name}");
    }
    if report.passed == 0 && report.failed.is_empty() {
        bail!("nothing ran: `cargo xtask test` prints the names of its steps");
    }
    println!("{} passed, {} failed", report.passed, report.failed.len());
    if !report.failed.is_empty() {
        bail!("tests failed");
    }
    Ok(())
}
