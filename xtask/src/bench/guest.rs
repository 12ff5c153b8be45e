//! A whole Debian: imgmount and the kernel's own loop mount of the same file system, in turns, medians.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::command::{read, run};
use crate::guest::{BIG_FILE, BIG_SIZE, Guest, QCOW2, RAW};
use crate::mount::{Bind, GuestMount, KernelMount, User};
use crate::workspace;

use super::figures::{Figure, Goal, Section, median};
use super::timed;
use super::zeros::{self, Zeros};

/// What every figure is measured under.
const CONDITIONS: &str = "\
The image files are in the host's page cache on both sides. Every single run has a mount of its own, so that each side starts
with empty caches of names, attributes and data. The kernel's side is a loop mount of the raw image, as root; ours is
`imgmount -i` of the qcow2 image as an ordinary user (uid 65534). The sides take turns; figures are medians.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Kernel,
    Qcow2,
    Raw,
    /// The FUSE server that answers zeros.
    Zeros,
}

/// What the server may have in memory, in bytes.
const MEMORY: f64 = 48.0 * 1_048_576.0;

struct Bench {
    guest: Guest,
    place: Bind,
    directory: TempDir,
    program: PathBuf,
    walker: PathBuf,
    zeros: PathBuf,
    runs: u32,
}

/// Measures everything.
pub fn measure(program: &Path, runs: u32) -> Result<Section> {
    let figures = Bench::new(program, runs)?.all()?;
    Ok(Section { title: "A Debian of 31,000 files", conditions: CONDITIONS, figures })
}

impl Bench {
    fn new(program: &Path, runs: u32) -> Result<Self> {
        let guest = Guest::get(&workspace::target())?;
        for variant in [RAW, QCOW2] {
            let path = guest.directory().join(guest.image(variant)?);
            io::copy(&mut fs::File::open(&path)?, &mut io::sink()).with_context(|| path.display().to_string())?;
        }
        let place = Bind::new(guest.directory())?;
        // Where an ordinary user can run them, too.
        let directory = TempDir::with_prefix("imgmount-bench-")?;
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
        let copy = |from: &Path, name: &str| -> Result<PathBuf> {
            let to = directory.path().join(name);
            fs::copy(from, &to)?;
            Ok(to)
        };
        let (program, walker) = (copy(program, "imgmount")?, copy(&std::env::current_exe()?, "xtask")?);
        let zeros = zeros::build(directory.path())?;
        Ok(Self { guest, place, directory, program, walker, zeros, runs })
    }

    fn all(&self) -> Result<Vec<Figure>> {
        let mut figures = Vec::new();
        let [kernel, ours] = self.turns([Side::Kernel, Side::Qcow2], |side| self.first_list(side))?;
        figures.push(Figure::time("mount -i until the first ls", ours, Some(kernel), Goal::AtMost(0.050)));
        let find = |path: &Path, user: User| timed(user.command("find").arg(path).args(["-printf", "%s\n"]));
        figures.push(self.compared("find -printf %s of everything", 3.0, find)?);
        let tar = |path: &Path, user: User| {
            timed(user.command("sh").args(["-c", "tar -cf - -C \"$1\" usr | cat >/dev/null", "sh"]).arg(path))
        };
        figures.push(self.compared("tar of /usr", 2.0, tar)?);

        let sequential = |path: &Path, user: User| self.reader(&path.join(BIG_FILE), user, false);
        let sides = [Side::Kernel, Side::Zeros, Side::Qcow2, Side::Raw];
        let [kernel, zeros, ours, raw] = self.turns(sides, |side| match side {
            Side::Zeros => self.reader(&Zeros::mount(&self.zeros, BIG_SIZE)?.file(), User::Nobody, false),
            side => self.mounted(side, sequential),
        })?;
        let speed = |seconds: f64| BIG_SIZE as f64 / seconds;
        figures.push(Figure::speed(
            "300 MiB file, sequential",
            speed(ours),
            speed(kernel),
            Goal::SpeedAtLeast(1_073_741_824.0),
        ));
        figures.push(Figure::speed(
            "300 MiB file, against the kernel",
            speed(ours),
            speed(kernel),
            Goal::RatioAtLeast(0.5),
        ));
        figures.push(Figure::speed(
            "300 MiB file, qcow2 against our raw",
            speed(ours),
            speed(raw),
            Goal::RatioAtLeast(0.8),
        ));
        figures.push(Figure::speed(
            "300 MiB file, against a FUSE server of zeros",
            speed(ours),
            speed(zeros),
            Goal::RatioAtLeast(1.0 / 1.3),
        ));
        let random = |path: &Path, user: User| self.reader(&path.join(BIG_FILE), user, true);
        figures.push(self.compared("random reads of 4 KiB", 3.0, random)?);
        let (resident, peak) = self.memory()?;
        figures.push(Figure::memory("resident after reading everything", resident, MEMORY));
        figures.push(Figure::memory("resident, the peak", peak, MEMORY));
        Ok(figures)
    }

    /// The same work on both sides; ours may take `limit` times as long.
    fn compared(&self, what: &'static str, limit: f64, work: impl Fn(&Path, User) -> Result<f64>) -> Result<Figure> {
        let [kernel, ours] = self.turns([Side::Kernel, Side::Qcow2], |side| self.mounted(side, &work))?;
        Ok(Figure::time(what, ours, Some(kernel), Goal::RatioAtMost(limit)))
    }

    /// Lets the sides take turns and returns their medians.
    fn turns<const N: usize>(&self, sides: [Side; N], work: impl Fn(Side) -> Result<f64>) -> Result<[f64; N]> {
        let mut times = [const { Vec::new() }; N];
        for _ in 0..self.runs {
            for (side, times) in sides.iter().zip(&mut times) {
                times.push(work(*side)?);
            }
        }
        Ok(times.map(median))
    }

    fn mounted(&self, side: Side, work: impl Fn(&Path, User) -> Result<f64>) -> Result<f64> {
        if side == Side::Kernel {
            let mount = self.guest.kernel_mount()?;
            let seconds = work(mount.path(), User::Myself)?;
            mount.unmount()?;
            return Ok(seconds);
        }
        let mount = self.mount(side)?;
        let seconds = work(&mount.path(), User::Nobody)?;
        mount.unmount()?;
        Ok(seconds)
    }

    fn mount(&self, side: Side) -> Result<GuestMount> {
        let variant = if side == Side::Raw { RAW } else { QCOW2 };
        let image = self.place.path().join(self.guest.image(variant)?).display().to_string();
        GuestMount::new(&self.program, User::Nobody, &["-a".to_owned(), image, "-i".to_owned()])
    }

    fn first_list(&self, side: Side) -> Result<f64> {
        let since = Instant::now();
        if side == Side::Kernel {
            let mount: KernelMount = self.guest.kernel_mount()?;
            run(User::Myself.command("ls").arg(mount.path()))?;
            let seconds = since.elapsed().as_secs_f64();
            mount.unmount()?;
            return Ok(seconds);
        }
        let mount = self.mount(side)?;
        run(User::Nobody.command("ls").arg(mount.path()))?;
        let seconds = since.elapsed().as_secs_f64();
        mount.unmount()?;
        Ok(seconds)
    }

    /// Reads a file in a process of `user`, which says how long it took.
    fn reader(&self, path: &Path, user: User, random: bool) -> Result<f64> {
        let mut command = user.command(&self.walker);
        command.arg("read").arg(path).args(random.then_some("--random"));
        Ok(read(&mut command)?.trim().parse()?)
    }

    /// The server's memory in bytes after everything was read once: now, and at its peak.
    fn memory(&self) -> Result<(f64, f64)> {
        let mount = self.mount(Side::Qcow2)?;
        run(User::Nobody
            .command("sh")
            .args(["-c", "tar -cf - -C \"$1\" . 2>/dev/null | cat >/dev/null", "sh"])
            .arg(mount.path()))?;
        let status = fs::read_to_string(format!("/proc/{}/status", mount.server))?;
        mount.unmount()?;
        let field = |name: &str| -> Result<f64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
            Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? * 1024.0)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.directory.path());
    }
}
