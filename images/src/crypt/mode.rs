//! What a mode of operation is, and what it makes of: blocks and sectors.

/// The block of every cipher here, in bytes.
pub(super) const BLOCK: usize = 16;
/// The largest sector, in bytes: dm-crypt's.
pub(super) const MAX_SECTOR: usize = 4096;

/// A mode of operation with a cipher and its key.
pub(super) trait Mode: Send + Sync {
    /// Decrypts whole sectors of `sector_size` bytes in place, each with the next initialisation vector.
    fn decrypt(&self, data: &mut [u8], sector_size: usize, ivs: &mut dyn Iterator<Item = [u8; BLOCK]>);
    /// Encrypts them in the same way.
    fn encrypt(&self, data: &mut [u8], sector_size: usize, ivs: &mut dyn Iterator<Item = [u8; BLOCK]>);
}

/// Encrypts one block; what ESSIV needs of a cipher, for example.
pub(super) trait OneBlock: Send + Sync {
    /// Encrypts it in place.
    fn encrypt(&self, block: &mut [u8; BLOCK]);
}
