//! The two checksums of ext4: crc32c of metadata_csum, and crc16 of the older gdt_csum.
//!
//! <https://docs.kernel.org/filesystems/ext4/checksums.html>

/// The crc32c register after `bytes`, starting from `seed`, without the inversions at either end of the usual crc32c:
/// ext4 chains registers.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// What the checksums of an inode's own blocks (directory, hash tree, extents) start from.
pub fn inode_seed(fs_seed: u32, number: u32, generation: u32) -> u32 {
    crc32c(crc32c(fs_seed, &number.to_le_bytes()), &generation.to_le_bytes())
}

/// The reflected crc16 with polynomial 0x8005, starting from `crc`.
pub fn crc16(mut crc: u16, bytes: &[u8]) -> u16 {
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 0 { 0 } else { 0xa001 };
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_values() {
        // The catalogue's check values for CRC-32/ISCSI and CRC-16/ARC.
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(crc32c(!0, b"1234"), b"56789"), crc32c(!0, b"123456789"));
        assert_eq!(crc16(0, b"123456789"), 0xbb3d);
    }
}
