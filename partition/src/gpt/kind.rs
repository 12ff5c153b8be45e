//! What the type GUID of a partition means, by the table of the `gpt` crate.

use gpt::partition_types as types;
use gpt::partition_types::{OperatingSystem, Type};
use uuid::Uuid;

/// The words for the types that a guest is likely to have; the crate has a constant for each, but no words.
const NAMES: &[(Type, &str)] = &[
    (types::MBR, "MBR partition scheme"),
    (types::EFI, "EFI System"),
    (types::BIOS, "BIOS boot"),
    (types::MICROSOFT_RESERVED, "Microsoft reserved"),
    (types::BASIC, "Microsoft basic data"),
    (types::WINDOWS_METADATA, "Windows LDM metadata"),
    (types::WINDOWS_DATA, "Windows LDM data"),
    (types::WINDOWS_RECOVERY, "Windows recovery"),
    (types::WINDOWS_STORAGESPACES, "Windows Storage Spaces"),
    (types::LINUX_FS, "Linux filesystem"),
    (types::LINUX_RAID, "Linux RAID"),
    (types::LINUX_ROOT_X86, "Linux root (x86)"),
    (types::LINUX_ROOT_X64, "Linux root (x86-64)"),
    (types::LINUX_ROOT_ARM_32, "Linux root (ARM)"),
    (types::LINUX_ROOT_ARM_64, "Linux root (ARM64)"),
    (types::LINUX_SWAP, "Linux swap"),
    (types::LINUX_LVM, "Linux LVM"),
    (types::LINUX_HOME, "Linux home"),
    (types::LINUX_SRV, "Linux server data"),
    (types::LINUX_DMCRYPT, "Linux dm-crypt"),
    (types::LINUX_LUKS, "Linux LUKS"),
    (types::LINUX_RESERVED, "Linux reserved"),
    (types::FREEDESK_BOOT, "Linux extended boot"),
    (types::FREEBSD_DATA, "FreeBSD data"),
    (types::FREEBSD_BOOT, "FreeBSD boot"),
    (types::FREEBSD_SWAP, "FreeBSD swap"),
    (types::FREEBSD_UFS, "FreeBSD UFS"),
    (types::FREEBSD_ZFS, "FreeBSD ZFS"),
    (types::NETBSD_SWAP, "NetBSD swap"),
    (types::NETBSD_FFS, "NetBSD FFS"),
    (types::OPENBSD_DATA, "OpenBSD data"),
    (types::MACOS_HFSPLUS, "Apple HFS+"),
    (types::MACOS_APFS, "Apple APFS"),
    (types::MACOS_RECOVERY, "Apple boot"),
    (types::MACOS_ZFS, "Apple or Solaris ZFS"),
    (types::CHROME_KERNEL, "ChromeOS kernel"),
    (types::CHROME_ROOTFS, "ChromeOS root"),
    (types::COREOS_USR, "CoreOS usr"),
    (types::COREOS_ROOTFS_RESIZE, "CoreOS root"),
    (types::COREOS_OEM, "CoreOS OEM"),
    (types::PPC_BOOT, "PowerPC PReP boot"),
    (types::CEPH_OSD, "Ceph OSD"),
    (types::CEPH_JOURNAL, "Ceph journal"),
    (types::VMWARE_VMFS, "VMware VMFS"),
    (types::VMWARE_COREDUMP, "VMware core dump"),
    (types::VMWARE_RESERVED, "VMware reserved"),
];

/// The kind of a GPT partition in words: its own, those of its operating system, or `unknown`.
pub fn name(guid: Uuid) -> String {
    if let Some((_, name)) = NAMES.iter().find(|(kind, _)| kind.guid == guid) {
        return (*name).to_owned();
    }
    match Type::from(guid).os {
        OperatingSystem::None => "unknown".into(),
        OperatingSystem::HpUnix => "HP-UX".into(),
        OperatingSystem::Custom(name) => name,
        system => format!("{system:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_types() {
        let named = |guid: &str| name(Uuid::parse_str(guid).unwrap());
        assert_eq!(named("0fc63daf-8483-4772-8e79-3d69d8477de4"), "Linux filesystem");
        assert_eq!(named("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), "EFI System");
        assert_eq!(named("38F428E6-D326-425D-9140-6E0EA133647C"), "Android");
        assert_eq!(named("00000000-0000-0000-0000-000000000001"), "unknown");
    }
}
