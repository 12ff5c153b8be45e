//! What is written: bytes, or zeros that need none.

use crate::{DiskMut, Result};

/// Bytes to be written.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// These.
    Bytes(&'a [u8]),
    /// So many zeros.
    Zeros(u64),
}

impl Content<'_> {
    /// How many there are.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(len) => *len,
        }
    }

    /// The first `len` of them, and the rest; `len` is at most how many there are.
    pub fn split(self, len: u64) -> (Self, Self) {
        match self {
            Self::Bytes(bytes) => {
                // At most the length of a slice.
                let (first, rest) = bytes.split_at(len as usize);
                (Self::Bytes(first), Self::Bytes(rest))
            }
            Self::Zeros(all) => (Self::Zeros(len), Self::Zeros(all - len)),
        }
    }

    /// Puts them into `buf`, which is as long.
    pub fn copy_to(self, buf: &mut [u8]) {
        match self {
            Self::Bytes(bytes) => buf.copy_from_slice(bytes),
            Self::Zeros(_) => buf.fill(0),
        }
    }

    /// Writes them at byte `at`.
    pub fn write(self, writer: &dyn DiskMut, at: u64) -> Result<()> {
        match self {
            Self::Bytes(bytes) => writer.write_at(bytes, at),
            Self::Zeros(len) => writer.zero_at(at, len),
        }
    }
}
