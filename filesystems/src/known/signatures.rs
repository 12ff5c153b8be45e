//! The table of signatures: what lies where in which contents.

use images::{Disk, Result};

use super::{bytes_at, label, label_utf16, uuid, windows};
use crate::Identity;

/// One signature. All offsets are in bytes from the start of the disk.
pub(super) struct Signature {
    /// The type as blkid calls it.
    kind: &'static str,
    /// Bytes that must be there, all of them, and where.
    magic: &'static [(u64, &'static [u8])],
    label: Label,
    uuid: Uuid,
}

/// Where the label lies.
enum Label {
    Nowhere,
    /// A field of so many bytes.
    Bytes(u64, usize),
    /// A field of so many bytes in UTF-16, little-endian.
    Utf16(u64, usize),
    /// Somewhere in the tree.
    Within(fn(&dyn Disk) -> Result<Option<Vec<u8>>>),
}

/// Where the UUID lies and how it is written.
enum Uuid {
    Nowhere,
    /// 16 bytes.
    Bytes(u64),
    /// A field of 40 bytes of text.
    Text(u64),
    /// A little-endian serial number of 4 bytes: `XXXX-XXXX`.
    Serial32(u64),
    /// A little-endian serial number of 8 bytes: 16 hexadecimal digits.
    Serial64(u64),
    /// Two little-endian words: 16 hexadecimal digits.
    Words(u64),
}

use Label::{Nowhere as NoLabel, Utf16};
use Uuid::Nowhere as NoUuid;

/// Longest magic, in bytes.
const MAGIC_MAX: usize = 16;
/// Longest label field, in bytes: that of f2fs.
const LABEL_MAX: usize = 1024;

const fn row(kind: &'static str, magic: &'static [(u64, &'static [u8])], label: Label, uuid: Uuid) -> Signature {
    Signature { kind, magic, label, uuid }
}

const fn bytes(offset: u64, len: usize) -> Label {
    Label::Bytes(offset, len)
}

/// The GUID of a BitLocker To Go volume, 4967d63b-2e29-4ad8-8399-f6a339e3d001, as it lies on the disk.
const BITLOCKER_TO_GO: &[u8] = b"\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01";
const BCACHE: &[u8] = b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81";

/// Parts of something larger.
///
/// Formats: [LUKS1](https://gitlab.com/cryptsetup/cryptsetup/-/wikis/LUKS-standard/on-disk-format.pdf),
/// [LUKS2](https://gitlab.com/cryptsetup/LUKS2-docs),
/// [BitLocker](https://github.com/libyal/libbde/blob/main/documentation/BitLocker%20Drive%20Encryption%20(BDE)%20format.asciidoc),
/// [verity](https://gitlab.com/cryptsetup/cryptsetup/-/wikis/DMVerity),
/// [bcache](https://github.com/torvalds/linux/blob/master/drivers/md/bcache/bcache_ondisk.h).
#[rustfmt::skip]
pub(super) static CONTAINERS: &[Signature] = &[
    row("crypto_LUKS", &[(0, b"LUKS\xba\xbe\0\x01")], NoLabel, Uuid::Text(168)),
    row("crypto_LUKS", &[(0, b"LUKS\xba\xbe\0\x02")], bytes(24, 48), Uuid::Text(168)),
    row("BitLocker", &[(3, b"-FVE-FS-")], NoLabel, NoUuid),
    row("BitLocker", &[(3, b"MSWIN4.1"), (424, BITLOCKER_TO_GO)], NoLabel, NoUuid),
    row("DM_verity_hash", &[(0, b"verity\0\0")], NoLabel, Uuid::Bytes(16)),
    row("bcache", &[(4120, BCACHE)], bytes(4168, 32), Uuid::Bytes(4136)),
    row("VMFS_volume_member", &[(1 << 20, b"\x0d\xd0\x01\xc0")], NoLabel, NoUuid),
];

/// File systems and swap.
///
/// Formats: [swap](https://github.com/torvalds/linux/blob/master/include/linux/swap.h),
/// [XFS](https://kernel.org/pub/linux/utils/fs/xfs/docs/xfs_filesystem_structure.pdf),
/// [Btrfs](https://btrfs.readthedocs.io/en/latest/dev/On-disk-format.html),
/// [NTFS](https://flatcap.github.io/linux-ntfs/ntfs/files/boot.html),
/// [exFAT](https://learn.microsoft.com/en-us/windows/win32/fileio/exfat-specification),
/// [F2FS](https://docs.kernel.org/filesystems/f2fs.html),
/// [SquashFS](https://dr-emann.github.io/squashfs/),
/// [EROFS](https://erofs.docs.kernel.org/en/latest/ondisk/core_ondisk.html),
/// [JFS](https://jfs.sourceforge.net/project/pub/jfslayout.pdf),
/// [ReiserFS](https://reiser4.wiki.kernel.org/index.php/X0reiserfs),
/// [HFS Plus](https://developer.apple.com/library/archive/technotes/tn/tn1150.html),
/// [APFS](https://developer.apple.com/support/downloads/Apple-File-System-Reference.pdf),
/// [UFS](https://github.com/freebsd/freebsd-src/blob/main/sys/ufs/ffs/fs.h).
#[rustfmt::skip]
pub(super) static CONTENTS: &[Signature] = &[
    // The signature ends the first page, whatever the page size of the machine that made it.
    row("swap", &[(0x0ff6, b"SWAPSPACE2")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("swap", &[(0x1ff6, b"SWAPSPACE2")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("swap", &[(0x3ff6, b"SWAPSPACE2")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("swap", &[(0x7ff6, b"SWAPSPACE2")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("swap", &[(0xfff6, b"SWAPSPACE2")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("swap", &[(0x0ff6, b"SWAP-SPACE")], NoLabel, NoUuid),
    row("swap", &[(0x1ff6, b"SWAP-SPACE")], NoLabel, NoUuid),
    row("swap", &[(0x3ff6, b"SWAP-SPACE")], NoLabel, NoUuid),
    row("swap", &[(0x7ff6, b"SWAP-SPACE")], NoLabel, NoUuid),
    row("swap", &[(0xfff6, b"SWAP-SPACE")], NoLabel, NoUuid),
    // Swap that holds a hibernated machine: by the kernel in both generations, by uswsusp, by TuxOnIce.
    row("swsuspend", &[(0x0ff6, b"S1SUSPEND")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("swsuspend", &[(0x0ff6, b"S2SUSPEND")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("swsuspend", &[(0x0ff6, b"ULSUSPEND")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("swsuspend", &[(0x0ff6, b"LINHIB0001")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("swsuspend", &[(0x0ff6, b"\xed\xc3\x02\xe9\x98\x56\xe5\x0c")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("swsuspend", &[(0x1ff6, b"S1SUSPEND")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("swsuspend", &[(0x3ff6, b"S1SUSPEND")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("swsuspend", &[(0x7ff6, b"S1SUSPEND")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("swsuspend", &[(0xfff6, b"S1SUSPEND")], bytes(1052, 16), Uuid::Bytes(1036)),
    row("xfs", &[(0, b"XFSB")], bytes(108, 12), Uuid::Bytes(32)),
    row("btrfs", &[(0x10040, b"_BHRfS_M")], bytes(0x1012b, 256), Uuid::Bytes(0x10020)),
    row("ntfs", &[(3, b"NTFS    ")], Label::Within(windows::ntfs), Uuid::Serial64(72)),
    row("exfat", &[(3, b"EXFAT   ")], Label::Within(windows::exfat), Uuid::Serial32(100)),
    row("f2fs", &[(1024, b"\x10\x20\xf5\xf2")], Utf16(1148, 1024), Uuid::Bytes(1132)),
    row("squashfs", &[(0, b"hsqs")], NoLabel, NoUuid),
    row("squashfs3", &[(0, b"sqsh")], NoLabel, NoUuid),
    row("erofs", &[(1024, b"\xe2\xe1\xf5\xe0")], bytes(1088, 16), Uuid::Bytes(1072)),
    row("jfs", &[(32768, b"JFS1")], bytes(32920, 16), Uuid::Bytes(32904)),
    row("reiserfs", &[(8192 + 52, b"ReIsErFs")], NoLabel, NoUuid),
    row("reiserfs", &[(65536 + 52, b"ReIsErFs")], NoLabel, NoUuid),
    row("reiserfs", &[(65536 + 52, b"ReIsEr2Fs")], bytes(65636, 16), Uuid::Bytes(65620)),
    row("reiserfs", &[(65536 + 52, b"ReIsEr3Fs")], bytes(65636, 16), Uuid::Bytes(65620)),
    row("hfsplus", &[(1024, b"H+\0\x04")], NoLabel, NoUuid),
    row("hfsplus", &[(1024, b"HX\0\x05")], NoLabel, NoUuid),
    row("apfs", &[(32, b"NXSB"), (24, b"\x01\0")], NoLabel, Uuid::Bytes(72)),
    row("ufs", &[(8192 + 1372, b"\x54\x19\x01\0")], NoLabel, Uuid::Words(8192 + 144)),
    row("ufs", &[(8192 + 1372, b"\x19\x01\x54\x19")], bytes(8192 + 680, 32), Uuid::Words(8192 + 144)),
    row("ufs", &[(65536 + 1372, b"\x19\x01\x54\x19")], bytes(65536 + 680, 32), Uuid::Words(65536 + 144)),
    row("VMFS", &[(2 << 20, b"\x5e\xf1\xab\x2f")], bytes((2 << 20) + 29, 128), NoUuid),
];

/// The contents of the table that match, in its order.
pub(super) fn probe(table: &[Signature], disk: &dyn Disk) -> Result<Vec<Identity>> {
    let mut found = Vec::new();
    for signature in table {
        if signature.matches(disk)? {
            let (label, uuid) = (signature.label.read(disk)?, signature.uuid.read(disk)?);
            found.push(Identity { kind: signature.kind.into(), label, uuid });
        }
    }
    Ok(found)
}

impl Signature {
    fn matches(&self, disk: &dyn Disk) -> Result<bool> {
        for (offset, magic) in self.magic {
            let mut buf = [0; MAGIC_MAX];
            let found = &mut buf[..magic.len()];
            if offset + magic.len() as u64 > disk.size() {
                return Ok(false);
            }
            disk.read_at(found, *offset)?;
            if found != *magic {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Label {
    fn read(&self, disk: &dyn Disk) -> Result<Option<Vec<u8>>> {
        let mut buf = [0; LABEL_MAX];
        let (offset, len) = match *self {
            Self::Nowhere => return Ok(None),
            Self::Within(find) => return find(disk),
            Self::Bytes(offset, len) | Self::Utf16(offset, len) => (offset, len),
        };
        let field = &mut buf[..len];
        if offset + len as u64 > disk.size() {
            return Ok(None);
        }
        disk.read_at(field, offset)?;
        Ok(if matches!(self, Utf16(..)) { label_utf16(field) } else { label(field) })
    }
}

impl Uuid {
    fn read(&self, disk: &dyn Disk) -> Result<Option<String>> {
        Ok(match *self {
            Self::Nowhere => None,
            Self::Bytes(offset) => bytes_at(disk, offset)?.as_ref().and_then(uuid),
            Self::Text(offset) => {
                let field = bytes_at::<40>(disk, offset)?.unwrap_or([0; 40]);
                label(&field).and_then(|text| String::from_utf8(text).ok())
            }
            Self::Serial32(offset) => bytes_at(disk, offset)?
                .map(u32::from_le_bytes)
                .map(|serial| format!("{:04X}-{:04X}", serial >> 16, serial & 0xffff)),
            Self::Serial64(offset) => {
                bytes_at(disk, offset)?.map(u64::from_le_bytes).map(|serial| format!("{serial:016X}"))
            }
            Self::Words(offset) => bytes_at(disk, offset)?
                .map(u64::from_le_bytes)
                .filter(|words| *words != 0)
                .map(|words| format!("{:08x}{:08x}", words & 0xffff_ffff, words >> 32)),
        })
    }
}
