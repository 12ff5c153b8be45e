//! CRC-32 with the most significant bit first: what checksum v1 of jbd2 uses.

/// CRC-32, polynomial 0x04c11db7, most significant bit first, without inversions.
pub fn crc32_be(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |crc, byte| (crc << 8) ^ TABLE[usize::from((crc >> 24) as u8 ^ byte)])
}

static TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 != 0 { (crc << 1) ^ 0x04c1_1db7 } else { crc << 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The catalogue's check value of CRC-32/MPEG-2.
    #[test]
    fn check_value() {
        assert_eq!(crc32_be(!0, b"123456789"), 0x0376_e6e7);
    }
}
