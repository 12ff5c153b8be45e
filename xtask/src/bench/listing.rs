//! `ls -l` of a large directory: the attributes of every file, and what `ls` asks beside them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::command::{command, run};
use crate::mount::{GuestMount, KernelMount, User};
use crate::workspace;

use super::figures::{Figure, Goal, Section, median};
use super::timed;

const CONDITIONS: &str = "\
An ext4 with one directory of 20,000 small files, in the host's page cache; every run has a mount of its own, ours as an
ordinary user. `ls -l` also asks of every file whether it has an SELinux label and an ACL. In the first image no file has
any; in the second one file has both.";

const FILES: u32 = 20_000;
const SIZE: u64 = 128 << 20;

pub fn measure(program: &Path, runs: u32) -> Result<Section> {
    let directory = tempfile::Builder::new().prefix("imgmount-bench-").tempdir()?;
    fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let copy = directory.path().join("imgmount");
    fs::copy(program, &copy)?;
    let mut figures = Vec::new();
    for (what, marked) in [("ls -l of 20,000 files", false), ("ls -l, one file with label and ACL", true)] {
        let image = directory.path().join("listing.img");
        fs::copy(self::image(marked)?, &image)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            io::copy(&mut File::open(&image)?, &mut io::sink())?;
            let mount = KernelMount::new(&image, None, "ro,noload")?;
            theirs.push(list(mount.path(), User::Myself)?);
            mount.unmount()?;
            let arguments = ["-a".into(), image.display().to_string(), "-m".into(), "/dev/sda".into()];
            let mount = GuestMount::new(&copy, User::Nobody, &arguments)?;
            ours.push(list(&mount.path(), User::Nobody)?);
            mount.unmount()?;
        }
        figures.push(Figure::time(what, median(ours), Some(median(theirs)), Goal::RatioAtMost(2.5)));
    }
    Ok(Section { title: "A directory of 20,000 files", conditions: CONDITIONS, figures })
}

fn list(root: &Path, user: User) -> Result<f64> {
    timed(user.command("ls").arg("-l").arg(root.join("many")))
}

/// The image, made if it is not there.
fn image(marked: bool) -> Result<PathBuf> {
    let directory = workspace::target().join("bench");
    let image = directory.join(if marked { "listing-marked-1.img" } else { "listing-1.img" });
    if image.exists() {
        return Ok(image);
    }
    fs::create_dir_all(&directory)?;
    let unfinished = directory.join("unfinished.img");
    File::create(&unfinished)?.set_len(SIZE)?;
    run(command("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "4096", "-N", "32768"]).arg(&unfinished))?;
    let mount = KernelMount::new(&unfinished, None, "rw")?;
    let many = mount.path().join("many");
    fs::create_dir(&many)?;
    for number in 0..FILES {
        let text = if number % 16 == 0 { format!("{number}\n") } else { String::new() };
        fs::write(many.join(format!("entry-{number:06}-of-many")), text)?;
    }
    if marked {
        let other = mount.path().join("other");
        fs::write(&other, "")?;
        run(command("setfattr", ["-n", "security.selinux", "-v", "system_u:object_r:etc_t:s0"]).arg(&other))?;
        run(command("setfacl", ["-m", "u:1000:r"]).arg(&other))?;
    }
    mount.unmount()?;
    fs::rename(&unfinished, &image)?;
    Ok(image)
}
