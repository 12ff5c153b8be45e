//! The superblock as it is changed: its counts, its state and its lists.

use images::Result;
use zerocopy::{FromBytes, IntoBytes};

use super::operation::Operation;
use crate::ext::checksum::crc32c;
use crate::ext::layout::{SUPERBLOCK_OFFSET, SuperBlock};

/// Bytes of the superblock before its checksum.
const CHECKSUMMED: usize = std::mem::offset_of!(SuperBlock, s_checksum);

impl Operation<'_> {
    /// Changes the superblock, and its checksum where it has one. Backups stay as they are. If `edit` fails nothing is changed.
    pub fn change_superblock<T>(&mut self, edit: impl FnOnce(&mut SuperBlock) -> Result<T>) -> Result<T> {
        let block_size = self.volume.block_size();
        let inside = (SUPERBLOCK_OFFSET % block_size) as usize;
        let is_checked = self.superblock().checksum_seed.is_some();
        self.change(SUPERBLOCK_OFFSET / block_size, |block| {
            let (raw, _) = SuperBlock::mut_from_prefix(&mut block[inside..]).expect("a block holds the superblock");
            let answer = edit(raw)?;
            if is_checked {
                raw.s_checksum = crc32c(!0, &raw.as_bytes()[..CHECKSUMMED]).into();
            }
            Ok(answer)
        })
    }
}
