//! The anti-forensic splitter: a key that was spread over many stripes, so that losing one of them destroys it.
//!
//! [LUKS1 on-disk format](https://gitlab.com/cryptsetup/cryptsetup/-/wikis/LUKS-standard/on-disk-format.pdf) 2.4.

use zeroize::Zeroizing;

use super::hash::Hash;

/// Puts the key together from all of its stripes, each of `key_size` bytes; both are more than zero.
pub(super) fn merge(stripes: &[u8], key_size: usize, hash: Hash) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(vec![0; key_size]);
    let mut stripes = stripes.chunks_exact(key_size).peekable();
    while let Some(stripe) = stripes.next() {
        for (byte, other) in key.iter_mut().zip(stripe) {
            *byte ^= other;
        }
        if stripes.peek().is_some() {
            diffuse(&mut key, hash);
        }
    }
    key
}

/// Replaces every piece as long as a hash value by the hash of its number and itself.
fn diffuse(key: &mut [u8], hash: Hash) {
    for (number, piece) in (0u32..).zip(key.chunks_mut(hash.len())) {
        let value = hash.of(&[&number.to_be_bytes(), piece]);
        piece.copy_from_slice(&value[..piece.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stripe_is_the_key_and_two_are_mixed() {
        assert_eq!(*merge(&[1, 2, 3], 3, Hash::Sha1), [1, 2, 3]);
        let mut mixed = [1, 2, 3];
        diffuse(&mut mixed, Hash::Sha1);
        let second: Vec<u8> = mixed.iter().zip([7, 8, 9]).map(|(a, b)| a ^ b).collect();
        assert_eq!(*merge(&[&[1, 2, 3], &second[..]].concat(), 3, Hash::Sha1), [7, 8, 9]);
    }
}
