//! Deleted files: how long the search takes, what it needs, and how fast they come back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::command::{any_output, command, run};
use crate::mount::KernelMount;
use crate::specimen;
use crate::workspace;

use super::figures::{Figure, Goal, Section, median};
use super::timed;

const CONDITIONS: &str = "\
An ext4 of 4 GiB with 100,000 inodes and a journal of 128 MiB, made by the kernel: 60,000 small files of which every third was
deleted, and 64 files of 5 MiB, all deleted. It is in the host's page cache. `recover` writes the large ones, with their
SHA-256, to the file system of the build; `cp --reflink=never` copies what came back to the same one.";

const MIB: u64 = 1 << 20;
const SIZE: u64 = 4096 * MIB;
const DIRECTORIES: u32 = 600;
const FILES: u32 = 100;
const LARGE: u32 = 64;
const LARGE_SIZE: u64 = 5 * MIB;
/// What the search may have in memory, in bytes.
const MEMORY: f64 = 64.0 * 1_048_576.0;

pub fn measure(program: &Path, runs: u32) -> Result<Section> {
    let image = image()?;
    std::io::copy(&mut File::open(&image)?, &mut std::io::sink())?;
    let out = tempfile::Builder::new().prefix("bench-recover-").tempdir_in(workspace::target())?;
    let (mut search, mut memory, mut recovering, mut copying) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for number in 0..runs {
        let (seconds, peak, lines) = list(program, &image)?;
        let wanted = usize::try_from(DIRECTORIES * FILES / 3 + LARGE)?;
        ensure!(lines >= wanted, "{lines} deleted files were found of {wanted}");
        search.push(seconds);
        memory.push(peak);
        let (to, copy) = (out.path().join(format!("to-{number}")), out.path().join(format!("copy-{number}")));
        let mut recover = command(program, ["recover", "--min-size=1M", "-a"]);
        // The search comes first, and is measured above.
        recovering.push((timed(recover.arg(&image).arg("--to").arg(&to))? - seconds).max(0.001));
        let back = bytes_below(&to)?;
        ensure!(back >= u64::from(LARGE) * LARGE_SIZE, "only {back} bytes came back");
        copying.push(timed(command("cp", ["-r", "--reflink=never"]).arg(&to).arg(&copy))?);
        fs::remove_dir_all(&to)?;
        fs::remove_dir_all(&copy)?;
    }
    let bytes = (u64::from(LARGE) * LARGE_SIZE) as f64;
    let figures = vec![
        Figure::time("imgmount deleted, 20,064 found", median(search), None, Goal::AtMost(3.0)),
        Figure::memory("its memory, the peak", median(memory), MEMORY),
        Figure::speed(
            "imgmount recover of 320 MiB once they are found, against cp",
            bytes / median(recovering),
            bytes / median(copying),
            Goal::RatioAtLeast(0.5),
        ),
    ];
    Ok(Section { title: "Deleted files", conditions: CONDITIONS, figures })
}

/// Lists what is deleted: seconds, the peak of memory in bytes, and how many lines.
fn list(program: &Path, image: &Path) -> Result<(f64, f64, usize)> {
    let mut measured = command("time", ["-f", "%e %M"]);
    let output = any_output(measured.arg(program).args(["deleted", "-a"]).arg(image))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "imgmount deleted: {said}");
    let (seconds, kib) =
        said.trim().rsplit('\n').next().and_then(|line| line.split_once(' ')).context("time said nothing")?;
    let lines = output.stdout.split(|byte| *byte == b'\n').count();
    Ok((seconds.parse()?, kib.parse::<f64>()? * 1024.0, lines))
}

fn bytes_below(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// The image, made if it is not there.
fn image() -> Result<PathBuf> {
    let directory = workspace::target().join("bench");
    let image = directory.join("deleted-1.img");
    if image.exists() {
        return Ok(image);
    }
    println!("making {} (kept for the next time)", image.display());
    fs::create_dir_all(&directory)?;
    let unfinished = directory.join("unfinished.img");
    File::create(&unfinished)?.set_len(SIZE)?;
    run(command("mke2fs", ["-q", "-F", "-t", "ext4", "-J", "size=128", "-N", "100000"]).arg(&unfinished))?;
    let mount = KernelMount::new(&unfinished, None, "rw")?;
    fill(mount.path())?;
    mount.unmount()?;
    fs::rename(&unfinished, &image)?;
    Ok(image)
}

fn fill(root: &Path) -> Result<()> {
    let small = |directory: u32, file: u32| root.join(format!("small/{directory:03}/file-{file:03}.txt"));
    for directory in 0..DIRECTORIES {
        fs::create_dir_all(root.join(format!("small/{directory:03}")))?;
        for file in 0..FILES {
            fs::write(small(directory, file), format!("{directory} {file}\n"))?;
        }
    }
    fs::create_dir(root.join("large"))?;
    let large = |number: u32| root.join(format!("large/{number:02}.bin"));
    for number in 0..LARGE {
        specimen::noise_file(&large(number), number.into(), LARGE_SIZE)?;
    }
    // What was never written leaves nothing behind.
    run(command("sync", ["-f"]).arg(root))?;
    for number in (0..DIRECTORIES * FILES).filter(|number| number % 3 == 0) {
        fs::remove_file(small(number / FILES, number % FILES))?;
    }
    for number in 0..LARGE {
        fs::remove_file(large(number))?;
    }
    Ok(())
}
