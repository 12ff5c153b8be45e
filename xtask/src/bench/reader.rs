//! The reader of the benchmark: one file from start to end, or 4 KiB at seeded places.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::specimen::Noise;

const BLOCK: u64 = 4096;
const READS: u32 = 10_000;

/// Reads and prints the seconds that it took.
pub fn run(path: &Path, random: bool) -> Result<()> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let since = Instant::now();
    if random {
        ensure!(size >= BLOCK, "{} is too small", path.display());
        let mut noise = Noise::new(6);
        let mut block = [0; BLOCK as usize];
        // The kernel would read ahead of what it takes for a pattern; nobody wants that here.
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random)?;
        for _ in 0..READS {
            file.read_exact_at(&mut block, noise.next() % (size / BLOCK) * BLOCK)?;
        }
    } else {
        let mut buffer = vec![0; 1 << 20];
        let mut total = 0;
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => total += read as u64,
            }
        }
        ensure!(total == size, "{total} bytes could be read, the size is {size}");
    }
    println!("{}", since.elapsed().as_secs_f64());
    Ok(())
}
