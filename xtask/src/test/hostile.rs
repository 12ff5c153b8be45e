//! Images that claim far more than they hold: every command on each of them ends within bounds of time and memory, with one
//! clear line or with what can be had.

mod measured;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use super::report::Report;
use super::stage::Stage;
use crate::command::{command, run as run_command};
use crate::hostile::{ext, fat, gpt, lvm};
use crate::workspace;

use measured::{Measured, Outcome};

/// The commands, as words after the program's name; `IMAGE` and `OUT` stand for the image and an empty directory.
const COMMANDS: &[&str] = &[
    "filesystems -a IMAGE",
    "filesystems -a IMAGE --json",
    "inspect -a IMAGE",
    "inspect -a IMAGE --json",
    "info IMAGE",
    "deleted -a IMAGE",
    "deleted -a IMAGE --json",
    "recover -a IMAGE --to OUT/recovered",
    "timeline -a IMAGE",
    "history -a IMAGE /etc/fstab",
];

/// What is mounted, as words before the directory.
const MOUNTS: &[&str] =
    &["-a IMAGE -i", "-a IMAGE -m /dev/sda", "-a IMAGE --blocks", "-a IMAGE -m /dev/sda --deleted --unallocated"];

/// One image, and how it comes to be.
struct Case {
    name: &'static str,
    make: Box<dyn Fn(&Path) -> Result<()>>,
    /// Only in the long run.
    long: bool,
}

pub fn run(report: &mut Report, stage: &Stage) {
    let long = stage.long;
    for case in cases().into_iter().filter(|case| long || !case.long) {
        report.step(&format!("hostile: {}", case.name), || {
            let directory = TempDir::with_prefix("imgmount-hostile-")?;
            let image = directory.path().join("image");
            (case.make)(&image)?;
            check(stage, &image, directory.path())?;
            if long {
                for (format, packed) in wrapped(&image)? {
                    check(stage, &packed, directory.path()).with_context(|| format!("as {format}"))?;
                    fs::remove_file(packed)?;
                }
            }
            Ok(())
        });
    }
}

/// Makes the images whose names contain `only`, each in a folder of its own.
pub fn make_all(directory: &Path, only: &str) -> Result<()> {
    for case in cases().iter().filter(|case| case.name.contains(only)) {
        let folder = directory.join(case.name.replace(['/', ' '], "-"));
        fs::create_dir_all(&folder)?;
        (case.make)(&folder.join("image"))?;
        println!("{}", folder.join("image").display());
    }
    Ok(())
}

/// Runs everything on one image, and says all that was out of bounds.
fn check(stage: &Stage, image: &Path, directory: &Path) -> Result<()> {
    let mut wrong = Vec::new();
    let mut worst = Measured::default();
    let runs = COMMANDS.iter().map(|words| (words, false)).chain(MOUNTS.iter().map(|words| (words, true)));
    for (words, is_mount) in runs {
        let out = TempDir::new_in(directory)?;
        let words =
            words.replace("IMAGE", &image.display().to_string()).replace("OUT", &out.path().display().to_string());
        let arguments: Vec<_> = words.split(' ').collect();
        let outcome = match is_mount {
            true => Outcome::of_mount(&stage.program, &arguments, out.path())?,
            false => Outcome::of_command(&stage.program, &arguments, out.path())?,
        };
        worst = worst.most(&outcome.measured);
        wrong.extend(outcome.faults().map(|fault| format!("  {words}: {fault}")));
    }
    println!("    at most {worst}");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The same disk in other formats.
fn wrapped(image: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut all = Vec::new();
    let mut convert = |format: &'static str, options: &[&str]| {
        let packed = image.with_extension(format);
        let mut convert = command("qemu-img", ["convert", "-O", format]);
        run_command(convert.args(options).arg(image).arg(&packed))?;
        all.push((format, packed));
        Ok::<_, anyhow::Error>(())
    };
    convert("qcow2", &["-c"])?;
    convert("vmdk", &["-o", "subformat=streamOptimized"])?;
    convert("vhdx", &[])?;
    Ok(all)
}

fn case(name: &'static str, make: impl Fn(&Path) -> Result<()> + 'static) -> Case {
    Case { name, make: Box::new(make), long: false }
}

fn long(name: &'static str, make: impl Fn(&Path) -> Result<()> + 'static) -> Case {
    Case { long: true, ..case(name, make) }
}

fn cases() -> Vec<Case> {
    let mut all: Vec<_> = [
        "deleted-ram-100k-inodes.qcow2.zst",
        "fat-deleted-quadratic.img.zst",
        "fstab-crypttab-quadratic.img.zst",
        "fstab-escapes.img.zst",
        "gpt-32768-partitions.img.zst",
        "journal-hang.img.zst",
        "luks-esc.img.zst",
        "lvm-raid-exponential.img.zst",
        "recover-xattrs.img.zst",
        "timeline-ram-2GB.img.zst",
        "xz-dict-552MiB.xz",
        "bomb-2GiB.bz2",
    ]
    .into_iter()
    .map(|name| case(name, move |path| golden(name, path)))
    .collect();
    all.extend([
        case("12 disks of one appliance, each with a dictionary of 552 MiB", appliance),
        case("a tower of 4 RAID5 volumes, 3 images wide", |path| lvm::tower(path, 4, 3)),
        case("a tower of 7 RAID5 volumes, 9 images wide", |path| lvm::tower(path, 7, 9)),
        long("a tower of 60 RAID5 volumes, 2 images wide", |path| lvm::tower(path, 60, 2)),
        case("30 linear volumes on each other, each twice as long", |path| lvm::aliases(path, 30, 2)),
        long("5 linear volumes on each other, each 60 times as long", |path| lvm::aliases(path, 5, 60)),
        case("40 volumes on one writecache of a million blocks", |path| lvm::writecaches(path, 40, 1_000_000)),
        case("12,000 logical volumes that are one ext4", |path| lvm::same(path, 12_000, &small_ext4()?)),
        case("20,000 partitions that are one ext4", |path| gpt::partitions(path, 20_000, &small_ext4()?)),
        case("32,768 partitions without content", |path| gpt::partitions(path, 32_768, &[0; 512])),
        case("a directory of 85 million names", |path| ext::directory(path, 1_000_000, 1000)),
        long("a directory of 85 million names in one block", |path| ext::directory(path, 1_000_000, 1)),
        case("a journal of 4 billion blocks, checksums of version 1", |path| ext::journal(path, 131_000, true)),
        long("a journal of 4 billion blocks, no checksums", |path| ext::journal(path, 131_000, false)),
        long("a journal of 100 million blocks", |path| ext::journal(path, 3_000, false)),
        case("8 directories of FAT full of equal names", |path| fat::equal_names(path, 8, false)),
        case("32 directories of FAT full of deleted equal names", |path| fat::equal_names(path, 32, true)),
        long("200 directories of FAT full of deleted equal names", |path| fat::equal_names(path, 200, true)),
    ]);
    all
}

/// An image of this repository, unpacked if zstd packed it.
fn golden(name: &str, to: &Path) -> Result<()> {
    let from = workspace::root().join("tests/golden/hostile").join(name);
    if name.ends_with(".zst") {
        run_command(command("zstd", ["-q", "-d", "--sparse", "-o"]).arg(to).arg(from))
    } else {
        fs::copy(from, to)?;
        Ok(())
    }
}

fn appliance(to: &Path) -> Result<()> {
    golden("xz-dict-x12.ovf", to)?;
    let directory = to.parent().context("an image lies in a directory")?;
    for disk in 0..12 {
        golden("xz-dict-552MiB.xz", &directory.join(format!("d{disk}.xz")))?;
    }
    Ok(())
}

/// The bytes of a small ext4 with a file that makes it look like a system's root.
fn small_ext4() -> Result<Vec<u8>> {
    let directory = TempDir::new()?;
    let (tree, image) = (directory.path().join("tree"), directory.path().join("image"));
    for name in ["etc", "bin", "usr"] {
        fs::create_dir_all(tree.join(name))?;
    }
    fs::write(tree.join("etc/fstab"), "/dev/sda1 / ext4 defaults 0 1\n")?;
    fs::File::create(&image)?.set_len(1 << 20)?;
    run_command(command("mke2fs", ["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d"]).arg(&tree).arg(&image))?;
    let bytes = fs::read(image)?;
    if bytes.is_empty() {
        bail!("mke2fs made nothing");
    }
    Ok(bytes)
}
