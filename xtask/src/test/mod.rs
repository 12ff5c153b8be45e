//! `cargo xtask test`: every test there is, in the order from fast to long.

mod crates;
mod ext;
mod fuzz;
mod golden;
mod guest;
mod hostile;
mod journal;
mod recovery;
mod report;
mod stage;

pub use hostile::make_all as make_hostile;

use std::path::PathBuf;

use anyhow::Result;

use crate::packages::{self, Purpose};
use crate::{check, picture, workspace};

use report::{Clock, Report};
use stage::Stage;

/// A kind of tests that run the program as users do.
struct Tier {
    name: &'static str,
    needs_root: bool,
    run: fn(&mut Report, &Stage),
}

/// All of them. A new one has its line here.
const TIERS: [Tier; 7] = [
    Tier { name: "the golden guest", needs_root: false, run: golden::run },
    Tier { name: "walks of what mke2fs -d made", needs_root: false, run: ext::run },
    Tier { name: "hostile images", needs_root: false, run: hostile::run },
    Tier { name: "walks of ext2, ext3 and ext4 against the kernel's mounts", needs_root: true, run: ext::run_as_root },
    Tier { name: "journals that need recovery, against the kernel's", needs_root: true, run: journal::run },
    Tier { name: "deleted files, against other tools and the true content", needs_root: true, run: recovery::run },
    Tier { name: "walks of a whole Debian against the kernel's mount", needs_root: true, run: guest::run },
];

/// Runs everything; with `only`, the steps whose names contain it.
pub fn run(long: bool, program: Option<PathBuf>, only: Option<String>) -> Result<()> {
    let all = Clock::start();
    packages::ensure(Purpose::Test)?;
    if long {
        packages::ensure(Purpose::Fuzz)?;
        fuzz::install()?;
    }
    println!("set up ({all})");
    let mut report = Report::new(only);
    for (name, step) in check::STEPS {
        report.step(name, step);
    }
    crates::run(&mut report);

    if !report.wants_no_more_than(crates::START) && !report.wants_no_more_than("check: ") {
        let mut built = program;
        report.needed_step("imgmount as users run it: built", || {
            built = Some(built.take().map_or_else(workspace::release, Ok)?);
            Ok(())
        });
        if let Some(program) = built {
            report.step("README's picture of a session", || picture::check(&program));
            run_tiers(&mut report, &Stage::new(&program, long)?);
        }
    }
    if long {
        crates::many_sequences(&mut report);
        report.root_steps("fuzz targets, each for a short time", fuzz::run);
    } else {
        println!("not asked for: --long, the fuzz targets and the whole Debian in every image format");
    }
    println!("all of it took {all}");
    report.finish()
}

fn run_tiers(report: &mut Report, stage: &Stage) {
    for Tier { name, needs_root, run } in TIERS {
        if needs_root {
            report.root_steps(name, |report| run(report, stage));
        } else {
            run(report, stage);
        }
    }
}
