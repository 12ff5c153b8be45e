//! Bytes of a disk are counted by `u64`, bytes in memory by `usize`.

/// So many bytes in memory, or a place among them. What bounds it is a buffer, so it fits; where memory is addressed by fewer
/// bits and it does not, it is the most there is, at which no buffer and no slice of one is, and not another place.
pub(crate) fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
