//! The packages that each purpose needs, and how they get onto the machine.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{command, pass_through, search_path};

/// What is to be done with the packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Purpose {
    /// `cargo xtask demo`.
    Demo,
    /// `cargo xtask test`.
    Test,
    /// `cargo xtask bench`.
    Bench,
    /// The seeds of the fuzz targets: `cargo xtask test --long`.
    Fuzz,
}

struct Package {
    name: &'static str,
    /// One program of the package: it is installed if the program is there.
    program: &'static str,
    reason: &'static str,
    purposes: &'static [Purpose],
}

use Purpose::{Bench, Demo, Fuzz, Test};

const PACKAGES: &[Package] = &[
    Package { name: "fuse3", program: "fusermount3", reason: "mounts without root", purposes: &[Demo, Test, Bench] },
    Package {
        name: "e2fsprogs",
        program: "mke2fs",
        reason: "makes ext2, ext3 and ext4; debugfs reads them back",
        purposes: &[Test, Bench, Fuzz],
    },
    Package {
        name: "qemu-utils",
        program: "qemu-img",
        reason: "makes qcow2 images of every kind",
        purposes: &[Test, Bench, Fuzz],
    },
    Package {
        name: "libvirt-clients",
        program: "virsh",
        reason: "knows guests, with a driver that needs no hypervisor",
        purposes: &[Test],
    },
    Package { name: "file", program: "file", reason: "names what is on a device", purposes: &[Test] },
    Package { name: "dosfstools", program: "mkfs.fat", reason: "makes FAT volumes", purposes: &[Test, Bench, Fuzz] },
    Package {
        name: "mtools",
        program: "mcopy",
        reason: "writes and reads FAT volumes without a mount",
        purposes: &[Test, Bench, Fuzz],
    },
    Package {
        name: "lvm2",
        program: "lvm",
        reason: "makes physical and logical volumes",
        purposes: &[Test, Bench, Fuzz],
    },
    Package {
        name: "thin-provisioning-tools",
        program: "thin_restore",
        reason: "makes the mappings of thin pools from descriptions",
        purposes: &[Test],
    },
    Package { name: "gdisk", program: "sgdisk", reason: "writes GPT", purposes: &[Test, Bench, Fuzz] },
    Package { name: "fdisk", program: "sfdisk", reason: "writes MBR with logical partitions", purposes: &[Test, Fuzz] },
    Package {
        name: "parted",
        program: "parted",
        reason: "writes partition tables, as a second opinion",
        purposes: &[Test],
    },
    Package { name: "acl", program: "setfacl", reason: "puts ACLs on files of test guests", purposes: &[Test] },
    Package {
        name: "attr",
        program: "setfattr",
        reason: "puts extended attributes on files of test guests",
        purposes: &[Test],
    },
    Package { name: "debootstrap", program: "debootstrap", reason: "makes the big guest", purposes: &[Test, Bench] },
    Package {
        name: "util-linux",
        program: "setpriv",
        reason: "runs as an ordinary user where tests run as root",
        purposes: &[Test, Bench, Fuzz],
    },
    Package {
        name: "mount",
        program: "losetup",
        reason: "mounts with the kernel, for comparison",
        purposes: &[Test, Bench],
    },
    Package {
        name: "sleuthkit",
        program: "fls",
        reason: "lists live and deleted files, as a second opinion",
        purposes: &[Test],
    },
    Package { name: "extundelete", program: "extundelete", reason: "recovers, for comparison", purposes: &[Test] },
    Package { name: "ext4magic", program: "ext4magic", reason: "recovers, for comparison", purposes: &[Test] },
    Package {
        name: "cryptsetup-bin",
        program: "cryptsetup",
        reason: "makes encrypted volumes",
        purposes: &[Test, Bench, Fuzz],
    },
    Package { name: "mdadm", program: "mdadm", reason: "makes RAID members", purposes: &[Fuzz] },
    Package { name: "btrfs-progs", program: "mkfs.btrfs", reason: "makes btrfs", purposes: &[Test, Fuzz] },
    Package { name: "xfsprogs", program: "mkfs.xfs", reason: "makes XFS", purposes: &[Test, Fuzz] },
    Package { name: "ntfs-3g", program: "mkntfs", reason: "makes NTFS", purposes: &[Test, Fuzz] },
    Package { name: "squashfs-tools", program: "mksquashfs", reason: "makes SquashFS", purposes: &[Test, Fuzz] },
    Package { name: "genisoimage", program: "genisoimage", reason: "makes ISO 9660", purposes: &[Test, Fuzz] },
    Package { name: "erofs-utils", program: "mkfs.erofs", reason: "makes EROFS", purposes: &[Test] },
    Package { name: "exfatprogs", program: "mkfs.exfat", reason: "makes exFAT", purposes: &[Test] },
    Package { name: "f2fs-tools", program: "mkfs.f2fs", reason: "makes F2FS", purposes: &[Test] },
    Package { name: "jfsutils", program: "mkfs.jfs", reason: "makes JFS", purposes: &[Test] },
    Package { name: "reiserfsprogs", program: "mkfs.reiserfs", reason: "makes ReiserFS", purposes: &[Test] },
    Package { name: "udftools", program: "mkudffs", reason: "makes UDF", purposes: &[Test] },
    Package { name: "time", program: "time", reason: "measures the memory of a command", purposes: &[Bench] },
    Package { name: "openssl", program: "openssl", reason: "measures its own ciphers", purposes: &[Bench] },
    Package {
        name: "ewf-tools",
        program: "ewfacquire",
        reason: "makes E01 images, and reads them as a second opinion",
        purposes: &[Test, Fuzz],
    },
    Package { name: "perl-base", program: "perl", reason: "opens files as other users", purposes: &[Test] },
    Package { name: "tar", program: "tar", reason: "packs appliances", purposes: &[Test] },
    Package { name: "zstd", program: "zstd", reason: "packs the golden images", purposes: &[Test] },
    Package { name: "xz-utils", program: "xz", reason: "packs images", purposes: &[Test] },
    Package { name: "bzip2", program: "bzip2", reason: "packs images", purposes: &[Test] },
    Package { name: "pigz", program: "pigz", reason: "packs images, with several threads", purposes: &[Test] },
    Package { name: "tabix", program: "bgzip", reason: "packs images in blocks", purposes: &[Test] },
    Package { name: "pixz", program: "pixz", reason: "packs images in blocks", purposes: &[Test] },
    Package { name: "pbzip2", program: "pbzip2", reason: "packs images, with several threads", purposes: &[Test] },
    Package { name: "lbzip2", program: "lbzip2", reason: "packs images, with several threads", purposes: &[Test] },
];

/// Sees to it that everything for `purpose` is installed, or says in one line what does it.
pub fn ensure(purpose: Purpose) -> Result<()> {
    ensure_installed(purpose)?;
    ensure_fuse(purpose)
}

/// The kernel's door to file systems like ours. udev opens it to everybody; where none ran it is root's alone.
const FUSE: &str = "/dev/fuse";

/// Sees to it that everybody who mounts for `purpose` may open `/dev/fuse`: tests also mount as an ordinary user.
fn ensure_fuse(purpose: Purpose) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    if purpose == Fuzz || (root && purpose == Demo) {
        return Ok(());
    }
    let metadata = fs::metadata(FUSE).with_context(|| format!("{FUSE}: load it as root with: modprobe fuse"))?;
    if metadata.mode() & 0o006 == 0o006 {
        return Ok(());
    }
    if !root {
        // A group or an ACL may let this user in.
        let opened = File::options().read(true).write(true).open(FUSE);
        return opened.map(drop).with_context(|| format!("{FUSE} is closed to this user: sudo chmod 666 {FUSE}"));
    }
    println!("{FUSE} is closed to ordinary users: chmod 666 {FUSE}");
    fs::set_permissions(FUSE, Permissions::from_mode(0o666)).with_context(|| FUSE.to_owned())
}

fn ensure_installed(purpose: Purpose) -> Result<()> {
    let missing = missing(purpose);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|package| package.name).collect();
    println!("missing for {purpose:?}:");
    for package in &missing {
        println!("  {:12} {}", package.name, package.reason);
    }
    if !rustix::process::geteuid().is_root() || !installed("apt-get") {
        bail!("install them with: sudo apt-get install --no-install-recommends -y {}", names.join(" "));
    }
    pass_through(&mut apt_get(&["-qq", "update"]))?;
    pass_through(apt_get(&["-qq", "install", "-y", "--no-install-recommends"]).args(&names))?;
    match self::missing(purpose).first() {
        Some(package) => bail!("apt-get installed {}, yet {} is not there", package.name, package.program),
        None => Ok(()),
    }
}

/// Prints the whole table, with what is missing.
pub fn list() {
    println!("{:14} {:9} for", "package", "");
    for package in PACKAGES {
        let state = if installed(package.program) { "installed" } else { "missing" };
        println!("{:14} {state:9} {:?}: {}", package.name, package.purposes, package.reason);
    }
}

fn missing(purpose: Purpose) -> Vec<&'static Package> {
    PACKAGES.iter().filter(|package| package.purposes.contains(&purpose) && !installed(package.program)).collect()
}

fn installed(program: &str) -> bool {
    search_path().split(':').any(|directory| Path::new(directory).join(program).is_file())
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = command("apt-get", arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_where_users_have_no_path() {
        assert!(installed("sh"));
        assert!(!installed("no-such-program-anywhere"));
    }

    #[test]
    fn the_demo_needs_nothing_but_fuse() {
        let names: Vec<_> = PACKAGES.iter().filter(|p| p.purposes.contains(&Demo)).map(|p| p.name).collect();
        assert_eq!(names, ["fuse3"]);
    }
}
