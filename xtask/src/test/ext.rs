//! Every kind of ext file system, filled with one of everything, walked and compared.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::report::Report;
use super::stage::{Stage, arguments, equal};
use crate::command::{command, run as run_command};
use crate::mount::{KernelMount, User};
use crate::specimen::{self, Plan};
use crate::walk::{Field, Manifest};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What every variant is filled with, but for what it says itself.
const PLAN: Plan = Plan { many: 700, link_max: 4095, xattr_max: 3000, sparse: 100 * MIB, root: true, far_times: true };
/// What file systems of 1 KiB blocks can hold.
const SMALL_BLOCKS: Plan = Plan { link_max: 1023, xattr_max: 700, ..PLAN };

struct Variant {
    name: &'static str,
    mke2fs: &'static [&'static str],
    plan: Plan,
}

const VARIANTS: &[Variant] = &[
    // Triple indirect blocks: beyond 4 GiB at 4 KiB blocks, beyond 64 MiB at 1 KiB.
    Variant { name: "ext2", mke2fs: &["-t", "ext2", "-b", "1024"], plan: SMALL_BLOCKS },
    Variant { name: "ext2-128-byte-inodes", mke2fs: &["-t", "ext2", "-b", "4096", "-I", "128"], plan: PLAN },
    Variant { name: "ext2-no-filetype", mke2fs: &["-t", "ext2", "-b", "4096", "-O", "^filetype"], plan: PLAN },
    Variant { name: "ext3", mke2fs: &["-t", "ext3", "-b", "4096"], plan: Plan { sparse: 4 * GIB + 64 * MIB, ..PLAN } },
    Variant { name: "ext4", mke2fs: &["-t", "ext4", "-b", "4096"], plan: PLAN },
    Variant { name: "ext4-1k", mke2fs: &["-t", "ext4", "-b", "1024"], plan: Plan { many: 20_000, ..SMALL_BLOCKS } },
    Variant {
        name: "ext4-2k",
        mke2fs: &["-t", "ext4", "-b", "2048"],
        plan: Plan { link_max: 2047, xattr_max: 1500, ..PLAN },
    },
    Variant {
        name: "ext4-no-checksums",
        mke2fs: &["-t", "ext4", "-b", "4096", "-O", "^metadata_csum,^64bit,uninit_bg"],
        plan: PLAN,
    },
    Variant {
        name: "ext4-no-journal",
        mke2fs: &["-t", "ext4", "-b", "4096", "-O", "^has_journal,^flex_bg"],
        plan: PLAN,
    },
    Variant {
        name: "ext4-bigalloc",
        mke2fs: &["-t", "ext4", "-b", "4096", "-O", "bigalloc", "-C", "65536"],
        plan: PLAN,
    },
    Variant { name: "ext4-inline-data", mke2fs: &["-t", "ext4", "-b", "4096", "-O", "inline_data"], plan: PLAN },
    Variant {
        name: "ext4-inline-data-big-inodes",
        mke2fs: &["-t", "ext4", "-b", "4096", "-O", "inline_data", "-I", "1024"],
        plan: PLAN,
    },
    Variant {
        name: "ext4-meta-bg",
        mke2fs: &["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode"],
        plan: SMALL_BLOCKS,
    },
    Variant {
        name: "ext4-large-dir-20000",
        mke2fs: &["-t", "ext4", "-b", "4096", "-O", "large_dir"],
        plan: Plan { many: 20_000, ..PLAN },
    },
    Variant {
        name: "ext4-ea-inode",
        mke2fs: &["-t", "ext4", "-b", "4096", "-O", "ea_inode"],
        plan: Plan { xattr_max: 60_000, ..PLAN },
    },
    Variant {
        name: "ext4-sparse-super2",
        mke2fs: &["-t", "ext4", "-b", "4096", "-O", "sparse_super2,mmp"],
        plan: PLAN,
    },
];

/// As any user: `mke2fs -d` fills the file system, and the tree that it was given is the oracle.
pub fn run(report: &mut Report, stage: &Stage) {
    for (name, options) in [("ext2", ["-t", "ext2"]), ("ext4", ["-t", "ext4"])] {
        for user in Stage::users() {
            report.step(&format!("walk {name} made by mke2fs -d, {user:?}"), || {
                let source = tempfile::tempdir()?;
                let plan = Plan { root: false, far_times: false, xattr_max: 2000, ..PLAN };
                specimen::fill(source.path(), &plan)?;
                let wanted = Manifest::of(source.path(), false)?;
                let image = blank(stage, name)?;
                run_command(
                    command("mke2fs", ["-q", "-F", "-b", "4096", "-d"]).arg(source.path()).args(options).arg(&image),
                )?;
                let seen = seen(stage, *user, &image)?;
                fs::remove_file(&image)?;
                let by_mke2fs = [
                    Field::Atime,
                    Field::Ctime,
                    Field::Nanoseconds,
                    Field::Blocks,
                    Field::Directories,
                    Field::Data,
                    Field::LostFound,
                ];
                equal(&wanted, &seen, &by_mke2fs)
            });
        }
    }
}

/// As root: the kernel fills the file system, and its read-only mount is the oracle.
pub fn run_as_root(report: &mut Report, stage: &Stage) {
    for variant in VARIANTS {
        let image = stage.path(&format!("{}.img", variant.name));
        let mut wanted = None;
        report.step(&format!("walk {}: made and walked by the kernel", variant.name), || {
            let image = blank(stage, variant.name)?;
            run_command(command("mke2fs", ["-q", "-F"]).args(variant.mke2fs).arg(&image))?;
            let mount = KernelMount::new(&image, None, "rw")?;
            specimen::fill(mount.path(), &variant.plan)?;
            mount.unmount()?;
            let no_journal = variant.name.starts_with("ext2");
            let mount = KernelMount::new(&image, None, if no_journal { "ro" } else { "ro,noload" })?;
            wanted = Some(Manifest::of(mount.path(), true)?);
            mount.unmount()
        });
        let Some(wanted) = wanted else { continue };
        for user in Stage::users() {
            report.step(&format!("walk {}, {user:?}", variant.name), || {
                equal(&wanted, &seen(stage, *user, &image)?, &[])
            });
        }
        let _ = fs::remove_file(&image);
    }
}

fn seen(stage: &Stage, user: User, image: &Path) -> Result<Manifest> {
    stage.seen(user, &arguments(["-a", &image.display().to_string(), "-m", "/dev/sda"]), true)
}

fn blank(stage: &Stage, name: &str) -> Result<PathBuf> {
    let image = stage.path(&format!("{name}.img"));
    File::create(&image)?.set_len(300 * MIB)?;
    Ok(image)
}
