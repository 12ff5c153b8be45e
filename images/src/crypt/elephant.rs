//! The Elephant diffuser of BitLocker: what makes every bit of a sector depend on all of it, around CBC.
//!
//! Niels Ferguson, [AES-CBC + Elephant diffuser](https://download.microsoft.com/download/0/2/3/0238acaf-d3bf-4a6d-b3d6-0a0be4bbb36e/bitlockercipher200608.pdf),
//! sections 4.2 and 4.3.

use super::mode::{BLOCK, MAX_SECTOR, OneBlock};

/// How often diffuser A goes over a sector, and by how many bits its words are rotated.
const A: (usize, [u32; 4]) = (5, [9, 0, 13, 0]);
/// The same of diffuser B.
const B: (usize, [u32; 4]) = (3, [0, 10, 0, 25]);
/// The length of the key of a sector, in bytes.
const SECTOR_KEY: usize = 2 * BLOCK;

/// Undoes the diffusers and the key of a sector.
pub(super) struct Elephant(Box<dyn OneBlock>);

impl Elephant {
    /// With the cipher of the tweak key.
    pub(super) fn new(tweak: Box<dyn OneBlock>) -> Self {
        Self(tweak)
    }

    /// Undoes it for the sector at byte `offset` of the volume, after CBC was undone.
    pub(super) fn undo(&self, sector: &mut [u8], offset: u64) {
        let mut words = [0u32; MAX_SECTOR / 4];
        let words = &mut words[..sector.len() / 4];
        for (word, bytes) in words.iter_mut().zip(sector.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        // A sector has a power of two of words, so the last mask finds the neighbours across its ends.
        let (len, last) = (words.len(), words.len() - 1);
        for at in (0..len).cycle().take(B.0 * len) {
            let mixed = words[(at + 2) & last] ^ words[(at + 5) & last].rotate_left(B.1[at % 4]);
            words[at] = words[at].wrapping_add(mixed);
        }
        for at in (0..len).cycle().take(A.0 * len) {
            let mixed = words[(at + len - 2) & last] ^ words[(at + len - 5) & last].rotate_left(A.1[at % 4]);
            words[at] = words[at].wrapping_add(mixed);
        }
        let key = self.sector_key(offset);
        for (bytes, word) in sector.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        for piece in sector.chunks_mut(SECTOR_KEY) {
            for (byte, mask) in piece.iter_mut().zip(key) {
                *byte ^= mask;
            }
        }
    }

    /// The offset, encrypted as it is and with its last byte marked.
    fn sector_key(&self, offset: u64) -> [u8; SECTOR_KEY] {
        let mut key = [0; SECTOR_KEY];
        for (half, mark) in key.as_chunks_mut::<BLOCK>().0.iter_mut().zip([0, 0x80]) {
            half[..8].copy_from_slice(&offset.to_le_bytes());
            half[BLOCK - 1] = mark;
            self.0.encrypt(half);
        }
        key
    }
}
