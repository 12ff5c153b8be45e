//! The hash functions of directory hash trees.
//!
//! <https://docs.kernel.org/filesystems/ext4/directory.html> names them; their tables and rounds are facts of the
//! format, checked against debugfs's `dx_hash` in the tests.

/// `s_flags`: this file system's hashes were made where `char` is unsigned.
pub const UNSIGNED_HASH: u32 = 0x2;
/// What the unsigned variant of a hash version adds to it.
const UNSIGNED: u8 = 3;
/// The largest hash is reserved for the end of a directory.
const RESERVED: u32 = 0xffff_fffe;

/// A hash function of hash trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameHash {
    kind: Kind,
    /// Whether bytes from 0x80 are negative.
    signed: bool,
    seed: [u32; 4],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Legacy,
    HalfMd4,
    Tea,
}

impl NameHash {
    /// The function with this number in a tree's root; `None` for numbers without one, among them SipHash, which needs
    /// the key of an encrypted directory. `flags` is `s_flags`, `seed` is `s_hash_seed`.
    pub fn new(version: u8, flags: u32, seed: [u32; 4]) -> Option<Self> {
        let kind = match version % UNSIGNED {
            _ if version >= 2 * UNSIGNED => return None,
            0 => Kind::Legacy,
            1 => Kind::HalfMd4,
            _ => Kind::Tea,
        };
        let signed = version < UNSIGNED && flags & UNSIGNED_HASH == 0;
        // A seed of zeros means MD4's own.
        let seed = match seed {
            [0, 0, 0, 0] => [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476],
            own => own,
        };
        Some(Self { kind, signed, seed })
    }

    /// The hash of a name; its lowest bit is 0.
    pub fn of(&self, name: &[u8]) -> u32 {
        let hash = match self.kind {
            Kind::Legacy => self.legacy(name),
            Kind::HalfMd4 => {
                let mut state = self.seed;
                for start in (0..name.len()).step_by(32) {
                    half_md4(&mut state, &self.words::<8>(&name[start..]));
                }
                state[1]
            }
            Kind::Tea => {
                let mut state = self.seed;
                for start in (0..name.len()).step_by(16) {
                    tea(&mut state, &self.words::<4>(&name[start..]));
                }
                state[0]
            }
        };
        match hash & !1 {
            RESERVED => RESERVED - 2,
            hash => hash,
        }
    }

    fn byte(&self, byte: u8) -> u32 {
        if self.signed { byte as i8 as u32 } else { byte.into() }
    }

    fn legacy(&self, name: &[u8]) -> u32 {
        let (mut hash, mut before) = (0x12a3_fe2du32, 0x37ab_e8f9u32);
        for byte in name {
            let mut next = before.wrapping_add(hash ^ self.byte(*byte).wrapping_mul(7_152_373));
            if next & 0x8000_0000 != 0 {
                next = next.wrapping_sub(0x7fff_ffff);
            }
            (before, hash) = (hash, next);
        }
        hash << 1
    }

    /// The first `N` big-endian words of what is left of a name, padded with its length.
    fn words<const N: usize>(&self, rest: &[u8]) -> [u32; N] {
        // A name has at most 255 bytes, or, folded, a few times as many; the format takes the low bits.
        let len = rest.len() as u32;
        let pad = (len | len << 8) | (len | len << 8) << 16;
        let mut words = [pad; N];
        for (word, bytes) in words.iter_mut().zip(rest.chunks(4)) {
            *word = bytes.iter().fold(pad, |word, byte| (word << 8).wrapping_add(self.byte(*byte)));
        }
        words
    }
}

/// A round of the cut-down MD4: three passes of eight steps.
fn half_md4(state: &mut [u32; 4], words: &[u32; 8]) {
    type Pass = (fn(u32, u32, u32) -> u32, u32, [usize; 8], [u32; 4]);
    const PASSES: [Pass; 3] = [
        (|x, y, z| z ^ (x & (y ^ z)), 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (|x, y, z| (x & y).wrapping_add((x ^ y) & z), 0x5a82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]),
        (|x, y, z| x ^ y ^ z, 0x6ed9_eba1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, constant, order, shifts) in PASSES {
        for (step, word) in order.into_iter().enumerate() {
            let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(words[word]).wrapping_add(constant);
            (a, b, c, d) = (d, sum.rotate_left(shifts[step % 4]), b, c);
        }
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d]) {
        *word = word.wrapping_add(add);
    }
}

/// Sixteen rounds of the Tiny Encryption Algorithm, with the name as the key.
fn tea(state: &mut [u32; 4], key: &[u32; 4]) {
    let [mut x, mut y, ..] = *state;
    let mut sum = 0u32;
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        let half =
            |v: u32, k0: u32, k1: u32| (v << 4).wrapping_add(k0) ^ v.wrapping_add(sum) ^ (v >> 5).wrapping_add(k1);
        x = x.wrapping_add(half(y, key[0], key[1]));
        y = y.wrapping_add(half(x, key[2], key[3]));
    }
    state[0] = state[0].wrapping_add(x);
    state[1] = state[1].wrapping_add(y);
}
