//! How fast an encrypted volume is read in order: `unlock_speed VOLUME SECRET` prints MiB/s for reads of three sizes.
//!
//! A volume to measure: `cryptsetup luksFormat` of a file, which needs no kernel; what it holds does not matter.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for ourselves")]

use std::sync::Arc;
use std::time::Instant;

use images::Disk;
use images::crypt::{Sealed, recognise};
use images::disk::Memory;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (path, secret) = (arguments.next().expect("VOLUME"), arguments.next().expect("SECRET"));
    // In memory, so that only the cipher is measured.
    let disk: Arc<dyn Disk> = Arc::new(Memory::new(path.clone(), std::fs::read(path).unwrap()));
    let container = recognise(&*disk).unwrap().expect("an encrypted volume");
    let sealed = Sealed { disk, header: None, name: "inside".to_owned() };
    let inside = (container.unlock)(&sealed, secret.as_bytes()).unwrap().expect("the right secret");
    for len in [4096, 131_072, 1 << 20] {
        let (since, mut buf, mut at) = (Instant::now(), vec![0; len], 0);
        while at + len as u64 <= inside.size() {
            inside.read_at(&mut buf, at).unwrap();
            at += len as u64;
        }
        println!("reads of {len} bytes: {:.0} MiB/s", at as f64 / since.elapsed().as_secs_f64() / f64::from(1 << 20));
    }
}
