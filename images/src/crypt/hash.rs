//! Hash functions by the names that cryptsetup has for them, and PBKDF2 with each.

use pbkdf2::pbkdf2_hmac;
use ripemd::Ripemd160;
use sha1::Sha1;
use sha2::digest::Digest;
use sha2::{Sha224, Sha256, Sha384, Sha512};
use whirlpool::Whirlpool;
use zeroize::Zeroizing;

use crate::{Result, unsupported};

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
    Ripemd160,
    Whirlpool,
}

/// Evaluates `$body` with `$D` standing for the hash function's type.
macro_rules! with {
    ($hash:expr, $D:ident => $body:expr) => {
        match $hash {
            Hash::Sha1 => {
                type $D = Sha1;
                $body
            }
            Hash::Sha224 => {
                type $D = Sha224;
                $body
            }
            Hash::Sha256 => {
                type $D = Sha256;
                $body
            }
            Hash::Sha384 => {
                type $D = Sha384;
                $body
            }
            Hash::Sha512 => {
                type $D = Sha512;
                $body
            }
            Hash::Ripemd160 => {
                type $D = Ripemd160;
                $body
            }
            Hash::Whirlpool => {
                type $D = Whirlpool;
                $body
            }
        }
    };
}

impl Hash {
    /// Fails with `Unsupported`, and the name, if there is no such function here.
    pub(super) fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "sha1" => Self::Sha1,
            "sha224" => Self::Sha224,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            "ripemd160" => Self::Ripemd160,
            "whirlpool" => Self::Whirlpool,
            other => return Err(unsupported!("the hash function {} is not known", other.escape_debug())),
        })
    }

    /// The length of its value in bytes.
    pub(super) fn len(self) -> usize {
        with!(self, D => <D as Digest>::output_size())
    }

    /// The value of all `parts`, one after the other.
    pub(super) fn of(self, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        with!(self, D => {
            let mut state = D::new();
            for part in parts {
                Digest::update(&mut state, part);
            }
            Zeroizing::new(state.finalize().to_vec())
        })
    }

    /// PBKDF2 ([RFC 8018](https://www.rfc-editor.org/rfc/rfc8018) section 5.2) with HMAC of this function.
    pub(super) fn pbkdf2(self, secret: &[u8], salt: &[u8], iterations: u32, out: &mut [u8]) {
        with!(self, D => pbkdf2_hmac::<D>(secret, salt, iterations, out));
    }
}
