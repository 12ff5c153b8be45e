//! How fast images are read: `read_speed IMAGE...` prints MiB/s in order and microseconds at random, for each.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for ourselves")]

use std::path::Path;
use std::time::Instant;

use images::{Disk, Options};

/// Runs of each figure; the median counts.
const RUNS: usize = 5;
const BLOCK: u64 = 4096;
/// Reads at random places.
const READS: u64 = 100_000;

fn median(mut run: impl FnMut() -> f64) -> f64 {
    let mut figures: Vec<f64> = (0..RUNS).map(|_| run()).collect();
    figures.sort_by(f64::total_cmp);
    figures[RUNS / 2]
}

fn in_order(disk: &dyn Disk, len: usize) -> f64 {
    let (since, mut buf, mut at) = (Instant::now(), vec![0; len], 0);
    while at + len as u64 <= disk.size() {
        disk.read_at(&mut buf, at).unwrap();
        at += len as u64;
    }
    at as f64 / since.elapsed().as_secs_f64() / (1 << 20) as f64
}

fn at_random(disk: &dyn Disk) -> f64 {
    let (since, mut buf, mut state) = (Instant::now(), [0; BLOCK as usize], 1u64);
    for _ in 0..READS {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        disk.read_at(&mut buf, (state >> 20) % (disk.size() / BLOCK) * BLOCK).unwrap();
    }
    since.elapsed().as_secs_f64() * 1e6 / READS as f64
}

fn main() {
    println!("{:>10} {:>12} {:>10}", "4 KiB", "128 KiB", "random");
    println!("{:>10} {:>12} {:>10}", "MiB/s", "MiB/s", "µs");
    for path in std::env::args().skip(1) {
        let disk = images::open(Path::new(&path), &Options::default()).unwrap();
        let (small, large) = (median(|| in_order(&*disk, 4096)), median(|| in_order(&*disk, 128 << 10)));
        println!("{small:>10.0} {large:>12.0} {:>10.2}  {path}", median(|| at_random(&*disk)));
    }
}
