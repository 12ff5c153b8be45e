//! One page of a disk at hand, for walking through small things that lie close together.

use images::{Disk, Result};

/// In bytes. No entry of a directory and few entries of a FAT cross such pages.
const PAGE: u64 = 4096;

/// The page that was read last. Starts empty.
pub struct Window<'a> {
    disk: &'a dyn Disk,
    start: u64,
    page: Vec<u8>,
}

impl<'a> Window<'a> {
    pub fn new(disk: &'a dyn Disk) -> Self {
        Self { disk, start: 0, page: Vec::new() }
    }

    /// The `N` bytes at `offset`.
    pub fn get<const N: usize>(&mut self, offset: u64) -> Result<[u8; N]> {
        let inside = offset % PAGE;
        if self.page.is_empty() || self.start != offset - inside {
            let start = offset - inside;
            let len = self.disk.size().saturating_sub(start).min(PAGE);
            self.page.clear();
            self.page.resize(len as usize, 0);
            self.start = start;
            if self.disk.read_at(&mut self.page, start).is_err() {
                self.page.clear();
            }
        }
        if let Some(bytes) = self.page.get(inside as usize..).and_then(|rest| rest.first_chunk()) {
            return Ok(*bytes);
        }
        let mut bytes = [0; N];
        self.disk.read_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}
