//! What ran, how it went and how long it took.

use std::fmt;
use std::fs;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::interrupt;
use crate::mount::is_root;

/// The steps so far.
#[derive(Default)]
pub struct Report {
    passed: u32,
    failed: Vec<String>,
    not_run: Vec<String>,
    only: Option<String>,
}

impl Report {
    /// With `only`, the steps whose names contain it run, and no others.
    pub fn new(only: Option<String>) -> Self {
        Self { only, ..Self::default() }
    }

    /// Runs one step, says what it is, how it went and how long it took; an error is kept and the next step runs.
    pub fn step(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        if self.only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            self.needed_step(name, step);
        }
    }

    /// Whether steps whose names begin so may run.
    pub fn wants(&self, start: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.starts_with(start) || start.contains(only.as_str()))
    }

    /// Whether only steps whose names begin so run.
    pub fn wants_no_more_than(&self, start: &str) -> bool {
        self.only.as_ref().is_some_and(|only| only.starts_with(start))
    }

    /// A step that others need, whatever its name.
    pub fn needed_step(&mut self, name: &str, step: impl FnOnce() -> Result<()>) {
        if interrupt::check().is_err() {
            return;
        }
        let clock = Clock::start();
        match step() {
            Ok(()) => {
                println!("{name} ... ok ({clock})");
                self.passed += 1;
            }
            Err(error) => {
                println!("{name} ... FAILED ({clock})\n{error:#}");
                self.failed.push(name.to_owned());
            }
        }
    }

    /// Steps that cannot run as an ordinary user; they are named in the end.
    pub fn root_steps(&mut self, name: &str, steps: impl FnOnce(&mut Self)) {
        if is_root() { steps(self) } else { self.leave_out(format!("{name}, which needs root")) }
    }

    /// Names something that did not run.
    pub fn leave_out(&mut self, what: String) {
        self.not_run.push(what);
    }

    /// Says what did not run and what failed. In CI nothing may be left out.
    pub fn finish(mut self) -> Result<()> {
        interrupt::check()?;
        if let Some(only) = self.only.take() {
            self.leave_out(format!("steps whose names do not contain {only:?}"));
        }
        for name in &self.not_run {
            println!("not run: {name}");
        }
        for name in &self.failed {
            println!("failed: {name}");
        }
        println!("{} passed, {} failed, {} not run", self.passed, self.failed.len(), self.not_run.len());
        ensure!(self.failed.is_empty(), "tests failed");
        ensure!(self.passed > 0, "nothing ran: `cargo xtask test` prints the names of its steps");
        ensure!(self.not_run.is_empty() || !is_ci(), "tests did not run, and CI has to run all");
        Ok(())
    }
}

/// Whether a service runs this that takes the exit code for an answer.
fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// The time since its start: the wall's, and that of the processors, which does not depend on who else uses them.
pub struct Clock {
    since: Instant,
    used: f32,
}

impl Clock {
    pub fn start() -> Self {
        Self { since: Instant::now(), used: processor_seconds() }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wall, used) = (self.since.elapsed().as_secs_f32(), processor_seconds() - self.used);
        write!(f, "{wall:.1} s, {used:.1} s of processors")
    }
}

/// What this process and those that it has waited for took; zero if that is not known.
fn processor_seconds() -> f32 {
    // proc_pid_stat(5): utime, stime, cutime and cstime are fields 14 to 17, in hundredths; the name may hold spaces.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
    fields.filter_map(|field| field.parse::<f32>().ok()).sum::<f32>() / 100.0
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn a_failed_step_is_kept_and_the_next_one_runs() {
        let mut report = Report::new(Some("step".to_owned()));
        let mut ran = 0;
        report.step("step one", || bail!("broken"));
        report.step("another", || panic!("its name is not asked for"));
        report.step("step two", || {
            ran += 1;
            Ok(())
        });
        assert_eq!((ran, report.passed, report.failed.as_slice()), (1, 1, &["step one".to_owned()][..]));
        assert_eq!(report.finish().unwrap_err().to_string(), "tests failed");
    }

    #[test]
    fn processors_are_counted() {
        let before = processor_seconds();
        while processor_seconds() < before + 0.02 {}
    }
}
