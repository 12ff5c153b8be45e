//! Everything that needs root or outside tools: the demo, the test set-up, golden images, the walk, benchmarks.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![allow(missing_docs, reason = "a program for ourselves: names say what a field is")]

mod bench;
mod bitlocker;
mod check;
mod command;
mod demo;
mod fuse;
mod golden;
mod guest;
mod hostile;
mod interrupt;
mod mount;
mod packages;
mod picture;
mod specimen;
mod test;
mod walk;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;

use packages::Purpose;

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "The work on imgmount that needs root or outside tools")]
enum Task {
    /// Install the Debian packages that a purpose needs, or name the one apt line that does; fetch what tests need
    Setup {
        /// What for: demo, test, bench, fuzz (the seeds of the fuzz targets) or golden; all of it if not given
        purpose: Option<Purpose>,
        /// Only print the table
        #[arg(long)]
        list: bool,
    },
    /// Mount the small guest that this repository ships, as the current user, and look around
    Demo,
    /// Draw the terminal session that README.md shows, docs/session.svg, with the guest that this repository ships
    Picture,
    /// Check formatting, lints and documentation
    Check,
    /// Run every test, with the time of each step; what did not run is named in the end, and in CI that is a failure
    Test {
        /// The whole Debian in every image format, not only in a few, and the fuzz targets
        #[arg(long)]
        long: bool,
        /// Test this program instead of building it
        #[arg(long)]
        program: Option<PathBuf>,
        /// Only the steps whose names contain this
        only: Option<String>,
    },
    /// Make golden images anew, with the script beside them
    Golden {
        /// Their folder, for example tests/golden/demo
        folder: PathBuf,
        /// What the script is told
        arguments: Vec<String>,
    },
    /// Measure imgmount beside the kernel's own mount, qemu-img and cp (root)
    Bench {
        /// Only this part
        part: Option<bench::Part>,
        /// Runs of each figure; the median counts
        #[arg(long, default_value_t = 5)]
        runs: u32,
        #[arg(long)]
        json: bool,
        /// Measure this program instead of building it
        #[arg(long)]
        program: Option<PathBuf>,
    },
    /// Read a file and print how many seconds it took
    #[command(hide = true)]
    Read {
        file: PathBuf,
        #[arg(long)]
        random: bool,
    },
    /// Write into a directory and print how many seconds it took
    #[command(hide = true)]
    Write { directory: PathBuf, work: bench::writer::Work },
    /// Make the big guest that tests and benchmarks use, if it is not there yet
    Guest {
        /// In every form
        #[arg(long)]
        all: bool,
    },
    /// Make the images that claim more than they hold, which `test` runs every command on
    Hostile {
        /// Where they go
        directory: PathBuf,
        /// Only those whose names contain this
        only: Option<String>,
    },
    /// Write down everything that a directory tree says of itself, as JSON
    Manifest {
        directory: PathBuf,
        /// Also find the holes of every file, and read them
        #[arg(long)]
        extents: bool,
    },
    /// Compare two trees path for path: directories, or manifests of them
    Walk {
        /// What it should be
        wanted: PathBuf,
        /// What it is
        seen: PathBuf,
        /// Also compare which parts of files are data
        #[arg(long)]
        extents: bool,
        /// Fields that may differ
        #[arg(long, value_delimiter = ',')]
        ignore: Vec<walk::Field>,
    },
}

fn main() -> ExitCode {
    let result = run(Task::parse());
    packages::close_toolbox();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    interrupt::listen()?;
    match task {
        Task::Setup { list: true, .. } => packages::list(),
        Task::Setup { purpose: Some(purpose), .. } => packages::ensure(purpose)?,
        Task::Setup { purpose: None, .. } => {
            for purpose in Purpose::ALL {
                packages::ensure(purpose)?;
            }
        }
        Task::Demo => demo::run()?,
        Task::Picture => picture::make()?,
        Task::Check => check::run_all()?,
        Task::Test { long, program, only } => test::run(long, program, only)?,
        Task::Golden { folder, arguments } => golden::make(&folder, &arguments)?,
        Task::Bench { part, runs, json, program } => bench::run_all(part, runs, program, json)?,
        Task::Read { file, random } => bench::reader::run(&file, random)?,
        Task::Write { directory, work } => bench::writer::run(&directory, work)?,
        Task::Guest { all } => {
            packages::ensure(Purpose::Bench)?;
            let guest = guest::Guest::get(&workspace::target())?;
            for variant in guest::VARIANTS.iter().filter(|variant| all || variant.short) {
                println!("{}", guest.directory().join(guest.image(*variant)?).display());
            }
        }
        Task::Hostile { directory, only } => test::make_hostile(&directory, only.as_deref().unwrap_or_default())?,
        Task::Manifest { directory, extents } => {
            let manifest = walk::Manifest::of(&directory, extents)?;
            serde_json::to_writer(std::io::stdout().lock(), &manifest)?;
        }
        Task::Walk { wanted, seen, extents, ignore } => {
            let (wanted, seen) = (walk::load(&wanted, extents)?, walk::load(&seen, extents)?);
            let differences = walk::compare(&wanted, &seen, &ignore);
            for difference in &differences {
                println!("{difference}");
            }
            if !differences.is_empty() {
                bail!("{} differences in {} paths", differences.len(), wanted.entries.len());
            }
            println!("equal: {} paths", wanted.entries.len());
        }
    }
    Ok(())
}
