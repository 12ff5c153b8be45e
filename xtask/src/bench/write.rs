//! Writing: an ext4 image beside the kernel's own loop mount of the same image.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::command::{command, read, run};
use crate::mount::{GuestMount, KernelMount, User};
use crate::workspace;

use super::figures::{Figure, Goal, Section, median};
use super::timed;
use super::writer::{SEQUENTIAL, Work};

const CONDITIONS: &str = "\
An empty ext4 of 2 GiB with a journal of 64 MiB, new for every run. The kernel's side is a loop mount of the raw image, as root;
ours is `imgmount --rw` as an ordinary user. Every figure ends when all is durable; the sides take turns, figures are medians.";

const SIZE: u64 = 2 << 30;
/// What is unpacked: as many files in as many directories.
const FILES: u32 = 20_000;
const DIRECTORIES: u32 = 200;
/// What the server may have in memory, in bytes.
const MEMORY: f64 = 128.0 * 1_048_576.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Kernel,
    Raw,
    Qcow2,
}

/// What one run took: seconds, and bytes of memory at its peak.
#[derive(Default)]
struct Times {
    untar: Vec<f64>,
    sequential: Vec<f64>,
    creates: Vec<f64>,
    overwrites: Vec<f64>,
    memory: Vec<f64>,
}

struct Bench {
    directory: TempDir,
    program: PathBuf,
    writer: PathBuf,
    archive: PathBuf,
}

/// Measures everything.
pub fn measure(program: &Path, runs: u32) -> Result<Section> {
    let bench = Bench::new(program)?;
    let [mut kernel, mut raw, mut qcow2] = [Times::default(), Times::default(), Times::default()];
    for _ in 0..runs {
        bench.side(Side::Kernel, &mut kernel)?;
        bench.side(Side::Raw, &mut raw)?;
        bench.side(Side::Qcow2, &mut qcow2)?;
    }
    let speed = |seconds: &[f64]| SEQUENTIAL as f64 / median(seconds.to_vec());
    let time = |what, ours: &[f64], other: &[f64], goal| {
        Figure::time(what, median(ours.to_vec()), Some(median(other.to_vec())), goal)
    };
    let figures = vec![
        time("untar of 20,000 small files", &raw.untar, &kernel.untar, Goal::RatioAtMost(2.5)),
        Figure::speed(
            "300 MiB in order, one fsync",
            speed(&raw.sequential),
            speed(&kernel.sequential),
            Goal::RatioAtLeast(0.6),
        ),
        time("1,000 creates, an fsync each", &raw.creates, &kernel.creates, Goal::RatioAtMost(2.0)),
        time("1,000 overwrites, an fdatasync each", &raw.overwrites, &kernel.overwrites, Goal::RatioAtMost(1.5)),
        time("untar, qcow2 beside raw", &qcow2.untar, &raw.untar, Goal::RatioAtMost(1.0 / 0.7)),
        Figure::speed(
            "300 MiB in order, qcow2 beside raw",
            speed(&qcow2.sequential),
            speed(&raw.sequential),
            Goal::RatioAtLeast(0.7),
        ),
        time("creates, qcow2 beside raw", &qcow2.creates, &raw.creates, Goal::RatioAtMost(1.0 / 0.7)),
        time("overwrites, qcow2 beside raw", &qcow2.overwrites, &raw.overwrites, Goal::RatioAtMost(1.0 / 0.7)),
        Figure::memory("resident after all of it", median(raw.memory), MEMORY),
    ];
    Ok(Section { title: "Writing to an ext4", conditions: CONDITIONS, figures })
}

impl Bench {
    fn new(program: &Path) -> Result<Self> {
        let place = workspace::target().join("bench");
        fs::create_dir_all(&place)?;
        let directory = tempfile::Builder::new().prefix("imgmount-bench-").tempdir()?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let copy = |from: &Path, name: &str| -> Result<PathBuf> {
            let to = directory.path().join(name);
            fs::copy(from, &to)?;
            Ok(to)
        };
        let (program, writer) = (copy(program, "imgmount")?, copy(&std::env::current_exe()?, "xtask")?);
        let archive = archive(directory.path())?;
        Ok(Self { directory, program, writer, archive })
    }

    fn side(&self, side: Side, times: &mut Times) -> Result<()> {
        let raw = self.directory.path().join("write.img");
        File::create(&raw)?.set_len(SIZE)?;
        run(command("mke2fs", ["-q", "-F", "-t", "ext4", "-J", "size=64", "-E", "lazy_itable_init=0"]).arg(&raw))?;
        if side == Side::Kernel {
            let mount = KernelMount::new(&raw, None, "rw")?;
            fs::set_permissions(mount.path(), fs::Permissions::from_mode(0o777))?;
            self.all(mount.path(), User::Nobody, times)?;
            return mount.unmount();
        }
        let image = match side {
            Side::Qcow2 => {
                let qcow2 = self.directory.path().join("write.qcow2");
                run(command("qemu-img", ["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(&qcow2))?;
                qcow2
            }
            _ => raw,
        };
        std::os::unix::fs::chown(&image, Some(toolbox::NOBODY), Some(toolbox::NOBODY))?;
        let arguments = ["--rw", "-a", &image.display().to_string(), "-m", "/dev/sda"].map(str::to_owned);
        let mount = GuestMount::new(&self.program, User::Nobody, &arguments)?;
        self.all(&mount.path(), User::Nobody, times)?;
        times.memory.push(resident(mount.server)?);
        mount.unmount()
    }

    /// All works on one mount, the one that must be first.
    fn all(&self, root: &Path, user: User, times: &mut Times) -> Result<()> {
        let mut unpack = user.command("sh");
        unpack.arg("-c").arg("tar --no-same-owner -xf \"$1\" -C \"$2\" && sync -f \"$2\"").arg("sh");
        times.untar.push(timed(unpack.arg(&self.archive).arg(root))?);
        for (work, to) in [
            (Work::Sequential, &mut times.sequential),
            (Work::Creates, &mut times.creates),
            (Work::Overwrites, &mut times.overwrites),
        ] {
            let mut command = user.command(&self.writer);
            let text = read(command.arg("write").arg(root).arg(work.name()))?;
            to.push(text.trim().parse().with_context(|| format!("the writer printed {text:?}"))?);
        }
        Ok(())
    }
}

/// An archive of many small files.
fn archive(directory: &Path) -> Result<PathBuf> {
    let (tree, archive) = (directory.join("tree"), directory.join("small.tar"));
    for number in 0..FILES {
        let place = tree.join(format!("directory-{:03}", number % DIRECTORIES));
        if number < DIRECTORIES {
            fs::create_dir_all(&place)?;
        }
        let size = number as usize * 7919 % 6000;
        fs::write(place.join(format!("a-small-file-{number:05}")), vec![b'x'; size])?;
    }
    run(command("tar", ["-cf"]).arg(&archive).arg("-C").arg(&tree).arg("."))?;
    fs::remove_dir_all(&tree)?;
    Ok(archive)
}

/// What a process has had in memory at its peak, in bytes.
fn resident(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes: f64 = line.and_then(|line| line.trim().strip_suffix(" kB")).context("no VmHWM")?.trim().parse()?;
    Ok(kibibytes * 1024.0)
}
