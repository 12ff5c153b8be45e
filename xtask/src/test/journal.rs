//! File systems whose journal needs recovery, against the kernel's own recovery of a copy.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Result, ensure};
use rustix::fs::{XattrFlags, lsetxattr};

use super::report::Report;
use super::stage::{Stage, arguments, equal};
use crate::command::{command, read, run as run_command};
use crate::mount::KernelMount;
use crate::specimen::Noise;
use crate::walk::{Manifest, compare};

/// The first bytes of every block of a journal: a data block that starts with them must be escaped.
const JOURNAL_MAGIC: [u8; 4] = 0xc03b_3998_u32.to_be_bytes();

struct Case {
    name: &'static str,
    mke2fs: &'static [&'static str],
    mount: &'static str,
    /// Transactions before the crash; enough of them make a small log wrap.
    transactions: u32,
}

const CASES: &[Case] = &[
    Case { name: "ext3", mke2fs: &["-t", "ext3", "-b", "4096"], mount: "rw", transactions: 40 },
    Case { name: "ext4", mke2fs: &["-t", "ext4", "-b", "4096"], mount: "rw", transactions: 40 },
    Case { name: "1k", mke2fs: &["-t", "ext4", "-b", "1024"], mount: "rw", transactions: 40 },
    Case {
        name: "32bit-no-checksums",
        mke2fs: &["-t", "ext4", "-O", "^metadata_csum,^64bit"],
        mount: "rw",
        transactions: 40,
    },
    Case {
        name: "v1-checksums",
        mke2fs: &["-t", "ext4", "-O", "^metadata_csum"],
        mount: "rw,journal_checksum",
        transactions: 40,
    },
    Case {
        name: "async-commit",
        mke2fs: &["-t", "ext4"],
        mount: "rw,journal_async_commit,data=writeback",
        transactions: 40,
    },
    Case {
        name: "data-and-escapes",
        mke2fs: &["-t", "ext4", "-b", "4096"],
        mount: "rw,data=journal",
        transactions: 40,
    },
    Case {
        name: "fast-commits",
        mke2fs: &["-t", "ext4", "-b", "4096", "-O", "fast_commit"],
        mount: "rw",
        transactions: 40,
    },
    Case { name: "wrapped", mke2fs: &["-t", "ext4", "-b", "1024", "-J", "size=1"], mount: "rw", transactions: 700 },
];

pub fn run(report: &mut Report, stage: &Stage) {
    for case in CASES {
        let crashed = stage.path("crashed.img");
        let mut wanted = None;
        report.step(&format!("journal {}: crashed and recovered by the kernel", case.name), || {
            let recovered = crash(stage, case, &crashed)?;
            // Once the log has wrapped, some changes are in place and others are not: nobody can read that whole.
            let as_it_is = match case.transactions {
                0..100 => Some(kernel_view(stage, &crashed, "ro,noload")?),
                _ => None,
            };
            if let Some(as_it_is) = &as_it_is {
                ensure!(
                    !compare(&recovered, as_it_is, &[]).is_empty(),
                    "the recovery changes nothing: a test of nothing"
                );
            }
            wanted = Some((recovered, as_it_is));
            Ok(())
        });
        let Some((recovered, as_it_is)) = wanted else { continue };
        let image = crashed.display().to_string();
        for user in Stage::users() {
            report.step(&format!("journal {}, {user:?}", case.name), || {
                let seen = stage.seen(*user, &arguments(["-a", &image, "-m", "/dev/sda"]), true)?;
                equal(&recovered, &seen, &[])
            });
        }
        let Some(as_it_is) = as_it_is else { continue };
        report.step(&format!("journal {}, --no-replay", case.name), || {
            let seen =
                stage.seen(Stage::users()[0], &arguments(["-a", &image, "--no-replay", "-m", "/dev/sda"]), true)?;
            equal(&as_it_is, &seen, &[])
        });
    }
}

/// Makes a file system that was copied while it was in use, and returns what the kernel recovers from it.
fn crash(stage: &Stage, case: &Case, crashed: &Path) -> Result<Manifest> {
    let live = stage.path("live.img");
    File::create(&live)?.set_len(64 << 20)?;
    run_command(command("mke2fs", ["-q", "-F"]).args(case.mke2fs).arg(&live))?;
    let mount = KernelMount::new(&live, None, case.mount)?;
    before(mount.path())?;
    run_command(command("sync", ["-f"]).arg(mount.path()))?;
    after(mount.path(), case.transactions)?;
    fs::copy(&live, crashed)?;
    mount.unmount()?;
    fs::remove_file(&live)?;
    let superblock = read(command("dumpe2fs", ["-h"]).arg(crashed))?;
    ensure!(superblock.contains("needs_recovery"), "the copy does not need recovery: the test would prove nothing");
    // A read-only loop device could not be written by the recovery.
    kernel_view(stage, crashed, "rw,noatime")
}

/// What the kernel shows of a copy of an image; without `noload` it recovers the copy.
fn kernel_view(stage: &Stage, image: &Path, options: &str) -> Result<Manifest> {
    let copy = stage.path("copy.img");
    fs::copy(image, &copy)?;
    let mount = KernelMount::new(&copy, None, options)?;
    let manifest = Manifest::of(mount.path(), true)?;
    mount.unmount()?;
    fs::remove_file(&copy)?;
    Ok(manifest)
}

fn before(root: &Path) -> Result<()> {
    for name in ["kept", "removed", "grown", "directory"] {
        let directory = root.join(name);
        fs::create_dir(&directory)?;
        for number in 0..100_u64 {
            fs::write(directory.join(format!("file-{number}")), Noise::new(number).bytes(3000))?;
        }
    }
    Ok(())
}

/// Changes that stay in the journal: each is made durable by fsync, none by a checkpoint of ours.
fn after(root: &Path, transactions: u32) -> Result<()> {
    for number in 0..transactions {
        let slot = number % 100;
        let path = root.join(format!("grown/file-{slot}"));
        let mut file = File::options().append(true).open(&path)?;
        file.write_all(&Noise::new(number.into()).bytes(9000))?;
        lsetxattr(&path, "user.transaction", &number.to_le_bytes(), XattrFlags::empty())?;
        // Blocks of a removed directory are used again for data: revoked in the journal.
        let short_lived = root.join(format!("directory/short-lived-{number}"));
        fs::create_dir(&short_lived)?;
        fs::write(short_lived.join("inside"), "x")?;
        fs::rename(root.join(format!("removed/file-{slot}")), root.join(format!("kept/moved-{slot}"))).or_else(
            |_| fs::rename(root.join(format!("kept/moved-{slot}")), root.join(format!("removed/file-{slot}"))),
        )?;
        if number % 3 != 0 {
            fs::remove_dir_all(&short_lived)?;
        }
        let escaped = [JOURNAL_MAGIC.as_slice(), &Noise::new(number.into()).bytes(8188)].concat();
        fs::write(root.join(format!("kept/escaped-{slot}")), escaped)?;
        file.sync_all()?;
        File::open(root.join("kept"))?.sync_all()?;
    }
    Ok(())
}
