//! How fast an encrypted volume is read in order: `unlock_speed VOLUME SECRET` prints MB/s for reads of three sizes, those
//! of the fastest stretch: what else the machine does is not measured.
//!
//! A volume to measure: `cryptsetup luksFormat` of a file, which needs no kernel; what it holds does not matter.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for ourselves")]

use std::sync::Arc;
use std::time::Instant;

use images::Disk;
use images::crypt::{Sealed, recognise};
use images::disk::Memory;

/// How much is read between two looks at the clock, in bytes, and how often.
const STRETCH: u64 = 2 << 20;
const STRETCHES: usize = 400;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (path, secret) = (arguments.next().expect("VOLUME"), arguments.next().expect("SECRET"));
    // In memory, so that only the cipher is measured.
    let disk: Arc<dyn Disk> = Arc::new(Memory::new(path.clone(), std::fs::read(path).unwrap()));
    let container = recognise(&*disk).unwrap().expect("an encrypted volume");
    let sealed = Sealed { disk, header: None, name: "inside".to_owned() };
    let inside = (container.unlock)(&sealed, secret.as_bytes()).unwrap().expect("the right secret");
    for len in [4096, 131_072, 1 << 20] {
        let (mut buf, mut best) = (vec![0; len], 0f64);
        for stretch in (0..inside.size() / STRETCH).cycle().take(STRETCHES) {
            let since = Instant::now();
            for at in (stretch * STRETCH..(stretch + 1) * STRETCH).step_by(len) {
                inside.read_at(&mut buf, at).unwrap();
            }
            best = best.max(STRETCH as f64 / since.elapsed().as_secs_f64() / 1e6);
        }
        println!("reads of {len} bytes: {best:.0} MB/s");
    }
}
