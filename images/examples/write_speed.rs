//! How fast an image is written: `cargo run --release -p images --example write_speed -- IMAGE MIB`.
//!
//! In order, in pieces of 1 MiB, with one flush; then 4 KiB at a time anywhere in that, with one flush.

#![expect(clippy::print_stdout, reason = "it is what this program is for")]

use std::path::PathBuf;
use std::time::Instant;

use images::{Access, Options, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let usage = || images::Error::Usage("IMAGE MIB".into());
    let image = PathBuf::from(arguments.next().ok_or_else(usage)?);
    let size = arguments.next().and_then(|mib| mib.to_str()?.parse::<u64>().ok()).ok_or_else(usage)? << 20;
    let disk = images::open(&image, &Options { access: Access::ReadWrite, ..Options::default() })?;
    let writer = disk.writer(0..size)?;
    let piece: Vec<u8> = (0..1u32 << 20).map(|at| (at * 7 / 3) as u8).collect();
    for what in ["new", "again"] {
        let start = Instant::now();
        for at in (0..size).step_by(piece.len()) {
            writer.write_at(&piece, at)?;
        }
        let written = start.elapsed();
        writer.flush()?;
        let mib = |time: std::time::Duration| (size >> 20) as f64 / time.as_secs_f64();
        println!("in order, {what}: {:.0} MiB/s, {:.0} with a flush", mib(written), mib(start.elapsed()));
    }
    let start = Instant::now();
    let (mut state, count) = (1u64, 50_000);
    for _ in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        writer.write_at(&piece[..4096], (state >> 16) % (size / 4096) * 4096)?;
    }
    let written = start.elapsed();
    writer.flush()?;
    let each = |time: std::time::Duration| time.as_secs_f64() / f64::from(count) * 1e6;
    println!("4 KiB anywhere: {:.2} us each, {:.2} with a flush", each(written), each(start.elapsed()));
    Ok(())
}
