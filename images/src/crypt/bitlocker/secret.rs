//! What a secret for BitLocker may be: a password, a recovery password, or the content of a .BEK file.

use sha2::{Digest, Sha256};
use zerocopy::FromBytes;
use zeroize::Zeroizing;

use super::entries::{entries, property};
use super::layout::*;

/// How often a secret is hashed: Microsoft's.
const ROUNDS: u64 = 0x10_0000;
/// A recovery password: so many groups, of so many digits each, divisible by this number.
const GROUPS: usize = 8;
const DIGITS: usize = 6;
const DIVISOR: u32 = 11;

/// The hash of a password, which is then stretched. `None` if the secret is no text.
pub(super) fn password(secret: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let text = std::str::from_utf8(secret).ok()?;
    let mut units = Zeroizing::new(Vec::with_capacity(2 * secret.len()));
    text.encode_utf16().for_each(|unit| units.extend(unit.to_le_bytes()));
    let once = Zeroizing::new(<[u8; 32]>::from(Sha256::digest(&units[..])));
    Some(Zeroizing::new(Sha256::digest(&once[..]).into()))
}

/// The same of a recovery password: eight groups of six digits, with or without something between them. `None` if the
/// secret is none.
pub(super) fn recovery_password(secret: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut digits = Zeroizing::new(Vec::with_capacity(GROUPS * DIGITS));
    for byte in secret {
        match byte {
            b'0'..=b'9' if digits.len() < GROUPS * DIGITS => digits.push(*byte),
            b'-' | b' ' => {}
            _ => return None,
        }
    }
    if digits.len() != GROUPS * DIGITS {
        return None;
    }
    let mut key = Zeroizing::new([0; 2 * GROUPS]);
    for (group, bytes) in digits.chunks(DIGITS).zip(key.chunks_mut(2)) {
        let number = group.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        if number % DIVISOR != 0 {
            return None;
        }
        bytes.copy_from_slice(&u16::try_from(number / DIVISOR).ok()?.to_le_bytes());
    }
    Some(Zeroizing::new(Sha256::digest(&key[..]).into()))
}

/// The identifier and the key in a .BEK file. `None` if the secret is none.
pub(super) fn startup_key(secret: &[u8]) -> Option<([u8; 16], Zeroizing<Vec<u8>>)> {
    let (header, _) = MetadataHeader::read_from_prefix(secret).ok()?;
    let (size, start) = (header.size.get() as usize, header.header_size.get() as usize);
    if header.version.get() != 1 || start != size_of::<MetadataHeader>() {
        return None;
    }
    let all = entries(secret.get(start..size)?, start as u64).ok()?;
    let entry = all.iter().find(|entry| entry.is(ENTRY_STARTUP_KEY, VALUE_EXTERNAL_KEY))?;
    let (key, properties) = entry.with_properties::<ExternalKey>().ok()?;
    Some((key.identifier, property(&properties, VALUE_KEY)?.plain_key().ok()?))
}

/// Stretches a hash into the key of a volume master key.
pub(super) fn stretch(hash: &[u8; 32], salt: &[u8; SALT]) -> Zeroizing<[u8; 32]> {
    let mut state = Zeroizing::new([0; 32 + 32 + SALT + 8]);
    state[32..64].copy_from_slice(hash);
    state[64..64 + SALT].copy_from_slice(salt);
    for round in 0..ROUNDS {
        state[64 + SALT..].copy_from_slice(&round.to_le_bytes());
        let last = Sha256::digest(&state[..]);
        state[..32].copy_from_slice(&last);
    }
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(&state[..32]);
    key
}
