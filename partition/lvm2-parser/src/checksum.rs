//! The checksum of labels, metadata area headers and metadata text.

/// What LVM2's CRC-32 register holds before the first byte: <https://sourceware.org/git/?p=lvm2.git;a=blob;f=lib/misc/crc.h>.
const INITIAL_CRC: u32 = 0xf597_a6cf;

/// The CRC-32 (polynomial `0xedb88320`) that LVM2 stores: its own initial value, and no inversion at the end.
///
/// ```
/// assert_eq!(lvm2_parser::checksum(b""), 0xf597a6cf);
/// ```
pub fn checksum(bytes: &[u8]) -> u32 {
    // The usual CRC-32 inverts its register before and after: undo both.
    let mut hasher = crc32fast::Hasher::new_with_initial(!INITIAL_CRC);
    hasher.update(bytes);
    !hasher.finalize()
}
