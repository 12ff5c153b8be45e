//! Bits of a block bitmap or an inode bitmap: bit 0 is the lowest of the first byte, and set is in use.

use std::ops::Range;

/// Bits that are looked at together.
const WORD: usize = 64;

/// The first bit of `bits` with this value.
pub(super) fn first(bytes: &[u8], bits: Range<usize>, value: bool) -> Option<usize> {
    let mut at = bits.start;
    while at < bits.end {
        let start = at / WORD * WORD;
        // What is looked for is one.
        let word = if value { word(bytes, start) } else { !word(bytes, start) };
        let found = start + (word & (u64::MAX << (at - start))).trailing_zeros() as usize;
        if found < start + WORD {
            return (found < bits.end).then_some(found);
        }
        at = start + WORD;
    }
    None
}

/// The first run of zeros in `bits`, cut off after `most`.
pub(super) fn first_free(bytes: &[u8], bits: Range<usize>, most: usize) -> Option<Range<usize>> {
    let start = first(bytes, bits.clone(), false)?;
    let end = bits.end.min(start.saturating_add(most));
    Some(start..first(bytes, start..end, true).unwrap_or(end))
}

/// Gives all of `bits` a value.
pub(super) fn fill(bytes: &mut [u8], bits: Range<usize>, value: bool) {
    let mut at = bits.start;
    while at < bits.end {
        let end = bits.end.min(at / 8 * 8 + 8);
        if end - at == 8 {
            let whole = at / 8..bits.end / 8;
            bytes[whole.clone()].fill(if value { 0xff } else { 0 });
            at = whole.end * 8;
        } else {
            let mask = ((1u16 << (end - at)) - 1).to_le_bytes()[0] << (at % 8);
            let byte = &mut bytes[at / 8];
            *byte = if value { *byte | mask } else { *byte & !mask };
            at = end;
        }
    }
}

/// How many zeros there are in `bits`.
pub(super) fn count_free(bytes: &[u8], bits: Range<usize>) -> usize {
    let mut free = 0;
    let mut at = bits.start;
    while at < bits.end {
        let start = at / WORD * WORD;
        let end = bits.end.min(start + WORD);
        let mut word = !word(bytes, start) & (u64::MAX << (at - start));
        if end - start < WORD {
            word &= !(u64::MAX << (end - start));
        }
        free += word.count_ones() as usize;
        at = end;
    }
    free
}

/// The 64 bits from bit `start` on, a multiple of 64; those after the end are zero.
fn word(bytes: &[u8], start: usize) -> u64 {
    let rest = &bytes[start / 8..];
    match rest.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_a_list_of_bits(
            bytes in prop::collection::vec(prop_oneof![Just(0), Just(0xff), any::<u8>()], 1..40),
            from in 0usize..320,
            len in 0usize..320,
            most in 1usize..200,
            value: bool,
        ) {
            let all = bytes.len() * 8;
            let bits = from.min(all)..(from + len).min(all);
            let mut list: Vec<bool> = (0..all).map(|bit| bytes[bit / 8] >> (bit % 8) & 1 == 1).collect();
            prop_assert_eq!(first(&bytes, bits.clone(), value), bits.clone().find(|bit| list[*bit] == value));
            prop_assert_eq!(count_free(&bytes, bits.clone()), list[bits.clone()].iter().filter(|bit| !**bit).count());
            let run = bits.clone().find(|bit| !list[*bit]).map(|start| {
                let run = list[start..bits.end].iter().take_while(|bit| !**bit).count();
                start..start + run.min(most)
            });
            prop_assert_eq!(first_free(&bytes, bits.clone(), most), run);
            let mut filled = bytes.clone();
            fill(&mut filled, bits.clone(), value);
            list[bits].fill(value);
            let got: Vec<bool> = (0..all).map(|bit| filled[bit / 8] >> (bit % 8) & 1 == 1).collect();
            prop_assert_eq!(got, list);
        }
    }
}
