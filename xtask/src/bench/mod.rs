//! The benchmark: figures with their goals, each beside what the other side takes for the same work.

mod deleted;
mod figures;
mod formats;
mod guest;
mod listing;
pub mod reader;
mod write;
pub mod writer;
mod zeros;

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::command::run;
use crate::mount::is_root;
use crate::packages::{self, Purpose};
use crate::workspace;

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// A whole Debian beside the kernel's mount.
    Guest,
    /// `ls -l` of a large directory beside the kernel's mount.
    Listing,
    /// Every image format beside raw and `qemu-img`.
    Formats,
    /// Deleted files: the search, and getting them back.
    Deleted,
    /// Writing beside the kernel's mount.
    Write,
}

/// Measures everything, or one part, and prints tables, or JSON.
pub fn run_all(part: Option<Part>, runs: u32, program: Option<PathBuf>, json: bool) -> Result<()> {
    packages::ensure(Purpose::Bench)?;
    ensure!(is_root(), "the other side is the kernel's loop mount, which needs root: sudo cargo xtask bench");
    ensure!(runs > 0, "--runs must be at least 1");
    let program = program.map_or_else(workspace::release, Ok)?;
    let mut sections = Vec::new();
    for (this, measure) in [
        (Part::Guest, guest::measure as fn(&_, _) -> _),
        (Part::Listing, listing::measure),
        (Part::Formats, formats::measure),
        (Part::Deleted, deleted::measure),
        (Part::Write, write::measure),
    ] {
        if part.is_none_or(|part| part == this) {
            sections.push(measure(&program, runs)?);
        }
    }
    if json {
        println!("{}", figures::json(&sections)?);
        return Ok(());
    }
    println!("load of this machine: {}", std::fs::read_to_string("/proc/loadavg")?.trim());
    for section in &sections {
        println!("\n{}\n{}\n\n{}", section.title, section.conditions, figures::table(&section.figures));
    }
    Ok(())
}

/// How many seconds a command takes.
fn timed(command: &mut Command) -> Result<f64> {
    let since = Instant::now();
    run(command)?;
    Ok(since.elapsed().as_secs_f64())
}
