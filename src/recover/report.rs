//! The report of a recovery: what was found, what was written where, with its SHA-256, and what was not, and why.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use images::{Error, Result};
use serde::Serialize;

use super::destination::Destination;
use crate::deleted::{Bytes, Lost, Record};
use crate::terminal;

/// How many names are tried: a directory with more reports is not what was meant.
const MOST_REPORTS: u32 = 10_000;

/// What became of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All of it was written, and is proved to be its own.
    Recovered,
    /// All of it was written, from where it most likely was; nothing proves that it is its own.
    Unproven,
    /// What is left of it was written.
    Partial,
    /// It was not tried, and why.
    Skipped,
    /// It was tried in vain.
    Failed,
}

/// One file in the report.
#[derive(Serialize)]
pub struct Item<'a> {
    /// What became of it.
    pub outcome: Outcome,
    /// Where it was written, relative to the directory of the report.
    pub output: Option<Bytes>,
    /// Of the content of a file, as it was written.
    pub sha256: Option<String>,
    /// Why it was not written.
    pub why: Option<String>,
    /// What is not there in the file that was written.
    pub missing: Vec<Lost>,
    /// Attributes that could not be given back, and why.
    pub attributes_not_set: Vec<String>,
    /// What is known of it.
    pub found: Record<'a>,
}

/// How many files there were of each outcome.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Totals {
    /// Written whole, and proved to be right.
    pub recovered: u64,
    /// Written, and proved by nothing.
    pub unproven: u64,
    /// Written in part.
    pub partial: u64,
    /// Not tried.
    pub skipped: u64,
    /// Tried in vain.
    pub failed: u64,
    /// The bytes that were written.
    pub bytes: u64,
}

/// A report, written while the files are.
pub struct Report {
    /// The name of its file.
    pub name: String,
    out: BufWriter<File>,
    empty: bool,
    /// What it holds so far.
    pub totals: Totals,
}

impl Report {
    /// Begins a report in a new file: `report.json`, or with a number where that is taken.
    pub fn begin(destination: &Destination, images: &[&Path]) -> Result<Self> {
        let (root, _) = destination.directory(&[]).map_err(failed)?;
        let mut number = 1;
        let (name, file) = loop {
            let name = if number == 1 { "report.json".to_owned() } else { format!("report-{number}.json") };
            match destination.file(&root, name.as_bytes()) {
                Ok(file) => break (name, file),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < MOST_REPORTS => number += 1,
                Err(error) => return Err(failed(error)),
            }
        };
        let mut report = Self { name, out: BufWriter::new(file), empty: true, totals: Totals::default() };
        let images: Vec<_> = images.iter().map(|path| path.display().to_string()).collect();
        report.write(b"{\"program\":")?;
        report.json(&concat!("imgmount ", env!("CARGO_PKG_VERSION")))?;
        report.write(b",\"images\":")?;
        report.json(&images)?;
        report.write(b",\"files\":[")?;
        Ok(report)
    }

    /// Adds a file.
    pub fn add(&mut self, item: &Item<'_>) -> Result<()> {
        let count = match item.outcome {
            Outcome::Recovered => &mut self.totals.recovered,
            Outcome::Unproven => &mut self.totals.unproven,
            Outcome::Partial => &mut self.totals.partial,
            Outcome::Skipped => &mut self.totals.skipped,
            Outcome::Failed => &mut self.totals.failed,
        };
        *count += 1;
        self.write(if self.empty { b"\n" } else { b",\n" })?;
        self.empty = false;
        self.json(item)
    }

    /// Ends the report.
    pub fn finish(mut self) -> Result<Totals> {
        let totals = self.totals;
        self.write(b"\n],\"totals\":")?;
        self.json(&totals)?;
        self.write(b"}\n")?;
        self.out.flush().map_err(failed)?;
        self.out.get_ref().sync_all().map_err(failed)?;
        Ok(totals)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(failed)
    }

    fn json(&mut self, value: &impl Serialize) -> Result<()> {
        // Somebody will show it on a terminal.
        self.write(terminal::json(value)?.as_bytes())
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::io("cannot write the report", error)
}
