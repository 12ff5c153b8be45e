//! A disk with a GPT, an EFI system partition and a volume group, written without device mapper.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::command::{command, read, run};
use crate::mount::Range;

const MIB: u64 = 1 << 20;
/// The first partition, and the second after it.
const ESP: Range = (MIB, 64 * MIB);
const PV_AT: u64 = 65 * MIB;
/// The volume group, and the UUIDs that fstab names.
pub const GROUP: &str = "guest";
pub const ROOT_UUID: &str = "6c1d9f0e-6f0a-4d0b-9a77-2f9b6a3f0001";
pub const SWAP_UUID: &str = "6c1d9f0e-6f0a-4d0b-9a77-2f9b6a3f0002";
/// A FAT serial number, as fstab and as mkfs.fat write it.
pub const ESP_UUID: &str = "6C1D-9F0E";

/// Makes the disk with empty file systems and returns where the root volume lies.
pub fn make(image: &Path, size: u64, root_size: u64) -> Result<Range> {
    File::create_new(image)?.set_len(size)?;
    let part = |number: u8, (at, length): Range| format!("--new={number}:{}:{}", at / 512, (at + length) / 512 - 1);
    // The last MiB stays for the backup table.
    let pv = (PV_AT, size - PV_AT - MIB);
    run(command("sgdisk", ["--set-alignment=1", &part(1, ESP), "--typecode=1:ef00", "--change-name=1:EFI"])
        .args([&part(2, pv), "--typecode=2:8e00", "--change-name=2:system"])
        .arg(image))?;
    system_partition(image)?;
    let lvm = Lvm::new(image, pv)?;
    let root = lvm.volume("root", root_size)?;
    let swap = lvm.volume("swap", 32 * MIB)?;
    drop(lvm);
    write_swap(image, swap)?;
    let offset = format!("offset={}", root.0);
    let label = ["-q", "-F", "-t", "ext4", "-b", "4096", "-L", "root", "-U", ROOT_UUID];
    run(command("mke2fs", label).args(["-E", &offset]).arg(image).arg((root.1 / 4096).to_string()))?;
    Ok(root)
}

fn system_partition(image: &Path) -> Result<()> {
    let serial = ESP_UUID.replace('-', "");
    let offset = (ESP.0 / 512).to_string();
    run(command("mkfs.fat", ["-F", "32", "-s", "1", "-n", "EFI", "-i", &serial, "--offset", &offset])
        .arg(image)
        .arg((ESP.1 / 1024).to_string()))?;
    let here = format!("{}@@{}", image.display(), ESP.0);
    let loader = tempfile::NamedTempFile::new()?;
    fs::write(loader.path(), [&b"MZ"[..], &[0x90; 70_000]].concat())?;
    run(&mut command("mmd", ["-i", &here, "::/EFI", "::/EFI/BOOT", "::/EFI/debian"]))?;
    for name in ["::/EFI/BOOT/BOOTX64.EFI", "::/EFI/debian/A long name of a boot loader.efi"] {
        run(command("mcopy", ["-i", &here]).arg(loader.path()).arg(name))?;
    }
    Ok(())
}

/// mkswap cannot write at an offset; the signature is all in the first page.
fn write_swap(image: &Path, (at, length): Range) -> Result<()> {
    let swap = tempfile::NamedTempFile::new()?;
    swap.as_file().set_len(length)?;
    run(command("mkswap", ["-q", "-L", "swap", "-U", SWAP_UUID]).arg(swap.path()))?;
    let mut page = [0; 4096];
    swap.as_file().read_exact_at(&mut page, 0)?;
    Ok(File::options().write(true).open(image)?.write_all_at(&page, at)?)
}

/// LVM's tools on one loop device, with a configuration of their own: the host's volumes are not touched.
struct Lvm {
    device: PathBuf,
    system: TempDir,
    pv_at: u64,
}

impl Lvm {
    fn new(image: &Path, (offset, length): Range) -> Result<Self> {
        let system = TempDir::with_prefix("imgmount-lvm-")?;
        let (offset_text, length) = (offset.to_string(), length.to_string());
        let mut attach = command("losetup", ["--find", "--show", "--offset", &offset_text, "--sizelimit", &length]);
        let device = PathBuf::from(read(attach.arg(image))?.trim());
        let lvm = Self { device, system, pv_at: offset };
        let only = format!(
            "devices {{ use_devicesfile = 0 filter = [ \"a|^{}$|\", \"r|.*|\" ] }}\nbackup {{ backup = 0 archive = 0 }}\n\
             global {{ use_lvmpolld = 0 event_activation = 0 }}\n",
            lvm.device.display()
        );
        fs::write(lvm.system.path().join("lvm.conf"), only)?;
        run(lvm.tool("pvcreate").arg(&lvm.device))?;
        run(lvm.tool("vgcreate").arg(GROUP).arg(&lvm.device))?;
        Ok(lvm)
    }

    fn tool(&self, name: &str) -> Command {
        let mut command = command("lvm", [name, "--driverloaded", "n"]);
        command.env("LVM_SYSTEM_DIR", self.system.path()).env("LVM_SUPPRESS_FD_WARNINGS", "1");
        command
    }

    /// Makes a volume of one segment and returns where it lies in the image.
    fn volume(&self, name: &str, size: u64) -> Result<Range> {
        let size_text = format!("{size}b");
        run(self.tool("lvcreate").args([
            "-an",
            "-Zn",
            "-Wn",
            "--contiguous",
            "y",
            "-n",
            name,
            "-L",
            &size_text,
            GROUP,
        ]))?;
        let mut report = self.tool("lvs");
        report.args(["--noheadings", "--units", "b", "--nosuffix", "--separator", " "]);
        report.args(["-o", "seg_pe_ranges,vg_extent_size,seg_size", "--segments", &format!("{GROUP}/{name}")]);
        let text = read(&mut report)?;
        let mut start = self.tool("pvs");
        start.args(["--noheadings", "--units", "b", "--nosuffix", "-o", "pe_start"]).arg(&self.device);
        let pe_start: u64 = read(&mut start)?.trim().parse()?;
        ensure!(text.trim().lines().count() == 1, "{name} is not one segment: {text}");
        let mut words = text.split_whitespace();
        let range = words.next().and_then(|range| range.rsplit_once(':')).context("no extents")?.1;
        let first: u64 = range.split_once('-').context("no range of extents")?.0.parse()?;
        let extent: u64 = words.next().context("no extent size")?.parse()?;
        let length: u64 = words.next().context("no segment size")?.parse()?;
        Ok((self.pv_at + pe_start + first * extent, length))
    }
}

impl Drop for Lvm {
    fn drop(&mut self) {
        let _ = run(command("losetup", ["--detach"]).arg(&self.device));
    }
}
