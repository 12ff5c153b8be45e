//! AES-CCM as BitLocker keeps keys in it: nonces of 12 bytes, codes of 16, nothing beside the message.
//!
//! [RFC 3610](https://www.rfc-editor.org/rfc/rfc3610).

use aes::Aes256;
use cipher::{Array, BlockCipherEncrypt};

use super::mode::BLOCK;

/// The length of a nonce, in bytes.
pub(super) const NONCE: usize = 12;
/// The flags of the counter blocks: a length takes three bytes.
const COUNTER: u8 = 2;
/// The flags of the first block of the code: the same, and a code of 16 bytes.
const FIRST: u8 = 7 << 3 | COUNTER;
/// The longest message, in bytes: what three bytes can count.
const MAX_MESSAGE: usize = (1 << 24) - 1;

/// Decrypts `message` in place. Whether `code` is right: the key is, and nothing was changed.
pub(super) fn decrypt(cipher: &Aes256, nonce: &[u8; NONCE], code: &[u8; BLOCK], message: &mut [u8]) -> bool {
    if message.len() > MAX_MESSAGE {
        return false;
    }
    let encrypted = |flags: u8, number: usize| {
        let mut block = Array::from([0; BLOCK]);
        block[0] = flags;
        block[1..=NONCE].copy_from_slice(nonce);
        block[1 + NONCE..].copy_from_slice(&number.to_be_bytes()[5..]);
        cipher.encrypt_block(&mut block);
        block.0
    };
    for (number, piece) in (1..).zip(message.chunks_mut(BLOCK)) {
        for (byte, mask) in piece.iter_mut().zip(encrypted(COUNTER, number)) {
            *byte ^= mask;
        }
    }
    let mut chain = Array::from(encrypted(FIRST, message.len()));
    for piece in message.chunks(BLOCK) {
        for (byte, other) in chain.iter_mut().zip(piece) {
            *byte ^= other;
        }
        cipher.encrypt_block(&mut chain);
    }
    let mask = encrypted(COUNTER, 0);
    chain.iter().zip(mask).zip(code).all(|((chain, mask), code)| chain ^ mask == *code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cipher::KeyInit;

    /// Made with OpenSSL: `EVP_aes_256_ccm`, by Python's `cryptography`.
    #[test]
    fn a_message_of_openssl() {
        let key: Vec<u8> = (0..32).collect();
        let cipher = Aes256::new_from_slice(&key).unwrap();
        let nonce = std::array::from_fn(|n| 0x40 + n as u8);
        let mut message = MESSAGE;
        assert!(decrypt(&cipher, &nonce, &CODE, &mut message));
        assert!(message.iter().enumerate().all(|(n, byte)| usize::from(*byte) == n + 7));
        let mut wrong = MESSAGE;
        wrong[20] ^= 1;
        assert!(!decrypt(&cipher, &nonce, &CODE, &mut wrong));
    }

    const MESSAGE: [u8; 44] = [
        0xfe, 0x84, 0x19, 0x4e, 0x80, 0xe0, 0xee, 0x45, 0x83, 0x99, 0xd8, 0xd2, 0xdc, 0x8f, 0x7c, 0x0b, 0x5f, 0xf4,
        0x15, 0x35, 0xd3, 0xa3, 0x98, 0x42, 0x4f, 0x4f, 0x44, 0xf0, 0xa2, 0x23, 0x78, 0x40, 0xe8, 0xb3, 0x24, 0xd3,
        0x60, 0xab, 0x54, 0x58, 0xe1, 0xb0, 0xd6, 0x6b,
    ];
    const CODE: [u8; BLOCK] =
        [0x75, 0x72, 0x75, 0x0c, 0x92, 0xcf, 0x52, 0x46, 0x92, 0x28, 0x66, 0xf2, 0x1a, 0xd1, 0x5a, 0x03];
}
