//! CBC: the mode of older encrypted volumes; each sector is a chain of its own.

use cipher::{Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16};

use super::mode::{BLOCK, Mode};
use crate::{Result, unsupported};

/// How many blocks one call of the cipher decrypts.
const BATCH: usize = 32;

/// A cipher with 16-byte blocks in CBC.
pub(super) struct Cbc<C>(C);

impl<C: KeyInit> Cbc<C> {
    /// With this key. Fails if that is no length of key that the cipher has.
    pub(super) fn new(key: &[u8]) -> Result<Self> {
        C::new_from_slice(key).map(Self).map_err(|_| unsupported!("a key of {} bits for CBC", key.len() * 8))
    }
}

impl<C> Mode for Cbc<C>
where
    C: BlockCipherDecrypt + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn decrypt(&self, data: &mut [u8], sector_size: usize, ivs: &mut dyn Iterator<Item = [u8; BLOCK]>) {
        let mut masks = [0; BATCH];
        for (sector, iv) in data.chunks_mut(sector_size).zip(ivs) {
            let mut before = u128::from_ne_bytes(iv);
            let (blocks, _) = Array::<u8, U16>::slice_as_chunks_mut(sector);
            for blocks in blocks.chunks_mut(BATCH) {
                for (block, mask) in blocks.iter().zip(&mut masks) {
                    *mask = std::mem::replace(&mut before, u128::from_ne_bytes(block.0));
                }
                self.0.decrypt_blocks(blocks);
                for (block, mask) in blocks.iter_mut().zip(&masks) {
                    block.0 = (u128::from_ne_bytes(block.0) ^ mask).to_ne_bytes();
                }
            }
        }
    }

    /// Block by block: each needs the one before it.
    fn encrypt(&self, data: &mut [u8], sector_size: usize, ivs: &mut dyn Iterator<Item = [u8; BLOCK]>) {
        for (sector, iv) in data.chunks_mut(sector_size).zip(ivs) {
            let mut before = u128::from_ne_bytes(iv);
            let (blocks, _) = Array::<u8, U16>::slice_as_chunks_mut(sector);
            for block in blocks {
                block.0 = (u128::from_ne_bytes(block.0) ^ before).to_ne_bytes();
                self.0.encrypt_block(block);
                before = u128::from_ne_bytes(block.0);
            }
        }
    }
}
