//! XTS: the mode of nearly every encrypted volume of the last ten years, in place and many blocks at a time.
//!
//! [IEEE 1619](https://standards.ieee.org/ieee/1619/4205/), without ciphertext stealing: sectors are whole blocks.

use cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};

use super::cipher::{BLOCK, Mode};
use crate::{Result, unsupported};

/// How many blocks one call of the cipher decrypts: enough to fill its pipeline, and half a KiB of masks in the first
/// cache.
const BATCH: usize = 32;
/// How many sectors' first masks one call of the cipher makes.
const SECTORS: usize = 16;
/// The polynomial of the field, as the standard writes it for little-endian numbers.
const POLYNOMIAL: u128 = 0x87;

/// A cipher with 16-byte blocks in XTS.
pub(super) struct Xts<C> {
    data: C,
    tweak: C,
}

impl<C: KeyInit> Xts<C> {
    /// The two halves of `key`. Fails if that is no length of key that the cipher has.
    pub(super) fn new(key: &[u8]) -> Result<Self> {
        let (data, tweak) = key.split_at(key.len() / 2);
        match (C::new_from_slice(data), C::new_from_slice(tweak)) {
            (Ok(data), Ok(tweak)) => Ok(Self { data, tweak }),
            _ => Err(unsupported!("a key of {} bits for XTS", key.len() * 8)),
        }
    }
}

impl<C> Mode for Xts<C>
where
    C: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn decrypt(&self, data: &mut [u8], sector_size: usize, ivs: &mut dyn Iterator<Item = [u8; BLOCK]>) {
        let mut firsts = [Array::from([0; BLOCK]); SECTORS];
        let mut masks = [0; BATCH];
        for group in data.chunks_mut(sector_size * SECTORS) {
            let firsts = &mut firsts[..group.len().div_ceil(sector_size)];
            for (first, iv) in firsts.iter_mut().zip(&mut *ivs) {
                *first = Array::from(iv);
            }
            self.tweak.encrypt_blocks(firsts);
            for (sector, first) in group.chunks_mut(sector_size).zip(firsts) {
                let mut mask = u128::from_le_bytes(first.0);
                let (blocks, _) = Array::<u8, U16>::slice_as_chunks_mut(sector);
                for blocks in blocks.chunks_mut(BATCH) {
                    for (block, kept) in blocks.iter_mut().zip(&mut masks) {
                        *kept = mask;
                        block.0 = (u128::from_le_bytes(block.0) ^ mask).to_le_bytes();
                        mask = (mask << 1) ^ (POLYNOMIAL * (mask >> 127));
                    }
                    self.data.decrypt_blocks(blocks);
                    for (block, mask) in blocks.iter_mut().zip(&masks) {
                        block.0 = (u128::from_le_bytes(block.0) ^ mask).to_le_bytes();
                    }
                }
            }
        }
    }
}
