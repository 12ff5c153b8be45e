//! Lengths and offsets of 64 bits, as those of something in memory: by these, and never by `as`, which cuts.

/// How much of `len` bytes fits into `most`.
#[inline]
pub fn at_most(len: u64, most: usize) -> usize {
    usize::try_from(len).map_or(most, |len| len.min(most))
}

/// Where in its unit of so many bytes, not zero, an offset lies; which of so many in turns a number is.
#[inline]
pub fn remainder(offset: u64, unit: usize) -> usize {
    in_memory(offset % unit as u64)
}

/// A length, an offset or a count of what is in memory, or is read there next, so that whoever asks has bounded it.
///
/// # Panics
///
/// If no memory of this machine is that long.
#[inline]
pub fn in_memory(len: u64) -> usize {
    usize::try_from(len).expect("whoever asks has bounded it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_cut() {
        assert_eq!((at_most(5, 4), at_most(3, 4), at_most(u64::MAX, 4)), (4, 3, 4));
        assert_eq!((remainder(u64::MAX, 512), remainder(512, 512), remainder(7, 512)), (511, 0, 7));
        assert_eq!(in_memory(1 << 31), 1 << 31);
    }
}
