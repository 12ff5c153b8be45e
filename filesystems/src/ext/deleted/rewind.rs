//! CRC-32C backwards: a checksum over a known body has exactly one start, and that start says whose the body is.
//!
//! An inode's checksum covers its number, a block's starts from its inode. The register's steps can be undone, so the
//! owner of a copy that nothing else attributes is computed, not searched for.

use crate::ext::checksum::crc32c;

/// Undoes steps of the CRC register.
pub(super) struct Rewind {
    /// What a step adds, by the byte that leaves the register.
    table: [u32; 256],
    /// Which of them has this top byte; each has another.
    by_top: [u8; 256],
}

impl Rewind {
    pub(super) fn new() -> Self {
        let (mut table, mut by_top) = ([0; 256], [0; 256]);
        for byte in 0..=255u8 {
            let value = crc32c(byte.into(), &[0]);
            table[usize::from(byte)] = value;
            by_top[(value >> 24) as usize] = byte;
        }
        Self { table, by_top }
    }

    /// The register before `byte` went in.
    fn step(&self, register: u32, byte: u8) -> u32 {
        let index = self.by_top[(register >> 24) as usize];
        (register ^ self.table[usize::from(index)]) << 8 | u32::from(index ^ byte)
    }

    /// The register before `bytes` went in.
    pub(super) fn bytes(&self, register: u32, bytes: &[u8]) -> u32 {
        bytes.iter().rev().fold(register, |register, byte| self.step(register, *byte))
    }

    /// The undoing of so many bytes at once.
    pub(super) fn by(&self, len: usize) -> Start {
        let mut columns = [0; 32];
        for (bit, column) in columns.iter_mut().enumerate() {
            *column = (0..len).fold(1 << bit, |register, _| self.step(register, 0));
        }
        Start { columns }
    }
}

/// Finds the register before a body of one length.
pub(super) struct Start {
    /// Where each bit of the register comes from: the register is linear.
    columns: [u32; 32],
}

impl Start {
    /// The register before the body, from the one after it and from the one after it that began with 0.
    pub(super) fn of(&self, after: u32, after_zero: u32) -> u32 {
        let mut left = after ^ after_zero;
        let mut start = 0;
        while left != 0 {
            start ^= self.columns[left.trailing_zeros() as usize];
            left &= left - 1;
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_is_found() {
        let rewind = Rewind::new();
        let body: Vec<u8> = (0..4084u32).map(|i| (i * 7 % 251) as u8).collect();
        for start in [0, 1, 0xdead_beef, u32::MAX] {
            let after = crc32c(start, &body);
            assert_eq!(rewind.bytes(after, &body), start);
            assert_eq!(rewind.by(body.len()).of(after, crc32c(0, &body)), start);
        }
    }
}
