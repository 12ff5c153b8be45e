//! The table of packages.

use std::str::FromStr;

/// What is to be done with a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `cargo xtask demo`.
    Demo,
    /// `cargo xtask test`, and `cargo test`.
    Test,
    /// `cargo xtask bench`, and the big guest.
    Bench,
    /// The seeds of the fuzz targets: `cargo xtask test --long`.
    Fuzz,
    /// The golden images anew: `cargo xtask golden`.
    Golden,
}

use Purpose::{Bench, Demo, Fuzz, Golden, Test};

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 5] = [Demo, Test, Bench, Fuzz, Golden];
}

impl FromStr for Purpose {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|purpose| format!("{purpose:?}").eq_ignore_ascii_case(name));
        found.ok_or_else(|| format!("want one of {:?}", Self::ALL))
    }
}

/// A package of Debian and Ubuntu.
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// Those of its programs that are called, with spaces between them.
    programs: &'static str,
    /// What it is good for.
    pub reason: &'static str,
    /// What needs it.
    pub purposes: &'static [Purpose],
}

impl Package {
    /// Those of its programs that are called: it is installed if all of them are there.
    pub fn programs(&self) -> impl Iterator<Item = &'static str> {
        self.programs.split(' ')
    }
}

const fn package(
    name: &'static str,
    programs: &'static str,
    reason: &'static str,
    purposes: &'static [Purpose],
) -> Package {
    Package { name, programs, reason, purposes }
}

/// What every shell script takes for granted.
const EVERYWHERE: &[Purpose] = &[Test, Bench, Fuzz, Golden];

/// Every package whose programs are called, but for Rust's and git.
pub const PACKAGES: &[Package] = &[
    package("fuse3", "fusermount3", "mounts without root", &[Demo, Test, Bench]),
    // File systems.
    package(
        "e2fsprogs",
        "debugfs dumpe2fs e2fsck filefrag mke2fs mkfs.ext4",
        "makes ext2, ext3 and ext4, checks them and reads them back",
        &[Test, Bench, Fuzz, Golden],
    ),
    package("dosfstools", "fsck.fat mkfs.fat", "makes and checks FAT volumes", &[Test, Bench, Fuzz, Golden]),
    package(
        "mtools",
        "mattrib mcopy mdel mdeltree mdir mlabel mmd mmove",
        "writes and reads FAT volumes without a mount",
        &[Test, Bench, Fuzz, Golden],
    ),
    package("btrfs-progs", "mkfs.btrfs", "makes Btrfs", &[Test, Fuzz]),
    package("erofs-utils", "mkfs.erofs", "makes EROFS", &[Test]),
    package("exfatprogs", "mkfs.exfat", "makes exFAT", &[Test]),
    package("f2fs-tools", "mkfs.f2fs", "makes F2FS", &[Test]),
    package("genisoimage", "genisoimage", "makes ISO 9660", &[Test, Fuzz]),
    package("jfsutils", "mkfs.jfs", "makes JFS", &[Test]),
    package("ntfs-3g", "mkfs.ntfs mkntfs", "makes NTFS", &[Test, Fuzz]),
    package("reiserfsprogs", "mkfs.reiserfs", "makes ReiserFS", &[Test]),
    package("squashfs-tools", "mksquashfs", "makes SquashFS", &[Test, Fuzz]),
    package("udftools", "mkudffs", "makes UDF", &[Test]),
    package("xfsprogs", "mkfs.xfs", "makes XFS", &[Test, Fuzz]),
    package("acl", "getfacl setfacl", "ACLs of the files of test guests", &[Test, Bench, Golden]),
    package("python3", "python3", "changes files in every way that a program can", &[Test]),
    package("attr", "getfattr setfattr", "extended attributes of the files of test guests", &[Test, Bench, Golden]),
    package("libcap2-bin", "getcap setcap", "capabilities of the files of test guests", &[Test, Golden]),
    package("file", "file", "names what is on a device", &[Test]),
    // Deleted files.
    package("sleuthkit", "fls icat mactime tsk_recover", "lists live and deleted files, as a second opinion", &[Test]),
    package("extundelete", "extundelete", "recovers, for comparison", &[Test]),
    package("ext4magic", "ext4magic", "recovers, for comparison", &[Test]),
    // Volumes.
    package("lvm2", "lvm", "makes physical and logical volumes", &[Test, Bench, Fuzz, Golden]),
    package(
        "thin-provisioning-tools",
        "thin_restore",
        "makes the mappings of thin pools from descriptions",
        &[Test, Golden],
    ),
    package("mdadm", "mdadm", "makes RAID members", &[Golden]),
    package("cryptsetup-bin", "cryptsetup veritysetup", "makes encrypted volumes", &[Test, Bench, Fuzz, Golden]),
    package("gdisk", "sgdisk", "writes GPT", &[Test, Bench, Fuzz, Golden]),
    package("fdisk", "fdisk sfdisk", "writes MBR with logical partitions", &[Test, Fuzz]),
    package("parted", "parted", "writes partition tables, as a second opinion", &[Test, Fuzz]),
    // Images.
    package("qemu-utils", "qemu-img qemu-io", "makes images of every kind", &[Test, Bench, Fuzz, Golden]),
    package(
        "ewf-tools",
        "ewfacquire ewfacquirestream ewfexport ewfverify",
        "makes E01 images, and reads them as a second opinion",
        &[Test, Fuzz],
    ),
    package("libvirt-clients", "virsh", "knows guests, with a driver that needs no hypervisor", &[Test]),
    package("gzip", "gzip", "packs images", &[Test, Fuzz]),
    package("pigz", "pigz", "packs images, with several threads", &[Test]),
    package("tabix", "bgzip", "packs images in blocks", &[Test, Fuzz]),
    package("xz-utils", "xz", "packs images", &[Test, Fuzz]),
    package("pixz", "pixz", "packs images in blocks", &[Test]),
    package("bzip2", "bzip2", "packs images", &[Test, Fuzz]),
    package("pbzip2", "pbzip2", "packs images, with several threads", &[Test]),
    package("lbzip2", "lbzip2", "packs images, with several threads", &[Test]),
    package("zstd", "zstd", "packs images, and the golden ones", &[Test, Fuzz, Golden]),
    package("tar", "tar", "packs appliances", &[Test, Bench, Fuzz, Golden]),
    // The system.
    package("debootstrap", "debootstrap", "makes the big guest", &[Test, Bench]),
    package("user-mode-linux", "linux.uml", "runs the drivers of volumes that this kernel may lack", &[Golden]),
    package("kmod", "modprobe", "loads them", &[Golden]),
    package("mount", "losetup mount umount", "mounts with the kernel, for comparison", EVERYWHERE),
    package(
        "util-linux",
        "blkdiscard blkid blockdev fallocate mkswap partx prlimit setpriv setsid unshare",
        "runs as an ordinary user, names what is on a device, and more",
        EVERYWHERE,
    ),
    package("bsdutils", "script", "types at a terminal", &[Test]),
    package("procps", "kill", "ends a process", &[Test]),
    package("time", "time", "measures the memory of a command", &[Test, Bench]),
    package("openssl", "openssl", "measures its own ciphers", &[Bench]),
    package("apt", "apt-config apt-get", "fetches what is not kept here", EVERYWHERE),
    package("hostname", "hostname", "names the maker", &[Golden]),
    package("perl-base", "perl", "opens files as other users, reads what drivers wrote", &[Test, Golden]),
    package(
        "coreutils",
        "[ basename cat chmod chown cp cut date dd dirname du echo env false head id ln ls md5sum mkdir mkfifo mknod \
         mktemp mv od printf pwd readlink realpath rm rmdir seq sha1sum sha256sum sha512sum sleep sort split stat sync \
         tail tee test timeout touch tr true truncate uniq wc yes",
        "files and text",
        &Purpose::ALL,
    ),
    package("diffutils", "cmp diff", "files and text", EVERYWHERE),
    package("findutils", "find xargs", "files and text", EVERYWHERE),
    package("grep", "grep", "files and text", EVERYWHERE),
    package("mawk", "awk", "files and text", EVERYWHERE),
    package("sed", "sed", "files and text", EVERYWHERE),
    package("bash", "bash", "runs scripts", EVERYWHERE),
    package("dash", "sh", "runs scripts", EVERYWHERE),
];
