//! What is in the guest: a Debian, a tree with one of everything, many small files and one big one.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use super::disk::{self, ESP_UUID, GROUP, SWAP_UUID};
use super::mirror::Mirror;
use crate::command::{command, run};
use crate::mount::{KernelMount, Range};
use crate::specimen::{self, Noise, Plan};

const MIB: u64 = 1 << 20;

/// The one big file, below the root of the guest.
pub const BIG_FILE: &str = "srv/big";
pub const BIG_SIZE: u64 = 300 * MIB;

const PLAN: Plan =
    Plan { many: 20_000, link_max: 4095, xattr_max: 3800, sparse: 100 * MIB, root: true, far_times: true };
/// Directories of small files, and files in each.
const SMALL: (u64, u64) = (64, 100);

/// Makes the raw image and, while it grows, a chain of three images beside it; returns where the root volume lies.
pub fn make(image: &Path, directory: &Path) -> Result<Range> {
    let root = disk::make(image, 1200 * MIB, 1040 * MIB)?;
    let inside = |fill: &dyn Fn(&Path) -> Result<()>| -> Result<()> {
        let mount = KernelMount::new(image, Some(root), "rw")?;
        fill(mount.path())?;
        mount.unmount()
    };
    inside(&debian)?;
    layer(directory, "chain-base.qcow2", None)?;
    inside(&|root| {
        let specimen = root.join("srv/specimen");
        fs::create_dir(&specimen)?;
        specimen::fill(&specimen, &PLAN)
    })?;
    layer(directory, "chain-middle.qcow2", Some("chain-base.qcow2"))?;
    inside(&|root| {
        small_files(&root.join("srv/small"))?;
        specimen::noise_file(&root.join(BIG_FILE), 4, BIG_SIZE)?;
        // What changes between the layers is also what was there before.
        fs::remove_dir_all(root.join("usr/share/doc"))?;
        Ok(fs::rename(root.join("etc/debian_version"), root.join("etc/debian_release"))?)
    })?;
    layer(directory, "chain.qcow2", Some("chain-middle.qcow2"))?;
    Ok(root)
}

fn debian(root: &Path) -> Result<()> {
    let mirror = Mirror::of_this_machine()?;
    println!("debootstrap {} (about half a minute)", mirror.release);
    let mut debootstrap = command("debootstrap", ["--variant=minbase", &mirror.release]);
    // It calls programs of its own.
    debootstrap.env("PATH", toolbox::whole_path());
    if let Some(proxy) = &mirror.proxy {
        debootstrap.env("http_proxy", proxy);
    }
    run(debootstrap.arg(root).arg(&mirror.address))?;
    for name in ["var/cache/apt", "var/lib/apt/lists"] {
        fs::remove_dir_all(root.join(name)).with_context(|| name.to_owned())?;
    }
    fs::create_dir_all(root.join("boot/efi"))?;
    fs::write(root.join("etc/hostname"), "guest\n")?;
    let fstab = format!(
        "/dev/mapper/{GROUP}-root / ext4 errors=remount-ro 0 1\nUUID={ESP_UUID} /boot/efi vfat umask=0077 0 1\n\
         UUID={SWAP_UUID} none swap sw 0 0\n"
    );
    Ok(fs::write(root.join("etc/fstab"), fstab)?)
}

fn small_files(directory: &Path) -> Result<()> {
    let mut noise = Noise::new(5);
    fs::create_dir(directory)?;
    for number in 0..SMALL.0 {
        let directory = directory.join(format!("{number:03}"));
        fs::create_dir(&directory)?;
        for number in 0..SMALL.1 {
            let length = usize::try_from(noise.next() % 3000)?;
            fs::write(directory.join(format!("file-{number:03}.txt")), noise.bytes(length))?;
        }
        symlink("file-000.txt", directory.join("newest"))?;
    }
    Ok(())
}

/// An image that holds what has changed in the raw one since `below`: a rebase compares and keeps the differences.
fn layer(directory: &Path, name: &str, below: Option<&str>) -> Result<()> {
    let qemu_img = |arguments: &[&str]| run(command("qemu-img", arguments).current_dir(directory));
    match below {
        None => qemu_img(&["convert", "-O", "qcow2", "raw.img", name]),
        Some(below) => {
            qemu_img(&["create", "-q", "-f", "qcow2", "-b", "raw.img", "-F", "raw", name])?;
            qemu_img(&["rebase", "-b", below, "-F", "qcow2", name])
        }
    }
}
