//! XTS: the mode of nearly every encrypted volume of the last ten years, in place and many blocks at a time.
//!
//! [IEEE 1619](https://standards.ieee.org/ieee/1619/4205/), without ciphertext stealing: sectors are whole blocks.

use std::mem;

use cipher::array::ArraySize;
use cipher::inout::InOut;
use cipher::{
    Array, BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit, consts::U16,
};

use super::mode::{BLOCK, Mode};
use crate::{Result, unsupported};

/// How many sectors' first masks one call of the cipher makes.
const SECTORS: usize = 16;
/// The polynomial of the field, as the standard writes it for little-endian numbers.
const POLYNOMIAL: u64 = 0x87;

type Block = Array<u8, U16>;

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
        self.each_batch(data, sector_size, ivs, |sectors| self.data.decrypt_with_backend(sectors));
    }

    fn encrypt(&self, data: &mut [u8], sector_size: usize, ivs: &mut dyn Iterator<Item = [u8; BLOCK]>) {
        self.each_batch(data, sector_size, ivs, |sectors| self.data.encrypt_with_backend(sectors));
    }
}

impl<C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>> Xts<C> {
    /// Calls `each` with some sectors at a time, and the encrypted vectors of these.
    fn each_batch(
        &self,
        data: &mut [u8],
        sector_size: usize,
        ivs: &mut dyn Iterator<Item = [u8; BLOCK]>,
        each: impl Fn(Sectors<'_>),
    ) {
        let mut firsts = [Array::from([0; BLOCK]); SECTORS];
        for data in data.chunks_mut(sector_size * SECTORS) {
            let firsts = &mut firsts[..data.len().div_ceil(sector_size)];
            for (first, iv) in firsts.iter_mut().zip(&mut *ivs) {
                *first = Array::from(iv);
            }
            self.tweak.encrypt_blocks(firsts);
            each(Sectors { data, sector_size, firsts });
        }
    }
}

/// What a block is masked with, before and after: a number of the field, low half first.
#[derive(Clone, Copy, Default)]
struct Mask([u64; 2]);

impl Mask {
    #[inline(always)]
    fn of(first: &Block) -> Self {
        let (halves, _) = first.0.as_chunks::<8>();
        Self([u64::from_le_bytes(halves[0]), u64::from_le_bytes(halves[1])])
    }

    /// Puts this mask and those of the blocks that follow into `masks`, and becomes the one after these.
    #[inline(always)]
    fn fill(&mut self, masks: &mut [Self]) {
        for mask in masks {
            *mask = *self;
            let Self([low, high]) = *self;
            // An addition that carries: shifting across both halves is slower on many processors.
            let (doubled, carry) = low.overflowing_add(low);
            let over = ((high as i64) >> 63) as u64 & POLYNOMIAL;
            self.0 = [doubled ^ over, high.wrapping_add(high).wrapping_add(carry.into())];
        }
    }

    #[inline(always)]
    fn apply(&self, block: &mut Block) {
        for (bytes, mask) in block.0.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *bytes = (u64::from_le_bytes(*bytes) ^ mask).to_le_bytes();
        }
    }
}

/// Sectors, and the encrypted vector of each.
struct Sectors<'a> {
    data: &'a mut [u8],
    sector_size: usize,
    firsts: &'a [Block],
}

impl BlockSizeUser for Sectors<'_> {
    type BlockSize = U16;
}

impl BlockCipherDecClosure for Sectors<'_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        self.pass::<B::ParBlocksSize>(
            |blocks| backend.decrypt_par_blocks(blocks),
            |block| backend.decrypt_block(block),
        );
    }
}

impl BlockCipherEncClosure for Sectors<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        self.pass::<B::ParBlocksSize>(
            |blocks| backend.encrypt_par_blocks(blocks),
            |block| backend.encrypt_block(block),
        );
    }
}

impl Sectors<'_> {
    /// Passes as many blocks at a time to the cipher as that takes: `many`, or `one`. The masks of the next ones are made
    /// meanwhile, also across the end of a sector: ordinary registers are free while those of vectors are busy.
    #[inline(always)]
    fn pass<P: ArraySize>(self, many: impl Fn(InOut<'_, '_, Array<Block, P>>), one: impl Fn(InOut<'_, '_, Block>)) {
        let (mut first, mut second) = (Array::<Mask, P>::default(), Array::default());
        let (mut now, mut ahead) = (&mut first, &mut second);
        let mut firsts = self.firsts.iter().map(Mask::of);
        let mut mask = firsts.next().unwrap_or_default();
        mask.fill(now);
        for sector in self.data.chunks_mut(self.sector_size) {
            let (blocks, _) = Block::slice_as_chunks_mut(sector);
            let (groups, rest) = Array::<Block, P>::slice_as_chunks_mut(blocks);
            let count = groups.len();
            for (done, group) in (1..).zip(groups) {
                if done == count && rest.is_empty() {
                    mask = firsts.next().unwrap_or_default();
                }
                mask.fill(ahead);
                group.iter_mut().zip(now.iter()).for_each(|(block, mask)| mask.apply(block));
                many(group.into());
                group.iter_mut().zip(now.iter()).for_each(|(block, mask)| mask.apply(block));
                mem::swap(&mut now, &mut ahead);
            }
            if !rest.is_empty() {
                for (block, mask) in rest.iter_mut().zip(now.iter()) {
                    mask.apply(block);
                    one(block.into());
                    mask.apply(block);
                }
                mask = firsts.next().unwrap_or_default();
                mask.fill(now);
            }
        }
    }
}
