//! The contents of blocks that are needed again later in the search: kept, so that each is read once.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::length::in_memory;
use images::Disk;

/// How many bytes of blocks are kept (ours). What comes after is read again where it is needed.
const MAX_BYTES: usize = 12 << 20;
/// What a block takes beside its content, about, in bytes.
const OVERHEAD: usize = 64;

/// The contents of blocks by where they lie on the disk, in bytes.
#[derive(Default)]
pub(super) struct Contents {
    blocks: RefCell<HashMap<u64, Box<[u8]>>>,
    bytes: Cell<usize>,
}

impl Contents {
    /// Keeps a block, without the zeros at its end, as long as there is room.
    pub(super) fn keep(&self, at: u64, block: &[u8]) {
        let len = block.len() - block.iter().rev().take_while(|byte| **byte == 0).count();
        let bytes = self.bytes.get() + len + OVERHEAD;
        if bytes <= MAX_BYTES {
            self.bytes.set(bytes);
            self.blocks.borrow_mut().insert(at, block[..len].into());
        }
    }

    /// Whether the block at `at` is kept.
    pub(super) fn has(&self, at: u64) -> bool {
        self.blocks.borrow().contains_key(&at)
    }

    /// Where the blocks lie, in bytes.
    pub(super) fn places(&self) -> Vec<u64> {
        self.blocks.borrow().keys().copied().collect()
    }

    /// The block of `block_size` bytes at `at`: kept, or read and kept. `None` if it cannot be read.
    pub(super) fn read(&self, disk: &dyn Disk, at: u64, block_size: u64) -> Option<Vec<u8>> {
        let mut bytes = vec![0; in_memory(block_size)];
        if let Some(kept) = self.blocks.borrow().get(&at) {
            bytes.get_mut(..kept.len())?.copy_from_slice(kept);
            return Some(bytes);
        }
        disk.read_at(&mut bytes, at).ok()?;
        self.keep(at, &bytes);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use images::disk::{Counting, Memory};

    use super::*;

    #[test]
    fn a_block_is_read_once_while_there_is_room() {
        let content: Vec<u8> = (0..4096u32).map(|at| if at < 3000 { at as u8 } else { 0 }).collect();
        let disk = Counting::new(Arc::new(Memory::new("m", content.repeat(2))));
        let contents = Contents::default();
        contents.keep(0, &content);
        for at in [0, 4096, 0, 4096] {
            assert_eq!(contents.read(&disk, at, 4096).unwrap(), content);
        }
        assert_eq!(disk.take(), (1, 4096));
        assert!(contents.has(4096) && !contents.has(8192) && contents.read(&disk, 8192, 4096).is_none());
        for at in 2..2 + MAX_BYTES as u64 / 3000 {
            contents.keep(at * 4096, &content);
        }
        assert!(!contents.has(MAX_BYTES as u64 / 3000 * 4096), "bounded");
    }
}
