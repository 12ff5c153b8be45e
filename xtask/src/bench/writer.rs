//! The writer of the benchmark: works on a mounted tree, each of which ends when it is durable.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use crate::specimen::Noise;

const BLOCK: u64 = 4096;
/// The size of the file that is written in order, in bytes.
pub const SEQUENTIAL: u64 = 300 << 20;
const CREATES: u32 = 1000;
const OVERWRITES: u32 = 1000;

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Work {
    /// A file of 300 MiB in order, with one fsync.
    Sequential,
    /// 1,000 files of 4 KiB, with an fsync of each.
    Creates,
    /// 1,000 overwrites of 4 KiB in the file of 300 MiB, with an fdatasync of each.
    Overwrites,
}

impl Work {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().expect("none is skipped").get_name().to_owned()
    }
}

/// Does it in a directory, and prints the seconds that it took.
pub fn run(directory: &Path, work: Work) -> Result<()> {
    let large = directory.join("large");
    let since = Instant::now();
    match work {
        Work::Sequential => {
            let file = File::create(&large)?;
            let piece: Vec<u8> = (0..1u32 << 20).map(|at| (at % 251) as u8).collect();
            for at in (0..SEQUENTIAL).step_by(piece.len()) {
                file.write_all_at(&piece, at)?;
            }
            file.sync_all()?;
        }
        Work::Creates => {
            let directory = directory.join("creates");
            fs::create_dir(&directory)?;
            for number in 0..CREATES {
                let file = File::create(directory.join(number.to_string()))?;
                file.write_all_at(&[1; BLOCK as usize], 0)?;
                file.sync_all()?;
            }
        }
        Work::Overwrites => {
            let file = fs::OpenOptions::new().write(true).open(&large)?;
            ensure!(file.metadata()?.len() == SEQUENTIAL, "{} comes first", large.display());
            let mut noise = Noise::new(7);
            for _ in 0..OVERWRITES {
                file.write_all_at(&[2; BLOCK as usize], noise.next() % (SEQUENTIAL / BLOCK) * BLOCK)?;
                file.sync_data()?;
            }
        }
    }
    println!("{}", since.elapsed().as_secs_f64());
    Ok(())
}
