//! What the type byte of a partition in a BSD disk label means.

/// The kind in words, where FreeBSD, NetBSD and OpenBSD agree on it; otherwise in those of the one that uses it.
pub fn name(fstype: u8) -> &'static str {
    match fstype {
        1 => "BSD swap",
        2 => "Unix version 6",
        3 => "Unix version 7",
        4 => "System V",
        5 => "4.1BSD",
        6 => "Eighth Edition",
        7 => "BSD FFS",
        8 => "FAT",
        9 => "BSD LFS",
        11 => "HPFS",
        12 => "ISO 9660",
        13 => "boot",
        14 => "vinum",
        15 => "RAIDframe",
        17 => "ext2",
        18 => "NTFS",
        20 => "ccd",
        27 => "ZFS",
        30 => "NANDFS",
        _ => "unknown",
    }
}
