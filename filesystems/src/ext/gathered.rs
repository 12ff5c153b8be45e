//! Writes that are joined where they lie one behind the other.

use images::{DiskMut, Result};

/// How many bytes are written at once (ours).
const MOST: usize = 1 << 20;

/// Bytes that are written to a disk as soon as they do not go on.
pub(super) struct Gathered<'a> {
    writer: &'a dyn DiskMut,
    offset: u64,
    bytes: Vec<u8>,
}

impl<'a> Gathered<'a> {
    pub fn new(writer: &'a dyn DiskMut) -> Self {
        Self { writer, offset: 0, bytes: Vec::new() }
    }

    /// Takes bytes for `offset` (bytes).
    pub fn put(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        if self.offset + self.bytes.len() as u64 != offset || self.bytes.len() >= MOST {
            self.write()?;
            self.offset = offset;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Writes what it has.
    pub fn write(&mut self) -> Result<()> {
        if !self.bytes.is_empty() {
            self.writer.write_at(&self.bytes, self.offset)?;
        }
        self.bytes.clear();
        Ok(())
    }
}
