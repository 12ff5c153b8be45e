//! Which bytes of a disk have a writer: each has one at most.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::Disk;
use crate::{Result, corrupt, read_only};

/// The ranges of one disk that have a writer, by their start: where they end.
#[derive(Default)]
pub(crate) struct Claims(Arc<Mutex<BTreeMap<u64, u64>>>);

/// Bytes that nobody else writes until this is dropped.
pub(crate) struct Claim {
    all: Arc<Mutex<BTreeMap<u64, u64>>>,
    bytes: Range<u64>,
}

impl Claims {
    /// Fails if `bytes` do not lie inside `disk`, or if some of them have a writer.
    pub fn take(&self, disk: &dyn Disk, bytes: Range<u64>) -> Result<Claim> {
        check_claimed(disk, &bytes)?;
        // Whoever has the end has what grows there, too.
        let Range { start, end } = bytes;
        let end = if end == disk.size() { u64::MAX } else { end };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // They do not overlap, so that only the last one that starts before the end can reach into this one.
        if let Some((other, _)) = all.range(..end).next_back().filter(|(_, other)| **other > start) {
            return Err(read_only!("{disk} has a writer already, at byte {:#x}", start.max(*other)));
        }
        if start < end {
            all.insert(start, end);
        }
        Ok(Claim { all: self.0.clone(), bytes: start..end })
    }
}

/// Fails unless the bytes that a writer is wanted for lie inside `disk`.
pub(crate) fn check_claimed(disk: &dyn Disk, bytes: &Range<u64>) -> Result<()> {
    let (Range { start, end }, size) = (bytes, disk.size());
    if start > end || *end > size {
        let disk = disk.to_string();
        return Err(corrupt!(disk, *start, "a writer up to byte {end:#x} wanted, but it ends at byte {size:#x}"));
    }
    Ok(())
}

impl Claim {
    /// Fails unless `len` bytes at `offset` are claimed, and lie inside the disk of this name, which is `size` bytes long.
    pub fn check(&self, disk: &str, size: u64, offset: u64, len: u64) -> Result<()> {
        let most = self.bytes.end.min(size);
        match offset.checked_add(len) {
            Some(end) if offset >= self.bytes.start && end <= most => Ok(()),
            _ => {
                let start = self.bytes.start;
                Err(corrupt!(disk, offset, "{len} bytes to be written, but the writer has {start:#x} to {most:#x}"))
            }
        }
    }

    /// Fails unless the end of the disk of this name is claimed.
    pub fn check_end(&self, disk: &str) -> Result<()> {
        match self.bytes.end {
            u64::MAX => Ok(()),
            end => Err(read_only!("{disk} cannot grow: its writer has the bytes before {end:#x} only")),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.bytes.start);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    #[test]
    fn bytes_have_one_writer_at_a_time() {
        let (disk, claims) = (Memory::new("m", vec![0; 100]), Claims::default());
        let take = |bytes| claims.take(&disk, bytes);
        let (first, last) = (take(10..20).unwrap(), take(90..100).unwrap());
        for taken in [0..11, 19..20, 12..13, 0..100, 99..100, 10..20] {
            let error = take(taken.clone()).err().unwrap().to_string();
            assert!(error.starts_with("m has a writer already, at byte 0x"), "{taken:?}: {error}");
        }
        let (_before, _between) = (take(0..10).unwrap(), take(20..90).unwrap());
        take(30..30).err().unwrap();
        drop(first);
        let first = take(10..20).unwrap();
        assert!(take(0..101).is_err() && take(u64::MAX..u64::MAX).is_err());
        assert!(first.check("m", 100, 10, 10).is_ok() && first.check("m", 100, 9, 2).is_err());
        assert!(first.check("m", 100, 19, 2).is_err() && first.check("m", 100, u64::MAX, 2).is_err());
        assert!(first.check_end("m").is_err() && last.check_end("m").is_ok());
        assert!(last.check("m", 100, 99, 2).is_err() && last.check("m", 110, 99, 2).is_ok(), "it grew");
    }

    #[test]
    fn nothing_is_claimed_by_a_range_of_no_bytes() {
        let (disk, claims) = (Memory::new("m", vec![0; 100]), Claims::default());
        let _none = [claims.take(&disk, 5..5).unwrap(), claims.take(&disk, 5..5).unwrap()];
        claims.take(&disk, 0..100).unwrap();
    }
}
