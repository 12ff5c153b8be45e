//! The bytes of a compressed file in order, read in large pieces.

use std::io;
use std::sync::Arc;

use crate::length::in_memory;
use crate::{Disk, Error, Result, corrupt};

/// How much is read at a time, in bytes.
const PIECE: u64 = 64 << 10;

/// A part of a file, from its start to its end.
pub struct Input {
    file: Arc<dyn Disk>,
    /// Where the next piece begins in the file, in bytes.
    next: u64,
    end: u64,
    piece: Vec<u8>,
    /// How much of the piece is used.
    used: usize,
}

impl Input {
    /// The bytes of `file` from `start` to `end`, or to the end of the file if that comes before.
    pub fn new(file: &Arc<dyn Disk>, start: u64, end: u64) -> Self {
        let end = end.min(file.size());
        Self { file: file.clone(), next: start.min(end), end, piece: Vec::new(), used: 0 }
    }

    /// Where the next byte lies in the file.
    pub fn position(&self) -> u64 {
        self.next - (self.piece.len() - self.used) as u64
    }

    /// The file that they come from.
    pub fn file(&self) -> &dyn Disk {
        &*self.file
    }

    /// How many bytes are left.
    pub fn left(&self) -> u64 {
        self.end - self.position()
    }

    /// What has been read and not used. Empty at the end only.
    pub fn fill(&mut self) -> Result<&[u8]> {
        if self.used == self.piece.len() {
            self.read_piece(0)?;
        }
        Ok(&self.piece[self.used..])
    }

    /// The next `len` bytes without using them, or fewer at the end; `len` is small.
    pub fn peek(&mut self, len: usize) -> Result<&[u8]> {
        let have = self.piece.len() - self.used;
        if have < len {
            self.piece.copy_within(self.used.., 0);
            self.read_piece(have)?;
        }
        let unused = &self.piece[self.used..];
        Ok(&unused[..unused.len().min(len)])
    }

    /// Reads the next piece behind the first `keep` bytes of this one.
    fn read_piece(&mut self, keep: usize) -> Result<()> {
        let len = (self.end - self.next).min(PIECE);
        self.piece.resize(keep + in_memory(len), 0);
        self.used = 0;
        self.file.read_at(&mut self.piece[keep..], self.next)?;
        self.next += len;
        Ok(())
    }

    /// Marks `len` bytes of what [`Self::fill`] gave as used.
    pub fn consume(&mut self, len: usize) {
        self.used = self.piece.len().min(self.used + len);
    }

    /// Leaves out the next `len` bytes, or what is left.
    pub fn skip(&mut self, len: u64) {
        let inside = (self.piece.len() - self.used) as u64;
        match len.checked_sub(inside) {
            None => self.used += in_memory(len),
            Some(more) => {
                self.used = self.piece.len();
                self.next = self.next.saturating_add(more).min(self.end);
            }
        }
    }

    /// The next `N` bytes, of the structure `what`.
    pub fn take<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let at = self.position();
        let bytes = self.peek(N)?.try_into().map_err(|_| truncated(what, at))?;
        self.consume(N);
        Ok(bytes)
    }
}

/// The file ends inside the structure `what`, which lies at `at`.
pub fn truncated(what: &str, at: u64) -> Error {
    corrupt!(what, at, "the file ends inside it: truncated?")
}

impl io::Read for Input {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let unused = self.fill().map_err(io::Error::other)?;
        let len = unused.len().min(out.len());
        out[..len].copy_from_slice(&unused[..len]);
        self.consume(len);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    #[test]
    fn bytes_come_in_order_and_once() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i / 7) as u8).collect();
        let file: Arc<dyn Disk> = Arc::new(Memory::new("m", bytes.clone()));
        let mut input = Input::new(&file, 10, 190_000);
        let mut seen = Vec::new();
        while input.left() > 0 {
            assert_eq!(input.position(), 10 + seen.len() as u64);
            let next = input.peek(9).unwrap().to_vec();
            let piece = input.fill().unwrap();
            let len = piece.len().min(777);
            assert!(next.starts_with(&piece[..len.min(next.len())]));
            seen.extend_from_slice(&piece[..len]);
            input.consume(len);
        }
        assert_eq!(seen, bytes[10..190_000]);
        assert!(input.fill().unwrap().is_empty() && input.peek(3).unwrap().is_empty());
        let error = input.take::<2>("trailer").unwrap_err().to_string();
        assert_eq!(error, "trailer at byte 0x2e630: the file ends inside it: truncated?");
    }
}
